//! Windows of native histograms: count, sum and counter.
//!
//! Samples of a batch meet in its lowest schema and its widest zero bucket. Where the kind of histogram changes, that is between gauges
//! and counters, exponential and custom buckets, or other custom bounds, a new batch begins: nothing is lost by bringing together what
//! does not fit together.

use std::borrow::Cow;

use storage::chunk::{ChunkError, EncodedChunk, Encoding, FloatHistogramEncoder, PushOutcome, XorEncoder, encode_aggr};
use storage::model::{CounterResetHint, FloatHistogram, HistogramError, SampleBuffer, Timestamp};

use super::raw::batches;
use super::windows::{WINDOWS_MAX, window_end};

/// A histogram and its time.
pub(super) type Sample<'a> = (Timestamp, &'a FloatHistogram);

/// The aggregates of a batch's windows, as columns.
#[derive(Debug, Default)]
pub(super) struct HistogramWindows {
    pub ends: Vec<Timestamp>,
    pub counts: Vec<f64>,
    /// Gauges.
    pub sums: Vec<FloatHistogram>,
    /// Totals since the batch began, corrected for resets; of gauges, the last of each window.
    pub counters: Vec<FloatHistogram>,
}

/// Appends the aggregates of raw histograms.
pub(super) fn raw(samples: &SampleBuffer, output_ms: i64, out: &mut Vec<EncodedChunk>) -> Result<(), ChunkError> {
    let histograms = of(samples);
    for run in histograms.chunk_by(|a, b| is_of_one_kind(a.1, b.1)) {
        let times: Vec<Timestamp> = run.iter().map(|(t, _)| *t).collect();
        for batch in batches(&times, output_ms) {
            let batch: Vec<Sample<'_>> = run[batch].iter().filter(|(_, h)| !h.sum.is_nan()).copied().collect();
            HistogramWindows::sweep(&batch, output_ms)?.encode(out)?;
        }
    }
    Ok(())
}

/// The histograms of a buffer.
pub(super) fn of(samples: &SampleBuffer) -> Vec<Sample<'_>> {
    let histograms = samples.histograms.iter();
    histograms.filter_map(|(index, h)| Some((*samples.timestamps.get(*index as usize)?, h.as_ref()))).collect()
}

/// Whether two histograms can be in one batch.
pub(super) fn is_of_one_kind(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let is_gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
    let bits = |h: &FloatHistogram| h.custom_values.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>();
    is_gauge(a) == is_gauge(b)
        && match (a.uses_custom_buckets(), b.uses_custom_buckets()) {
            (false, false) => true,
            (true, true) => bits(a) == bits(b) && a.zero_threshold == b.zero_threshold,
            _ => false,
        }
}

