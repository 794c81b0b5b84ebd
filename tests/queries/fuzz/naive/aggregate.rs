//! Aggregations: the rows of a step by group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use promql::Expr;
use promql::ast::Aggregate;
use promql::tree::AggregateOp;
use storage::model::FloatHistogram;

use super::numbers::{count, greater, mean, plain_text, quantile, smaller, sum, variance};
use super::{Failure, LabelSet, Naive, Naively, Row, Value, Vector, both, map_rows, notes};

impl Naive<'_> {
    /// An aggregation at every step.
    pub(super) fn aggregate(&self, aggregate: &Aggregate, steps: &[i64]) -> Naively<Vec<Vector>> {
        let op = aggregate.op;
        if op == AggregateOp::CountValues {
            let Some(Expr::String(name)) = aggregate.param.as_ref().map(Expr::unparenthesized) else {
                return Err(Failure::new("no label name"));
            };
            if name.value.is_empty() {
                return Err(Failure::new("invalid label name"));
            }
            let vectors = self.vectors(&aggregate.expr, steps)?;
            let counted = vectors.into_iter().map(|vector| count_values(aggregate, &name.value, vector));
            return Ok(counted.collect());
        }
        let params = match &aggregate.param {
            Some(param) => self.scalars(param, steps),
            None => Ok(vec![0.0; steps.len()]),
        };
        let (params, mut vectors) = both(params, self.vectors(&aggregate.expr, steps))?;
        // which rows come first is only defined where they come from storage
        if self.reverses() && !matches!(aggregate.expr.unparenthesized(), Expr::Vector(_)) {
            vectors.iter_mut().for_each(|vector| vector.reverse());
        }
        if self.without_result(op, &params)? {
            return Ok(vec![Vec::new(); steps.len()]);
        }
        let series = distinct(&vectors);
        let vectors = vectors
            .into_iter()
            .zip(params)
            .map(|(vector, param)| {
                let groups = groups(aggregate, vector);
                if op.selects() {
                    return groups.into_values().flat_map(|rows| self.chosen(op, param, series, rows)).collect();
                }
                let of_group = |(labels, rows): (LabelSet, Vec<Row>)| {
                    let unnamed = rows.iter().any(|row| row.unnamed);
                    Some(Row { labels, value: self.of_group(op, param, &rows)?, unnamed })
                };
                groups.into_iter().filter_map(of_group).collect()
            })
            .collect();
        Ok(if op.selects() { vectors } else { any_unnamed(vectors) })
    }

    /// Looks at the parameters of all steps: refuses them, or says that no step has a result.
    fn without_result(&self, op: AggregateOp, params: &[f64]) -> Naively<bool> {
        let any_nan = params.iter().any(|param| param.is_nan());
        let most = params.iter().copied().fold(f64::MIN, greater);
        let least = params.iter().copied().fold(f64::MAX, smaller);
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                if most < 1.0 {
                    return Ok(true);
                }
                if any_nan {
                    return Err(Failure::new("Parameter value is NaN"));
                }
                if least <= -LIMIT {
                    return Err(Failure::new("underflows int64"));
                }
                if most >= LIMIT {
                    return Err(Failure::new("overflows int64"));
                }
            }
            AggregateOp::LimitRatio => {
                if most == 0.0 && least == 0.0 {
                    return Ok(true);
                }
                if any_nan {
                    return Err(Failure::new("Ratio value is NaN"));
                }
                if most > 1.0 || least < -1.0 {
                    self.note(notes::RATIO);
                }
            }
            AggregateOp::Quantile if any_nan || most > 1.0 || least < 0.0 => self.note(notes::QUANTILE),
            _ => {}
        }
        Ok(false)
    }

    /// The value of a group.
    fn of_group(&self, op: AggregateOp, param: f64, rows: &[Row]) -> Option<Value> {
        let rows_all = count(rows.len());
        if matches!(op, AggregateOp::Sum | AggregateOp::Avg) {
            return self.total_of_group(op, rows);
        }
        let (mut floats, histograms) = split(rows);
        if matches!(op, AggregateOp::Stddev | AggregateOp::Stdvar) {
            floats.iter_mut().for_each(|value| *value = self.blurred(*value));
        }
        let value = match op {
            AggregateOp::Count => rows_all,
            AggregateOp::Group => 1.0,
            _ => {
                if !histograms.is_empty() {
                    self.note(notes::IGNORED);
                }
                if floats.is_empty() {
                    return None;
                }
                match op {
                    AggregateOp::Min => best(&floats, |value, best| value < best),
                    AggregateOp::Max => best(&floats, |value, best| value > best),
                    AggregateOp::Stdvar => variance(&floats),
                    AggregateOp::Stddev => variance(&floats).sqrt(),
                    _ => quantile(param, &floats),
                }
            }
        };
        Some(Value::Float(self.rounded(value)))
    }

    /// The sum or the mean. Histograms are added until they do not fit, and none where a float came first; what comes after one
    /// that does not fit is not looked at.
    fn total_of_group(&self, op: AggregateOp, rows: &[Row]) -> Option<Value> {
        let average = op == AggregateOp::Avg;
        let mut adding: Vec<Arc<FloatHistogram>> = Vec::new();
        let (mut any_float, mut any_histogram, mut fits) = (false, false, true);
        for row in rows {
            match &row.value {
                Value::Float(_) => any_float = true,
                Value::Histogram(histogram) => {
                    any_histogram = true;
                    if adding.is_empty() && any_float {
                        continue;
                    }
                    adding.push(Arc::clone(histogram));
                    fits = histogram.uses_custom_buckets() == adding[0].uses_custom_buckets();
                }
            }
            if !fits {
                self.note(notes::SCHEMAS);
                adding.pop();
                break;
            }
        }
        let (floats, histograms) = split(rows);
        if !any_histogram {
            return Some(Value::Float(self.rounded(if average { mean(&floats) } else { sum(&floats) })));
        }
        let total = if adding.is_empty() { None } else { self.add_all(&adding) };
        if any_float {
            self.note(notes::MIXED);
        }
        let mut total = total.filter(|_| fits && !any_float)?;
        self.note_resets(&histograms);
        if average {
            total.div(count(histograms.len()));
        }
        total.compact(0);
        Some(Value::Histogram(total.into()))
    }

    /// The rows of a group that stay.
    fn chosen(&self, op: AggregateOp, param: f64, series: usize, rows: Vec<Row>) -> Vec<Row> {
        if op == AggregateOp::LimitRatio {
            return rows.into_iter().filter(|row| in_share(param, &row.labels)).collect();
        }
        #[expect(clippy::cast_possible_truncation, reason = "as Prometheus does; the range was checked")]
        let k = usize::try_from((param as i64).max(0)).unwrap().min(series);
        if op == AggregateOp::Limitk {
            return rows.into_iter().take(k).collect();
        }
        let ignored = |row: &Row| matches!(row.value, Value::Histogram(_));
        if k > 0 && rows.iter().any(ignored) {
            self.note(notes::IGNORED);
        }
        let rows: Vec<Row> = rows.into_iter().filter(|row| !ignored(row)).collect();
        let sign = if op == AggregateOp::Topk { 1.0 } else { -1.0 };
        let keys: Vec<f64> = rows.iter().map(|row| float(row) * sign).collect();
        let kept = heap_of_greatest(&keys, k);
        let mut kept: Vec<(f64, Row)> = kept.into_iter().map(|i| (keys[i], rows[i].clone())).collect();
        kept.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or_else(|| a.0.is_nan().cmp(&b.0.is_nan())));
        kept.into_iter().map(|(_, row)| row).collect()
    }
}

