//! `sum_over_time` and `avg_over_time`.
//!
//! A state is a Kahan sum. Merging two of them adds their sums with the error of that addition kept, so it loses no
//! more than adding sample by sample does.

use storage::model::{FloatHistogram, Timestamp, kahan_add};

use super::either_kind::{HistogramKernel, HistogramWindow};
use super::floats_only::FloatKernel;
use super::fold::{Fold, fold_windows};
use super::note::Notes;
use super::window::Window;
use super::{KernelContext, histogram_sum};
use crate::error::Result;

/// `sum_over_time`.
#[derive(Debug)]
pub(super) struct SumOverTime;

/// `avg_over_time`.
#[derive(Debug)]
pub(super) struct AvgOverTime;

/// A compensated sum.
#[derive(Debug, Clone, Copy)]
struct KahanSum {
    sum: f64,
    compensation: f64,
    /// Sum of absolute values: how large the sum could have been.
    magnitude: f64,
}

struct SumFold<'a> {
    values: &'a [f64],
    mean: bool,
}

impl Fold for SumFold<'_> {
    type State = KahanSum;

    const MIN_SAMPLES: usize = 1;

    #[inline]
    fn sample(&self, i: usize) -> KahanSum {
        let value = self.values[i];
        KahanSum { sum: value, compensation: 0.0, magnitude: value.abs() }
    }

    #[inline]
    fn merge(earlier: KahanSum, later: KahanSum) -> KahanSum {
        // the error of an addition that cannot overflow, without asking which operand is larger: Knuth's TwoSum. It is
        // exact, so it is the same as that of a Kahan step
        let sum = earlier.sum + later.sum;
        let added = sum - earlier.sum;
        let error = (earlier.sum - (sum - added)) + (later.sum - added);
        KahanSum {
            sum,
            compensation: (earlier.compensation + later.compensation) + error,
            magnitude: earlier.magnitude + later.magnitude,
        }
    }

    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "a window has fewer samples than a float has digits")]
    fn finish(&mut self, state: &KahanSum, window: &Window) -> Option<f64> {
        // where nearly everything cancels, what is left of the compensation depends on the order
        const CANCELLED: f64 = 1e-6;
        let total = state.sum + state.compensation;
        if total.abs() < CANCELLED * state.magnitude {
            return None;
        }
        if self.mean {
            let count = window.len() as f64;
            return Some(state.sum / count + state.compensation / count);
        }
        Some(total)
    }

    fn direct(&self, window: &Window) -> f64 {
        let values = &self.values[window.lo..window.hi];
        if self.mean { mean(values) } else { sum(values) }
    }
}

/// The Kahan sum of `values`.
fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut compensation) = (0.0, 0.0);
    for value in values {
        (sum, compensation) = kahan_add(*value, sum, compensation);
    }
    if f64::is_infinite(sum) { sum } else { sum + compensation }
}

/// The mean of `values`: their sum by their number, or, from where the sum would overflow, updated value by value.
fn mean(values: &[f64]) -> f64 {
    let Some((first, rest)) = values.split_first() else {
        return f64::NAN;
    };
    let (mut sum, mut compensation, mut count) = (*first, 0.0, 1.0);
    let mut running_mean = None;
    for value in rest {
        count += 1.0;
        if running_mean.is_none() {
            let (new_sum, new_compensation) = kahan_add(*value, sum, compensation);
            if !new_sum.is_infinite() {
                (sum, compensation) = (new_sum, new_compensation);
                continue;
            }
            compensation /= count - 1.0;
        }
        let mean = running_mean.unwrap_or_else(|| sum / (count - 1.0));
        let kept = (count - 1.0) / count;
        let (mean, new_compensation) = kahan_add(value / count, kept * mean, kept * compensation);
        running_mean = Some(mean);
        compensation = new_compensation;
    }
    match running_mean {
        Some(mean) => mean + compensation,
        None => sum / count + compensation / count,
    }
}

/// No window's sum of such samples overflows on the way.
fn tame(value: f64) -> bool {
    value.abs() < 1e290
}

impl FloatKernel for SumOverTime {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        fold_windows(times, values, &context.windows, tame, &mut SumFold { values, mean: false }, emit);
        Ok(())
    }
}

impl FloatKernel for AvgOverTime {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        fold_windows(times, values, &context.windows, tame, &mut SumFold { values, mean: true }, emit);
        Ok(())
    }
}

impl HistogramKernel for SumOverTime {
    fn histograms(
        &self,
        window: &HistogramWindow<'_>,
        _context: &KernelContext<'_>,
        notes: &mut Notes,
    ) -> Option<FloatHistogram> {
        histogram_sum::sum(window.histograms, notes)
    }
}

impl HistogramKernel for AvgOverTime {
    fn histograms(
        &self,
        window: &HistogramWindow<'_>,
        _context: &KernelContext<'_>,
        notes: &mut Notes,
    ) -> Option<FloatHistogram> {
        histogram_sum::mean(window.histograms, notes)
    }
}
