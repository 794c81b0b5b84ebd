//! Functions that only ask which samples a window has: the first, the last, how many.

use storage::model::Timestamp;

use super::minmax::epoch_seconds;
use super::{KernelContext, RangeKernel, Series, WindowCursor};
use crate::error::Result;
use crate::vector::Row;

/// `count_over_time`.
#[derive(Debug)]
pub(super) struct Count;

/// `present_over_time`.
#[derive(Debug)]
pub(super) struct Present;

/// `first_over_time`.
#[derive(Debug)]
pub(super) struct First;

/// `last_over_time`.
#[derive(Debug)]
pub(super) struct Last;

/// `ts_of_first_over_time`.
#[derive(Debug)]
pub(super) struct TimeOfFirst;

/// `ts_of_last_over_time`.
#[derive(Debug)]
pub(super) struct TimeOfLast;

/// One window of a series: which of its floats and which of its histograms.
#[derive(Debug, Clone, Copy)]
struct BothKinds {
    step: usize,
    floats: WindowCursor,
    histograms: WindowCursor,
}

/// A sample of a series.
#[derive(Debug, Clone, Copy)]
enum Found {
    Float(usize),
    Histogram(usize),
}

impl BothKinds {
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "a window has fewer samples than a float has digits")]
    fn count(&self) -> f64 {
        ((self.floats.hi - self.floats.lo) + (self.histograms.hi - self.histograms.lo)) as f64
    }

    /// The earlier of two candidates, floats before histograms only if strictly earlier; likewise the later.
    #[inline]
    fn first(&self, series: &Series<'_>) -> Found {
        let (float, histogram) = (self.floats.lo, self.histograms.lo);
        let no_histogram = histogram == self.histograms.hi;
        let no_float = float == self.floats.hi;
        if no_histogram || (!no_float && series.float_t[float] < series.histogram_t[histogram]) {
            Found::Float(float)
        } else {
            Found::Histogram(histogram)
        }
    }

    #[inline]
    fn last(&self, series: &Series<'_>) -> Found {
        let (float, histogram) = (self.floats.hi, self.histograms.hi);
        let no_histogram = histogram == self.histograms.lo;
        let no_float = float == self.floats.lo;
        if no_histogram || (!no_float && series.histogram_t[histogram - 1] < series.float_t[float - 1]) {
            Found::Float(float - 1)
        } else {
            Found::Histogram(histogram - 1)
        }
    }
}

impl Found {
    #[inline]
    fn time(self, series: &Series<'_>) -> Timestamp {
        match self {
            Found::Float(i) => series.float_t[i],
            Found::Histogram(i) => series.histogram_t[i],
        }
    }

    #[inline]
    fn write(self, series: &Series<'_>, step: usize, row: &mut Row<'_>) {
        match self {
            Found::Float(i) => row.set(step, series.floats[i]),
            Found::Histogram(i) => row.set_histogram(step, (*series.histograms[i]).clone()),
        }
    }
}

/// Calls `each` for every window that has a sample of either kind.
#[inline]
fn for_each(series: &Series<'_>, context: &KernelContext<'_>, mut each: impl FnMut(BothKinds)) {
    let windows = &context.windows;
    let (mut floats, mut histograms) = (WindowCursor::default(), WindowCursor::default());
    for step in 0..windows.steps() {
        let (start, end) = (windows.start(step), windows.end(step));
        floats.advance(series.float_t, start, end);
        histograms.advance(series.histogram_t, start, end);
        if floats.lo < floats.hi || histograms.lo < histograms.hi {
            each(BothKinds { step, floats, histograms });
        }
    }
}

impl RangeKernel for Count {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each(series, context, |window| row.set(window.step, window.count()));
        Ok(())
    }
}

impl RangeKernel for Present {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each(series, context, |window| row.set(window.step, 1.0));
        Ok(())
    }
}

impl RangeKernel for First {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each(series, context, |window| window.first(series).write(series, window.step, row));
        Ok(())
    }
}

impl RangeKernel for Last {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each(series, context, |window| window.last(series).write(series, window.step, row));
        Ok(())
    }
}

impl RangeKernel for TimeOfFirst {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each(series, context, |window| row.set(window.step, epoch_seconds(window.first(series).time(series))));
        Ok(())
    }
}

impl RangeKernel for TimeOfLast {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each(series, context, |window| row.set(window.step, epoch_seconds(window.last(series).time(series))));
        Ok(())
    }
}
