//! Compares an answer with what a script expects of it.

use std::collections::BTreeMap;

use engine::vector::{Sample, VectorColumns};
use engine::{Answer, Value};
use storage::model::{FloatHistogram, Labels, SampleBuffer, Span, Timestamp, is_stale_nan};

use super::script::{Annotations, Eval, Steps, Times};
use super::series::Point;

/// Relative error that values may have.
const EPSILON: f64 = 1e-6;

/// Series of an answer with their samples.
pub type Series = Vec<(Labels, SampleBuffer)>;

/// A result, read out of its batches.
pub enum Outcome {
    /// A scalar.
    Scalar(f64),
    /// A text.
    String(String),
    /// One sample a series.
    Vector(Series),
    /// Any number of samples a series.
    Matrix(Series),
}

/// Reads an answer's value.
pub fn outcome(value: Value) -> Result<Outcome, String> {
    let columns = |batches: &[_]| batches.iter().map(VectorColumns::try_new).collect::<engine::Result<Vec<_>>>();
    let wrong = |e: engine::Error| e.to_string();
    Ok(match value {
        Value::Scalar { value, .. } => Outcome::Scalar(value),
        Value::String { value, .. } => Outcome::String(value),
        Value::Samples(series) => Outcome::Matrix(series),
        Value::Vector { t, batches } => Outcome::Vector(read(&columns(&batches).map_err(wrong)?, t, 1)),
        Value::Matrix { grid, batches, .. } => {
            Outcome::Matrix(read(&columns(&batches).map_err(wrong)?, grid.start, grid.step_ms))
        }
    })
}

fn read(batches: &[VectorColumns], start: Timestamp, step_ms: i64) -> Series {
    let rows = batches.iter().flat_map(|batch| (0..batch.len()).map(move |row| (batch, row)));
    rows.map(|(batch, row)| {
        let mut samples = SampleBuffer::new();
        let times = (0..).map(|i| start + step_ms * i);
        for (step, t) in (0..batch.steps()).zip(times) {
            match batch.row(row).sample(step) {
                Some(Sample::Float(value)) => samples.push_float(t, value),
                Some(Sample::Histogram(histogram)) => samples.push_histogram(t, histogram.clone()),
                None => {}
            }
        }
        (Labels::from_key(batch.labels(row)), samples)
    })
    .collect()
}

impl Outcome {
    /// What a range query has at `t`, in the form of an instant query's result.
    pub fn at(self, t: Timestamp, scalar: bool) -> Self {
        let Self::Matrix(series) = self else { return self };
        let mut vector = Series::new();
        for (labels, samples) in series {
            let Ok(index) = samples.timestamps.binary_search(&t) else { continue };
            let mut one = SampleBuffer::new();
            match samples.histogram(index) {
                Some(histogram) => one.push_shared_histogram(t, histogram),
                None => one.push_float(t, samples.floats[index]),
            }
            vector.push((labels, one));
        }
        match vector.first() {
            Some((_, samples)) if scalar => Self::Scalar(samples.floats[0]),
            _ => Self::Vector(vector),
        }
    }
}

/// Checks warnings and infos.
pub fn check_annotations(eval: &Eval, answer: &Answer) -> Result<(), String> {
    for (kind, expected, found) in [("warning", &eval.warnings, &answer.warnings), ("info", &eval.infos, &answer.infos)]
    {
        check_annotations_of(expected, found).map_err(|e| format!("{kind} {e}"))?;
    }
    Ok(())
}

fn check_annotations_of(expected: &Annotations, found: &[String]) -> Result<(), String> {
    if let Some(text) = found
        .iter()
        .find(|text| expected.none || !expected.some.is_empty() && !expected.some.iter().any(|one| one.matches(text)))
    {
        return Err(format!("not expected: {text}"));
    }
    match expected.some.iter().find(|one| !found.iter().any(|text| one.matches(text))) {
        Some(missing) => Err(format!("expected: {:?}, found {found:?}", missing.text())),
        None => Ok(()),
    }
}

/// Checks a result.
pub fn check(eval: &Eval, outcome: &Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Scalar(value) => match eval.scalar {
            Some(expected) if almost_equal(expected, *value) => Ok(()),
            expected => Err(format!("expected {expected:?}, found {value}")),
        },
        Outcome::String(value) => match &eval.string {
            Some(expected) if expected == value => Ok(()),
            expected => Err(format!("expected {expected:?}, found {value:?}")),
        },
        Outcome::Vector(_) | Outcome::Matrix(_) if eval.scalar.is_some() => Err("expected a scalar".to_owned()),
        Outcome::Vector(series) => check_vector(eval, series),
        Outcome::Matrix(series) => check_matrix(eval, series),
    }
}

