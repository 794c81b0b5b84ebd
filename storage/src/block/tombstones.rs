//! Tombstones: what was deleted of a block but still stands in its chunks.
//!
//! The file lists a series reference and a closed interval for each deletion. In memory the intervals of one
//! series are sorted, and those that overlap or touch are one; so a chunk is deleted as a whole just if a single
//! interval covers it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cursor::{Cursor, Malformed, Origin, put_uvarint, put_varint};
use crate::error::Result;
use crate::index::{SeriesRef, checksum};
use crate::model::{TimeInterval, Timestamp};

/// The name of the file in a block.
pub const TOMBSTONES_FILE: &str = "tombstones";

const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;
const HEADER_LEN: usize = 5;
const CRC_LEN: usize = 4;

/// How much of a span of time is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing.
    None,
    /// Some of it: samples have to be looked at one by one.
    Part,
    /// All of it.
    Whole,
}

/// Deleted intervals of one series: ascending, apart from each other by at least a millisecond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals(Vec<TimeInterval>);

impl Intervals {
    /// Adds an interval and joins it with those that it overlaps or touches. An empty one deletes nothing.
    pub fn add(&mut self, new: TimeInterval) {
        if new.maxt < new.mint {
            return;
        }
        // those that end two milliseconds or more before the new one starts, and those that do not start
        // two milliseconds or more after it ends
        let first = self.0.partition_point(|old| old.maxt < new.mint.saturating_sub(1));
        let after = self.0.partition_point(|old| old.mint <= new.maxt.saturating_add(1)).max(first);
        let joined = self.0[first..after]
            .iter()
            .fold(new, |joined, old| TimeInterval::new(joined.mint.min(old.mint), joined.maxt.max(old.maxt)));
        self.0.splice(first..after, [joined]);
    }

    /// The intervals, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[TimeInterval] {
        &self.0
    }

    /// Whether a sample at `t` is deleted.
    #[must_use]
    pub fn contains(&self, t: Timestamp) -> bool {
        let at = self.0.partition_point(|interval| interval.maxt < t);
        self.0.get(at).is_some_and(|interval| interval.contains(t))
    }

    /// How much of `span`, as of a chunk from its first to its last sample, is deleted.
    #[must_use]
    pub fn deleted(&self, span: TimeInterval) -> Deleted {
        let at = self.0.partition_point(|interval| interval.maxt < span.mint);
        match self.0.get(at) {
            Some(interval) if interval.mint <= span.mint && span.maxt <= interval.maxt => Deleted::Whole,
            Some(interval) if interval.overlaps(span) => Deleted::Part,
            _ => Deleted::None,
        }
    }
}

/// The deletions of a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tombstones {
    by_series: BTreeMap<SeriesRef, Intervals>,
}

impl Tombstones {
    /// Reads the file; `place` names the block in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the file is damaged, or of another version.
    pub fn try_parse(file: &[u8], place: impl Into<Arc<str>>) -> Result<Self> {
        let origin = Origin::new(place, TOMBSTONES_FILE);
        let Some((header, stones, crc)) = split(file) else {
            return Err(origin.corrupt(0, format!("{} bytes are too few for tombstones", file.len())));
        };
        let mut cursor = Cursor::new(header);
        let malformed = |malformed| origin.malformed(0, malformed);
        let magic = cursor.u32_be().map_err(malformed)?;
        if magic != MAGIC {
            return Err(origin.corrupt(0, format!("magic number is {magic:#010x}, not {MAGIC:#010x}")));
        }
        let version = cursor.u8().map_err(malformed)?;
        if version != VERSION {
            return Err(origin.corrupt(4, format!("version is {version}, not {VERSION}")));
        }
        if checksum(stones) != crc {
            return Err(origin.corrupt(file.len() - CRC_LEN, "checksum of the tombstones does not match"));
        }
        Self::parse_stones(stones).map_err(|malformed| origin.malformed(HEADER_LEN, malformed))
    }

    fn parse_stones(stones: &[u8]) -> Result<Self, Malformed> {
        let mut tombstones = Self::default();
        let mut cursor = Cursor::new(stones);
        while !cursor.is_empty() {
            let series = SeriesRef(cursor.uvarint32()?);
            tombstones.add(series, TimeInterval::new(cursor.varint()?, cursor.varint()?));
        }
        Ok(tombstones)
    }

    /// The file's content. Prometheus writes the series in no order, we ascending.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut file = MAGIC.to_be_bytes().to_vec();
        file.push(VERSION);
        for (series, intervals) in self.iter() {
            for interval in intervals.as_slice() {
                put_uvarint(&mut file, u64::from(series.0));
                put_varint(&mut file, interval.mint);
                put_varint(&mut file, interval.maxt);
            }
        }
        let crc = checksum(&file[HEADER_LEN..]);
        file.extend_from_slice(&crc.to_be_bytes());
        file
    }

    /// Deletes an interval of a series.
    pub fn add(&mut self, series: SeriesRef, interval: TimeInterval) {
        if interval.mint <= interval.maxt {
            self.by_series.entry(series).or_default().add(interval);
        }
    }

    /// What is deleted of a series, if anything is.
    #[must_use]
    pub fn get(&self, series: SeriesRef) -> Option<&Intervals> {
        self.by_series.get(&series)
    }

    /// The series of which something is deleted, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesRef, &Intervals)> {
        self.by_series.iter().map(|(series, intervals)| (*series, intervals))
    }

    /// Whether nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_series.is_empty()
    }

    /// Number of intervals, which is what `numTombstones` of a block counts.
    #[must_use]
    pub fn interval_count(&self) -> u64 {
        self.by_series.values().map(|intervals| intervals.as_slice().len() as u64).sum()
    }
}

