//! Whether the engine's answer is the naive one.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Answer, Error};
use storage::model::{FloatHistogram, is_stale_nan};

use super::data::{LabelSet, Samples, Value};
use super::naive::{Failure, Outcome, notes};
use crate::promqltest::check;

/// How far two numbers may be apart, as a part of the larger one.
const TOLERANCE: f64 = 1e-9;
/// How far two numbers may be apart in any case.
const NEAR_ZERO: f64 = 1e-12;

/// What differs, in words.
pub fn difference(
    wanted: &(Result<Outcome, Failure>, BTreeSet<&'static str>),
    got: Result<Answer, Error>,
    ordered: bool,
) -> Option<String> {
    let answer = match (&wanted.0, got) {
        (Err(failure), Err(Error::BadQuery(text) | Error::Execution(text))) if fails_so(failure, &text) => return None,
        (Err(failure), Err(error)) => return Some(format!("fails with {error:?} instead of {failure:?}")),
        (Err(failure), Ok(_)) => return Some(format!("answers where it should fail with {:?}", failure.0)),
        (Ok(_), Err(error)) => return Some(format!("fails with {error:?}")),
        (Ok(_), Ok(answer)) => answer,
    };
    let noted = match noted(&answer) {
        Ok(noted) => noted,
        Err(unknown) => return Some(unknown),
    };
    let got = match outcome(answer) {
        Ok(got) => got,
        Err(error) => return Some(error),
    };
    let wanted_outcome = wanted.0.as_ref().ok()?;
    let differs = match (wanted_outcome, &got) {
        (Outcome::Scalar(a), Outcome::Scalar(b)) if close(*a, *b) => None,
        (Outcome::Text(a), Outcome::Text(b)) if a == b => None,
        (Outcome::Series(a), Outcome::Series(b)) => series_difference(a, b, ordered),
        (a, b) => Some(format!("{b:?} instead of {a:?}")),
    };
    differs.or_else(|| {
        let (missing, extra): (Vec<_>, Vec<_>) =
            (wanted.1.difference(&noted).collect(), noted.difference(&wanted.1).collect());
        (!missing.is_empty() || !extra.is_empty()).then(|| format!("notes missing {missing:?}, extra {extra:?}"))
    })
}

/// Whether an error's text has the words of a failure. Which of two sides has too many series is seen step by step in one
/// evaluator and row by row in the other, so that either may be the first.
fn fails_so(failure: &Failure, text: &str) -> bool {
    let too_many =
        |text: &str| text.contains("duplicate series for the match group") || text.contains("multiple matches");
    failure.0.iter().any(|reason| text.contains(reason) || too_many(text) && too_many(reason))
}

/// The engine's answer as the naive evaluator gives it.
fn outcome(answer: Answer) -> Result<Outcome, String> {
    Ok(match check::outcome(answer.value)? {
        check::Outcome::Scalar(value) => Outcome::Scalar(value),
        check::Outcome::String(value) => Outcome::Text(value),
        check::Outcome::Vector(series) | check::Outcome::Matrix(series) => {
            let value = |samples: &storage::model::SampleBuffer, i: usize| match samples.histogram(i) {
                Some(histogram) => Value::Histogram(std::sync::Arc::clone(histogram)),
                None => Value::Float(samples.floats[i]),
            };
            let series = series.into_iter().map(|(labels, samples)| {
                let labels: LabelSet =
                    labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
                let samples: Samples =
                    samples.timestamps.iter().enumerate().map(|(i, t)| (*t, value(&samples, i))).collect();
                (labels, samples)
            });
            Outcome::Series(series.collect())
        }
    })
}

/// Which warnings and infos there are. Whether sorting has an effect depends on what a query does not change from step to step,
/// which the naive evaluator does not ask.
fn noted(answer: &Answer) -> Result<BTreeSet<&'static str>, String> {
    let texts = answer.warnings.iter().map(|text| ("PromQL warning: ", text));
    let texts = texts.chain(answer.infos.iter().map(|text| ("PromQL info: ", text)));
    let mut noted = BTreeSet::new();
    for (start, text) in texts {
        let rest = text.strip_prefix(start).unwrap_or(text);
        if rest.starts_with("sort is ineffective") {
            continue;
        }
        // two begin alike
        match notes::ALL.iter().filter(|note| rest.starts_with(**note)).max_by_key(|note| note.len()) {
            Some(note) => noted.insert(*note),
            None => return Err(format!("a note that is not known: {text}")),
        };
    }
    Ok(noted)
}

