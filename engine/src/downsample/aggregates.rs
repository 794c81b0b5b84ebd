//! Aggregates of 5 minutes to those of an hour.
//!
//! Batches are whole chunks: only a chunk's counter knows its first and last raw value.

use storage::chunk::{
    AggrChunk, Aggregate, ChunkError, CounterTotal, EncodedChunk, Encoding, decode, encode_aggr, sample_count,
};
use storage::compact::FIVE_MINUTES_MS;
use storage::model::{FloatHistogram, SampleBuffer, TimeInterval, Timestamp};

use super::Downsampler;
use super::float::{Framing, xor_slot};
use super::histogram::{HistogramWindows, Sample, is_of_one_kind, of};
use super::raw::{check_order, drop_stale, is_histogram};
use super::windows::{WINDOWS_MAX, chunk_count, reach, window_end};
use crate::compact::StoredChunk;

/// A chunk of aggregates, taken apart.
struct Parsed<'a> {
    interval: TimeInterval,
    slots: AggrChunk<'a>,
    windows: usize,
    /// A histogram of it, which tells their kind; none in one of floats.
    histogram: Option<FloatHistogram>,
}

impl<'a> Parsed<'a> {
    fn try_new(stored: &StoredChunk<'a>) -> Result<Self, ChunkError> {
        let slots = AggrChunk::try_parse(stored.data)?;
        let histogram = match slots.get(Aggregate::Counter).or(slots.get(Aggregate::Sum)) {
            Some((encoding, payload)) if is_histogram(encoding) => {
                let mut samples = SampleBuffer::new();
                decode(encoding, payload, TimeInterval::ALL, &mut samples)?;
                let first = samples.histograms.into_iter().next();
                Some(first.map(|(_, histogram)| FloatHistogram::clone(&histogram)).unwrap_or_default())
            }
            _ => None,
        };
        Ok(Self { interval: stored.interval, slots, windows: sample_count(stored.encoding, stored.data)?, histogram })
    }

    fn is_of_one_kind(&self, other: &Self) -> bool {
        match (&self.histogram, &other.histogram) {
            (None, None) => true,
            (Some(a), Some(b)) => is_of_one_kind(a, b),
            _ => false,
        }
    }
}

/// The windows of one slot of floats.
#[derive(Debug, Default)]
struct Slot {
    ends: Vec<Timestamp>,
    values: Vec<f64>,
}

impl Downsampler {
    /// Appends the aggregates, `output_ms` apart, of chunks of aggregates.
    pub(super) fn aggregates(
        &mut self,
        chunks: &[StoredChunk<'_>],
        input_ms: i64,
        output_ms: i64,
        out: &mut Vec<EncodedChunk>,
    ) -> Result<(), ChunkError> {
        if chunks.iter().any(|stored| stored.encoding != Encoding::Aggr as u8) {
            let mended = self.mend(chunks)?;
            let mended: Vec<StoredChunk<'_>> = mended.iter().map(StoredChunk::of).collect();
            return self.aggregates(&mended, input_ms, output_ms, out);
        }
        let parsed = chunks.iter().map(Parsed::try_new).collect::<Result<Vec<_>, _>>()?;
        for run in parsed.chunk_by(Parsed::is_of_one_kind) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let interval = TimeInterval::new(first.interval.mint, last.interval.maxt);
            let windows = run.iter().map(|chunk| chunk.windows).sum();
            let count = chunk_count(interval, input_ms, output_ms, windows);
            for batch in run.chunks((run.len() / count).max(1)) {
                match first.histogram {
                    None => out.extend(self.float_slots(batch, output_ms)?),
                    Some(_) => self.histogram_slots(batch, output_ms, out)?,
                }
            }
        }
        Ok(())
    }

