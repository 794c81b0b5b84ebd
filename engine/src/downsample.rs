//! Downsampling: a series' samples in windows of 5 minutes or an hour, as Thanos's chunks of aggregates.
//!
//! ```text
//! raw chunks ─> decode ─> runs ─> batches ─> windows ─> one chunk of aggregates a batch          [`raw`]
//! chunks of 5 minutes ──> runs ─> batches of whole chunks ─> windows of each aggregate ─> ditto   [`aggregates`]
//! ```
//!
//! A run is what can share a chunk: floats, or histograms of one kind. A batch is what becomes one chunk, of about 140 windows; how long
//! it is follows from how many samples there are. A window ends in the millisecond before a multiple of the resolution, or with the
//! batch's last sample; an aggregate's time is its window's end.
//!
//! **Aggregates of floats** are count, sum, min, max, and the counter: the reset-corrected total since the batch began. The counter's
//! slot begins with the first raw sample and ends with the last raw value at the last window's time, so that resets between chunks
//! are seen. Staleness markers are no samples; other NaNs count where batches are cut, and for nothing else.
//!
//! **Aggregates of histograms** are count, sum and counter, as float histograms; the counter lacks the framing.
//!
//! Times, values and cuts are Thanos's to the bit (pkg/compact/downsample), but where docs/differences.md says otherwise.

mod aggregates;
mod float;
mod histogram;
mod raw;
mod windows;

#[cfg(test)]
mod tests;

use storage::chunk::{ChunkError, EncodedChunk, SharedTimes};
use storage::compact::{FIVE_MINUTES_MS, ONE_HOUR_MS, RAW};
use storage::model::SampleBuffer;

use crate::compact::StoredChunk;
use float::FloatWindows;

/// Downsamples series after series, in memory that is reused.
#[derive(Debug, Default)]
pub struct Downsampler {
    samples: SampleBuffer,
    /// The samples of a batch without NaNs, where it had any.
    numbers: SampleBuffer,
    windows: FloatWindows,
    /// Series of one target follow each other, and have the same times.
    times: SharedTimes,
    read: usize,
}

impl Downsampler {
    /// One that holds no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunks of aggregates of one series, `output_ms` milliseconds apart. `chunks` are sorted and do not overlap; they are
    /// `input_ms` apart: raw samples where that is 0, else aggregates.
    ///
    /// Raw samples among aggregates, which old versions of Thanos left behind, become aggregates of 5 minutes first.
    ///
    /// # Errors
    /// [`ChunkError`] where a chunk does not decode, chunks do overlap, or there are aggregates among raw samples.
    pub fn downsample(
        &mut self,
        chunks: &[StoredChunk<'_>],
        input_ms: i64,
        output_ms: i64,
    ) -> Result<Vec<EncodedChunk>, ChunkError> {
        let mut out = Vec::new();
        if input_ms == RAW {
            self.raw(chunks, output_ms, &mut out)?;
        } else {
            self.aggregates(chunks, input_ms, output_ms, &mut out)?;
        }
        Ok(out)
    }

    /// As [`downsample`](Self::downsample), to each resolution above `input_ms` up to `output_ms`: an hour is made of 5 minutes. Returns
    /// resolutions in milliseconds with their chunks.
    ///
    /// # Errors
    /// As [`downsample`](Self::downsample).
    pub fn levels(
        &mut self,
        chunks: &[StoredChunk<'_>],
        input_ms: i64,
        output_ms: i64,
    ) -> Result<Vec<(i64, Vec<EncodedChunk>)>, ChunkError> {
        let mut levels: Vec<(i64, Vec<EncodedChunk>)> = Vec::new();
        for level_ms in [FIVE_MINUTES_MS, ONE_HOUR_MS] {
            if level_ms <= input_ms || level_ms > output_ms {
                continue;
            }
            let made = match levels.last() {
                None => self.downsample(chunks, input_ms, level_ms)?,
                Some((from_ms, finer)) => {
                    let finer: Vec<StoredChunk<'_>> = finer.iter().map(StoredChunk::of).collect();
                    self.downsample(&finer, *from_ms, level_ms)?
                }
            };
            levels.push((level_ms, made));
        }
        Ok(levels)
    }

    /// Samples that were read so far, of each aggregate.
    #[must_use]
    pub fn samples_read(&self) -> usize {
        self.read
    }

    /// Bytes that are held from series to series.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.samples.capacity_bytes() + self.numbers.capacity_bytes() + self.windows.capacity_bytes()
    }
}
