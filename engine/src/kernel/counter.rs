//! `rate`, `increase` and `delta`: what a series grew by inside each window, extrapolated to the window's borders.
//!
//! The samples of a window are its first and its last one; between them only counter resets matter. Where they are is
//! found once a series; where the windows lie, and the extrapolation unless it stops at zero, once for all series in a row that
//! have the same times. In a window that holds some, the values lost are added in order, so the answer is
//! Prometheus's to the last bit.

use storage::model::{FloatHistogram, Timestamp};

use super::KernelContext;
use super::either_kind::{HistogramKernel, HistogramWindow};
use super::floats_only::FloatKernel;
use super::histogram_rate::extrapolated_rate;
use super::note::{Note, Notes};
use super::positions::Positions;
use super::window::{Window, for_each_window};
use crate::error::Result;

/// Growth inside a window. `COUNTER`: resets are made good and nothing is extrapolated below zero.
/// `PER_SECOND`: divided by the window's length.
#[derive(Debug)]
pub(super) struct ExtrapolatedRate<const COUNTER: bool, const PER_SECOND: bool>;

/// The first and last of a window's samples in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Time of the first sample.
    pub first_t: Timestamp,
    /// Time of the last one.
    pub last_t: Timestamp,
    /// Number of samples; at least 2.
    pub samples: usize,
}

/// What the growth between a window's first and last sample is multiplied with to be the growth of the whole window.
///
/// The ends are extrapolated to the window's borders where the nearest sample is less than 1.1 times the average
/// distance between samples away, else by half that distance. `zero` has, of a counter, the first value and the
/// growth: extrapolation stops where the line through them crosses zero.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "window lengths stay far below 2^53 ms")]
pub(super) fn extrapolation(window: &Window, extent: Extent, zero: Option<(f64, f64)>) -> f64 {
    let mut to_start = (extent.first_t - window.start) as f64 / 1000.0;
    let mut to_end = (window.end - extent.last_t) as f64 / 1000.0;
    let sampled = (extent.last_t - extent.first_t) as f64 / 1000.0;
    let average = sampled / (extent.samples - 1) as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if let Some((first, growth)) = zero
        && growth > 0.0
        && first >= 0.0
    {
        let to_zero = sampled * (first / growth);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled }
}

/// A duration in seconds, rounded as Go does it: whole seconds and the rest apart.
#[expect(clippy::cast_precision_loss, reason = "durations stay far below 2^53 ms")]
pub(super) fn duration_seconds(ms: i64) -> f64 {
    (ms / 1000) as f64 + (ms % 1000 * 1_000_000) as f64 / 1e9
}

impl<const COUNTER: bool, const PER_SECOND: bool> FloatKernel for ExtrapolatedRate<COUNTER, PER_SECOND> {
    #[inline]
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        mut emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let range_seconds = duration_seconds(context.windows.range_ms);
        let mut resets =
            if COUNTER { Positions::of_pairs(values, |before, value| value < before) } else { Positions::default() };
        let factor = |window: &Window, zero| {
            let extent = Extent { first_t: times[window.lo], last_t: times[window.hi - 1], samples: window.len() };
            let factor = extrapolation(window, extent, zero);
            if PER_SECOND { factor / range_seconds } else { factor }
        };
        let mut each = |window: &Window, unstopped: Option<f64>| {
            let first = values[window.lo];
            let mut growth = values[window.hi - 1] - first;
            if COUNTER {
                for reset in resets.within(window.lo + 1, window.hi) {
                    growth += values[reset - 1];
                }
            }
            // a line that rose by half of its first value at most has its zero farther away than extrapolation goes
            let stopped = COUNTER && !(first >= 2.0 * growth && growth >= 0.0);
            let factor = match unstopped {
                Some(factor) if !stopped => factor,
                _ => factor(window, COUNTER.then_some((first, growth))),
            };
            emit(window.step, growth * factor);
        };
        let make = |windows: &mut Vec<(Window, f64)>| {
            for_each_window(times, &context.windows, |window| {
                if window.len() >= 2 {
                    windows.push((window, factor(&window, None)));
                }
            });
        };
        context.layout.0.with(times, make, |windows| match windows {
            Some(windows) => windows.iter().for_each(|(window, factor)| each(window, Some(*factor))),
            None => for_each_window(times, &context.windows, |window| {
                if window.len() >= 2 {
                    each(&window, None);
                }
            }),
        });
        Ok(())
    }
}

impl<const COUNTER: bool, const PER_SECOND: bool> HistogramKernel for ExtrapolatedRate<COUNTER, PER_SECOND> {
    fn histograms(
        &self,
        window: &HistogramWindow<'_>,
        context: &KernelContext<'_>,
        notes: &mut Notes,
    ) -> Option<FloatHistogram> {
        let divisor = PER_SECOND.then(|| duration_seconds(context.windows.range_ms));
        extrapolated_rate(window, COUNTER, divisor, notes)
    }

    fn note_floats(&self, context: &KernelContext<'_>, notes: &mut Notes) {
        if COUNTER {
            note_name(context, notes);
        }
    }
}

/// Notes that a series is not named like a counter, or not labelled as one.
pub(super) fn note_name(context: &KernelContext<'_>, notes: &mut Notes) {
    let name = context.metric_name;
    let like_counter = match context.type_label {
        Some(label) => ["counter", "histogram"].contains(&label),
        None => ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)),
    };
    if !name.is_empty() && !like_counter {
        notes.add(Note::NotLikeCounter);
    }
}
