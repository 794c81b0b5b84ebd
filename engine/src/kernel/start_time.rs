//! `rate` and `increase` of a series that has start timestamps.
//!
//! As in [`counter`](super::counter), with two differences. A sample that began to be counted after the sample before it is behind
//! a reset, whatever its value is. And where the window's first sample began to be counted inside the window, it was zero
//! then: nothing is extrapolated to the left, and one sample is enough.

use storage::model::Timestamp;

use super::counter::{Extent, ExtrapolatedRate, duration_seconds, extrapolation, note_name};
use super::either_kind::{EitherKind, OtherKind};
use super::note::{Note, Notes};
use super::positions::Positions;
use super::window::{Window, for_each_window};
use super::{KernelContext, RangeKernel, Series};
use crate::error::Result;
use crate::vector::Row;

/// A sample's time and start timestamp, 0 for none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    /// When it was taken.
    pub t: Timestamp,
    /// Since when it counts.
    pub start: Timestamp,
}

impl Started {
    /// Sample `i` of a series.
    #[inline]
    pub fn of(times: &[Timestamp], starts: &[Timestamp], i: usize) -> Self {
        Self { t: times[i], start: starts.get(i).copied().unwrap_or(0) }
    }

    /// Whether a counter was reset between `before` and this sample.
    #[inline]
    pub fn is_reset_after(self, before: Self) -> bool {
        if self.start == 0 || self.start >= self.t || self.start < before.t {
            return false;
        }
        // one that counts since just the sample before is a delta, unless it is not known since when that one counts
        self.start > before.t || (before.start != 0 && before.start < before.t)
    }

    /// Whether this sample claims to count what `before` counted already, from another time on.
    #[inline]
    pub fn overlaps(self, before: Self) -> bool {
        self.start != 0 && self.start < before.t && self.start != before.start
    }

    /// Whether the counter was zero inside `window`, of which this is the first sample.
    #[inline]
    pub fn begins_in(self, window: &Window) -> bool {
        self.start != 0 && self.start > window.start && self.start < self.t
    }
}

/// What the growth since the start timestamp of a window's first sample is multiplied with to be that of the whole window. Only the
/// right end is extrapolated, and not where there is but one sample.
#[expect(clippy::cast_precision_loss, reason = "window lengths stay far below 2^53 ms")]
pub(super) fn extrapolation_from_start(window: &Window, extent: Extent, start: Timestamp) -> f64 {
    let counted = (extent.last_t - start) as f64 / 1000.0;
    let mut to_end = (window.end - extent.last_t) as f64 / 1000.0;
    let average = match extent.samples - 1 {
        0 => 0.0,
        pairs => (extent.last_t - extent.first_t) as f64 / 1000.0 / pairs as f64,
    };
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    if counted == 0.0 { 1.0 } else { (counted + to_end) / counted }
}

/// `rate` (`PER_SECOND`) or `increase` of any series.
#[derive(Debug)]
pub(super) struct CounterRate<const PER_SECOND: bool>;

impl<const PER_SECOND: bool> CounterRate<PER_SECOND> {
    const PLAIN: EitherKind<ExtrapolatedRate<true, PER_SECOND>> = EitherKind(ExtrapolatedRate);

    fn floats(series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>, notes: &mut Notes) -> bool {
        let (times, values) = (series.float_t, series.floats);
        let range_seconds = duration_seconds(context.windows.range_ms);
        let started = |i| Started::of(times, series.float_starts, i);
        let (mut resets, mut overlaps) = (Vec::new(), Vec::new());
        for i in 1..times.len() {
            let (before, sample) = (started(i - 1), started(i));
            if values[i] < values[i - 1] || sample.is_reset_after(before) {
                resets.push(i);
            }
            if sample.overlaps(before) {
                overlaps.push(i);
            }
        }
        let (mut resets, mut overlaps) = (Positions::new(resets), Positions::new(overlaps));
        let mut histograms = OtherKind::new(series.histogram_t);
        let mut any = false;
        for_each_window(times, &context.windows, |window| {
            if histograms.in_window(&context.windows, window.step) {
                return;
            }
            let first = started(window.lo);
            let extent = Extent { first_t: first.t, last_t: times[window.hi - 1], samples: window.len() };
            let mut growth = values[window.hi - 1] - values[window.lo];
            for reset in resets.within(window.lo + 1, window.hi) {
                growth += values[reset - 1];
            }
            if !overlaps.within(window.lo + 1, window.hi).is_empty() {
                notes.add(Note::StartsOverlap);
            }
            let factor = if first.begins_in(&window) {
                growth += values[window.lo];
                extrapolation_from_start(&window, extent, first.start)
            } else if extent.samples > 1 {
                extrapolation(&window, extent, Some((values[window.lo], growth)))
            } else {
                return;
            };
            any = true;
            row.set(window.step, growth * if PER_SECOND { factor / range_seconds } else { factor });
        });
        any
    }
}

impl<const PER_SECOND: bool> RangeKernel for CounterRate<PER_SECOND> {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        if series.float_starts.is_empty() && series.histogram_starts.is_empty() {
            return Self::PLAIN.evaluate(series, context, row);
        }
        let mut notes = Notes::default();
        if Self::floats(series, context, row, &mut notes) {
            note_name(context, &mut notes);
        }
        Self::PLAIN.histograms(series, context, row, &mut notes);
        notes.report(context);
        Ok(())
    }
}
