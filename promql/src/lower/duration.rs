//! Durations to milliseconds.

use super::{Lowering, fold};
use crate::ast::{Duration, DurationExpr};
use crate::error::LowerError;
use crate::tree::Span;

/// 2^63 nanoseconds in seconds.
const LIMIT_SECONDS: f64 = 9_223_372_036_854_775_808.0 / 1e9;

impl Lowering<'_> {
    /// An offset, 0 where there is none.
    pub(super) fn offset(&self, offset: Option<&Duration>) -> Result<i64, Box<LowerError>> {
        offset.map_or(Ok(0), |offset| self.millis(offset, true))
    }

    /// A range or a step.
    pub(super) fn positive(&self, duration: &Duration) -> Result<i64, Box<LowerError>> {
        self.millis(duration, false)
    }

    fn millis(&self, duration: &Duration, signed: bool) -> Result<i64, Box<LowerError>> {
        let expr = match duration {
            Duration::Literal { nanos, .. } => return Ok(nanos / 1_000_000),
            Duration::Expr(expr) => expr,
        };
        let seconds = self.seconds(expr)?;
        if !seconds.is_finite() {
            return fault(expr.span(), "duration is NaN or infinite");
        }
        if seconds <= 0.0 && !signed {
            return fault(expr.span(), "duration must be greater than 0");
        }
        if seconds.abs() > LIMIT_SECONDS {
            return fault(expr.span(), "duration is out of range");
        }
        #[expect(clippy::cast_possible_truncation, reason = "in range, and Prometheus truncates")]
        Ok((seconds * 1000.0) as i64)
    }

    #[expect(clippy::cast_precision_loss, reason = "durations are computed in floats")]
    fn seconds(&self, expr: &DurationExpr) -> Result<f64, Box<LowerError>> {
        Ok(match expr {
            DurationExpr::Number(number) => number.value,
            DurationExpr::Step(_) => self.options.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => self.options.end.saturating_sub(self.options.start) as f64 / 1000.0,
            DurationExpr::MinOf { lhs, rhs, .. } => fold::min(self.seconds(lhs)?, self.seconds(rhs)?),
            DurationExpr::MaxOf { lhs, rhs, .. } => fold::max(self.seconds(lhs)?, self.seconds(rhs)?),
            DurationExpr::Negate { expr, .. } => -self.seconds(expr)?,
            DurationExpr::Paren { expr, .. } => self.seconds(expr)?,
            DurationExpr::Binary { op, lhs, rhs, span } => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    crate::tree::BinaryOp::Div if rhs == 0.0 => return fault(*span, "division by zero"),
                    crate::tree::BinaryOp::Mod if rhs == 0.0 => return fault(*span, "modulo by zero"),
                    _ => fold::scalar_operation(*op, lhs, rhs).unwrap_or(f64::NAN),
                }
            }
        })
    }
}

/// Prometheus places these by first byte and byte after, not by line and column.
fn fault<T>(span: Span, message: &str) -> Result<T, Box<LowerError>> {
    super::fault(span, format!("{}:{}: {message}", span.start, span.end))
}
