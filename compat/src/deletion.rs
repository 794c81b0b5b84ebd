//! The list of deletions of `tools bucket rewrite`: `- matchers: '{job="x"}'`, with `intervals` of `mint` and `maxt` where not all goes.

use promql::ParseOptions;
use serde::Deserialize;
use serde_json::{Value, json};
use storage::model::{MatchOp, TimeInterval};
use storage::store::SeriesDeletion;

use crate::yaml::{ConfigError, Document};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    matchers: String,
    #[serde(default)]
    intervals: Vec<Interval>,
    #[serde(default)]
    request_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Interval {
    mint: i64,
    maxt: i64,
}

/// What goes of some series, and who asked for it.
#[derive(Debug, Clone)]
pub struct DeletionRequest {
    /// What goes.
    pub deletion: SeriesDeletion,
    /// As it was given; may be empty.
    pub request_id: String,
}

impl DeletionRequest {
    /// Reads a list of them; `source` names it in errors.
    ///
    /// # Errors
    /// [`ConfigError`] where it is none.
    pub fn list_from_yaml(text: &str, source: &str) -> Result<Vec<Self>, ConfigError> {
        let document = Document::new(text, source);
        let requests: Vec<Request> = document.parse()?;
        requests.into_iter().map(|request| Self::new(request, &document)).collect()
    }

    fn new(request: Request, document: &Document<'_>) -> Result<Self, ConfigError> {
        let matchers = promql::parse_selector(&request.matchers, &ParseOptions::default());
        let matchers = matchers.map_err(|error| {
            document.unusable(format!("matchers: {:?} is not a selector: {error}", request.matchers))
        })?;
        if matchers.is_empty() {
            return Err(document.unusable("matchers: at least one is needed; {__name__=~\".+\"} is every series"));
        }
        if let Some(wrong) = request.intervals.iter().find(|interval| interval.mint > interval.maxt) {
            return Err(document.unusable(format!("intervals: {} is after {}", wrong.mint, wrong.maxt)));
        }
        let intervals = request.intervals.iter().map(|interval| TimeInterval::new(interval.mint, interval.maxt));
        let deletion = SeriesDeletion { matchers, intervals: intervals.collect() };
        Ok(Self { deletion, request_id: request.request_id })
    }

    /// As Thanos writes it into `meta.json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let matcher = |matcher: &storage::model::Matcher| {
            let number = match matcher.op() {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            };
            json!({"Type": number, "Name": matcher.name(), "Value": matcher.value()})
        };
        let matchers: Vec<Value> = self.deletion.matchers.iter().map(matcher).collect();
        let mut value = json!({"matchers": matchers});
        if !self.deletion.intervals.is_empty() {
            let interval = |interval: &TimeInterval| json!({"Mint": interval.mint, "Maxt": interval.maxt});
            value["intervals"] = self.deletion.intervals.iter().map(interval).collect();
        }
        if !self.request_id.is_empty() {
            value["request_id"] = self.request_id.clone().into();
        }
        value
    }
}

/// Any YAML as JSON, for what is kept as it was given.
///
/// # Errors
/// [`ConfigError`] where it is none.
pub fn yaml_to_json(text: &str, source: &str) -> Result<Value, ConfigError> {
    Document::new(text, source).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_kept() {
        let text = "- matchers: '{job=\"a\",x!~\".*b\"}'\n  intervals:\n  - {mint: 1, maxt: 2}\n  request_id: r\n- matchers: up\n";
        let list = DeletionRequest::list_from_yaml(text, "x").unwrap();
        let expected = r#"{"intervals":[{"Maxt":2,"Mint":1}],"matchers":[{"Name":"job","Type":0,"Value":"a"},{"Name":"x","Type":3,"Value":".*b"}],"request_id":"r"}"#;
        assert_eq!(list[0].to_json().to_string(), expected);
        assert_eq!(list[1].to_json().to_string(), r#"{"matchers":[{"Name":"__name__","Type":0,"Value":"up"}]}"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("- matchers: '{'\n", "is not a selector"),
            ("- matchers: '{}'\n", "matchers"),
            ("- matcher: up\n", "matcher"),
            ("- matchers: up\n  intervals: [{mint: 3, maxt: 2}]\n", "3 is after 2"),
            ("matchers: up\n", "x"),
        ] {
            let error = DeletionRequest::list_from_yaml(text, "x.yml").unwrap_err().to_string();
            assert!(error.contains("x.yml") && error.contains(part), "{error}");
        }
    }
}
