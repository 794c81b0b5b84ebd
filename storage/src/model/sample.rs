//! Decoded samples of one series.

use std::sync::Arc;

use super::histogram::FloatHistogram;
use super::time::Timestamp;

/// The bits of Prometheus's staleness marker, one particular NaN.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker.
#[must_use]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker, bit for bit; other NaNs are values.
#[must_use]
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Samples of one series in time order, as columns. Reused from series to series, so that decoding does not allocate.
///
/// `timestamps` and `floats` have one entry a sample. A histogram sample has its sum in `floats`, and the
/// histogram itself in `histograms` under the sample's index; a histogram's staleness marker is just a
/// staleness marker in `floats`, so nothing below has to ask which kind of sample went stale.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleBuffer {
    /// Ascending milliseconds.
    pub timestamps: Vec<Timestamp>,
    /// The value, or a histogram's sum.
    pub floats: Vec<f64>,
    /// Start timestamps in milliseconds, under the sample's index; 0, or nothing where this is shorter than the others, is
    /// none. Empty where no sample has one.
    pub start_times: Vec<Timestamp>,
    /// Histogram samples as (index into the other two, histogram), ascending by index.
    pub histograms: Vec<(u32, Arc<FloatHistogram>)>,
}

impl SampleBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.floats.clear();
        self.start_times.clear();
        self.histograms.clear();
    }

    /// Forgets the samples from index `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.timestamps.truncate(len);
        self.floats.truncate(len);
        self.start_times.truncate(len);
        while self.histograms.pop_if(|(index, _)| *index as usize >= len).is_some() {}
    }

    /// Appends a float sample; the caller keeps time ascending.
    pub fn push_float(&mut self, t: Timestamp, value: f64) {
        self.timestamps.push(t);
        self.floats.push(value);
    }

    /// Appends a histogram sample, or a staleness marker where its sum is one.
    pub fn push_histogram(&mut self, t: Timestamp, histogram: FloatHistogram) {
        self.push_shared_histogram(t, &Arc::new(histogram));
    }

    /// As [`push_histogram`](Self::push_histogram), sharing the histogram.
    pub fn push_shared_histogram(&mut self, t: Timestamp, histogram: &Arc<FloatHistogram>) {
        if !is_stale_nan(histogram.sum) {
            self.histograms.push((u32::try_from(self.len()).unwrap_or(u32::MAX), Arc::clone(histogram)));
        }
        self.push_float(t, histogram.sum);
    }

    /// Says since when the last sample counts; 0 is unknown.
    #[inline]
    pub fn set_start_time(&mut self, start: Timestamp) {
        if start != 0
            && let Some(last) = self.len().checked_sub(1)
        {
            self.start_times.resize(last, 0);
            self.start_times.push(start);
        }
    }

    /// The start timestamp of sample `index`; 0 where it has none.
    #[inline]
    #[must_use]
    pub fn start_time(&self, index: usize) -> Timestamp {
        self.start_times.get(index).copied().unwrap_or(0)
    }

    /// Appends sample `index` of `other`.
    pub fn push_from(&mut self, other: &Self, index: usize) {
        match other.histogram(index) {
            Some(histogram) => self.push_shared_histogram(other.timestamps[index], histogram),
            None => self.push_float(other.timestamps[index], other.floats[index]),
        }
        self.set_start_time(other.start_time(index));
    }

    /// The histogram of sample `index`, if it is one.
    #[must_use]
    pub fn histogram(&self, index: usize) -> Option<&Arc<FloatHistogram>> {
        let found = self.histograms.binary_search_by_key(&index, |(i, _)| *i as usize).ok()?;
        Some(&self.histograms[found].1)
    }

    /// Bytes that the columns hold, for memory accounting.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let histograms: usize = self.histograms.iter().map(|(_, h)| h.size_bytes() + 24).sum();
        self.timestamps.capacity() * 8 + self.floats.capacity() * 8 + self.start_times.capacity() * 8 + histograms
    }
}
