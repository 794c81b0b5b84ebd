//! Windows of a series that has floats and histograms, sample by sample in time.

use storage::model::Timestamp;

use super::start_time::Started;
use super::window::for_each_window;
use super::{Series, WindowCursor, Windows};
use crate::vector::Row;

/// One window of a series: which of its floats and which of its histograms.
#[derive(Debug, Clone, Copy)]
pub(super) struct BothKinds {
    /// Number of the step.
    pub step: usize,
    /// Which floats.
    pub floats: WindowCursor,
    /// Which histograms.
    pub histograms: WindowCursor,
}

/// A sample of a series, by its index among those of its kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// A float.
    Float(usize),
    /// A histogram.
    Histogram(usize),
}

impl BothKinds {
    /// Number of samples.
    #[inline]
    pub fn count(&self) -> f64 {
        ((self.floats.hi - self.floats.lo) + (self.histograms.hi - self.histograms.lo)) as f64
    }

    /// The first sample; of two at the same time, the histogram.
    #[inline]
    pub fn first(&self, series: &Series<'_>) -> Found {
        let (float, histogram) = (self.floats.lo, self.histograms.lo);
        let no_histogram = histogram == self.histograms.hi;
        let no_float = float == self.floats.hi;
        if no_histogram || (!no_float && series.float_t[float] < series.histogram_t[histogram]) {
            Found::Float(float)
        } else {
            Found::Histogram(histogram)
        }
    }

    /// The last sample; of two at the same time, the histogram.
    #[inline]
    pub fn last(&self, series: &Series<'_>) -> Found {
        let (float, histogram) = (self.floats.hi, self.histograms.hi);
        let no_histogram = histogram == self.histograms.lo;
        let no_float = float == self.floats.lo;
        if no_histogram || (!no_float && series.histogram_t[histogram - 1] < series.float_t[float - 1]) {
            Found::Float(float - 1)
        } else {
            Found::Histogram(histogram - 1)
        }
    }

    /// The last two samples in order, if there are two.
    #[inline]
    pub fn last_two(&self, series: &Series<'_>) -> Option<[Found; 2]> {
        let last = self.last(series);
        let mut before = *self;
        match last {
            Found::Float(_) => before.floats.hi -= 1,
            Found::Histogram(_) => before.histograms.hi -= 1,
        }
        let any_left = before.floats.lo < before.floats.hi || before.histograms.lo < before.histograms.hi;
        any_left.then(|| [before.last(series), last])
    }
}

impl Found {
    /// Its time.
    #[inline]
    pub fn time(self, series: &Series<'_>) -> Timestamp {
        match self {
            Found::Float(i) => series.float_t[i],
            Found::Histogram(i) => series.histogram_t[i],
        }
    }

    /// Its time and start timestamp.
    #[inline]
    pub fn started(self, series: &Series<'_>) -> Started {
        match self {
            Found::Float(i) => Started::of(series.float_t, series.float_starts, i),
            Found::Histogram(i) => Started::of(series.histogram_t, series.histogram_starts, i),
        }
    }

    /// Puts it into a row.
    #[inline]
    pub fn write(self, series: &Series<'_>, step: usize, row: &mut Row<'_>) {
        match self {
            Found::Float(i) => row.set(step, series.floats[i]),
            Found::Histogram(i) => row.set_histogram(step, (*series.histograms[i]).clone()),
        }
    }
}

/// Calls `each` for every window that has a sample of either kind, in order.
#[inline]
pub(super) fn for_each_window_of_both(series: &Series<'_>, windows: &Windows, mut each: impl FnMut(BothKinds)) {
    if series.histogram_t.is_empty() {
        for_each_window(series.float_t, windows, |window| {
            let floats = WindowCursor { lo: window.lo, hi: window.hi };
            each(BothKinds { step: window.step, floats, histograms: WindowCursor::default() });
        });
        return;
    }
    let (mut floats, mut histograms) = (WindowCursor::default(), WindowCursor::default());
    for step in 0..windows.steps() {
        let (start, end) = (windows.read_start(step), windows.read_end(step));
        floats.advance(series.float_t, start, end);
        histograms.advance(series.histogram_t, start, end);
        if floats.lo < floats.hi || histograms.lo < histograms.hi {
            each(BothKinds { step, floats, histograms });
        }
    }
}
