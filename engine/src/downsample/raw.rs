//! Raw samples to aggregates.

use storage::chunk::{self, ChunkError, EncodedChunk, Encoding};
use storage::model::{SampleBuffer, TimeInterval, Timestamp, is_stale_nan};

use super::Downsampler;
use super::float::Framing;
use super::histogram;
use super::windows::{chunk_count, window_end};
use crate::compact::StoredChunk;

/// How far raw samples are taken to be apart, as Thanos does: one a minute.
const RAW_INTERVAL_MS: i64 = 60_000;

impl Downsampler {
    /// Appends the aggregates of raw chunks.
    pub(super) fn raw(
        &mut self,
        chunks: &[StoredChunk<'_>],
        output_ms: i64,
        out: &mut Vec<EncodedChunk>,
    ) -> Result<(), ChunkError> {
        let mut samples = std::mem::take(&mut self.samples);
        let mut downsampled = Ok(());
        for run in chunks.chunk_by(|a, b| is_histogram(a.encoding) == is_histogram(b.encoding)) {
            downsampled = self.decode(run, &mut samples).and_then(|()| match is_histogram(run[0].encoding) {
                true => histogram::raw(&samples, output_ms, out),
                false => {
                    self.floats(&samples, output_ms, out);
                    Ok(())
                }
            });
            if downsampled.is_err() {
                break;
            }
        }
        self.samples = samples;
        downsampled
    }

    /// All samples of a run, without staleness markers.
    fn decode(&mut self, run: &[StoredChunk<'_>], samples: &mut SampleBuffer) -> Result<(), ChunkError> {
        samples.clear();
        for stored in run {
            if stored.encoding == Encoding::Aggr as u8 {
                return Err(ChunkError::new("a chunk of aggregates among raw samples"));
            }
            let before = samples.len();
            chunk::decode_sharing(stored.encoding, stored.data, TimeInterval::ALL, &mut self.times, samples)?;
            check_order(&samples.timestamps, before)?;
        }
        self.times.remember(&samples.timestamps);
        self.read += samples.len();
        if !is_histogram(run[0].encoding) {
            drop_stale(samples);
        }
        Ok(())
    }

    fn floats(&mut self, samples: &SampleBuffer, output_ms: i64, out: &mut Vec<EncodedChunk>) {
        for batch in batches(&samples.timestamps, output_ms) {
            let (times, values) = (&samples.timestamps[batch.clone()], &samples.floats[batch]);
            if has_nan(values) {
                self.numbers.clear();
                for (&t, &value) in times.iter().zip(values).filter(|(_, value)| !value.is_nan()) {
                    self.numbers.push_float(t, value);
                }
                let numbers = std::mem::take(&mut self.numbers);
                self.float_batch(&numbers.timestamps, &numbers.floats, output_ms, out);
                self.numbers = numbers;
            } else {
                self.float_batch(times, values, output_ms, out);
            }
        }
    }

    /// One chunk, or where it cannot hold all windows, several.
    fn float_batch(&mut self, times: &[Timestamp], values: &[f64], output_ms: i64, out: &mut Vec<EncodedChunk>) {
        let (mut times, mut values) = (times, values);
        while !times.is_empty() {
            let swept = self.windows.sweep(times, values, output_ms);
            out.push(self.windows.encode(Framing { first: (times[0], values[0]), last: values[swept - 1] }));
            (times, values) = (&times[swept..], &values[swept..]);
        }
    }
}

/// Cuts samples into batches that become a chunk each. A batch ends with a window.
pub(super) fn batches(times: &[Timestamp], output_ms: i64) -> impl Iterator<Item = std::ops::Range<usize>> {
    let chunks = match (times.first(), times.last()) {
        (Some(&mint), Some(&maxt)) => {
            chunk_count(TimeInterval::new(mint, maxt), RAW_INTERVAL_MS, output_ms, times.len())
        }
        _ => 1,
    };
    let (size, mut from) = (times.len() / chunks + 1, 0);
    std::iter::from_fn(move || {
        let last = (from + size).min(times.len()).checked_sub(1).filter(|_| from < times.len())?;
        let end = window_end(times[last], output_ms);
        let to = last + 1 + times[last + 1..].iter().take_while(|&&t| t <= end).count();
        Some(std::mem::replace(&mut from, to)..to)
    })
}

/// Whether an encoding is one of native histograms, of integers or floats.
pub(super) fn is_histogram(encoding: u8) -> bool {
    matches!(
        Encoding::try_from(encoding),
        Ok(Encoding::Histogram | Encoding::HistogramSt | Encoding::FloatHistogram | Encoding::FloatHistogramSt)
    )
}

/// Refuses a chunk, decoded from index `from` on, that begins before the one before it ends.
pub(super) fn check_order(times: &[Timestamp], from: usize) -> Result<(), ChunkError> {
    match from.checked_sub(1).is_some_and(|last| times.get(from).is_some_and(|&t| t < times[last])) {
        true => Err(ChunkError::new("samples begin before the chunk before ends")),
        false => Ok(()),
    }
}

/// Without a way out early, so that it is done for several values at once.
fn has_nan(values: &[f64]) -> bool {
    values.iter().fold(false, |found, value| found | value.is_nan())
}

/// Leaves staleness markers out.
pub(super) fn drop_stale(samples: &mut SampleBuffer) {
    if !has_nan(&samples.floats) {
        return;
    }
    let Some(first) = samples.floats.iter().position(|&value| is_stale_nan(value)) else { return };
    let mut kept = first;
    for index in first..samples.len() {
        if !is_stale_nan(samples.floats[index]) {
            samples.timestamps[kept] = samples.timestamps[index];
            samples.floats[kept] = samples.floats[index];
            kept += 1;
        }
    }
    samples.truncate(kept);
}
