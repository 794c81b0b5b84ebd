//! Chunks of one series that overlap: which do, and what they come to.
//!
//! Chunks are taken in order of their first, then their last sample. Each that begins before the latest end so far belongs to the same
//! overlap; one that equals the one before it, to the byte, is left out. An overlap of more than one chunk is decoded, merged, and packed
//! anew in chunks of 120 samples, as Prometheus and Thanos pack them; what overlaps nothing stays as it is.
//!
//! Floats and histograms of an overlap are merged alike. Thanos drops the chunks of an overlap that are not encoded as its first is.

use storage::chunk::{
    self, ChunkError, EncodedChunk, Encoding, SAMPLES_PER_CHUNK, encode_integer_series, encode_series,
};
use storage::model::{SampleBuffer, TimeInterval};
use storage::schema::SeriesColumns;

use super::penalty_fold::PenaltyFold;
use crate::dedup::chain;

/// How the samples of chunks that overlap are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlapMerge {
    /// Every time that any chunk has, once: for copies of the same samples.
    #[default]
    OneToOne,
    /// One replica's samples at a time, another one's where it has a gap: for replicas that scrape by themselves.
    Penalty,
}

/// A chunk as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk<'a> {
    /// From its first to its last sample, as the index says.
    pub interval: TimeInterval,
    /// The encoding byte.
    pub encoding: u8,
    /// The payload.
    pub data: &'a [u8],
}

impl<'a> StoredChunk<'a> {
    /// A chunk that was just made.
    #[must_use]
    pub fn of(chunk: &'a EncodedChunk) -> Self {
        let interval = TimeInterval::new(chunk.mint, chunk.maxt);
        Self { interval, encoding: chunk.encoding as u8, data: &chunk.data }
    }

    /// Chunk `index` of a batch of series.
    pub(crate) fn at(columns: &'a SeriesColumns, index: usize) -> Self {
        Self {
            interval: TimeInterval::new(columns.mint.value(index), columns.maxt.value(index)),
            encoding: columns.encoding.value(index),
            data: columns.data.value(index),
        }
    }

    fn is(&self, encodings: &[Encoding]) -> bool {
        encodings.iter().any(|&encoding| encoding as u8 == self.encoding)
    }
}

/// Cuts sorted chunks into overlaps, each of one chunk at least.
pub(super) fn overlaps<'a, 'b>(chunks: &'b [StoredChunk<'a>]) -> impl Iterator<Item = &'b [StoredChunk<'a>]> {
    let mut rest = chunks;
    std::iter::from_fn(move || {
        let mut maxt = rest.first()?.interval.maxt;
        let overlapping = rest[1..].iter().take_while(|chunk| {
            let overlaps = chunk.interval.mint <= maxt;
            maxt = maxt.max(chunk.interval.maxt);
            overlaps
        });
        let (overlap, after) = rest.split_at(1 + overlapping.count());
        rest = after;
        Some(overlap)
    })
}