    /// The chunks with raw ones among them downsampled to 5 minutes, and without empty ones.
    fn mend(&mut self, chunks: &[StoredChunk<'_>]) -> Result<Vec<EncodedChunk>, ChunkError> {
        let mut mended = Vec::with_capacity(chunks.len());
        for stored in chunks {
            if stored.encoding == Encoding::Aggr as u8 {
                let TimeInterval { mint, maxt } = stored.interval;
                let data = stored.data.to_vec();
                mended.push(EncodedChunk { mint, maxt, encoding: Encoding::Aggr, data, samples: 0 });
            } else {
                self.raw(std::slice::from_ref(stored), FIVE_MINUTES_MS, &mut mended)?;
            }
        }
        Ok(mended)
    }

    /// One chunk of a batch of chunks of floats; none where they have no windows.
    fn float_slots(&mut self, batch: &[Parsed<'_>], output_ms: i64) -> Result<Option<EncodedChunk>, ChunkError> {
        let count = self.slot(batch, Aggregate::Count, output_ms, 0.0, |sum, value| sum + value)?;
        let sum = self.slot(batch, Aggregate::Sum, output_ms, 0.0, |sum, value| sum + value)?;
        let min = self.slot(
            batch,
            Aggregate::Min,
            output_ms,
            f64::INFINITY,
            |min, value| if value < min { value } else { min },
        )?;
        let max =
            self.slot(
                batch,
                Aggregate::Max,
                output_ms,
                f64::NEG_INFINITY,
                |max, value| if value > max { value } else { max },
            )?;
        let counter = self.counter(batch, output_ms)?;
        let slots = [&count, &sum, &min, &max];
        let mut ends = slots.map(|slot| slot.ends.as_slice()).to_vec();
        if counter.is_some() {
            ends.push(&self.windows.ends);
        }
        let mint = ends.iter().filter_map(|ends| ends.first()).min();
        let maxt = ends.iter().filter_map(|ends| ends.last()).max();
        let (Some(&mint), Some(&maxt)) = (mint, maxt) else { return Ok(None) };
        let [count, sum, min, max] =
            slots.map(|slot| (!slot.ends.is_empty()).then(|| xor_slot(&slot.ends, &slot.values)));
        let samples = slots[0].ends.len();
        let slots = [&count, &sum, &min, &max, &counter].map(|slot| slot.as_ref());
        let data = encode_aggr(slots.map(|slot| slot.map(|payload| (Encoding::Xor as u8, payload.as_slice()))));
        Ok(Some(EncodedChunk { mint, maxt, encoding: Encoding::Aggr, data, samples }))
    }

    /// The windows of one aggregate, each folded from `init`.
    fn slot(
        &mut self,
        batch: &[Parsed<'_>],
        aggregate: Aggregate,
        output_ms: i64,
        init: f64,
        fold: impl Fn(f64, f64) -> f64,
    ) -> Result<Slot, ChunkError> {
        decode_slots(batch, aggregate, &mut self.samples)?;
        self.read += self.samples.len();
        let (times, values) = (&self.samples.timestamps, &self.samples.floats);
        let mut slot = Slot::default();
        let Some(&last_t) = times.last() else { return Ok(slot) };
        let (mut from, mut length) = (0, 1);
        while from < times.len() {
            let end = window_end(times[from], output_ms).min(last_t);
            let to = reach(times, from, from + length, end);
            slot.ends.push(end);
            slot.values.push(values[from..to].iter().copied().fold(init, &fold));
            (length, from) = (to - from, to);
        }
        check_windows(slot.ends.len())?;
        Ok(slot)
    }

    /// The counter slot; its windows stay in `self.windows`. None where no chunk has a counter.
    fn counter(&mut self, batch: &[Parsed<'_>], output_ms: i64) -> Result<Option<Vec<u8>>, ChunkError> {
        let mut total = CounterTotal::default();
        self.numbers.clear();
        for chunk in batch {
            let Some((encoding, payload)) = chunk.slots.get(Aggregate::Counter) else { continue };
            self.samples.clear();
            decode(encoding, payload, TimeInterval::ALL, &mut self.samples)?;
            self.read += self.samples.len();
            for (&t, &value) in self.samples.timestamps.iter().zip(&self.samples.floats) {
                if let Some(corrected) = total.push(t, value) {
                    self.numbers.push_float(t, corrected);
                }
            }
        }
        let (times, values) = (&self.numbers.timestamps, &self.numbers.floats);
        let (Some(&first_t), Some(&first)) = (times.first(), values.first()) else { return Ok(None) };
        let swept = self.windows.sweep(times, values, output_ms);
        check_windows(if swept < times.len() { times.len() } else { self.windows.ends.len() })?;
        Ok(Some(
            self.windows.counter_slot(Framing { first: (first_t, first), last: total.last_value().unwrap_or(first) }),
        ))
    }

    /// The chunks of a batch of chunks of histograms.
    fn histogram_slots(
        &mut self,
        batch: &[Parsed<'_>],
        output_ms: i64,
        out: &mut Vec<EncodedChunk>,
    ) -> Result<(), ChunkError> {
        let count = self.slot(batch, Aggregate::Count, output_ms, 0.0, |sum, value| sum + value)?;
        let mut sweep = |aggregate| {
            decode_slots(batch, aggregate, &mut self.samples)?;
            self.read += self.samples.len();
            let samples: Vec<Sample<'_>> = of(&self.samples).into_iter().filter(|(_, h)| !h.sum.is_nan()).collect();
            HistogramWindows::sweep(&samples, output_ms)
        };
        let (counters, sums) = (sweep(Aggregate::Counter)?, sweep(Aggregate::Sum)?);
        if counters.ends != sums.ends || counters.ends != count.ends {
            return Err(ChunkError::new("aggregates of histograms are not aligned"));
        }
        HistogramWindows { counts: count.values, sums: sums.sums, ..counters }.encode(out)
    }
}

/// The samples of one slot of all chunks, without staleness markers.
fn decode_slots(batch: &[Parsed<'_>], aggregate: Aggregate, samples: &mut SampleBuffer) -> Result<(), ChunkError> {
    samples.clear();
    for chunk in batch {
        let Some((encoding, payload)) = chunk.slots.get(aggregate) else { continue };
        let before = samples.len();
        decode(encoding, payload, TimeInterval::ALL, samples)?;
        check_order(&samples.timestamps, before)?;
    }
    if samples.histograms.is_empty() {
        drop_stale(samples);
    }
    Ok(())
}

fn check_windows(windows: usize) -> Result<(), ChunkError> {
    match windows > WINDOWS_MAX {
        true => Err(ChunkError::new(format!("{windows} windows are too many for a chunk"))),
        false => Ok(()),
    }
}
