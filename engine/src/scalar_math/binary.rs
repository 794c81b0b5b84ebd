//! Binary operators on samples.

use promql::tree::BinaryOp;
use storage::model::{CounterResetHint, FloatHistogram};

use crate::annotations::AnnotationSink;
use crate::vector::Sample;

/// What an operator makes of two floats. Comparisons make 1 or 0; operators that are not for floats make NaN.
#[inline]
#[must_use]
pub fn float_op(op: BinaryOp, l: f64, r: f64) -> f64 {
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        // Go and C agree on every special case
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        op if op.is_comparison() => f64::from(u8::from(compare(op, l, r))),
        _ => f64::NAN,
    }
}

/// Whether a comparison holds; not for other operators.
#[inline]
#[must_use]
pub fn compare(op: BinaryOp, l: f64, r: f64) -> bool {
    match op {
        BinaryOp::Eql => l == r,
        BinaryOp::Neq => l != r,
        BinaryOp::Gtr => l > r,
        BinaryOp::Lss => l < r,
        BinaryOp::Gte => l >= r,
        BinaryOp::Lte => l <= r,
        _ => false,
    }
}

/// A sample that an operator made.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(FloatHistogram),
}

/// Why an operator had no result, or what is to be known of the one it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryNote {
    /// Info: the operator is not for these types of samples, which are `"float"` or `"histogram"`. No result.
    IncompatibleTypes(&'static str, &'static str),
    /// Warning: exponential and custom buckets met. No result.
    IncompatibleBuckets,
    /// Warning: the operands' counter reset hints contradict each other. No result, as in Prometheus.
    ResetCollision(&'static str),
    /// Info: custom bounds were reconciled.
    Reconciled(&'static str),
}

/// What became of two samples.
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryOutcome {
    /// The result, before `bool` turns it into 1 or 0. Of a comparison, the left sample. None where the samples cannot
    /// be combined at all; then `bool` makes nothing of them either.
    pub value: Option<Value>,
    /// Whether a comparison holds; true for all other operators that have a result.
    pub keep: bool,
    /// What the user is to be told.
    pub note: Option<BinaryNote>,
}

impl BinaryOutcome {
    fn of(value: Value) -> Self {
        Self { value: Some(value), keep: true, note: None }
    }

    fn none(note: BinaryNote) -> Self {
        Self { value: None, keep: false, note: Some(note) }
    }

    /// The sample that goes into the result, if one does: a comparison that does not hold filters, or with `return_bool`
    /// gives 0.
    #[must_use]
    pub fn result(self, return_bool: bool) -> Option<Value> {
        let value = self.value?;
        if return_bool {
            return Some(Value::Float(f64::from(u8::from(self.keep))));
        }
        self.keep.then_some(value)
    }
}

impl BinaryNote {
    /// Writes the annotation. `position` is that of the whole operation.
    pub fn report(self, op: BinaryOp, position: &str, annotations: &AnnotationSink) {
        let op = op.as_str();
        match self {
            Self::IncompatibleTypes(l, r) => annotations.info(format!(
                "PromQL info: incompatible sample types encountered for binary operator {op:?}: {l} {op} {r} ({position})"
            )),
            Self::IncompatibleBuckets => annotations.warn(format!(
                "PromQL warning: incompatible bucket layout encountered for binary operator {op} ({position})"
            )),
            Self::ResetCollision(operation) => annotations.warn(format!(
                "PromQL warning: conflicting counter resets during histogram {operation} ({position})"
            )),
            Self::Reconciled(operation) => annotations.info(format!(
                "PromQL info: mismatched custom buckets were reconciled during {operation} ({position})"
            )),
        }
    }
}

/// Combines two samples. `op` is no set operator.
#[must_use]
pub fn binary(op: BinaryOp, l: Sample<'_>, r: Sample<'_>) -> BinaryOutcome {
    match (l, r) {
        (Sample::Float(l), Sample::Float(r)) => floats(op, l, r),
        (Sample::Float(l), Sample::Histogram(r)) => match op {
            BinaryOp::Mul => scaled(r, |h| h.mul(l)),
            _ => BinaryOutcome::none(BinaryNote::IncompatibleTypes("float", "histogram")),
        },
        (Sample::Histogram(l), Sample::Float(r)) => histogram_and_float(op, l, r),
        (Sample::Histogram(l), Sample::Histogram(r)) => histograms(op, l, r),
    }
}

fn floats(op: BinaryOp, l: f64, r: f64) -> BinaryOutcome {
    if op.is_comparison() {
        return BinaryOutcome { value: Some(Value::Float(l)), keep: compare(op, l, r), note: None };
    }
    match op {
        BinaryOp::TrimUpper | BinaryOp::TrimLower => {
            BinaryOutcome::none(BinaryNote::IncompatibleTypes("float", "float"))
        }
        _ => BinaryOutcome::of(Value::Float(float_op(op, l, r))),
    }
}

fn histogram_and_float(op: BinaryOp, l: &FloatHistogram, r: f64) -> BinaryOutcome {
    match op {
        BinaryOp::Mul => scaled(l, |h| h.mul(r)),
        BinaryOp::Div => scaled(l, |h| h.div(r)),
        BinaryOp::TrimUpper => {
            let mut trimmed = l.clone();
            trimmed.trim_above(r);
            BinaryOutcome::of(Value::Histogram(trimmed))
        }
        BinaryOp::TrimLower => {
            let mut trimmed = l.clone();
            trimmed.trim_below(r);
            BinaryOutcome::of(Value::Histogram(trimmed))
        }
        _ => BinaryOutcome::none(BinaryNote::IncompatibleTypes("histogram", "float")),
    }
}

fn scaled(h: &FloatHistogram, scale: impl FnOnce(&mut FloatHistogram)) -> BinaryOutcome {
    let mut h = h.clone();
    scale(&mut h);
    h.compact(0);
    BinaryOutcome::of(Value::Histogram(h))
}

fn histograms(op: BinaryOp, l: &FloatHistogram, r: &FloatHistogram) -> BinaryOutcome {
    let mut result = l.clone();
    let (combined, operation) = match op {
        BinaryOp::Add => (result.add(r), "addition"),
        BinaryOp::Sub => (result.sub(r), "subtraction"),
        BinaryOp::Eql | BinaryOp::Neq => {
            let keep = l.equals(r) == (op == BinaryOp::Eql);
            return BinaryOutcome { value: Some(Value::Histogram(result)), keep, note: None };
        }
        _ => return BinaryOutcome::none(BinaryNote::IncompatibleTypes("histogram", "histogram")),
    };
    let Ok(combined) = combined else {
        return BinaryOutcome::none(BinaryNote::IncompatibleBuckets);
    };
    if combined.counter_reset_collision {
        return BinaryOutcome::none(BinaryNote::ResetCollision(operation));
    }
    if op == BinaryOp::Sub {
        result.counter_reset_hint = CounterResetHint::Gauge;
    }
    result.compact(0);
    let note = combined.bounds_reconciled.then_some(BinaryNote::Reconciled(operation));
    BinaryOutcome { value: Some(Value::Histogram(result)), keep: true, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: f64) -> FloatHistogram {
        FloatHistogram { count, sum: 2.0 * count, zero_count: count, ..FloatHistogram::default() }
    }

    fn check(op: BinaryOp, l: Sample<'_>, r: Sample<'_>, return_bool: bool, want: impl Into<Option<Value>>) {
        assert_eq!(binary(op, l, r).result(return_bool), want.into(), "{l:?} {op:?} {r:?}");
    }

    #[test]
    fn floats_filter_or_compute() {
        let (one, two) = (Sample::Float(1.0), Sample::Float(2.0));
        check(BinaryOp::Sub, one, two, false, Some(Value::Float(-1.0)));
        check(BinaryOp::Lss, one, two, false, Some(Value::Float(1.0)));
        check(BinaryOp::Gtr, one, two, false, None);
        check(BinaryOp::Gtr, one, two, true, Some(Value::Float(0.0)));
        assert_eq!(float_op(BinaryOp::Mod, -5.0, 3.0), -2.0);
        assert_eq!(float_op(BinaryOp::Pow, f64::NAN, 0.0), 1.0);
        assert_eq!(float_op(BinaryOp::Pow, -1.0, f64::INFINITY), 1.0);
        assert!(float_op(BinaryOp::Pow, -8.0, 1.0 / 3.0).is_nan());
    }

    #[test]
    fn histograms_add_scale_and_compare() {
        let (a, b) = (histogram(4.0), histogram(1.0));
        let (l, r) = (Sample::Histogram(&a), Sample::Histogram(&b));
        check(BinaryOp::Add, l, r, false, Some(Value::Histogram(histogram(5.0))));
        check(BinaryOp::Mul, Sample::Float(2.0), r, false, Some(Value::Histogram(histogram(2.0))));
        check(BinaryOp::Div, l, Sample::Float(4.0), false, Some(Value::Histogram(b.clone())));
        check(BinaryOp::Eql, l, l, false, Some(Value::Histogram(a.clone())));
        check(BinaryOp::Eql, l, r, true, Some(Value::Float(0.0)));
        let gauge = FloatHistogram { counter_reset_hint: CounterResetHint::Gauge, ..histogram(3.0) };
        check(BinaryOp::Sub, l, r, false, Some(Value::Histogram(gauge)));
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let h = histogram(1.0);
        let outcome = binary(BinaryOp::Gtr, Sample::Histogram(&h), Sample::Float(1.0));
        assert_eq!(outcome.clone().result(true), None);
        let annotations = AnnotationSink::default();
        outcome.note.unwrap().report(BinaryOp::Gtr, "1:1", &annotations);
        let text =
            "PromQL info: incompatible sample types encountered for binary operator \">\": histogram > float (1:1)";
        assert_eq!(annotations.take().1, [text]);
    }
}
