//! `/api/v1/query_exemplars`: exemplars of the series that a query selects. A head has them; blocks do not.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use promql::LowerOptions;
use storage::head::SeriesExemplars;
use storage::model::{Matcher, TimeInterval};

use super::Api;
use super::answer::success;
use super::error::{ApiError, ErrorKind};
use super::json::push_labels;
use super::number::{push_quoted_float, push_timestamp};
use super::params::Params;
use super::scope::Scope;
use crate::instant::{MAX_TIME, MIN_TIME};

/// The exemplars of all selectors of `query` between `start` and `end`.
pub async fn exemplars(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    let (start, end) = (params.time_or("start", MIN_TIME)?, params.time_or("end", MAX_TIME)?);
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let bad = |error: &dyn std::fmt::Display| ApiError::bad_data(error.to_string());
    let query = promql::parse(params.get("query"), &api.settings.parse).map_err(|error| bad(&error))?;
    let Some(head) = &api.head else { return Ok(success(b"[]", &[])) };
    let times = LowerOptions { start, end, step_ms: 0, default_subquery_step_ms: 60_000 };
    let tree = promql::lower(&query, &times).map_err(|error| bad(&error))?;
    let sets: Vec<Vec<Matcher>> = tree.selectors().map(|selector| selector.matchers.clone()).collect();
    let found = head.exemplars(&scope, &sets, TimeInterval::new(start, end));
    let found = found.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    Ok(success(&json(&found), &[]))
}

fn json(found: &[SeriesExemplars]) -> Vec<u8> {
    let mut out = Vec::new();
    push_list(&mut out, found, |out, series| {
        out.extend_from_slice(br#"{"seriesLabels":"#);
        push_labels(out, series.series.as_key());
        out.extend_from_slice(br#","exemplars":"#);
        push_list(out, &series.exemplars, |out, exemplar| {
            out.extend_from_slice(br#"{"labels":"#);
            push_labels(out, exemplar.labels.as_key());
            out.extend_from_slice(br#","value":"#);
            push_quoted_float(out, exemplar.value);
            out.extend_from_slice(br#","timestamp":"#);
            push_timestamp(out, exemplar.t);
            out.push(b'}');
        });
        out.push(b'}');
    });
    out
}

fn push_list<T>(out: &mut Vec<u8>, items: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use storage::head::OwnedExemplar;
    use storage::model::Labels;

    use super::*;

    #[test]
    fn as_prometheus_writes_them() {
        let exemplar =
            OwnedExemplar { labels: Labels::from_pairs([("trace_id", "a\"b")]), t: 1_600_000_000_123, value: 0.5 };
        let series = Labels::from_pairs([("__name__", "x"), ("job", "j")]);
        let found = [SeriesExemplars { series, exemplars: vec![exemplar.clone(), exemplar] }];
        let one = r#"{"labels":{"trace_id":"a\"b"},"value":"0.5","timestamp":1600000000.123}"#;
        let expected = format!(r#"[{{"seriesLabels":{{"__name__":"x","job":"j"}},"exemplars":[{one},{one}]}}]"#);
        assert_eq!(String::from_utf8(json(&found)).unwrap(), expected);
        assert_eq!(json(&[]), b"[]");
    }
}
