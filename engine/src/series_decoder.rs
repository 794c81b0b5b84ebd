//! Chunks of one series to samples: decoded once, into memory that is reused from series to series.
//!
//! 1. Chunks that no window touches are left alone, unless there are replicas, of which the one that was last counts;
//!    samples outside the interval are dropped while decoding.
//! 2. Chunks of one replica that overlap (head against block, out-of-order blocks) are [chained](chain); of two samples at one
//!    instant the first chunk's counts.
//! 3. Replicas are deduplicated as [`ReplicaMerge`] says.
//!
//! Where the selector may have [downsampled] chunks, rows that do have some go another way.

mod downsampled;

use storage::chunk::{self, ChunkError, SharedTimes};
use storage::model::{Labels, SampleBuffer, TimeInterval, Timestamp};
use storage::schema::SeriesColumns;

use crate::dedup::{ReplicaMerge, chain};
use crate::error::{Error, Result};
use crate::kernel::Windows;

pub use downsampled::Reading;

/// Decodes series batches row by row.
#[derive(Debug)]
pub(crate) struct SeriesDecoder {
    interval: TimeInterval,
    /// Where windows leave gaps between them, which chunks lie in a gap; none where they do not.
    gaps: Option<Windows>,
    merge: ReplicaMerge,
    /// What is read of downsampled chunks; none where all are raw.
    downsampled: Option<Reading>,
    samples: SampleBuffer,
    /// Series of one target follow each other, and have the same times.
    times: SharedTimes,
    /// The chunks of the row at hand.
    chunks: Vec<usize>,
}

impl SeriesDecoder {
    /// A decoder of the samples in `interval`. `downsampled`: what is read of downsampled chunks, where there may be any.
    pub(crate) fn new(interval: TimeInterval, merge: ReplicaMerge, downsampled: Option<Reading>) -> Self {
        Self {
            interval,
            gaps: None,
            merge,
            downsampled,
            samples: SampleBuffer::new(),
            times: SharedTimes::default(),
            chunks: Vec::new(),
        }
    }

    /// A decoder of the samples in `windows`.
    pub(crate) fn for_windows(windows: &Windows, merge: ReplicaMerge, downsampled: Option<Reading>) -> Self {
        let interval = windows.read_interval();
        let read_ms = windows.read_end(0).saturating_sub(windows.read_start(0));
        // a counter's total needs every chunk
        let skips = windows.at.is_none() && read_ms < windows.grid.step_ms && downsampled != Some(Reading::Counter);
        let gaps = skips.then_some(*windows);
        Self { gaps, ..Self::new(interval, merge, downsampled) }
    }

    /// The samples of `row`, in time order, staleness markers included.
    pub(crate) fn decode(&mut self, columns: &SeriesColumns, row: usize) -> Result<&SampleBuffer> {
        self.samples.clear();
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.clear();
        let first = columns.chunk_range(row).start;
        // deduplication remembers what it saw last, so with replicas every chunk of the interval has a say
        let skip = columns.chunk_range(row).all(|c| columns.replica.value(c) == columns.replica.value(first));
        chunks.extend(columns.chunk_range(row).filter(|&chunk| self.wants(columns, chunk, skip)));
        if let Some(reading) = self.downsampled.filter(|reading| is_downsampled(columns, &chunks, *reading)) {
            self.samples = downsampled::decode(columns, row, &chunks, self.interval, reading, self.merge)?;
            self.chunks = chunks;
            return Ok(&self.samples);
        }
        let (mut replica, mut maxt): (Option<u32>, Timestamp) = (None, Timestamp::MIN);
        let mut in_order = true;
        for &chunk in &chunks {
            let (this, mint) = (columns.replica.value(chunk), columns.mint.value(chunk));
            in_order &= replica.is_none_or(|replica| replica == this && mint > maxt);
            (replica, maxt) = (Some(this), columns.maxt.value(chunk));
        }
        if in_order {
            for &chunk in &chunks {
                let (encoding, data) = (columns.encoding.value(chunk), columns.data.value(chunk));
                chunk::decode_sharing(encoding, data, self.interval, &mut self.times, &mut self.samples)
                    .map_err(|error| undecodable(columns, row, chunk, &error))?;
            }
            self.times.remember(&self.samples.timestamps);
        } else {
            self.samples = decode_replicas(columns, row, &chunks, self.interval, self.merge)?;
        }
        self.chunks = chunks;
        Ok(&self.samples)
    }