fn expected_series(eval: &Eval) -> BTreeMap<&Labels, (usize, &[Point])> {
    eval.series.iter().enumerate().map(|(i, (labels, points))| (labels, (i, points.as_slice()))).collect()
}

fn check_vector(eval: &Eval, series: &Series) -> Result<(), String> {
    let mut expected = expected_series(eval);
    for (i, (labels, samples)) in series.iter().enumerate() {
        let (place, points) = expected.remove(labels).ok_or_else(|| format!("not expected: {labels} {samples:?}"))?;
        if eval.ordered && place != i {
            return Err(format!("{labels} is number {i}, expected as number {place}"));
        }
        let point = points.first().ok_or("no point expected")?;
        check_sample(point, samples, 0).map_err(|e| format!("{labels}: {e}"))?;
    }
    match expected.keys().next() {
        Some(labels) => Err(format!("expected: {labels}")),
        None => Ok(()),
    }
}

/// In any order, since the API sorts a matrix when it writes it.
fn check_matrix(eval: &Eval, series: &Series) -> Result<(), String> {
    if eval.ordered {
        return Err("a matrix has no order".to_owned());
    }
    let steps = match (eval.range_vector, eval.times) {
        (Some(steps), _) | (None, Times::Range(steps)) => steps,
        (None, Times::Instant(t)) => Steps { start: t, end: t, step_ms: 1 },
    };
    let mut expected = expected_series(eval);
    for (labels, samples) in series {
        let (_, points) = expected.remove(labels).ok_or_else(|| format!("not expected: {labels} {samples:?}"))?;
        let times = (0..).map(|i| steps.start + steps.step_ms * i);
        let points: Vec<_> = times.zip(points).filter(|(_, point)| !matches!(point, Point::Gap)).collect();
        if points.last().is_some_and(|(t, _)| *t > steps.end) {
            return Err(format!("{labels}: more points than steps are expected"));
        }
        if !points.iter().map(|(t, _)| *t).eq(samples.timestamps.iter().copied()) {
            return Err(format!("{labels}: expected {points:?}, found {samples:?}"));
        }
        for (i, (t, point)) in points.into_iter().enumerate() {
            check_sample(point, samples, i).map_err(|e| format!("{labels} at {t} ms: {e}"))?;
        }
    }
    match expected.keys().next() {
        Some(labels) => Err(format!("expected: {labels}")),
        None => Ok(()),
    }
}

fn check_sample(point: &Point, samples: &SampleBuffer, index: usize) -> Result<(), String> {
    let same = match (point, samples.histogram(index)) {
        (Point::Float(expected), None) => almost_equal(*expected, samples.floats[index]),
        (Point::Histogram { histogram, hint_given }, Some(found)) => {
            same_histogram(histogram, found)
                && (!hint_given || histogram.counter_reset_hint == found.counter_reset_hint)
        }
        _ => false,
    };
    if same {
        return Ok(());
    }
    match samples.histogram(index) {
        Some(found) => Err(format!("expected {point:?}, found {found:?}")),
        None => Err(format!("expected {point:?}, found {}", samples.floats[index])),
    }
}

fn same_histogram(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let same_buckets = |a: &[(i64, f64)], b: &[(i64, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && almost_equal(a.1, b.1))
    };
    a.schema == b.schema
        && almost_equal(a.count, b.count)
        && almost_equal(a.sum, b.sum)
        && (!a.uses_custom_buckets() || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && almost_equal(a.zero_count, b.zero_count)
        && same_buckets(
            &occupied(&a.positive_spans, &a.positive_buckets),
            &occupied(&b.positive_spans, &b.positive_buckets),
        )
        && same_buckets(
            &occupied(&a.negative_spans, &a.negative_buckets),
            &occupied(&b.negative_spans, &b.negative_buckets),
        )
}

/// Index and population of the buckets that are not empty.
pub fn occupied(spans: &[Span], buckets: &[f64]) -> Vec<(i64, f64)> {
    let mut next = 0;
    let mut indexes = Vec::new();
    for span in spans {
        next += i64::from(span.offset);
        indexes.extend((0..span.length).map(|i| next + i64::from(i)));
        next += i64::from(span.length);
    }
    indexes.into_iter().zip(buckets.iter().copied()).filter(|(_, population)| *population != 0.0).collect()
}

/// Whether two values are the same but for rounding. Any NaN is as another, but the staleness marker only as itself.
fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}
