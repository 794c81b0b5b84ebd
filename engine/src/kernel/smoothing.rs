//! `double_exponential_smoothing`: Holt's linear method, from the beginning of each window.

use storage::model::Timestamp;

use super::both_kinds::for_each_window_of_both;
use super::floats_only::{FloatKernel, FloatsOnly};
use super::window::for_each_window;
use super::{KernelContext, RangeKernel, Series, argument};
use crate::error::{Error, Result};
use crate::vector::Row;

/// `double_exponential_smoothing`.
#[derive(Debug)]
pub(super) struct DoubleExponential;

/// What it makes of the floats, its factors being right.
#[derive(Debug)]
struct Smoothed;

/// The last smoothed value; `values` are at least two.
fn smooth(values: &[f64], smoothing: f64, trend: f64) -> Option<f64> {
    let [first, rest @ ..] = values else {
        return None;
    };
    let mut slope = rest.first()? - first;
    let (mut before, mut level) = (0.0, *first);
    for (i, value) in rest.iter().enumerate() {
        if i > 0 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Some(level)
}

/// Go's `%f`.
fn fixed(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value:.6}")
    }
}

fn check(name: &str, symbol: &str, factor: f64) -> Result<()> {
    if factor <= 0.0 || factor >= 1.0 {
        let got = fixed(factor);
        return Err(Error::Execution(format!("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {got}")));
    }
    Ok(())
}

impl RangeKernel for DoubleExponential {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let (smoothing, trend) = (argument(context, 0)?, argument(context, 1)?);
        let mut checked = Ok(());
        // the factors are judged in every window that has a sample, be it a histogram
        for_each_window_of_both(series, &context.windows, |window| {
            if checked.is_ok() {
                checked = check("smoothing", "sf", smoothing.at(window.step))
                    .and_then(|()| check("trend", "tf", trend.at(window.step)));
            }
        });
        checked?;
        FloatsOnly(Smoothed).evaluate(series, context, row)
    }
}

impl FloatKernel for Smoothed {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        mut emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let (smoothing, trend) = (argument(context, 0)?, argument(context, 1)?);
        for_each_window(times, &context.windows, |window| {
            let (smoothing, trend) = (smoothing.at(window.step), trend.at(window.step));
            if let Some(level) = smooth(&values[window.lo..window.hi], smoothing, trend) {
                emit(window.step, level);
            }
        });
        Ok(())
    }
}
