//! Binary operations on whole rows of floats: one loop an operator, presence as bits.

use arrow::buffer::BooleanBuffer;
use promql::tree::BinaryOp;

use crate::kernel::ScalarArg;
use crate::scalar_math::binary::float_op;
use crate::vector::Row;

/// One side of a row-wise operation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand<'a> {
    /// A value a step.
    Steps(&'a [f64]),
    /// The same value at every step.
    Constant(f64),
}

impl<'a> From<&'a ScalarArg> for Operand<'a> {
    fn from(scalar: &'a ScalarArg) -> Self {
        match scalar {
            ScalarArg::Constant(value) => Self::Constant(*value),
            ScalarArg::Steps(values) => Self::Steps(values),
        }
    }
}

impl Operand<'_> {
    #[inline]
    fn at(self, step: usize) -> f64 {
        match self {
            Self::Steps(values) => values[step],
            Self::Constant(value) => value,
        }
    }
}

/// The steps at which both sides have a float; `None` where both have one at every step.
pub(crate) fn both(left: Option<BooleanBuffer>, right: Option<BooleanBuffer>) -> Option<BooleanBuffer> {
    match (left, right) {
        (Some(left), Some(right)) => Some(&left & &right),
        (bits, None) | (None, bits) => bits,
    }
}

/// How a comparison comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The left value stays where it holds.
    KeepLeft,
    /// The right value stays where it holds.
    KeepRight,
    /// 1 where it holds, 0 where it does not.
    Bool,
}

/// Writes `left op right` into a row that is still empty, at the steps of `present`. Must be an operator on floats.
pub(crate) fn write(
    op: BinaryOp,
    comparison: Comparison,
    left: Operand<'_>,
    right: Operand<'_>,
    present: Option<&BooleanBuffer>,
    row: &mut Row<'_>,
) {
    match op {
        BinaryOp::Add => arithmetic(left, right, present, row, |l, r| l + r),
        BinaryOp::Sub => arithmetic(left, right, present, row, |l, r| l - r),
        BinaryOp::Mul => arithmetic(left, right, present, row, |l, r| l * r),
        BinaryOp::Div => arithmetic(left, right, present, row, |l, r| l / r),
        BinaryOp::Eql => compare(comparison, left, right, present, row, |l, r| l == r),
        BinaryOp::Neq => compare(comparison, left, right, present, row, |l, r| l != r),
        BinaryOp::Gtr => compare(comparison, left, right, present, row, |l, r| l > r),
        BinaryOp::Lss => compare(comparison, left, right, present, row, |l, r| l < r),
        BinaryOp::Gte => compare(comparison, left, right, present, row, |l, r| l >= r),
        BinaryOp::Lte => compare(comparison, left, right, present, row, |l, r| l <= r),
        BinaryOp::Mod | BinaryOp::Pow | BinaryOp::Atan2 => {
            arithmetic(left, right, present, row, |l, r| float_op(op, l, r));
        }
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {}
    }
}

#[inline]
fn arithmetic(
    left: Operand<'_>,
    right: Operand<'_>,
    present: Option<&BooleanBuffer>,
    row: &mut Row<'_>,
    compute: impl Fn(f64, f64) -> f64,
) {
    row.put_floats(present, |out| each(left, right, out, compute));
}

/// One loop for each shape of the operands, so that each vectorises.
#[inline]
fn each(left: Operand<'_>, right: Operand<'_>, out: &mut [f64], compute: impl Fn(f64, f64) -> f64) {
    match (left, right) {
        (Operand::Steps(left), Operand::Steps(right)) => {
            for ((out, l), r) in out.iter_mut().zip(left).zip(right) {
                *out = compute(*l, *r);
            }
        }
        (Operand::Steps(left), Operand::Constant(r)) => {
            for (out, l) in out.iter_mut().zip(left) {
                *out = compute(*l, r);
            }
        }
        (Operand::Constant(l), Operand::Steps(right)) => {
            for (out, r) in out.iter_mut().zip(right) {
                *out = compute(l, *r);
            }
        }
        (Operand::Constant(l), Operand::Constant(r)) => out.fill(compute(l, r)),
    }
}

#[inline]
fn compare(
    comparison: Comparison,
    left: Operand<'_>,
    right: Operand<'_>,
    present: Option<&BooleanBuffer>,
    row: &mut Row<'_>,
    holds: impl Fn(f64, f64) -> bool,
) {
    let kept = match comparison {
        Comparison::Bool => {
            return arithmetic(left, right, present, row, |l, r| if holds(l, r) { 1.0 } else { 0.0 });
        }
        Comparison::KeepLeft => left,
        Comparison::KeepRight => right,
    };
    let held = BooleanBuffer::collect_bool(row.steps(), |step| holds(left.at(step), right.at(step)));
    let present = present.map_or_else(|| held.clone(), |present| present & &held);
    row.put_floats(Some(&present), |out| match kept {
        Operand::Steps(values) => out.copy_from_slice(values),
        Operand::Constant(value) => out.fill(value),
    });
}
