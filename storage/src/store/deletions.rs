//! What of a block does not count: what tombstones delete of it, and times for which another block answers.
//!
//! A chunk of which all counts is passed on as it is. Of one that is touched the remaining samples are encoded anew, or
//! nothing is left. Aggregates stay as they are stored, in a row of chunks with the times that are left of them: whoever
//! decodes them needs the windows beside a cut to see resets of counters.

use std::borrow::Cow;
use std::sync::Arc;

use crate::block::tombstones::{Deleted, Intervals, Tombstones};
use crate::chunk::{ChunkError, EncodedChunk, SAMPLES_PER_CHUNK, decode, encode_series};
use crate::index::SeriesRef;
use crate::model::{SampleBuffer, TimeInterval};

/// What of a block's series does not count.
#[derive(Debug, Clone, Default)]
pub struct Deletions {
    tombstones: Arc<Tombstones>,
    /// Times for which other blocks answer, of all series.
    elsewhere: Intervals,
}

impl Deletions {
    /// What `tombstones` delete.
    #[must_use]
    pub fn new(tombstones: Arc<Tombstones>) -> Self {
        Self { tombstones, elsewhere: Intervals::default() }
    }

    /// These, and all that lies outside of `intervals`, which ascend and do not touch.
    #[must_use]
    pub fn within(&self, intervals: &[TimeInterval]) -> Self {
        let mut elsewhere = self.elsewhere.clone();
        between(intervals).into_iter().for_each(|outside| elsewhere.add(outside));
        Self { tombstones: Arc::clone(&self.tombstones), elsewhere }
    }

    /// How much of the time of a chunk does not count of a series, and which intervals of the series do not.
    #[must_use]
    pub fn of_chunk(&self, series_ref: u64, chunk: TimeInterval) -> (Deleted, Cow<'_, [TimeInterval]>) {
        let elsewhere = self.elsewhere.deleted(chunk);
        let tombstones = u32::try_from(series_ref).ok().and_then(|series| self.tombstones.get(SeriesRef(series)));
        let Some(tombstones) = tombstones else { return (elsewhere, Cow::Borrowed(self.elsewhere.as_slice())) };
        if elsewhere == Deleted::None {
            return (tombstones.deleted(chunk), Cow::Borrowed(tombstones.as_slice()));
        }
        let mut both = tombstones.clone();
        self.elsewhere.as_slice().iter().for_each(|interval| both.add(*interval));
        (both.deleted(chunk), Cow::Owned(both.as_slice().to_vec()))
    }
}

/// What lies between and around intervals that ascend and do not touch.
pub fn between(intervals: &[TimeInterval]) -> Vec<TimeInterval> {
    let mut outside = Vec::with_capacity(intervals.len() + 1);
    let mut start = Some(i64::MIN);
    for interval in intervals {
        if let (Some(start), Some(end)) = (start, interval.mint.checked_sub(1)) {
            outside.extend((start <= end).then(|| TimeInterval::new(start, end)));
        }
        start = interval.maxt.checked_add(1);
    }
    outside.extend(start.map(|start| TimeInterval::new(start, i64::MAX)));
    outside
}

/// What of `chunk`'s time is left by what is deleted.
#[must_use]
pub fn left_of(chunk: TimeInterval, deleted: &[TimeInterval]) -> Vec<TimeInterval> {
    let left = between(deleted).into_iter().filter(|left| left.overlaps(chunk));
    left.map(|left| TimeInterval::new(left.mint.max(chunk.mint), left.maxt.min(chunk.maxt))).collect()
}

/// The samples of a chunk that are not deleted, encoded anew; `deleted` ascends.
///
/// # Errors
/// [`ChunkError`] where the payload does not decode.
pub fn keep(encoding: u8, data: &[u8], deleted: &[TimeInterval]) -> Result<Vec<EncodedChunk>, ChunkError> {
    let mut kept = SampleBuffer::new();
    for interval in between(deleted) {
        decode(encoding, data, interval, &mut kept)?;
    }
    encode_series(&kept, SAMPLES_PER_CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_deleted_is_encoded_anew() {
        let mut samples = SampleBuffer::new();
        (0..100).for_each(|t| samples.push_float(t, t as f64));
        let chunk = &encode_series(&samples, 120).unwrap()[0];
        let deleted = [TimeInterval::new(i64::MIN, 9), TimeInterval::new(20, 89), TimeInterval::new(95, i64::MAX)];
        let kept = keep(chunk.encoding as u8, &chunk.data, &deleted).unwrap();
        let mut back = SampleBuffer::new();
        kept.iter().for_each(|c| decode(c.encoding as u8, &c.data, TimeInterval::ALL, &mut back).unwrap());
        assert_eq!(back.timestamps, (10..20).chain(90..95).collect::<Vec<_>>());
        let all = [TimeInterval::new(i64::MIN, i64::MAX)];
        assert!(keep(chunk.encoding as u8, &chunk.data, &all).unwrap().is_empty());
    }

    #[test]
    fn only_the_series_that_was_deleted_is_touched() {
        let mut tombstones = Tombstones::default();
        tombstones.add(SeriesRef(1), TimeInterval::new(0, 9));
        let deletions = Deletions::new(Arc::new(tombstones));
        let at = |series, mint, maxt| deletions.of_chunk(series, TimeInterval::new(mint, maxt)).0;
        assert_eq!(at(1, 2, 8), Deleted::Whole);
        assert_eq!(at(1, 2, 10), Deleted::Part);
        assert_eq!(at(2, 2, 8), Deleted::None);
        assert_eq!(at(u64::MAX, 2, 8), Deleted::None);
    }

    #[test]
    fn what_another_block_answers_for_goes_with_what_is_deleted() {
        let mut tombstones = Tombstones::default();
        tombstones.add(SeriesRef(1), TimeInterval::new(20, 29));
        let cut = [TimeInterval::new(10, 39), TimeInterval::new(60, i64::MAX)];
        let deletions = Deletions::new(Arc::new(tombstones)).within(&cut);
        let check = |series, mint, maxt, expected| {
            assert_eq!(
                deletions.of_chunk(series, TimeInterval::new(mint, maxt)).0,
                expected,
                "{series}: {mint}..{maxt}"
            );
        };
        check(2, 10, 39, Deleted::None);
        check(2, 9, 39, Deleted::Part);
        check(2, 40, 59, Deleted::Whole);
        check(2, 30, 70, Deleted::Part);
        check(1, 10, 19, Deleted::None);
        check(1, 20, 29, Deleted::Whole);
        check(1, 5, 39, Deleted::Part);
        let (_, both) = deletions.of_chunk(1, TimeInterval::new(5, 39));
        let both: Vec<_> = both.iter().map(|interval| (interval.mint, interval.maxt)).collect();
        assert_eq!(both, [(i64::MIN, 9), (20, 29), (40, 59)]);
        assert_eq!(between(&[TimeInterval::ALL]), []);
        assert_eq!(between(&[]), [TimeInterval::ALL]);
    }
}
