//! Functions of floats and of histograms, but not of both at once: a window that mixes them has no answer.

use std::sync::Arc;

use storage::model::{FloatHistogram, Timestamp};

use super::floats_only::FloatKernel;
use super::note::{Note, Notes};
use super::window::{Window, for_each_window};
use super::{KernelContext, RangeKernel, Series, WindowCursor, Windows};
use crate::error::Result;
use crate::vector::Row;

/// A window that holds histograms and nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct HistogramWindow<'a> {
    /// Where it lies.
    pub window: Window,
    /// Times of its samples; never empty.
    pub times: &'a [Timestamp],
    /// Its samples.
    pub histograms: &'a [Arc<FloatHistogram>],
    /// Their start timestamps, or nothing.
    pub starts: &'a [Timestamp],
}

/// The histogram side of a function.
pub(super) trait HistogramKernel {
    /// The function's value over one window.
    fn histograms(
        &self,
        window: &HistogramWindow<'_>,
        context: &KernelContext<'_>,
        notes: &mut Notes,
    ) -> Option<FloatHistogram>;

    /// Called once for a series that got a float; `context` tells what it is named.
    fn note_floats(&self, _context: &KernelContext<'_>, _notes: &mut Notes) {}
}

/// Whether windows also hold samples of the other kind.
pub(super) struct OtherKind<'a> {
    times: &'a [Timestamp],
    cursor: WindowCursor,
}

impl<'a> OtherKind<'a> {
    /// `times` are the other kind's.
    pub fn new(times: &'a [Timestamp]) -> Self {
        Self { times, cursor: WindowCursor::default() }
    }

    /// Asked of steps in order.
    #[inline]
    pub fn in_window(&mut self, windows: &Windows, step: usize) -> bool {
        if self.times.is_empty() {
            return false;
        }
        self.cursor.advance(self.times, windows.read_start(step), windows.read_end(step));
        self.cursor.lo < self.cursor.hi
    }
}

/// Makes a kernel of both kinds a [`RangeKernel`].
#[derive(Debug)]
pub(super) struct EitherKind<K>(pub K);

impl<K: FloatKernel + HistogramKernel> RangeKernel for EitherKind<K> {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let mut notes = Notes::default();
        let mut any_float = false;
        if series.histogram_t.is_empty() {
            self.0.floats(series.float_t, series.floats, context, |step, value| {
                any_float = true;
                row.set(step, value);
            })?;
        } else {
            let mut histograms = OtherKind::new(series.histogram_t);
            self.0.floats(series.float_t, series.floats, context, |step, value| {
                if !histograms.in_window(&context.windows, step) {
                    any_float = true;
                    row.set(step, value);
                }
            })?;
            self.histograms(series, context, row, &mut notes);
        }
        if any_float {
            self.0.note_floats(context, &mut notes);
        }
        notes.report(context);
        Ok(())
    }
}

impl<K: HistogramKernel> EitherKind<K> {
    /// Writes the steps whose windows hold histograms only.
    pub fn histograms(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>, notes: &mut Notes) {
        let mut floats = OtherKind::new(series.float_t);
        for_each_window(series.histogram_t, &context.windows, |window| {
            if floats.in_window(&context.windows, window.step) {
                notes.add(Note::MixedWindow);
                return;
            }
            let samples = HistogramWindow {
                window,
                times: &series.histogram_t[window.lo..window.hi],
                histograms: &series.histograms[window.lo..window.hi],
                starts: series.histogram_starts.get(window.lo..window.hi).unwrap_or_default(),
            };
            if let Some(histogram) = self.0.histograms(&samples, context, notes) {
                row.set_histogram(window.step, histogram);
            }
        });
    }
}
