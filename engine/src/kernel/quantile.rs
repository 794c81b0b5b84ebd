//! `quantile_over_time` and `mad_over_time`.
//!
//! The window is kept sorted: samples that come and go are inserted and removed by binary search and a move of what is
//! behind them. Where most of a window is new it is sorted afresh.

use storage::model::Timestamp;

use super::floats_only::FloatKernel;
use super::window::{Window, for_each_window};
use super::{KernelContext, argument};
use crate::annotations::AnnotationSink;
use crate::error::Result;
use crate::go_float::go_float;

/// `quantile_over_time`.
#[derive(Debug)]
pub(super) struct QuantileOverTime;

/// `mad_over_time`: the median distance to the median.
#[derive(Debug)]
pub(super) struct MadOverTime;

/// Less than every number in the total order, as NaN is for a quantile.
const LEAST_NAN: f64 = f64::from_bits(0xfff8_0000_0000_0000);

fn sortable(value: f64) -> f64 {
    if value.is_nan() { LEAST_NAN } else { value }
}

/// The samples of a window in order, NaN first.
#[derive(Debug, Default)]
struct SortedWindow {
    sorted: Vec<f64>,
    lo: usize,
    hi: usize,
}

impl SortedWindow {
    /// Moves on to `window` and returns its samples.
    fn advance(&mut self, values: &[f64], window: &Window) -> &[f64] {
        let gone = window.lo.min(self.hi) - self.lo;
        let come = window.hi - self.hi.max(window.lo);
        // an insertion moves half the window, sorting compares it with its logarithm
        if gone + come > 16 && (gone + come) * 4 > window.len() {
            self.sorted.clear();
            self.sorted.extend(values[window.lo..window.hi].iter().map(|value| sortable(*value)));
            self.sorted.sort_unstable_by(f64::total_cmp);
        } else {
            for value in &values[self.lo..self.lo + gone] {
                let at = self.sorted.partition_point(|other| other.total_cmp(&sortable(*value)).is_lt());
                self.sorted.remove(at);
            }
            for value in &values[window.hi - come..window.hi] {
                let value = sortable(*value);
                let at = self.sorted.partition_point(|other| other.total_cmp(&value).is_lt());
                self.sorted.insert(at, value);
            }
        }
        (self.lo, self.hi) = (window.lo, window.hi);
        &self.sorted
    }
}

/// Where the `q`-quantile of `len` samples in order lies, or what it is where it lies between none of them: the two samples
/// beside it, and the second one's weight.
#[expect(clippy::cast_precision_loss, reason = "a window has fewer samples than a float has digits")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank lies in 0..len")]
fn rank(q: f64, len: usize) -> std::result::Result<(usize, usize, f64), f64> {
    let Some(last) = len.checked_sub(1) else { return Err(f64::NAN) };
    match q {
        q if q.is_nan() => Err(f64::NAN),
        q if q < 0.0 => Err(f64::NEG_INFINITY),
        q if q > 1.0 => Err(f64::INFINITY),
        q => {
            let rank = q * last as f64;
            let lower = (rank.floor() as usize).min(last);
            Ok((lower, (lower + 1).min(last), rank - rank.floor()))
        }
    }
}

/// The `q`-quantile of `sorted`, interpolated between the two samples that it lies between.
fn quantile_of_sorted(q: f64, sorted: &[f64]) -> f64 {
    match rank(q, sorted.len()) {
        Ok((lower, upper, weight)) => sorted[lower] * (1.0 - weight) + sorted[upper] * weight,
        Err(value) => value,
    }
}

/// As [`quantile_of_sorted`], of samples in any order, which it changes. NaN counts as least.
pub(crate) fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    let (lower, upper, weight) = match rank(q, values.len()) {
        Ok(rank) => rank,
        Err(value) => return value,
    };
    values.iter_mut().for_each(|value| *value = sortable(*value));
    let (_, at_lower, above) = values.select_nth_unstable_by(lower, f64::total_cmp);
    let at_lower = *at_lower;
    let at_upper = match upper > lower {
        true => above.iter().copied().min_by(f64::total_cmp).unwrap_or(at_lower),
        false => at_lower,
    };
    at_lower * (1.0 - weight) + at_upper * weight
}

impl FloatKernel for QuantileOverTime {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        mut emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let q = argument(context, 0)?;
        let mut window_values = SortedWindow::default();
        let mut warned = None;
        for_each_window(times, &context.windows, |window| {
            let q = q.at(window.step);
            // the text names the value, so each distinct one is told
            if !(0.0..=1.0).contains(&q) && warned != Some(q.to_bits()) {
                warned = Some(q.to_bits());
                warn_invalid_quantile(context.annotations, q, context.position);
            }
            emit(window.step, quantile_of_sorted(q, window_values.advance(values, &window)));
        });
        Ok(())
    }
}

impl FloatKernel for MadOverTime {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        mut emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let mut window_values = SortedWindow::default();
        let mut distances = Vec::new();
        for_each_window(times, &context.windows, |window| {
            let sorted = window_values.advance(values, &window);
            if sorted[0].is_nan() {
                emit(window.step, f64::NAN);
                return;
            }
            let median = quantile_of_sorted(0.5, sorted);
            distances.clear();
            distances.extend(sorted.iter().map(|value| sortable((value - median).abs())));
            distances.sort_unstable_by(f64::total_cmp);
            emit(window.step, quantile_of_sorted(0.5, &distances));
        });
        Ok(())
    }
}

/// Tells the user that a quantile is not between 0 and 1. `position` is that of the parameter.
pub(crate) fn warn_invalid_quantile(annotations: &AnnotationSink, q: f64, position: &str) {
    let q = go_float(q);
    annotations.warn(format!("PromQL warning: quantile value should be between 0 and 1, got {q} ({position})"));
}
