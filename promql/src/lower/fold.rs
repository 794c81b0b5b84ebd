//! Arithmetic on scalars that are known before the query runs, with the results it would have.

use crate::tree::{BinaryOp, Node};

/// The value of `lhs op rhs` on scalars; comparisons give 0 or 1. `None` for operators that scalars do not have.
///
/// `%` has the sign of the dividend (C's `fmod`).
#[must_use]
pub fn scalar_operation(op: BinaryOp, lhs: f64, rhs: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => lhs + rhs,
        BinaryOp::Sub => lhs - rhs,
        BinaryOp::Mul => lhs * rhs,
        BinaryOp::Div => lhs / rhs,
        BinaryOp::Mod => lhs % rhs,
        BinaryOp::Pow => lhs.powf(rhs),
        BinaryOp::Atan2 => lhs.atan2(rhs),
        BinaryOp::Eql => f64::from(lhs == rhs),
        BinaryOp::Neq => f64::from(lhs != rhs),
        BinaryOp::Gtr => f64::from(lhs > rhs),
        BinaryOp::Lss => f64::from(lhs < rhs),
        BinaryOp::Gte => f64::from(lhs >= rhs),
        BinaryOp::Lte => f64::from(lhs <= rhs),
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => return None,
    })
}

/// Minus `node`.
pub(super) fn negate(node: Box<Node>) -> Box<Node> {
    match *node {
        Node::Number(value) => Box::new(Node::Number(-value)),
        _ => Box::new(Node::Negate(node)),
    }
}

/// Plus `node`.
pub(super) fn plus(node: Box<Node>) -> Box<Node> {
    if matches!(*node, Node::Vector(_)) { Box::new(Node::Plus(node)) } else { node }
}

/// The smaller, or NaN where either is.
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The larger, or NaN where either is.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}
