//! What tombstones leave of a chunk.
//!
//! A chunk that no deleted interval touches is passed on as it is; of one that is touched the remaining samples are
//! encoded anew, or nothing is left.

use crate::block::tombstones::{Deleted, Intervals, Tombstones};
use crate::chunk::{ChunkError, EncodedChunk, SAMPLES_PER_CHUNK, decode, encode_series};
use crate::index::SeriesRef;
use crate::model::{SampleBuffer, TimeInterval};

/// How much of the time of a chunk is deleted of a series, and which intervals of the series are.
#[must_use]
pub fn of_chunk(tombstones: &Tombstones, series_ref: u64, chunk: TimeInterval) -> (Deleted, &[TimeInterval]) {
    let intervals = u32::try_from(series_ref).ok().and_then(|series| tombstones.get(SeriesRef(series)));
    (intervals.map_or(Deleted::None, |i| i.deleted(chunk)), intervals.map_or(&[], Intervals::as_slice))
}

/// The samples of a chunk that are not deleted, encoded anew; `deleted` ascends.
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
        let at = |series, mint, maxt| of_chunk(&tombstones, series, TimeInterval::new(mint, maxt)).0;
        assert_eq!(at(1, 2, 8), Deleted::Whole);
        assert_eq!(at(1, 2, 10), Deleted::Part);
        assert_eq!(at(2, 2, 8), Deleted::None);
        assert_eq!(at(u64::MAX, 2, 8), Deleted::None);
    }
}
