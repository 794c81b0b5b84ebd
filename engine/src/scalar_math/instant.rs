//! Functions of one float at a time. Histograms have no value under them.

use std::f64::consts::PI;

use promql::Function;

use super::calendar::Moment;
use super::{logarithm, max_of, min_of};
use crate::kernel::ScalarArg;
use crate::vector::{Row, RowView};

/// A function of a float and of scalar arguments, step by step.
#[derive(Debug, Clone, Copy)]
pub struct InstantFunction(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Of the sample alone.
    Unary(fn(f64) -> f64),
    /// `round(v, to)`; to 1 without an argument.
    Round,
    /// `clamp(v, min, max)`.
    Clamp,
    /// `clamp_min(v, min)`.
    ClampMin,
    /// `clamp_max(v, max)`.
    ClampMax,
}

/// The function named, if it is elementwise on floats.
#[must_use]
pub fn instant_function(function: Function) -> Option<InstantFunction> {
    Some(InstantFunction(match function {
        Function::Round => Kind::Round,
        Function::Clamp => Kind::Clamp,
        Function::ClampMin => Kind::ClampMin,
        Function::ClampMax => Kind::ClampMax,
        other => Kind::Unary(unary(other)?),
    }))
}

#[expect(clippy::cast_precision_loss, reason = "calendar numbers are small, and Prometheus converts years as well")]
fn unary(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Abs => f64::abs,
        Function::Ceil => f64::ceil,
        Function::Floor => f64::floor,
        Function::Exp => f64::exp,
        Function::Ln => logarithm::ln,
        Function::Log2 => logarithm::log2,
        Function::Log10 => logarithm::log10,
        Function::Sqrt => f64::sqrt,
        Function::Sgn => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        Function::Sin => f64::sin,
        Function::Cos => f64::cos,
        Function::Tan => f64::tan,
        Function::Asin => f64::asin,
        Function::Acos => f64::acos,
        Function::Atan => f64::atan,
        Function::Sinh => f64::sinh,
        Function::Cosh => f64::cosh,
        Function::Tanh => f64::tanh,
        Function::Asinh => logarithm::asinh,
        Function::Acosh => logarithm::acosh,
        Function::Atanh => f64::atanh,
        Function::Deg => |v| v * 180.0 / PI,
        Function::Rad => |v| v * PI / 180.0,
        Function::Minute => |v| Moment::from_unix(v).minute() as f64,
        Function::Hour => |v| Moment::from_unix(v).hour() as f64,
        Function::DayOfWeek => |v| Moment::from_unix(v).day_of_week() as f64,
        Function::DayOfMonth => |v| Moment::from_unix(v).day as f64,
        Function::DayOfYear => |v| Moment::from_unix(v).day_of_year() as f64,
        Function::DaysInMonth => |v| Moment::from_unix(v).days_in_month() as f64,
        Function::Month => |v| Moment::from_unix(v).month as f64,
        Function::Year => |v| Moment::from_unix(v).year as f64,
        _ => return None,
    })
}

/// Ties go up. Multiplying by the inverse loses less than dividing twice.
fn round(v: f64, to: f64) -> f64 {
    let inverse = 1.0 / to;
    (v * inverse + 0.5).floor() / inverse
}

/// No value where the borders are the wrong way round.
fn clamp(v: f64, min: f64, max: f64) -> Option<f64> {
    if max < min { None } else { Some(max_of(min, min_of(max, v))) }
}

impl InstantFunction {
    /// The value at `step`, where the sample is `v`; none where the arguments allow none. `args` are the function's
    /// scalar arguments.
    #[must_use]
    pub fn value(&self, v: f64, args: &[ScalarArg], step: usize) -> Option<f64> {
        let arg = |index: usize| args.get(index).map(|arg| arg.at(step));
        match self.0 {
            Kind::Unary(f) => Some(f(v)),
            Kind::Round => Some(round(v, arg(0).unwrap_or(1.0))),
            Kind::Clamp => clamp(v, arg(0)?, arg(1)?),
            Kind::ClampMin => clamp(v, arg(0)?, f64::INFINITY),
            Kind::ClampMax => clamp(v, f64::NEG_INFINITY, arg(0)?),
        }
    }

    /// Writes the function's row for the row `input`.
    pub fn evaluate(&self, input: &RowView<'_>, args: &[ScalarArg], row: &mut Row<'_>) {
        for step in 0..input.values.len() {
            if let Some(value) = input.float(step).and_then(|v| self.value(v, args, step)) {
                row.set(step, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(function: Function, v: f64, args: &[f64], want: Option<f64>) {
        let args: Vec<ScalarArg> = args.iter().map(|arg| ScalarArg::Constant(*arg)).collect();
        let got = instant_function(function).unwrap().value(v, &args, 0);
        let same = match (got, want) {
            (Some(got), Some(want)) => got == want || (got.is_nan() && want.is_nan()),
            (got, want) => got == want,
        };
        assert!(same, "{function:?}({v}): {got:?}, not {want:?}");
    }

    #[test]
    fn values() {
        check(Function::Round, 2.5, &[], Some(3.0));
        check(Function::Round, -2.5, &[], Some(-2.0));
        check(Function::Round, 5.015, &[0.1], Some(5.0));
        check(Function::Clamp, 5.0, &[0.0, 3.0], Some(3.0));
        check(Function::Clamp, 5.0, &[3.0, 0.0], None);
        check(Function::Clamp, 5.0, &[0.0, f64::NAN], Some(f64::NAN));
        check(Function::ClampMax, f64::NAN, &[2.0], Some(f64::NAN));
        check(Function::ClampMin, -7.0, &[-2.0], Some(-2.0));
        check(Function::Sgn, -0.0, &[], Some(-0.0));
        check(Function::Sgn, -7.0, &[], Some(-1.0));
        check(Function::Log2, 8.0, &[], Some(3.0));
        check(Function::Ln, -1.0, &[], Some(f64::NAN));
        check(Function::Acosh, 1.0, &[], Some(0.0));
        check(Function::Acosh, 0.5, &[], Some(f64::NAN));
        check(Function::Year, 1e9, &[], Some(2001.0));
        assert!(instant_function(Function::Rate).is_none());
    }
}
