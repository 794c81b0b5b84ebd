//! `info`: labels of info metrics for the series of the same job and instance.

use std::collections::{BTreeMap, BTreeSet};

use promql::ast::Call;
use promql::{Expr, ast};
use storage::model::{MatchOp, Matcher};

use super::{Computed, Failure, LabelSet, Naive, Naively, Row, Value, Vector, label};

const IDENTIFYING: [&str; 2] = ["instance", "job"];

impl Naive<'_> {
    /// `info` at every step.
    pub(super) fn info(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let (at, offset) = self.info_time(&call.args[0], &[])?.unwrap_or((None, 0));
        let base = self.vectors(&call.args[0], steps)?;
        let selector = call.args.get(1).map(Expr::unparenthesized);
        let matchers: &[Matcher] = match selector {
            Some(Expr::Vector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == "__name__");
        let names = name_matchers(names);
        let is_info = |labels: &LabelSet| names.iter().all(|matcher| matcher.matches(label(labels, "__name__")));
        // only info series that could belong to any of the series, at any step, are read
        let rows = || base.iter().flatten().filter(|row| !is_info(&row.labels));
        let values = |name: &str| -> BTreeSet<String> {
            let values = rows().map(|row| label(&row.labels, name).to_owned());
            values.filter(|value| !value.is_empty()).collect()
        };
        let identifying: Vec<(&str, BTreeSet<String>)> =
            IDENTIFYING.map(|name| (name, values(name))).into_iter().filter(|(_, values)| !values.is_empty()).collect();
        let all: Vec<Matcher> = names.iter().chain(&data).cloned().collect();
        let mut result = Vec::new();
        for (t, vector) in steps.iter().zip(&base) {
            let until = at.unwrap_or(*t) - offset;
            let mut infos: Vec<(&LabelSet, i64)> = Vec::new();
            let reads = |labels: &LabelSet| {
                !identifying.is_empty() && identifying.iter().all(|(name, values)| values.contains(label(labels, name)))
            };
            for (labels, samples) in self.matching(&all).filter(|(labels, _)| reads(labels)) {
                match self.latest_of(samples, until) {
                    Some((_, Value::Histogram(_))) => return Err(Failure::new("no float samples")),
                    Some((t, Value::Float(_))) => infos.push((labels, t)),
                    None => {}
                }
            }
            result.push(enriched(vector, &infos, &data, &is_info)?);
        }
        self.distinct(result)
    }

    /// When info series are looked at: by the modifiers of the first selector, and of the subqueries around it up to the one
    /// that has an `@`.
    fn info_time(&self, expr: &Expr, outer: &[&ast::Subquery]) -> Naively<Option<(Option<i64>, i64)>> {
        let selector = match expr {
            Expr::Vector(selector) => selector,
            Expr::Matrix(matrix) => &matrix.selector,
            Expr::Subquery(subquery) => {
                let outer: Vec<&ast::Subquery> = outer.iter().copied().chain([&**subquery]).collect();
                return self.info_time(&subquery.expr, &outer);
            }
            _ => {
                for child in expr.children() {
                    if let Some(found) = self.info_time(child, outer)? {
                        return Ok(Some(found));
                    }
                }
                return Ok(None);
            }
        };
        let mut at = self.at(selector.at);
        let mut offset = self.offset(selector.offset.as_ref())?;
        for subquery in outer.iter().rev() {
            if at.is_none() {
                offset += self.offset(subquery.offset.as_ref())?;
                at = self.at(subquery.at);
            }
        }
        Ok(Some((at, offset)))
    }
}

/// Which metrics are info metrics.
fn name_matchers(written: Vec<Matcher>) -> Vec<Matcher> {
    let positive = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
    if written.is_empty() {
        return vec![Matcher::equal("__name__", "target_info")];
    }
    if written.iter().any(positive) {
        return written;
    }
    let any = Matcher::try_new(MatchOp::Regex, "__name__", ".+_info").unwrap();
    [any].into_iter().chain(written).collect()
}

fn enriched(
    vector: &Vector,
    infos: &[(&LabelSet, i64)],
    data: &[Matcher],
    is_info: &dyn Fn(&LabelSet) -> bool,
) -> Naively<Vector> {
    if vector.is_empty() {
        return Ok(Vector::new());
    }
    let identity = |labels: &LabelSet| IDENTIFYING.map(|name| label(labels, name).to_owned());
    // the newest of each metric and identity
    let mut newest: BTreeMap<(String, [String; 2]), (&LabelSet, i64)> = BTreeMap::new();
    for &(labels, t) in infos {
        let key = (label(labels, "__name__").to_owned(), identity(labels));
        match newest.get(&key) {
            Some((_, other)) if *other == t => {
                return Err(Failure::new("found duplicate series for info metric"));
            }
            Some((_, other)) if *other > t => {}
            _ => {
                newest.insert(key, (labels, t));
            }
        }
    }
    let mut result = Vector::new();
    for row in vector {
        if is_info(&row.labels) {
            result.push(row.clone());
            continue;
        }
        let mut added = LabelSet::new();
        let mut found = false;
        for ((_, id), (labels, _)) in &newest {
            if *id != identity(&row.labels) {
                continue;
            }
            found = true;
            for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
                if !data.is_empty() && !data.iter().any(|matcher| matcher.name() == name) {
                    continue;
                }
                if added.get(name).is_some_and(|other| other != value) {
                    return Err(Failure::new(format!("conflicting label: {name}")));
                }
                if !row.labels.contains_key(name) {
                    added.insert(name.clone(), value.clone());
                }
            }
        }
        if found || data.iter().all(Matcher::matches_empty) {
            let mut labels = row.labels.clone();
            labels.extend(added);
            result.push(Row { labels, ..row.clone() });
        }
    }
    Ok(result)
}