/// Header, body and checksum.
fn split(file: &[u8]) -> Option<(&[u8], &[u8], u32)> {
    let (header, rest) = file.split_at_checked(HEADER_LEN)?;
    let (stones, crc) = rest.split_last_chunk::<CRC_LEN>()?;
    Some((header, stones, u32::from_be_bytes(*crc)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Error;

    fn intervals(spans: &[(i64, i64)]) -> Intervals {
        let mut intervals = Intervals::default();
        for &(mint, maxt) in spans {
            intervals.add(TimeInterval::new(mint, maxt));
        }
        intervals
    }

    #[test]
    fn intervals_that_touch_are_one() {
        let check = |added: &[(i64, i64)], expected: &[(i64, i64)]| {
            let joined = intervals(added);
            let joined: Vec<_> = joined.as_slice().iter().map(|i| (i.mint, i.maxt)).collect();
            assert_eq!(joined, expected, "{added:?}");
        };
        check(&[(1, 2), (3, 4)], &[(1, 4)]);
        check(&[(1, 2), (4, 5)], &[(1, 2), (4, 5)]);
        check(&[(4, 5), (1, 2), (3, 3)], &[(1, 5)]);
        check(&[(1, 10), (3, 4)], &[(1, 10)]);
        check(&[(5, 6), (1, 2), (8, 9), (2, 8)], &[(1, 9)]);
        check(&[(5, 6), (9, 8)], &[(5, 6)]);
        check(&[(5, 6), (i64::MIN, i64::MAX)], &[(i64::MIN, i64::MAX)]);
        check(&[(i64::MIN, 0), (i64::MAX, i64::MAX)], &[(i64::MIN, 0), (i64::MAX, i64::MAX)]);
    }

    #[test]
    fn chunks_are_deleted_as_a_whole_in_part_or_not() {
        let deleted = intervals(&[(10, 20), (30, 40)]);
        let check = |mint, maxt, expected| assert_eq!(deleted.deleted(TimeInterval::new(mint, maxt)), expected);
        check(0, 9, Deleted::None);
        check(21, 29, Deleted::None);
        check(41, 99, Deleted::None);
        check(10, 20, Deleted::Whole);
        check(35, 35, Deleted::Whole);
        check(9, 10, Deleted::Part);
        check(15, 35, Deleted::Part);
        check(0, 99, Deleted::Part);
    }

    fn any_tombstones() -> impl Strategy<Value = Tombstones> {
        prop::collection::vec((0..20u32, -100..100i64, 0..30i64), 0..40).prop_map(|stones| {
            let mut tombstones = Tombstones::default();
            for (series, mint, span) in stones {
                tombstones.add(SeriesRef(series), TimeInterval::new(mint, mint + span));
            }
            tombstones
        })
    }

    proptest! {
        #[test]
        fn tombstones_read_back(tombstones in any_tombstones()) {
            prop_assert_eq!(&Tombstones::try_parse(&tombstones.encode(), "b").unwrap(), &tombstones);
        }

        #[test]
        fn membership_is_that_of_the_added(spans in prop::collection::vec((-50..50i64, 0..20i64), 0..10), t in -60..80i64) {
            let added: Vec<_> = spans.iter().map(|&(mint, len)| (mint, mint + len)).collect();
            let expected = added.iter().any(|&(mint, maxt)| mint <= t && t <= maxt);
            prop_assert_eq!(intervals(&added).contains(t), expected);
        }
    }

    #[test]
    fn every_flipped_byte_and_every_truncation_is_noticed() {
        let mut tombstones = Tombstones::default();
        for series in 1..9 {
            tombstones.add(SeriesRef(series * 1000), TimeInterval::new(-5, i64::from(series) << 40));
        }
        let file = tombstones.encode();
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0xff;
            for bad in [&damaged[..], &file[..at]] {
                let error = Tombstones::try_parse(bad, "b").unwrap_err();
                assert!(matches!(&error, Error::Corrupt { file, .. } if file == "tombstones"), "{at}: {error}");
            }
        }
    }

    #[test]
    fn the_golden_file_is_rewritten_to_the_byte() {
        let Ok(shared) = std::env::var("QUIVER_SHARED") else {
            eprintln!("skipped: QUIVER_SHARED is not set");
            return;
        };
        let golden = std::path::Path::new(&shared).join("golden/data-dir/01M84ZXT22AME8BYVCHF98PGTA/tombstones");
        let golden = std::fs::read(golden).unwrap();
        let tombstones = Tombstones::try_parse(&golden, "golden").unwrap();
        assert_eq!(tombstones.interval_count(), 1);
        assert_eq!(tombstones.encode(), golden);
    }
}