/// A group loses its name where any of its series does at any step.
fn any_unnamed(vectors: Vec<Vector>) -> Vec<Vector> {
    let unnamed = vectors.iter().flatten().filter(|row| row.unnamed);
    let unnamed: BTreeSet<LabelSet> = unnamed.map(|row| row.labels.clone()).collect();
    map_rows(vectors, |row| Some(Row { unnamed: unnamed.contains(&row.labels), ..row }))
}

/// How many label sets there are over all steps.
fn distinct(vectors: &[Vector]) -> usize {
    let mut labels: Vec<&LabelSet> = vectors.iter().flatten().map(|row| &row.labels).collect();
    labels.sort();
    labels.dedup();
    labels.len()
}

fn float(row: &Row) -> f64 {
    match &row.value {
        Value::Float(value) => *value,
        Value::Histogram(_) => f64::NAN,
    }
}

fn split(rows: &[Row]) -> (Vec<f64>, Vec<Arc<FloatHistogram>>) {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for row in rows {
        match &row.value {
            Value::Float(value) => floats.push(*value),
            Value::Histogram(histogram) => histograms.push(Arc::clone(histogram)),
        }
    }
    (floats, histograms)
}

/// The labels by which a row is grouped.
fn group_labels(aggregate: &Aggregate, labels: &LabelSet) -> LabelSet {
    let named = |name: &String| aggregate.grouping.contains(name);
    let keeps = |name: &String| if aggregate.without { !named(name) && name != "__name__" } else { named(name) };
    labels.iter().filter(|(name, _)| keeps(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn groups(aggregate: &Aggregate, rows: Vector) -> BTreeMap<LabelSet, Vec<Row>> {
    let mut groups: BTreeMap<LabelSet, Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(group_labels(aggregate, &row.labels)).or_default().push(row);
    }
    groups
}

fn count_values(aggregate: &Aggregate, name: &str, vector: Vector) -> Vector {
    let mut counts: BTreeMap<LabelSet, usize> = BTreeMap::new();
    for row in vector {
        let text = match &row.value {
            Value::Float(value) => plain_text(*value),
            Value::Histogram(histogram) => histogram.to_string(),
        };
        let mut labels = group_labels(aggregate, &row.labels);
        let dropped = aggregate.without && (name == "__name__" || aggregate.grouping.iter().any(|label| label == name));
        labels.remove(name);
        if !dropped {
            labels.insert(name.to_owned(), text);
        }
        *counts.entry(labels).or_default() += 1;
    }
    counts.into_iter().map(|(labels, n)| Row::new(labels, Value::Float(count(n)))).collect()
}

/// The first value, or one that `wins` against the best so far. NaN loses against everything.
fn best(values: &[f64], wins: impl Fn(f64, f64) -> bool) -> f64 {
    values.iter().copied().reduce(|best, value| if wins(value, best) || best.is_nan() { value } else { best }).unwrap()
}

/// Where the `k` greatest keys are. Which of equal ones stay depends on how the heap goes, which is Go's: the least on top,
/// NaN less than everything.
fn heap_of_greatest(keys: &[f64], k: usize) -> Vec<usize> {
    let less = |a: usize, b: usize| keys[a].is_nan() || keys[a] < keys[b];
    let mut heap: Vec<usize> = Vec::new();
    for (i, key) in keys.iter().enumerate().filter(|_| k > 0) {
        if heap.len() < k {
            heap.push(i);
            let mut at = heap.len() - 1;
            while at > 0 && less(heap[at], heap[(at - 1) / 2]) {
                heap.swap(at, (at - 1) / 2);
                at = (at - 1) / 2;
            }
        } else if keys[heap[0]] < *key || keys[heap[0]].is_nan() && !key.is_nan() {
            heap[0] = i;
            let mut at = 0;
            loop {
                let mut child = 2 * at + 1;
                if child >= heap.len() {
                    break;
                }
                if child + 1 < heap.len() && less(heap[child + 1], heap[child]) {
                    child += 1;
                }
                if !less(heap[child], heap[at]) {
                    break;
                }
                heap.swap(at, child);
                at = child;
            }
        }
    }
    heap
}

/// Whether a series belongs to the share that `limit_ratio` keeps: by the hash of its labels, each name and value behind its
/// length.
fn in_share(ratio: f64, labels: &LabelSet) -> bool {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let length = text.len();
        match u8::try_from(length) {
            Ok(short) if short < 255 => bytes.push(short),
            _ => bytes.extend([255, length.to_le_bytes()[0], length.to_le_bytes()[1], length.to_le_bytes()[2]]),
        }
        bytes.extend(text.as_bytes());
    }
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let offset = twox_hash::XxHash64::oneshot(0, &bytes) as f64 / u64::MAX as f64;
    let ratio = ratio.clamp(-1.0, 1.0);
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}
