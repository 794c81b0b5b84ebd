//! Selectors, ranges and subqueries: which samples an expression reads.

use promql::ast::{At, Duration, DurationExpr, MatrixSelector, Subquery, VectorSelector};
use promql::tree::{BinaryOp, Border};
use promql::{Expr, ast::NumberLiteral};
use storage::model::{CounterResetHint, Matcher};

use super::{
    DEFAULT_SUBQUERY_STEP_MS, Failure, LabelSet, Naive, Naively, Row, Samples, Value, Vector, by_series, label, steps,
};

/// What a range vector has of one series at one step.
#[derive(Debug, Clone)]
pub struct Window {
    /// First millisecond that is not in it.
    pub after: i64,
    /// Last millisecond.
    pub until: i64,
    /// Without staleness markers; where the border asks for more, with those in reach of the lookback outside.
    pub samples: Samples,
    /// Since when each sample counts; 0 is unknown.
    pub starts: Vec<i64>,
    /// How the borders are treated.
    pub border: Border,
}

/// Labels, time and value of what a selector finds at one step.
pub type Found<'a> = Vec<(&'a LabelSet, i64, Value)>;

/// A series of a range vector.
#[derive(Debug, Clone)]
pub struct Range {
    /// Its labels.
    pub labels: LabelSet,
    /// Whether the metric's name goes at the end of the query.
    pub unnamed: bool,
    /// One a step.
    pub windows: Vec<Window>,
}

impl<'a> Naive<'a> {
    /// An instant vector selector.
    pub(super) fn instant(&self, selector: &VectorSelector, steps: &[i64]) -> Naively<Vec<Vector>> {
        if selector.border == Border::Smoothed {
            return self.smoothed_instant(selector, steps);
        }
        let found = self.latest(selector, steps)?;
        let row = |(labels, _, value): (&LabelSet, i64, Value)| Row::new(labels.clone(), value);
        Ok(found.into_iter().map(|step| step.into_iter().map(row).collect()).collect())
    }

