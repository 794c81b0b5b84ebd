//! Templates of `ls --output`: text with fields of a block's `meta.json`, as `{{.ULID}} {{.Thanos.Labels.cluster}}`.
//!
//! Of Go's templates only fields are known, by the names that Thanos has for them or by those in the file: case makes no difference.

use anyhow::{Context, bail};
use serde_json::Value;

/// Text and fields, in turn.
#[derive(Debug)]
pub struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Field(Vec<String>),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Where something other than a field is between braces.
    pub fn try_new(text: &str) -> anyhow::Result<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            pieces.push(Piece::Text(before.to_owned()));
            let (field, after) = after.split_once("}}").context("--output: invalid template: {{ without }}")?;
            let Some(path) = field.trim().strip_prefix('.') else {
                bail!("--output: invalid template: {{{{{field}}}}} is not a field; write for example {{{{.ULID}}}}");
            };
            pieces.push(Piece::Field(path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The text for one block.
    ///
    /// # Errors
    /// Where the block has no such field.
    pub fn expand(&self, meta: &Value) -> anyhow::Result<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field(path) => push_value(&mut text, field(meta, path)?),
            }
        }
        Ok(text)
    }
}

fn field<'a>(meta: &'a Value, path: &[String]) -> anyhow::Result<&'a Value> {
    path.iter().try_fold(meta, |value, name| {
        let fields = value.as_object().into_iter().flatten();
        let mut named = fields.filter(|(key, _)| key.replace('_', "").eq_ignore_ascii_case(name));
        named
            .next()
            .map(|(_, value)| value)
            .with_context(|| format!("--output: a block has no field .{}", path.join(".")))
    })
}

/// As Go prints values.
fn push_value(text: &mut String, value: &Value) {
    match value {
        Value::String(string) => text.push_str(string),
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                text.push_str(if index > 0 { " " } else { "" });
                push_value(text, value);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push_str("map[");
            for (index, (key, value)) in fields.iter().enumerate() {
                text.push_str(if index > 0 { " " } else { "" });
                text.push_str(key);
                text.push(':');
                push_value(text, value);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_put_in() {
        let meta = json!({"ulid": "01", "stats": {"numSeries": 3}, "thanos": {"labels": {"a": "x", "b": "y"}}});
        let expand = |text: &str| Template::try_new(text)?.expand(&meta);
        assert_eq!(expand("{{.ULID}}: {{ .Stats.NumSeries }} {{.Thanos.Labels}}!").unwrap(), "01: 3 map[a:x b:y]!");
        assert_eq!(expand("{{.Thanos.Labels.a}}").unwrap(), "x");
        assert_eq!(expand("{{.Nothing}}").unwrap_err().to_string(), "--output: a block has no field .Nothing");
        assert!(expand("{{range .}}").is_err() && expand("{{.ULID").is_err());
    }
}
