//! What tombstones leave of a block.
//!
//! A chunk that no deleted interval touches is passed on as it is; of one that is touched the remaining samples are
//! encoded anew, or nothing is left.

use std::collections::HashMap;

use crate::chunk::{ChunkError, EncodedChunk, SAMPLES_PER_CHUNK, decode, encode_series};
use crate::model::{SampleBuffer, TimeInterval};

/// Deleted intervals by series reference.
#[derive(Debug, Default)]
pub struct Deletions(HashMap<u64, Vec<TimeInterval>>);

impl Deletions {
    /// From intervals by series; those of one series may overlap.
    pub fn new(intervals: impl IntoIterator<Item = (u64, TimeInterval)>) -> Self {
        let mut by_series: HashMap<u64, Vec<TimeInterval>> = HashMap::new();
        for (series, interval) in intervals {
            by_series.entry(series).or_default().push(interval);
        }
        by_series.values_mut().for_each(|intervals| merge(intervals));
        Self(by_series)
    }

    /// What is deleted of a series.
    #[must_use]
    pub fn of(&self, series_ref: u64) -> &[TimeInterval] {
        self.0.get(&series_ref).map_or(&[], Vec::as_slice)
    }

    /// Whether all of `interval` is deleted of a series.
    #[must_use]
    pub fn cover(&self, series_ref: u64, interval: TimeInterval) -> bool {
        self.of(series_ref).iter().any(|deleted| deleted.mint <= interval.mint && interval.maxt <= deleted.maxt)
    }
}

/// Sorts intervals and joins those that overlap or touch.
fn merge(intervals: &mut Vec<TimeInterval>) {
    intervals.sort();
    intervals.dedup_by(|next, last| {
        let joined = next.mint <= last.maxt.saturating_add(1);
        if joined {
            last.maxt = last.maxt.max(next.maxt);
        }
        joined
    });
}

/// The samples of a chunk that are not deleted, encoded anew.
///
/// # Errors
/// [`ChunkError`] where the payload does not decode.
pub fn keep(encoding: u8, data: &[u8], deleted: &[TimeInterval]) -> Result<Vec<EncodedChunk>, ChunkError> {
    let mut kept = SampleBuffer::new();
    let mut start = i64::MIN;
    for interval in deleted {
        if let Some(end) = interval.mint.checked_sub(1).filter(|&end| start <= end) {
            decode(encoding, data, TimeInterval::new(start, end), &mut kept)?;
        }
        match interval.maxt.checked_add(1) {
            Some(next) => start = start.max(next),
            None => return encode_series(&kept, SAMPLES_PER_CHUNK),
        }
    }
    decode(encoding, data, TimeInterval::new(start, i64::MAX), &mut kept)?;
    encode_series(&kept, SAMPLES_PER_CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_merged() {
        let interval = |mint, maxt| TimeInterval::new(mint, maxt);
        let deletions =
            Deletions::new([(1, interval(5, 9)), (1, interval(0, 4)), (1, interval(20, 30)), (2, interval(1, 1))]);
        assert_eq!(deletions.of(1), [interval(0, 9), interval(20, 30)]);
        assert!(deletions.cover(1, interval(2, 8)));
        assert!(!deletions.cover(1, interval(2, 20)));
        assert!(deletions.of(3).is_empty());
    }

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
}