    /// The latest sample of each series at each step, with its own time.
    pub(super) fn latest(&self, selector: &VectorSelector, steps: &[i64]) -> Naively<Vec<Found<'a>>> {
        let (offset, at) = (self.offset(selector.offset.as_ref())?, self.at(selector.at));
        let series = self.matching(&selector.matchers);
        let series: Vec<_> = series.map(|(labels, samples)| (labels, self.read(selector.span, samples))).collect();
        let found = steps.iter().map(|t| {
            let until = at.unwrap_or(*t) - offset;
            let latest = |(labels, samples): &(&'a LabelSet, Samples)| {
                let (t, value) = self.latest_of(samples, until)?;
                Some((*labels, t, value.clone()))
            };
            series.iter().filter_map(latest).collect()
        });
        Ok(found.collect())
    }

    /// The latest sample of a series that is not older than the lookback, unless the series went stale.
    pub(super) fn latest_of<'s>(&self, samples: &'s Samples, until: i64) -> Option<(i64, &'s Value)> {
        let (t, value) = samples.iter().rev().find(|(t, _)| *t <= until)?;
        (*t > until - self.lookback_ms && !value.is_stale()).then_some((*t, value))
    }

    /// The series that pass all matchers, sorted by labels.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = (&'a LabelSet, &'a Samples)> {
        let passes = |labels: &LabelSet| matchers.iter().all(|matcher| matcher.matches(label(labels, matcher.name())));
        self.data.series.iter().filter(move |(labels, _)| passes(labels)).map(|(labels, samples)| (labels, samples))
    }

    /// A range vector.
    pub(super) fn ranges(&self, expr: &Expr, steps: &[i64]) -> Naively<Vec<Range>> {
        match expr.unparenthesized() {
            Expr::Matrix(matrix) => self.matrix(matrix, steps),
            Expr::Subquery(subquery) => self.subquery(subquery, steps),
            _ => Err(Failure::new("no range vector")),
        }
    }

    fn matrix(&self, matrix: &MatrixSelector, steps: &[i64]) -> Naively<Vec<Range>> {
        let selector = &matrix.selector;
        let (offset, at) = (self.offset(selector.offset.as_ref())?, self.at(selector.at));
        let range = self.positive(&matrix.range)?;
        let border = selector.border;
        let (early, late) = match border {
            Border::Plain => (0, 0),
            Border::Anchored => (self.lookback_ms, 0),
            Border::Smoothed => (self.lookback_ms, self.lookback_ms),
        };
        let series = self.matching(&selector.matchers);
        let range = |(labels, samples): (&LabelSet, &Samples)| {
            let samples = self.read(selector.span, samples);
            let starts = self.data.starts.get(labels).filter(|_| self.starts);
            let of_step = |t: &i64| {
                let until = at.unwrap_or(*t) - offset;
                let after = until - range;
                let samples = inside(&samples, after - early, until + late);
                let start = |(t, _): &(i64, Value)| starts.and_then(|starts| starts.get(t)).copied().unwrap_or(0);
                Window { after, until, starts: samples.iter().map(start).collect(), samples, border }
            };
            Range { labels: labels.clone(), unnamed: false, windows: steps.iter().map(of_step).collect() }
        };
        Ok(series.map(range).collect())
    }

    /// The inner expression is evaluated on a grid of its own: multiples of the subquery's step over all that any of `steps`
    /// looks at.
    fn subquery(&self, subquery: &Subquery, outer: &[i64]) -> Naively<Vec<Range>> {
        let (offset, at) = (self.offset(subquery.offset.as_ref())?, self.at(subquery.at));
        let range = self.positive(&subquery.range)?;
        let step = subquery.step.as_ref().map_or(Ok(DEFAULT_SUBQUERY_STEP_MS), |step| self.positive(step))?;
        let (Some(first), Some(last)) = (outer.first(), outer.last()) else { return Ok(Vec::new()) };
        let after = at.unwrap_or(*first) - offset - range;
        let mut start = after / step * step;
        if start <= after {
            start += step;
        }
        let end = at.unwrap_or(*last) - offset;
        let inner = steps(start, end, step);
        let ranged = self.ranged.replace(start != end);
        let computed = self.eval(&subquery.expr, &inner)?;
        self.ranged.set(ranged);
        let vectors = match computed {
            super::Computed::Vector(vectors) => vectors,
            super::Computed::Scalar(values) => {
                let row = |value| vec![Row::new(LabelSet::new(), Value::Float(value))];
                values.into_iter().map(row).collect()
            }
        };
        let series = by_series(&inner, vectors);
        Ok(series
            .into_iter()
            .map(|(labels, unnamed, samples)| {
                let samples: Samples = samples.into_iter().map(|(t, value)| (t, without_hint(value))).collect();
                let of_step = |t: &i64| {
                    let until = at.unwrap_or(*t) - offset;
                    let after = until - range;
                    let samples = inside(&samples, after, until);
                    Window { after, until, starts: vec![0; samples.len()], samples, border: Border::Plain }
                };
                Range { labels, unnamed, windows: outer.iter().map(of_step).collect() }
            })
            .collect())
    }

    /// `@`, as a time.
    pub(super) fn at(&self, at: Option<At>) -> Option<i64> {
        Some(match at? {
            At::Time(t) => t,
            At::Start => self.when.start,
            At::End => self.when.end,
        })
    }

    /// An offset in milliseconds.
    pub(super) fn offset(&self, offset: Option<&Duration>) -> Naively<i64> {
        offset.map_or(Ok(0), |offset| self.duration(offset))
    }

    /// A range or a step in milliseconds.
    fn positive(&self, duration: &Duration) -> Naively<i64> {
        let millis = self.duration(duration)?;
        let zero = matches!(duration, Duration::Expr(expr) if self.seconds(expr)? <= 0.0);
        if zero { Err(Failure::new("duration must be greater than 0")) } else { Ok(millis) }
    }

    fn duration(&self, duration: &Duration) -> Naively<i64> {
        match duration {
            Duration::Literal { nanos, .. } => Ok(nanos / 1_000_000),
            Duration::Expr(expr) => {
                let seconds = self.seconds(expr)?;
                if !seconds.is_finite() || seconds.abs() > 9e9 {
                    return Err(Failure::new("duration is out of range"));
                }
                #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
                Ok((seconds * 1000.0) as i64)
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "durations of tests are short")]
    fn seconds(&self, expr: &DurationExpr) -> Naively<f64> {
        Ok(match expr {
            DurationExpr::Number(NumberLiteral { value, .. }) => *value,
            DurationExpr::Step(_) => self.when.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => (self.when.end - self.when.start) as f64 / 1000.0,
            DurationExpr::MinOf { lhs, rhs, .. } => self.seconds(lhs)?.min(self.seconds(rhs)?),
            DurationExpr::MaxOf { lhs, rhs, .. } => self.seconds(lhs)?.max(self.seconds(rhs)?),
            DurationExpr::Negate { expr, .. } => -self.seconds(expr)?,
            DurationExpr::Paren { expr, .. } => self.seconds(expr)?,
            DurationExpr::Binary { op, lhs, rhs, .. } => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    BinaryOp::Add => lhs + rhs,
                    BinaryOp::Sub => lhs - rhs,
                    BinaryOp::Mul => lhs * rhs,
                    BinaryOp::Div | BinaryOp::Mod if rhs == 0.0 => {
                        return Err(Failure::new("division by zero"));
                    }
                    BinaryOp::Div => lhs / rhs,
                    BinaryOp::Mod => lhs % rhs,
                    _ => lhs.powf(rhs),
                }
            }
        })
    }
}

/// The samples after `after` and not after `until`, without staleness markers.
fn inside(samples: &Samples, after: i64, until: i64) -> Samples {
    samples.iter().filter(|(t, value)| *t > after && *t <= until && !value.is_stale()).cloned().collect()
}

/// What a subquery's histograms say of resets is not kept, since samples may be missing or come twice.
fn without_hint(value: Value) -> Value {
    match value {
        Value::Histogram(histogram) if histogram.counter_reset_hint != CounterResetHint::Gauge => {
            let mut plain = (*histogram).clone();
            plain.counter_reset_hint = CounterResetHint::Unknown;
            Value::Histogram(plain.into())
        }
        value => value,
    }
}
