//! The evaluator that the engine is compared with: PromQL as Prometheus 3.14 defines it, one step after another, each from all
//! samples anew.
//!
//! It shares the parser, matchers, and the arithmetic of native histograms with the engine, and nothing else: no chunks, no
//! plan, no window, no kernel, no aggregation, no matching. Where it could be clever it is not. Expressions are evaluated at
//! all steps before what stands above them, because some errors and rules look at all steps of a query.

mod aggregate;
mod binary;
mod borders;
mod calls;
mod classic;
mod dates;
mod elements;
mod info;
mod labels;
mod numbers;
mod rates;
mod select;
mod stats;
mod windows;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use engine::EngineFeatures;
use promql::Expr;
use promql::ast::Unary;
use promql::tree::Span;

use super::data::{Dataset, LabelSet, Samples, Value};
use super::random::Random;

/// A sample of an instant vector.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its series.
    pub labels: LabelSet,
    /// Its value.
    pub value: Value,
    /// Whether the metric's name goes at the end of the query.
    pub unnamed: bool,
}

impl Row {
    /// A sample that keeps its name.
    fn new(labels: LabelSet, value: Value) -> Self {
        Self { labels, value, unnamed: false }
    }
}

/// An instant vector at one step.
pub type Vector = Vec<Row>;

/// What an expression comes to at every step.
#[derive(Debug, Clone)]
pub enum Computed {
    /// A number a step.
    Scalar(Vec<f64>),
    /// A vector a step.
    Vector(Vec<Vector>),
}

/// Why there is no answer: words that the engine's error has, too. There are several reasons where several operands fail, since
/// the first one to be seen need not be the first one written.
#[derive(Debug, Clone)]
pub struct Failure(pub Vec<String>);

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Self(vec![reason.into()])
    }
}

/// Result of the evaluator.
pub type Naively<T> = Result<T, Failure>;

/// Both of them, or what either fails with.
fn both<A, B>(a: Naively<A>, b: Naively<B>) -> Naively<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Failure(a)), Err(Failure(b))) => Err(Failure(a.into_iter().chain(b).collect())),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    }
}

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// First step.
    pub start: i64,
    /// No step is later.
    pub end: i64,
    /// Milliseconds between steps; 0 is an instant query.
    pub step_ms: i64,
}

impl When {
    /// The steps.
    pub fn steps(&self) -> Vec<i64> {
        if self.step_ms == 0 { vec![self.start] } else { steps(self.start, self.end, self.step_ms) }
    }
}

/// `start`, `start + step`, … up to `end`.
fn steps(start: i64, end: i64, step_ms: i64) -> Vec<i64> {
    (0..).map(|i| start + i * step_ms).take_while(|t| *t <= end).collect()
}

/// A complete answer.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// Series with their samples, in the order in which an instant query gives them.
    Series(Vec<(LabelSet, Samples)>),
}

/// One evaluation of one query.
pub struct Naive<'a> {
    data: &'a Dataset,
    when: When,
    lookback_ms: i64,
    /// Where there is some, every value is computed with an error in its last digits, and rows whose order PromQL leaves open
    /// are taken in the reverse one: where that changes an answer, the answer depends on rounding or on an order.
    noise: Option<RefCell<Random>>,
    notes: RefCell<BTreeSet<&'static str>>,
    /// Whether metric names go at the end of the query.
    names_at_end: bool,
    /// Whether start timestamps are minded.
    starts: bool,
    /// Whether more than one step was asked for, be there more than one or not: of the query, or of the subquery at hand.
    ranged: Cell<bool>,
    /// Selectors that read histograms without buckets.
    without_buckets: Vec<Span>,
}

/// Step of subqueries that name none.
pub const DEFAULT_SUBQUERY_STEP_MS: i64 = 60_000;

impl<'a> Naive<'a> {
    /// An evaluator of one query; `noise` asks for errors in the last digits, drawn from this seed.
    pub fn new(data: &'a Dataset, when: When, lookback_ms: i64, features: EngineFeatures, noise: Option<u64>) -> Self {
        Self {
            data,
            when,
            lookback_ms,
            noise: noise.map(|seed| RefCell::new(Random::new(seed))),
            notes: RefCell::default(),
            names_at_end: features.delayed_name_removal,
            starts: features.start_timestamps,
            ranged: Cell::new(when.start != when.end),
            without_buckets: Vec::new(),
        }
    }

