//! `rate`, `increase` and `delta` over `anchored` and `smoothed` selectors: what a series grew by between the two borders of each
//! window, without extrapolation.
//!
//! ```text
//!        start                                  end
//!          │                                     │
//!   x      │   x        x        x        x      │     x
//!   anchor │   └───────── inside ─────────┘      │     next
//! ```
//!
//! The value at a border is, `anchored`, that of the last sample at or before it; `smoothed`, that on the line between the samples
//! around it. Where the series has nothing before its first sample or after its last one, that sample's value holds.
//! Counter resets inside are made good as in [`counter`](super::counter). Four indices move forward with the window, so the
//! work a step does not depend on its length.

use storage::model::{SampleBuffer, Timestamp};

use super::counter::{duration_seconds, note_name};
use super::either_kind::OtherKind;
use super::extended_histogram::HistogramGrowth;
use super::interpolate;
use super::note::{Note, Notes};
use super::positions::Positions;
use super::window::{Boundary, Window, for_each_window};
use super::{KernelContext, RangeKernel, Series, Windows};
use crate::error::Result;
use crate::vector::Row;

/// Growth between the borders of a window.
#[derive(Debug)]
pub(super) struct ExtendedRate {
    /// `smoothed`, else `anchored`.
    pub smoothed: bool,
    /// Resets are made good.
    pub counter: bool,
    /// Divided by the window's length.
    pub per_second: bool,
}

/// The samples that a window's value comes from, as indices into the series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// The one that stands for the window's start: the last at or before it, else the first.
    pub first: usize,
    /// The one that stands for its end: `smoothed` the first at or after it, else the last.
    pub last: usize,
    /// The first one inside.
    pub inside_lo: usize,
    /// The first one after those that lie strictly before the end.
    pub inside_hi: usize,
    /// Whether the value at the start lies between `first` and the one after.
    pub left_between: bool,
    /// Whether the value at the end lies between `last` and the one before.
    pub right_between: bool,
}

/// Finds [`Extent`]s in windows that only move on.
#[derive(Debug, Default)]
pub(super) struct Extents {
    /// Up to here samples lie at or before the start.
    after_start: Boundary,
    /// Up to here samples lie before the end.
    at_end: Boundary,
    smoothed: bool,
}

impl Extents {
    pub fn new(smoothed: bool) -> Self {
        Self { smoothed, ..Self::default() }
    }

    /// Of one window, which has samples; none where they all lie at or before its start.
    #[inline]
    pub fn of(&mut self, times: &[Timestamp], window: &Window) -> Option<Extent> {
        self.after_start.advance(times, window.start);
        self.at_end.advance(times, window.end.saturating_sub(1));
        let inside_lo = self.after_start.at;
        let inside_hi = self.at_end.at;
        let first = inside_lo.saturating_sub(1).max(window.lo);
        let last = if self.smoothed { inside_hi.min(window.hi - 1) } else { window.hi - 1 };
        if times[last] <= window.start {
            return None;
        }
        let left_between = self.smoothed && times[first] < window.start;
        let right_between = self.smoothed && last > window.lo && times[last] > window.end;
        Some(Extent { first, last, inside_lo, inside_hi, left_between, right_between })
    }
}

impl Extent {
    /// Whether the series begins after the window.
    #[inline]
    pub fn is_after(&self, times: &[Timestamp], window: &Window) -> bool {
        times[self.first] > window.end
    }

    /// The float values at both borders.
    #[inline]
    fn borders(&self, times: &[Timestamp], values: &[f64], window: &Window, counter: bool) -> [f64; 2] {
        let between = |i: usize, t| interpolate::float([i, i + 1].map(|i| (times[i], values[i])), t, counter);
        let left = if self.left_between { between(self.first, window.start) } else { values[self.first] };
        let right = if self.right_between { between(self.last - 1, window.end) } else { values[self.last] };
        [left, right]
    }
}

impl ExtendedRate {
    fn floats(
        &self,
        series: &Series<'_>,
        context: &KernelContext<'_>,
        mut emit: impl FnMut(usize, f64),
        notes: &mut Notes,
    ) {
        let (times, values) = (series.float_t, series.floats);
        let range_seconds = duration_seconds(context.windows.range_ms);
        let mut resets = if self.counter {
            Positions::of_pairs(values, |before, value| value < before)
        } else {
            Positions::default()
        };
        let mut extents = Extents::new(self.smoothed);
        let mut others = OtherKind::new(series.histogram_t);
        for_each_window(times, &context.windows, |window| {
            if others.in_window(&context.windows, window.step) {
                notes.add(Note::MixedWindow);
                return;
            }
            let Some(extent) = extents.of(times, &window).filter(|extent| !extent.is_after(times, &window)) else {
                return;
            };
            let [left, right] = extent.borders(times, values, &window, self.counter);
            let mut growth = right - left;
            if self.counter {
                growth += lost(values, &extent, [left, right], &mut resets);
            }
            emit(window.step, if self.per_second { growth / range_seconds } else { growth });
        });
    }
}

/// What resets between the borders lost.
#[inline]
fn lost(values: &[f64], extent: &Extent, [left, right]: [f64; 2], resets: &mut Positions) -> f64 {
    let (lo, hi) = (extent.inside_lo, extent.inside_hi);
    let mut lost = 0.0;
    let mut before = left;
    if lo < hi {
        if values[lo] < left {
            lost += left;
        }
        for reset in resets.within(lo + 1, hi) {
            lost += values[reset - 1];
        }
        before = values[hi - 1];
    }
    if right < before { lost + before } else { lost }
}

impl RangeKernel for ExtendedRate {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let mut notes = Notes::default();
        let mut any_float = false;
        let emit = |step, value| {
            any_float = true;
            row.set(step, value);
        };
        self.floats(series, context, emit, &mut notes);
        if any_float && self.counter {
            note_name(context, &mut notes);
        }
        if !series.histogram_t.is_empty() {
            let mut growth = HistogramGrowth::new(series, self);
            let mut others = OtherKind::new(series.float_t);
            for_each_window(series.histogram_t, &context.windows, |window| {
                if !others.in_window(&context.windows, window.step)
                    && let Some(mut histogram) = growth.of(&window, &mut notes)
                {
                    if self.per_second {
                        histogram.div(duration_seconds(context.windows.range_ms));
                    }
                    row.set_histogram(window.step, growth.finished(histogram));
                }
            });
        }
        notes.report(context);
        Ok(())
    }
}

/// The samples that a selector with borders has as the root of an instant query: one at each border of its only
/// window, and those between. None where all of `samples`, floats without staleness markers, lie before the window; a series that
/// begins only after it has its first value at both borders.
pub(crate) fn extended_samples(samples: &SampleBuffer, windows: &Windows, smoothed: bool) -> SampleBuffer {
    let (times, values) = (samples.timestamps.as_slice(), samples.floats.as_slice());
    let mut out = SampleBuffer::new();
    for_each_window(times, windows, |window| {
        let mut extents = Extents::new(smoothed);
        let (start, end) = (window.start, window.end);
        let Some(extent) = extents.of(times, &window) else { return };
        let [left, right] = extent.borders(times, values, &window, false);
        out.push_float(start, left);
        for inside in extent.inside_lo..extent.inside_hi {
            out.push_float(times[inside], values[inside]);
        }
        out.push_float(end, right);
    });
    out
}