/// The chunks that come out of an overlap; none where its only chunk stays as it is.
///
/// # Errors
/// [`ChunkError`] where a chunk does not decode, or is one of aggregates, which cannot be merged.
pub(super) fn merge(overlap: &[StoredChunk<'_>], how: OverlapMerge) -> Result<Option<Vec<EncodedChunk>>, ChunkError> {
    let mut distinct: Vec<&StoredChunk<'_>> = overlap.iter().collect();
    distinct.dedup();
    if distinct.len() < 2 {
        return Ok(None);
    }
    if distinct.iter().any(|chunk| chunk.is(&[Encoding::Aggr])) {
        return Err(ChunkError::new("downsampled chunks overlap"));
    }
    let samples = match how {
        OverlapMerge::OneToOne => fold(&distinct, OneToOneFold::default(), OneToOneFold::push)?.merged,
        OverlapMerge::Penalty => fold(&distinct, PenaltyFold::default(), PenaltyFold::push)?.finish(),
    };
    let has = |encodings: &[Encoding]| distinct.iter().any(|chunk| chunk.is(encodings));
    let integers = has(&[Encoding::Histogram, Encoding::HistogramSt])
        && !has(&[Encoding::FloatHistogram, Encoding::FloatHistogramSt]);
    let encoded = match integers {
        true => encode_integer_series(&samples, SAMPLES_PER_CHUNK),
        false => encode_series(&samples, SAMPLES_PER_CHUNK),
    };
    encoded.map(Some)
}

/// Decodes one chunk after the other into the same memory.
fn fold<T>(chunks: &[&StoredChunk<'_>], mut state: T, push: impl Fn(&mut T, &SampleBuffer)) -> Result<T, ChunkError> {
    let mut decoded = SampleBuffer::new();
    for stored in chunks {
        decoded.clear();
        chunk::decode(stored.encoding, stored.data, TimeInterval::ALL, &mut decoded)?;
        push(&mut state, &decoded);
    }
    Ok(state)
}

/// Chains each chunk to the end of what came before, as far as it reaches back.
#[derive(Debug, Default)]
struct OneToOneFold {
    merged: SampleBuffer,
}

impl OneToOneFold {
    fn push(&mut self, next: &SampleBuffer) {
        let Some(&first) = next.timestamps.first() else { return };
        let from = self.merged.timestamps.partition_point(|&t| t < first);
        let mut tail = SampleBuffer::new();
        (from..self.merged.len()).for_each(|index| tail.push_from(&self.merged, index));
        self.merged.truncate(from);
        let tail = if tail.is_empty() { next } else { &chain(&tail, next) };
        (0..tail.len()).for_each(|index| self.merged.push_from(tail, index));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn encoded(samples: &[(i64, f64)]) -> EncodedChunk {
        let mut buffer = SampleBuffer::new();
        samples.iter().for_each(|&(t, value)| buffer.push_float(t, value));
        encode_series(&buffer, 1000).unwrap().remove(0)
    }

    fn decoded(chunks: &[EncodedChunk]) -> Vec<(i64, f64)> {
        let mut buffer = SampleBuffer::new();
        for chunk in chunks {
            chunk::decode(chunk.encoding as u8, &chunk.data, TimeInterval::ALL, &mut buffer).unwrap();
        }
        buffer.timestamps.iter().copied().zip(buffer.floats.iter().copied()).collect()
    }

    #[test]
    fn overlaps_reach_over_what_lies_between() {
        let chunks = [(0, 9), (5, 30), (10, 12), (30, 31), (32, 40), (50, 60), (50, 60)];
        let chunks =
            chunks.map(|(mint, maxt)| StoredChunk { interval: TimeInterval::new(mint, maxt), encoding: 1, data: &[] });
        let lengths: Vec<usize> = overlaps(&chunks).map(<[_]>::len).collect();
        assert_eq!(lengths, [4, 1, 2]);
        assert_eq!(overlaps(&[]).count(), 0);
    }

    #[test]
    fn copies_to_the_byte_stay_as_they_are() {
        let chunk = encoded(&[(1, 1.0), (2, 2.0)]);
        assert_eq!(merge(&[StoredChunk::of(&chunk), StoredChunk::of(&chunk)], OverlapMerge::Penalty), Ok(None));
        let other = encoded(&[(2, 9.0), (3, 3.0)]);
        let merged =
            merge(&[StoredChunk::of(&chunk), StoredChunk::of(&chunk), StoredChunk::of(&other)], OverlapMerge::OneToOne)
                .unwrap()
                .unwrap();
        assert_eq!(decoded(&merged), [(1, 1.0), (2, 2.0), (3, 3.0)]);
    }

    #[test]
    fn aggregates_are_refused() {
        let chunk = |data| StoredChunk { interval: TimeInterval::new(0, 9), encoding: Encoding::Aggr as u8, data };
        assert!(merge(&[chunk(&[0]), chunk(&[1])], OverlapMerge::OneToOne).is_err());
    }

    proptest! {
        #[test]
        fn one_to_one_keeps_every_time(
            chunks in prop::collection::vec(prop::collection::btree_map(0_i64..300, -5_i32..5, 1..40), 1..8)
        ) {
            let mut chunks: Vec<Vec<(i64, f64)>> =
                chunks.into_iter().map(|c| c.into_iter().map(|(t, v)| (t, f64::from(v))).collect()).collect();
            chunks.sort_by_key(|chunk| (chunk[0].0, chunk[chunk.len() - 1].0));
            let mut expected: BTreeMap<i64, f64> = BTreeMap::new();
            for &(t, value) in chunks.iter().flatten() {
                expected.entry(t).or_insert(value);
            }
            let chunks: Vec<EncodedChunk> = chunks.iter().map(|chunk| encoded(chunk)).collect();
            let stored: Vec<StoredChunk<'_>> = chunks.iter().map(StoredChunk::of).collect();
            let mut found = Vec::new();
            for overlap in overlaps(&stored) {
                match merge(overlap, OverlapMerge::OneToOne).unwrap() {
                    Some(merged) => found.extend(decoded(&merged)),
                    None => {
                        let mut buffer = SampleBuffer::new();
                        chunk::decode(overlap[0].encoding, overlap[0].data, TimeInterval::ALL, &mut buffer).unwrap();
                        found.extend(buffer.timestamps.iter().copied().zip(buffer.floats.iter().copied()));
                    }
                }
            }
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
