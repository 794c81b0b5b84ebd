//! Downsampled chunks of one series to samples, and raw ones beside them.
//!
//! A downsampled chunk holds five aggregates of each of its windows. Which of them a selector reads, its [`Reading`] says; a raw
//! sample beside them stands for a window of its own. Samples come replica by replica, and only then are replicas merged: an average
//! is made of sum and count before, so that the two are always of the same replica and window.
//!
//! | reading | of a window | of a raw sample |
//! |---|---|---|
//! | average | sum / count | the sample |
//! | sum, min, max | that | the sample |
//! | count | that | 1 |
//! | counter | [the total](CounterTotal) across chunks and resets | likewise |

use std::fmt;
use std::ops::Range;

use storage::chunk::{self, Aggregate, ChunkError, CounterTotal, Encoding};
use storage::model::{SampleBuffer, TimeInterval, Timestamp, is_stale_nan};
use storage::schema::SeriesColumns;

use super::{append, decode_chunk, undecodable};
use crate::dedup::ReplicaMerge;
use crate::error::Result;

/// What a selector reads of downsampled chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// The average of a window's samples.
    #[default]
    Average,
    /// How many samples a window has.
    Count,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// A counter's total at the window's last sample, counted through resets.
    Counter,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Average => "average",
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Counter => "counter",
        })
    }
}

/// Length of the longest windows there are: how much earlier than its first time a chunk may have had samples.
const WINDOW_MS_MAX: i64 = 3_600_000;

/// The samples in `interval` of the series in `row`, whose `chunks` come by time.
pub(super) fn decode(
    columns: &SeriesColumns,
    row: usize,
    chunks: &[usize],
    interval: TimeInterval,
    reading: Reading,
    merge: ReplicaMerge,
) -> Result<SampleBuffer> {
    let mut numbers: Vec<u32> = Vec::new();
    let mut replicas: Vec<Vec<usize>> = Vec::new();
    for &chunk in chunks {
        let number = columns.replica.value(chunk);
        match numbers.iter().position(|&n| n == number) {
            Some(known) => replicas[known].push(chunk),
            None => {
                numbers.push(number);
                replicas.push(vec![chunk]);
            }
        }
    }
    let of_replica = |chunks: Vec<usize>| Replica { columns, row, chunks, interval }.samples(reading);
    Ok(merge.merge(replicas.into_iter().map(of_replica).collect::<Result<_>>()?))
}

/// Whether a chunk is a downsampled one.
pub(super) fn is_aggregates(columns: &SeriesColumns, chunk: usize) -> bool {
    columns.encoding.value(chunk) == Encoding::Aggr as u8
}

/// The chunks of a series that one replica has.
struct Replica<'a> {
    columns: &'a SeriesColumns,
    row: usize,
    chunks: Vec<usize>,
    interval: TimeInterval,
}