    /// The samples of the row decoded last.
    pub(crate) fn samples(&self) -> &SampleBuffer {
        &self.samples
    }

    /// Forgets the samples of the row decoded last.
    pub(crate) fn clear(&mut self) {
        self.samples.clear();
    }

    /// Whether the interval, and where `skip` is set a window, touches the chunk.
    fn wants(&self, columns: &SeriesColumns, chunk: usize, skip: bool) -> bool {
        let (mint, maxt) = (columns.mint.value(chunk), columns.maxt.value(chunk));
        if !self.interval.overlaps(TimeInterval::new(mint, maxt)) {
            return false;
        }
        let Some(windows) = self.gaps.as_ref().filter(|_| skip) else { return true };
        // the first window that ends at or after the chunk's start decides
        let ahead = mint.saturating_sub(windows.read_end(0)).max(0);
        let step_ms = windows.grid.step_ms;
        let step = usize::try_from(ahead.saturating_add(step_ms - 1) / step_ms).unwrap_or(usize::MAX);
        step < windows.steps() && windows.read_start(step) < maxt
    }
}

/// Whether chunks of a series are not to be read as raw samples: some are aggregates, or samples are counted.
fn is_downsampled(columns: &SeriesColumns, chunks: &[usize], reading: Reading) -> bool {
    reading == Reading::Count || chunks.iter().any(|&chunk| downsampled::is_aggregates(columns, chunk))
}

fn decode_chunk(
    columns: &SeriesColumns,
    row: usize,
    chunk: usize,
    interval: TimeInterval,
    out: &mut SampleBuffer,
) -> Result<()> {
    chunk::decode(columns.encoding.value(chunk), columns.data.value(chunk), interval, out)
        .map_err(|error| undecodable(columns, row, chunk, &error))
}

fn undecodable(columns: &SeriesColumns, row: usize, chunk: usize, error: &ChunkError) -> Error {
    let labels = Labels::from_key(columns.labels.value(row));
    let interval = TimeInterval::new(columns.mint.value(chunk), columns.maxt.value(chunk));
    Error::Chunk { labels, interval, reason: error.to_string() }
}

/// The slow way: replicas or overlaps.
fn decode_replicas(
    columns: &SeriesColumns,
    row: usize,
    chunks: &[usize],
    interval: TimeInterval,
    merge: ReplicaMerge,
) -> Result<SampleBuffer> {
    let mut numbers: Vec<u32> = Vec::new();
    let mut replicas: Vec<SampleBuffer> = Vec::new();
    let mut decoded = SampleBuffer::new();
    for &chunk in chunks {
        decoded.clear();
        decode_chunk(columns, row, chunk, interval, &mut decoded)?;
        let number = columns.replica.value(chunk);
        if let Some(known) = numbers.iter().position(|&n| n == number) {
            append(&mut replicas[known], &decoded);
        } else {
            numbers.push(number);
            replicas.push(decoded.clone());
        }
    }
    Ok(merge.merge(replicas))
}

/// Appends the samples of the next chunk of a replica.
fn append(samples: &mut SampleBuffer, next: &SampleBuffer) {
    if samples.timestamps.last() < next.timestamps.first() {
        (0..next.len()).for_each(|index| samples.push_from(next, index));
    } else {
        *samples = chain(samples, next);
    }
}

#[cfg(test)]
mod tests;