    /// The answer, and the beginnings of what its user is told beside it.
    pub fn answer(mut self, expr: &Expr) -> (Naively<Outcome>, BTreeSet<&'static str>) {
        self.without_buckets = stats::without_buckets(expr);
        let outcome = self.outcome(expr);
        (outcome, self.notes.into_inner())
    }

    fn outcome(&self, expr: &Expr) -> Naively<Outcome> {
        let steps = self.when.steps();
        let instant = self.when.step_ms == 0;
        match expr.unparenthesized() {
            Expr::String(text) => return Ok(Outcome::Text(text.value.clone())),
            matrix @ (Expr::Matrix(_) | Expr::Subquery(_)) => {
                let mut series: BTreeMap<LabelSet, BTreeMap<i64, Value>> = BTreeMap::new();
                for mut range in self.ranges(matrix, &steps)? {
                    let Some(window) = range.windows.pop() else { continue };
                    let labels = if range.unnamed { without_name(range.labels) } else { range.labels };
                    for (t, value) in self.shown(window)? {
                        if series.entry(labels.clone()).or_default().insert(t, value).is_some() {
                            return Err(same_labelset());
                        }
                    }
                }
                let series =
                    series.into_iter().map(|(labels, samples)| (labels, samples.into_iter().collect())).collect();
                return Ok(Outcome::Series(series));
            }
            _ => {}
        }
        Ok(match self.eval(expr, &steps)? {
            Computed::Scalar(values) if instant => Outcome::Scalar(values[0]),
            Computed::Scalar(values) => {
                let samples = steps.iter().zip(values).map(|(t, value)| (*t, Value::Float(value)));
                Outcome::Series(vec![(LabelSet::new(), samples.collect())])
            }
            Computed::Vector(vectors) if instant => {
                let rows = self.renamed(vectors)?.into_iter().flatten();
                Outcome::Series(rows.map(|row| (row.labels, vec![(steps[0], row.value)])).collect())
            }
            Computed::Vector(vectors) => {
                let series = by_series(&steps, self.renamed(vectors)?).into_iter();
                Outcome::Series(series.map(|(labels, _, samples)| (labels, samples)).collect())
            }
        })
    }

    /// Evaluates an expression that is no range vector and no text at every one of `steps`.
    fn eval(&self, expr: &Expr, steps: &[i64]) -> Naively<Computed> {
        match expr {
            Expr::Number(number) => Ok(Computed::Scalar(vec![number.value; steps.len()])),
            Expr::Paren(paren) => self.eval(&paren.expr, steps),
            Expr::Vector(selector) => Ok(Computed::Vector(self.instant(selector, steps)?)),
            Expr::Call(call) => self.call(call, steps),
            Expr::Aggregate(aggregate) => Ok(Computed::Vector(self.aggregate(aggregate, steps)?)),
            Expr::Binary(binary) => self.binary(binary, steps),
            Expr::Unary(unary) => self.unary(unary, steps),
            Expr::String(_) | Expr::Matrix(_) | Expr::Subquery(_) => Err(Failure::new("invalid expression type")),
        }
    }

    /// As [`eval`](Self::eval), of a vector.
    fn vectors(&self, expr: &Expr, steps: &[i64]) -> Naively<Vec<Vector>> {
        match self.eval(expr, steps)? {
            Computed::Vector(vectors) => Ok(vectors),
            Computed::Scalar(_) => Err(Failure::new("a scalar where a vector was expected")),
        }
    }

    /// As [`eval`](Self::eval), of a scalar.
    fn scalars(&self, expr: &Expr, steps: &[i64]) -> Naively<Vec<f64>> {
        match self.eval(expr, steps)? {
            Computed::Scalar(values) => Ok(values),
            Computed::Vector(_) => Err(Failure::new("a vector where a scalar was expected")),
        }
    }