impl HistogramWindows {
    /// Computes the windows of samples of one kind in order of time, none of which has a NaN for a sum.
    pub(super) fn sweep(batch: &[Sample<'_>], resolution_ms: i64) -> Result<Self, ChunkError> {
        let mut windows = Self::default();
        let Some(&(last_t, last)) = batch.last() else { return Ok(windows) };
        let is_gauge = last.counter_reset_hint == CounterResetHint::Gauge;
        let common = Common::of(batch)?;
        let mut counter: Option<FloatHistogram> = None;
        let mut before: Option<(&FloatHistogram, Cow<'_, FloatHistogram>)> = None;
        let mut rest = batch;
        while let Some(&(t, first)) = rest.first() {
            let end = window_end(t, resolution_ms).min(last_t);
            let (window, after) = rest.split_at(rest.iter().take_while(|(t, _)| *t <= end).count());
            let mut sum = common.bring(first)?.into_owned();
            for (index, &(_, sample)) in window.iter().enumerate() {
                let brought = common.bring(sample)?;
                if index > 0 {
                    sum.add(&brought).map_err(contradiction)?;
                }
                match (&mut counter, &before) {
                    (Some(counter), Some((before, _))) if !is_gauge && sample.detect_reset(before) => {
                        counter.add(&brought).map_err(contradiction)?;
                    }
                    (Some(counter), Some((_, before))) => {
                        let mut difference = brought.clone().into_owned();
                        difference.sub(before).map_err(contradiction)?;
                        counter.add(&difference).map_err(contradiction)?;
                    }
                    _ => counter = Some(brought.clone().into_owned()),
                }
                before = Some((sample, brought));
            }
            sum.counter_reset_hint = CounterResetHint::Gauge;
            let mut total = counter.clone().unwrap_or_default();
            total.counter_reset_hint = if is_gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown };
            windows.ends.push(end);
            windows.counts.push(window.len() as f64);
            windows.sums.push(sum);
            windows.counters.push(total);
            rest = after;
        }
        Ok(windows)
    }

    /// Appends the chunk of these windows; more than one where a counter falls, as only hints that are wrong can make it.
    pub(super) fn encode(mut self, out: &mut Vec<EncodedChunk>) -> Result<(), ChunkError> {
        share_layout(&mut self.sums)?;
        share_layout(&mut self.counters)?;
        let (mut from, mut counter) = (0, FloatHistogramEncoder::new());
        while from < self.ends.len() {
            let (mut count, mut sum, mut to) = (XorEncoder::new(), FloatHistogramEncoder::new(), from);
            while to < self.ends.len() && to - from < WINDOWS_MAX {
                if counter.push(self.ends[to], &self.counters[to])? == PushOutcome::NewChunk {
                    break;
                }
                if sum.push(self.ends[to], &self.sums[to])? == PushOutcome::NewChunk {
                    return Err(ChunkError::new("sums of histograms have no layout in common"));
                }
                count.push(self.ends[to], self.counts[to]);
                to += 1;
            }
            let next = self.counters.get(to).map(|next| counter.successor(next)).unwrap_or_default();
            let counter = std::mem::replace(&mut counter, next).finish();
            let (count, sum) = (count.finish(), sum.finish());
            let (float, histogram) = (Encoding::Xor as u8, Encoding::FloatHistogram as u8);
            out.push(EncodedChunk {
                mint: self.ends[from],
                maxt: self.ends[to - 1],
                encoding: Encoding::Aggr,
                data: encode_aggr([
                    Some((float, &count)),
                    Some((histogram, &sum)),
                    None,
                    None,
                    Some((histogram, &counter)),
                ]),
                samples: to - from,
            });
            from = to;
        }
        Ok(())
    }
}

/// What the samples of a batch are brought to.
#[derive(Debug, Clone, Copy)]
struct Common {
    schema: i32,
    zero_threshold: f64,
}

impl Common {
    fn of(batch: &[Sample<'_>]) -> Result<Self, ChunkError> {
        let schema = batch.iter().map(|(_, h)| h.schema).min().unwrap_or_default();
        let zero_threshold = batch.first().map_or(0.0, |(_, h)| h.zero_threshold);
        if batch.iter().all(|(_, h)| h.zero_threshold == zero_threshold) {
            return Ok(Self { schema, zero_threshold });
        }
        // the widest may end within a bucket of another sample, which addition knows about
        let mut all = FloatHistogram { schema, zero_threshold, ..FloatHistogram::default() };
        for (_, h) in batch {
            all.add(h).map_err(contradiction)?;
        }
        Ok(Self { schema, zero_threshold: all.zero_threshold })
    }

    fn bring<'a>(&self, histogram: &'a FloatHistogram) -> Result<Cow<'a, FloatHistogram>, ChunkError> {
        if histogram.schema == self.schema && histogram.zero_threshold == self.zero_threshold {
            return Ok(Cow::Borrowed(histogram));
        }
        let lowered = histogram.copy_to_schema(self.schema);
        if lowered.zero_threshold == self.zero_threshold {
            return Ok(Cow::Owned(lowered));
        }
        let (schema, zero_threshold) = (self.schema, self.zero_threshold);
        let mut widened = FloatHistogram { schema, zero_threshold, ..FloatHistogram::default() };
        widened.add(&lowered).map_err(contradiction)?;
        Ok(Cow::Owned(widened))
    }
}

/// Gives all histograms of a slot the buckets that any of them has, so that they fit one chunk.
fn share_layout(histograms: &mut [FloatHistogram]) -> Result<(), ChunkError> {
    let Some((first, rest)) = histograms.split_first() else { return Ok(()) };
    let same =
        |h: &FloatHistogram| h.positive_spans == first.positive_spans && h.negative_spans == first.negative_spans;
    if rest.iter().all(same) {
        return Ok(());
    }
    let mut empty = first.clone();
    for histogram in rest {
        empty.add(histogram).map_err(contradiction)?;
    }
    empty.count = 0.0;
    empty.zero_count = 0.0;
    empty.positive_buckets.fill(0.0);
    empty.negative_buckets.fill(0.0);
    for histogram in histograms {
        let mut wide = FloatHistogram { sum: 0.0, ..empty.clone() };
        wide.add(histogram).map_err(contradiction)?;
        (wide.sum, wide.counter_reset_hint) = (histogram.sum, histogram.counter_reset_hint);
        *histogram = wide;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn contradiction(error: HistogramError) -> ChunkError {
    ChunkError::new(error.to_string())
}
