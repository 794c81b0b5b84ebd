//! `label_replace` and `label_join`.

use promql::ast::Call;

use super::calls::text;
use super::{Computed, Failure, LabelSet, Naive, Naively, Row, label, map_rows};

impl Naive<'_> {
    /// `label_replace`. Tests write patterns and templates that mean the same in Go and in Rust.
    pub(super) fn label_replace(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let [target, template, source, pattern] = [1, 2, 3, 4].map(|i| text(&call.args[i]));
        let regex = regex::Regex::new(&format!("^(?s:{pattern})$")).map_err(|e| Failure::new(e.to_string()))?;
        valid(target)?;
        self.distinct(map_rows(self.vectors(&call.args[0], steps)?, |row| {
            let Some(found) = regex.captures(label(&row.labels, source)) else { return Some(row) };
            let mut value = String::new();
            found.expand(template, &mut value);
            let unnamed = row.unnamed && target != "__name__";
            Some(Row { labels: with(row.labels.clone(), target, value), unnamed, ..row })
        }))
    }

    /// `label_join`.
    pub(super) fn label_join(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let (target, separator) = (text(&call.args[1]), text(&call.args[2]));
        let sources: Vec<&str> = call.args[3..].iter().map(text).collect();
        sources.iter().chain([&target]).try_for_each(|name| valid(name))?;
        self.distinct(map_rows(self.vectors(&call.args[0], steps)?, |row| {
            let values: Vec<&str> = sources.iter().map(|name| label(&row.labels, name)).collect();
            let value = values.join(separator);
            let unnamed = row.unnamed && target != "__name__";
            Some(Row { labels: with(row.labels, target, value), value: row.value, unnamed })
        }))
    }
}

fn valid(name: &str) -> Naively<()> {
    if name.is_empty() { Err(Failure::new("invalid label name")) } else { Ok(()) }
}

/// Labels with one changed; an empty value takes it away.
fn with(mut labels: LabelSet, name: &str, value: String) -> LabelSet {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
    labels
}
