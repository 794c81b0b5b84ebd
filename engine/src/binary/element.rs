//! One binary operation on two samples, or on two rows that have floats only.

use promql::tree::BinaryOp;
use storage::model::FloatHistogram;

use crate::annotations::AnnotationSink;
use crate::vector::Sample;

/// What an operation yields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A float.
    Float(f64),
    /// A histogram.
    Histogram(FloatHistogram),
}

/// What a user is told of an operation on two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Note {
    /// The operator does not take samples of these types.
    Types(&'static str, &'static str),
}

/// The result of an operation on two samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The result, and whether a comparison keeps it; `None` where the samples cannot be combined.
    pub(crate) value: Option<(Value, bool)>,
    /// What the user is told.
    pub(crate) note: Option<Note>,
}

impl Note {
    /// Tells the user. `position` is the operation's `line:column`.
    pub(crate) fn report(self, op: BinaryOp, position: &str, sink: &AnnotationSink) {
        let op = op.as_str();
        match self {
            Self::Types(left, right) => sink.info(format!(
                "PromQL info: incompatible sample types encountered for binary operator \"{op}\": \
                 {left} {op} {right} ({position})"
            )),
        }
    }
}

/// Computes `left op right`.
pub(crate) fn evaluate(op: BinaryOp, left: Sample<'_>, right: Sample<'_>) -> Outcome {
    match (left, right) {
        (Sample::Float(l), Sample::Float(r)) => match float(op, l, r) {
            Some((value, keep)) => Outcome { value: Some((Value::Float(value), keep)), note: None },
            None => Outcome { value: None, note: Some(Note::Types("float", "float")) },
        },
        _ => Outcome { value: None, note: None },
    }
}

/// Computes `left op right` on floats; `None` where `op` does not take floats.
#[inline]
pub(crate) fn float(op: BinaryOp, l: f64, r: f64) -> Option<(f64, bool)> {
    Some(match op {
        BinaryOp::Add => (l + r, true),
        BinaryOp::Sub => (l - r, true),
        BinaryOp::Mul => (l * r, true),
        BinaryOp::Div => (l / r, true),
        BinaryOp::Mod => (l % r, true),
        BinaryOp::Pow => (l.powf(r), true),
        BinaryOp::Atan2 => (l.atan2(r), true),
        BinaryOp::Eql => (l, l == r),
        BinaryOp::Neq => (l, l != r),
        BinaryOp::Gtr => (l, l > r),
        BinaryOp::Lss => (l, l < r),
        BinaryOp::Gte => (l, l >= r),
        BinaryOp::Lte => (l, l <= r),
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => return None,
    })
}