impl Replica<'_> {
    fn samples(&self, reading: Reading) -> Result<SampleBuffer> {
        let aggregated = self.aggregated()?;
        if reading == Reading::Counter && self.chunks.iter().any(|&chunk| is_aggregates(self.columns, chunk)) {
            return self.counter(&aggregated);
        }
        let mut samples = SampleBuffer::new();
        let mut decoded = SampleBuffer::new();
        for &chunk in &self.chunks {
            decoded.clear();
            if is_aggregates(self.columns, chunk) {
                self.decode_windows(chunk, reading, &mut decoded)?;
            } else {
                self.decode_raw(chunk, self.interval, &aggregated, &mut decoded)?;
                if reading == Reading::Count {
                    decoded = ones(&decoded);
                }
            }
            append(&mut samples, &decoded);
        }
        Ok(samples)
    }

    /// The total of a counter. It is counted from the first chunk's beginning, so that it does not depend on where in it the
    /// interval begins.
    fn counter(&self, aggregated: &[TimeInterval]) -> Result<SampleBuffer> {
        let before = TimeInterval::new(Timestamp::MIN, self.interval.maxt);
        let (mut raw, mut decoded) = (SampleBuffer::new(), SampleBuffer::new());
        for &chunk in self.chunks.iter().filter(|&&chunk| !is_aggregates(self.columns, chunk)) {
            decoded.clear();
            self.decode_raw(chunk, before, aggregated, &mut decoded)?;
            append(&mut raw, &decoded);
        }
        let mut counter = Counter { interval: self.interval, total: CounterTotal::default(), out: SampleBuffer::new() };
        let mut taken = 0;
        for &chunk in self.chunks.iter().filter(|&&chunk| is_aggregates(self.columns, chunk)) {
            decoded.clear();
            chunk::decode_counter(self.columns.data.value(chunk), self.time_of(chunk), &mut decoded)
                .map_err(|error| self.undecodable(chunk, &error))?;
            let earlier =
                decoded.timestamps.first().map_or(taken, |&first| raw.timestamps.partition_point(|&t| t < first));
            counter.take(&raw, taken..earlier);
            taken = taken.max(earlier);
            counter.take(&decoded, 0..decoded.len());
        }
        counter.take(&raw, taken..raw.len());
        Ok(counter.out)
    }

    /// One aggregate of the windows of a chunk. Histograms have neither the smallest nor the largest: the average stands in, which
    /// functions of floats then pass over as they do raw histograms.
    fn decode_windows(&self, chunk: usize, reading: Reading, out: &mut SampleBuffer) -> Result<()> {
        let TimeInterval { mint, maxt } = self.time_of(chunk);
        let interval = TimeInterval::new(mint.max(self.interval.mint), maxt.min(self.interval.maxt));
        let data = self.columns.data.value(chunk);
        let aggregate = match reading {
            Reading::Average | Reading::Counter => None,
            Reading::Count => Some(Aggregate::Count),
            Reading::Sum => Some(Aggregate::Sum),
            Reading::Min => Some(Aggregate::Min),
            Reading::Max => Some(Aggregate::Max),
        };
        let slot = match aggregate {
            None => None,
            Some(aggregate) => {
                chunk::AggrChunk::try_parse(data).map_err(|error| self.undecodable(chunk, &error))?.get(aggregate)
            }
        };
        let (encoding, payload) = slot.unwrap_or((Encoding::Aggr as u8, data));
        chunk::decode(encoding, payload, interval, out).map_err(|error| self.undecodable(chunk, &error))
    }

    /// The samples of a raw chunk that are not in an aggregate too, as those of a head may be.
    fn decode_raw(
        &self,
        chunk: usize,
        interval: TimeInterval,
        aggregated: &[TimeInterval],
        out: &mut SampleBuffer,
    ) -> Result<()> {
        let time = self.time_of(chunk);
        if !aggregated.iter().any(|windows| windows.overlaps(time)) {
            return decode_chunk(self.columns, self.row, chunk, interval, out);
        }
        let mut all = SampleBuffer::new();
        decode_chunk(self.columns, self.row, chunk, interval, &mut all)?;
        let apart = |t: Timestamp| !aggregated.iter().any(|windows| windows.contains(t));
        (0..all.len()).filter(|&i| apart(all.timestamps[i])).for_each(|i| out.push_from(&all, i));
        Ok(())
    }

    /// The times from which windows are made that raw chunks may reach into. The first sample of a chunk's first window is its
    /// counter's.
    fn aggregated(&self) -> Result<Vec<TimeInterval>> {
        let is_raw = |chunk: &&usize| !is_aggregates(self.columns, **chunk);
        let raw: Vec<TimeInterval> = self.chunks.iter().filter(is_raw).map(|&chunk| self.time_of(chunk)).collect();
        let mut aggregated = Vec::new();
        for &chunk in self.chunks.iter().filter(|&&chunk| is_aggregates(self.columns, chunk)) {
            let time = self.time_of(chunk);
            let reach = TimeInterval::new(time.mint.saturating_sub(WINDOW_MS_MAX), time.maxt);
            if !raw.iter().any(|raw| raw.overlaps(reach)) {
                continue;
            }
            let mut counter = SampleBuffer::new();
            let until = TimeInterval::new(Timestamp::MIN, time.mint);
            chunk::decode_aggregate(self.columns.data.value(chunk), Aggregate::Counter, until, &mut counter)
                .map_err(|error| self.undecodable(chunk, &error))?;
            let first = counter.timestamps.first().copied().filter(|_| counter.histograms.is_empty());
            aggregated.push(TimeInterval::new(first.unwrap_or(time.mint).max(reach.mint), time.maxt));
        }
        Ok(aggregated)
    }

    /// The time that a chunk speaks for: less than it holds where it was cut.
    fn time_of(&self, chunk: usize) -> TimeInterval {
        TimeInterval::new(self.columns.mint.value(chunk), self.columns.maxt.value(chunk))
    }

    fn undecodable(&self, chunk: usize, error: &ChunkError) -> crate::error::Error {
        undecodable(self.columns, self.row, chunk, error)
    }
}

/// A counter being added up.
struct Counter {
    interval: TimeInterval,
    total: CounterTotal,
    out: SampleBuffer,
}

impl Counter {
    /// Takes more samples. Histograms pass: they say themselves where they were reset.
    fn take(&mut self, samples: &SampleBuffer, indices: Range<usize>) {
        for index in indices {
            let t = samples.timestamps[index];
            if samples.histogram(index).is_some() {
                if self.interval.contains(t) && self.out.timestamps.last().is_none_or(|&last| last < t) {
                    self.out.push_from(samples, index);
                }
            } else if let Some(total) = self.total.push(t, samples.floats[index]).filter(|_| self.interval.contains(t))
            {
                self.out.push_float(t, total);
            }
        }
    }
}

/// 1 for each sample that is one; staleness markers stay.
fn ones(samples: &SampleBuffer) -> SampleBuffer {
    let mut ones = SampleBuffer::new();
    for (index, (&t, &value)) in samples.timestamps.iter().zip(&samples.floats).enumerate() {
        let marker = samples.histogram(index).is_none() && is_stale_nan(value);
        ones.push_float(t, if marker { value } else { 1.0 });
    }
    ones
}

#[cfg(test)]
mod tests;