    fn unary(&self, unary: &Unary, steps: &[i64]) -> Naively<Computed> {
        let operand = self.eval(&unary.expr, steps)?;
        if !unary.negative {
            return Ok(operand);
        }
        match operand {
            Computed::Scalar(values) => Ok(Computed::Scalar(values.into_iter().map(|value| -value).collect())),
            Computed::Vector(vectors) => self.unique(map_rows(vectors, |row| {
                let value = match row.value {
                    Value::Float(value) => Value::Float(-value),
                    Value::Histogram(histogram) => {
                        let mut negative = (*histogram).clone();
                        negative.mul(-1.0);
                        Value::Histogram(negative.into())
                    }
                };
                Some(self.nameless(row.labels, value))
            })),
        }
    }

    /// A sample that is no longer what the metric's name says.
    fn nameless(&self, labels: LabelSet, value: Value) -> Row {
        if self.names_at_end {
            return Row { labels, value, unnamed: true };
        }
        Row::new(without_name(labels), value)
    }

    /// Refuses vectors in which a label set comes twice, and makes series of the rest: whether a name goes is said by a series'
    /// first sample. Where names go at the end, twins at a single time are let through till then.
    fn unique(&self, vectors: Vec<Vector>) -> Naively<Computed> {
        if self.ranged.get() || !self.names_at_end {
            refuse_twins(&vectors)?;
        }
        let mut unnamed: BTreeMap<LabelSet, bool> = BTreeMap::new();
        for row in vectors.iter().flatten() {
            unnamed.entry(row.labels.clone()).or_insert(row.unnamed);
        }
        Ok(Computed::Vector(map_rows(vectors, |row| Some(Row { unnamed: unnamed[&row.labels], ..row }))))
    }

    /// As [`unique`](Self::unique), of what writes labels: twins are refused in any case.
    fn distinct(&self, vectors: Vec<Vector>) -> Naively<Computed> {
        refuse_twins(&vectors)?;
        self.unique(vectors)
    }

    /// What is left of names that go at the end.
    fn renamed(&self, vectors: Vec<Vector>) -> Naively<Vec<Vector>> {
        let vectors = map_rows(vectors, |row| match row.unnamed {
            true => Some(Row::new(without_name(row.labels), row.value)),
            false => Some(row),
        });
        refuse_twins(&vectors)?;
        Ok(vectors)
    }

    /// Keeps what the user is told.
    fn note(&self, note: &'static str) {
        self.notes.borrow_mut().insert(note);
    }

    /// A value of which many small differences will be made, with an error where there shall be one.
    fn blurred(&self, value: f64) -> f64 {
        let Some(noise) = &self.noise else { return value };
        #[expect(clippy::cast_precision_loss, reason = "a number from -2 to 2")]
        let error = noise.borrow_mut().between(-2, 2) as f64 * 1e-15;
        if value.is_finite() { value * (1.0 + error) } else { value }
    }

    /// A computed value, with an error where there shall be one. What may be a count or an index stays as it is.
    fn rounded(&self, value: f64) -> f64 {
        let whole = value.fract() == 0.0 && value.abs() < 1e15;
        if whole { value } else { self.blurred(value) }
    }

    /// Whether rows are taken in another order where PromQL leaves it open.
    fn reverses(&self) -> bool {
        self.noise.is_some()
    }
}

/// The vectors of all steps, one row after another changed or left out.
fn map_rows(vectors: Vec<Vector>, change: impl Fn(Row) -> Option<Row>) -> Vec<Vector> {
    vectors.into_iter().map(|rows| rows.into_iter().filter_map(&change).collect()).collect()
}

/// Refuses vectors in which a label set comes twice.
fn refuse_twins(vectors: &[Vector]) -> Naively<()> {
    for vector in vectors {
        let distinct: BTreeSet<&LabelSet> = vector.iter().map(|row| &row.labels).collect();
        if distinct.len() < vector.len() {
            return Err(same_labelset());
        }
    }
    Ok(())
}

fn same_labelset() -> Failure {
    Failure::new("vector cannot contain metrics with the same labelset")
}