fn series_difference(wanted: &[(LabelSet, Samples)], got: &[(LabelSet, Samples)], ordered: bool) -> Option<String> {
    let index = |series: &[(LabelSet, Samples)]| -> BTreeMap<LabelSet, Samples> { series.iter().cloned().collect() };
    let (a, b) = (index(wanted), index(got));
    if b.len() < got.len() {
        return Some("a label set comes twice".to_owned());
    }
    for (labels, samples) in &a {
        let Some(other) = b.get(labels) else { return Some(format!("missing: {} {}", name(labels), show(samples))) };
        if !same_samples(samples, other) {
            return Some(format!("{}\n  wanted {}\n  got    {}", name(labels), show(samples), show(other)));
        }
    }
    if let Some((labels, samples)) = b.iter().find(|(labels, _)| !a.contains_key(*labels)) {
        return Some(format!("extra: {} {}", name(labels), show(samples)));
    }
    let tied = |(a, b): (&(LabelSet, Samples), &(LabelSet, Samples))| a.0 == b.0 || same_samples(&a.1, &b.1);
    (ordered && !wanted.iter().zip(got).all(tied)).then(|| "the series come in another order".to_owned())
}

fn name(labels: &LabelSet) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn show(samples: &Samples) -> String {
    let sample = |(t, value): &(i64, Value)| match value {
        Value::Float(value) => format!("{value}@{t}"),
        Value::Histogram(histogram) => format!("{histogram}@{t}"),
    };
    samples.iter().map(sample).collect::<Vec<_>>().join(" ")
}

fn same_samples(a: &Samples, b: &Samples) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => close(*a, *b),
        (Value::Histogram(a), Value::Histogram(b)) => same_histogram(a, b),
        _ => false,
    }
}

fn same_histogram(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let buckets = |a: &[(i64, f64)], b: &[(i64, f64)]| {
        let at = |side: &[(i64, f64)], i: i64| side.iter().find(|(index, _)| *index == i).map_or(0.0, |found| found.1);
        a.iter().chain(b).all(|(i, _)| close(at(a, *i), at(b, *i)))
    };
    a.schema == b.schema
        && close(a.count, b.count)
        && close(a.sum, b.sum)
        && (!a.uses_custom_buckets() || a.custom_values == b.custom_values)
        && a.zero_threshold == b.zero_threshold
        && close(a.zero_count, b.zero_count)
        && buckets(
            &check::occupied(&a.positive_spans, &a.positive_buckets),
            &check::occupied(&b.positive_spans, &b.positive_buckets),
        )
        && buckets(
            &check::occupied(&a.negative_spans, &a.negative_buckets),
            &check::occupied(&b.negative_spans, &b.negative_buckets),
        )
}

/// Whether two numbers are the same but for rounding. Any NaN is as another, but for staleness markers, which no answer has.
fn close(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return false;
    }
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    a.is_finite() && b.is_finite() && (a - b).abs() <= (TOLERANCE * a.abs().max(b.abs())).max(NEAR_ZERO)
}

/// Whether two naive answers are the same: where rounding decides, they are not.
pub fn same_outcome(a: &Result<Outcome, Failure>, b: &Result<Outcome, Failure>) -> bool {
    match (a, b) {
        (Err(_), Err(_)) => true,
        (Ok(Outcome::Scalar(a)), Ok(Outcome::Scalar(b))) => close(*a, *b),
        (Ok(Outcome::Text(a)), Ok(Outcome::Text(b))) => a == b,
        (Ok(Outcome::Series(a)), Ok(Outcome::Series(b))) => series_difference(a, b, false).is_none(),
        _ => false,
    }
}
