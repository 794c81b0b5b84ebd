//! `rate`, `increase` and `delta` of native histograms over `anchored` and `smoothed` selectors.
//!
//! As for floats in [`extended`](super::extended): the histogram at the end minus the one at the start, plus what resets
//! between them lost. Where resets, gauges and changes of the kind of buckets are is found once a series.

use std::sync::Arc;

use storage::model::{CounterResetHint, FloatHistogram, Timestamp};

use super::Series;
use super::extended::{ExtendedRate, Extent, Extents};
use super::histogram_rate::combine;
use super::interpolate;
use super::note::{Note, Notes};
use super::positions::Positions;
use super::window::Window;

/// The growth of one series' histograms, window after window.
pub(super) struct HistogramGrowth<'a> {
    times: &'a [Timestamp],
    histograms: &'a [Arc<FloatHistogram>],
    counter: bool,
    extents: Extents,
    /// Histograms that a reset lies before.
    resets: Positions,
    gauges: Positions,
    /// Histograms before which the kind of buckets changes: exponential or custom.
    changes: Positions,
}

impl<'a> HistogramGrowth<'a> {
    pub fn new(series: &Series<'a>, rate: &ExtendedRate) -> Self {
        let histograms = series.histograms;
        let (mut resets, mut gauges) = (Positions::default(), Positions::default());
        if rate.counter {
            resets = Positions::of_pairs(histograms, |before, now| now.detect_reset(before));
            gauges = Positions::of_samples(histograms, |histogram| is_gauge(histogram));
        }
        Self {
            times: series.histogram_t,
            histograms,
            counter: rate.counter,
            extents: Extents::new(rate.smoothed),
            resets,
            gauges,
            changes: Positions::of_pairs(histograms, |a, b| a.uses_custom_buckets() != b.uses_custom_buckets()),
        }
    }

    /// Of a window that holds histograms only. [`finished`](Self::finished) makes it a result.
    pub fn of(&mut self, window: &Window, notes: &mut Notes) -> Option<FloatHistogram> {
        let extent = self.extents.of(self.times, window).filter(|extent| !extent.is_after(self.times, window))?;
        self.check(&extent, notes)?;
        let left = self.at_border(extent.first, extent.left_between, window.start, notes)?;
        let right = match extent.right_between {
            true => self.at_border(extent.last - 1, true, window.end, notes)?,
            false => (*self.histograms[extent.last]).clone(),
        };
        if !self.counter && [&left, &right].into_iter().any(|histogram| !is_gauge(histogram)) {
            notes.add(Note::NotGauge);
        }
        let mut growth = right.clone();
        combine(&growth.sub(&left), Note::ReconciledSubtraction, notes)?;
        if self.counter
            && let Some(lost) = self.lost(&extent, &left, &right, notes)?
        {
            combine(&growth.add(&lost), Note::ReconciledAddition, notes)?;
        }
        Some(growth)
    }

    /// A growth as a result.
    pub fn finished(&self, mut growth: FloatHistogram) -> FloatHistogram {
        growth.counter_reset_hint = CounterResetHint::Gauge;
        growth.compact(0);
        growth
    }

    /// Refuses a window whose histograms have different kinds of buckets, and notes gauges.
    fn check(&mut self, extent: &Extent, notes: &mut Notes) -> Option<()> {
        let end = extent.last + 1;
        let change = self.changes.within(extent.first + 1, end).first().copied();
        if !self.gauges.within(extent.first, change.unwrap_or(end)).is_empty() {
            notes.add(Note::NotCounter);
        }
        if change.is_some() {
            notes.add(Note::MixedSchemas);
            return None;
        }
        Some(())
    }

    /// Histogram `i`, or what lies between it and the next one at `t`.
    fn at_border(&self, i: usize, between: bool, t: Timestamp, notes: &mut Notes) -> Option<FloatHistogram> {
        if !between {
            return Some((*self.histograms[i]).clone());
        }
        let samples = [i, i + 1].map(|i| (self.times[i], &*self.histograms[i]));
        interpolate::histogram(samples, t, self.counter, notes)
    }

    /// What resets between the borders lost, if there are any; none of the outer kind where it could not be added up.
    fn lost(
        &mut self,
        extent: &Extent,
        left: &FloatHistogram,
        right: &FloatHistogram,
        notes: &mut Notes,
    ) -> Option<Option<FloatHistogram>> {
        // the sample at the end is represented by `right`, whose hint is its own
        let Extent { first, last, .. } = *extent;
        let mut before = left;
        let mut next = first + 1;
        if extent.left_between && self.histograms[next].detect_reset(&self.histograms[first]) {
            // the value at the start has taken this reset into account
            before = &self.histograms[next];
            next += 1;
        }
        if next > last {
            return Some(None);
        }
        let mut lost: Option<FloatHistogram> = None;
        let mut add = |histogram: &FloatHistogram| match &mut lost {
            None => {
                lost = Some(histogram.clone());
                Some(())
            }
            Some(lost) => combine(&lost.add(histogram), Note::ReconciledAddition, notes),
        };
        let resets = self.resets.within(next + 1, last);
        if next < last {
            if self.histograms[next].detect_reset(before) {
                add(before)?;
            }
            for reset in resets {
                add(&self.histograms[reset - 1])?;
            }
            before = &self.histograms[last - 1];
        }
        if right.detect_reset(before) {
            add(before)?;
        }
        Some(lost)
    }
}

fn is_gauge(histogram: &FloatHistogram) -> bool {
    histogram.counter_reset_hint == CounterResetHint::Gauge
}