/// Labels without the metric name.
fn without_name(mut labels: LabelSet) -> LabelSet {
    labels.remove("__name__");
    labels
}

/// The value of a label, empty where there is none.
fn label<'a>(labels: &'a LabelSet, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

/// Labels, whether the name goes at the end, and samples of the rows of all steps, sorted by labels.
fn by_series(steps: &[i64], vectors: Vec<Vector>) -> Vec<(LabelSet, bool, Samples)> {
    let mut series: BTreeMap<LabelSet, (bool, Samples)> = BTreeMap::new();
    for (t, vector) in steps.iter().zip(vectors) {
        for row in vector {
            series.entry(row.labels).or_insert((row.unnamed, Samples::new())).1.push((*t, row.value));
        }
    }
    series.into_iter().map(|(labels, (unnamed, samples))| (labels, unnamed, samples)).collect()
}

/// The beginnings of warnings and infos, without `PromQL warning: ` or `PromQL info: `.
pub mod notes {
    /// `quantile`, `histogram_quantile` and their like.
    pub const QUANTILE: &str = "quantile value should be between 0 and 1";
    /// `limit_ratio`.
    pub const RATIO: &str = "ratio value should be between -1 and 1";
    /// `histogram_quantile` and `histogram_fraction`.
    pub const BUCKET_LABEL: &str = "bucket label \"le\" is missing or has a malformed value";
    /// Functions of ranges and aggregations.
    pub const MIXED: &str = "encountered a mix of histograms and floats for";
    /// `histogram_quantile` and `histogram_fraction`.
    pub const CLASSIC_AND_NATIVE: &str = "vector contains a mix of classic and native histograms";
    /// `rate` and its like.
    pub const NOT_COUNTER: &str = "this native histogram metric is not a counter:";
    /// `delta` and its like.
    pub const NOT_GAUGE: &str = "this native histogram metric is not a gauge:";
    /// Wherever histograms are added.
    pub const SCHEMAS: &str = "vector contains a mix of histograms with exponential and custom buckets schemas";
    /// Operators.
    pub const BUCKET_LAYOUT: &str = "incompatible bucket layout encountered for binary operator";
    /// `rate` and its like.
    pub const MAYBE_NO_COUNTER: &str =
        "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
    /// `histogram_quantile`.
    pub const MONOTONICITY: &str = "input to histogram_quantile needed to be fixed for monotonicity";
    /// Operators.
    pub const TYPES: &str = "incompatible sample types encountered for binary operator";
    /// Aggregations.
    pub const IGNORED: &str = "ignored histogram in";
    /// Functions of ranges.
    pub const IGNORED_IN_RANGE: &str =
        "ignored histograms in a range containing both floats and histograms for metric name";
    /// `histogram_quantile`.
    pub const NAN_RESULT: &str = "input to histogram_quantile has NaN observations, result is NaN";
    /// `histogram_quantile`.
    pub const NAN_SKEW: &str = "input to histogram_quantile has NaN observations, result is skewed higher";
    /// `histogram_fraction`.
    pub const NAN_FRACTION: &str = "input to histogram_fraction has NaN observations";
    /// `rate` and its like, with start timestamps.
    pub const OVERLAP: &str = "sample has start time that overlaps with previous sample timestamp";
    /// Wherever histograms are added.
    pub const RESETS: &str = "conflicting counter resets during histogram";
    /// Wherever histograms are added.
    pub const RECONCILED: &str = "mismatched custom buckets were reconciled during";
    /// All of them.
    pub const ALL: [&str; 20] = [
        QUANTILE,
        RATIO,
        BUCKET_LABEL,
        MIXED,
        CLASSIC_AND_NATIVE,
        NOT_COUNTER,
        NOT_GAUGE,
        SCHEMAS,
        BUCKET_LAYOUT,
        MAYBE_NO_COUNTER,
        MONOTONICITY,
        TYPES,
        IGNORED,
        IGNORED_IN_RANGE,
        NAN_RESULT,
        NAN_SKEW,
        NAN_FRACTION,
        RECONCILED,
        RESETS,
        OVERLAP,
    ];
}
