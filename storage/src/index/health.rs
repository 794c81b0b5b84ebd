//! Whether an index keeps what readers rely on: order of series and chunks, and chunks within the time of their block.
//!
//! What is counted, and in which words it is told, is Thanos's `bucket verify`; what breaks the format itself is an error of the reader.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::IndexReader;
use crate::error::Result;
use crate::mmap::map_file;
use crate::model::TimeRange;

/// What an index has of everything that is known to go wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexHealth {
    /// Series.
    pub series: u64,
    /// Series with chunks that are out of order.
    pub out_of_order_series: u64,
    /// Chunks that begin before the one before them ends, but for duplicates.
    pub out_of_order_chunks: u64,
    /// Chunks of the same time as the one before them.
    pub duplicated_chunks: u64,
    /// Chunks that are not within the time of the block.
    pub outside_chunks: u64,
    /// Those of them of which no sample is.
    pub complete_outside_chunks: u64,
    /// Those of them that begin where the block ends: <https://github.com/prometheus/tsdb/issues/347>.
    pub issue_347_outside_chunks: u64,
}

impl IndexHealth {
    /// Reads the index in the file `path`; errors name it as that of `place`, which covers `range`.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where it is damaged or its series are out of order, empty, or without chunks;
    /// [`Error::Io`](crate::Error::Io).
    pub fn of_file(path: &Path, place: impl Into<Arc<str>>, range: TimeRange) -> Result<Self> {
        Self::of(&IndexReader::try_open(map_file(path)?, place)?, range)
    }

    fn of(index: &IndexReader, range: TimeRange) -> Result<Self> {
        let mut health = Self::default();
        let mut cursor = index.all_series();
        while let Some(series) = cursor.next()? {
            health.series += 1;
            if series.labels.is_empty() {
                return Err(index.corrupt_series(series.series, "a series without labels"));
            }
            if series.chunks.is_empty() {
                return Err(index.corrupt_series(series.series, "a series without chunks"));
            }
            health.count(&series.chunks.iter().map(|chunk| (chunk.mint, chunk.maxt)).collect::<Vec<_>>(), range);
        }
        Ok(health)
    }

    /// Counts the chunks of one series.
    fn count(&mut self, chunks: &[(i64, i64)], range: TimeRange) {
        let mut out_of_order = 0;
        for (i, &(mint, maxt)) in chunks.iter().enumerate() {
            if mint < range.mint || maxt > range.maxt {
                self.outside_chunks += 1;
                if mint > range.maxt || maxt < range.mint {
                    self.complete_outside_chunks += 1;
                } else if mint == range.maxt {
                    self.issue_347_outside_chunks += 1;
                }
            }
            match i.checked_sub(1).map(|before| chunks[before]) {
                Some(before) if before == (mint, maxt) => self.duplicated_chunks += 1,
                Some(before) if mint <= before.1 => out_of_order += 1,
                _ => {}
            }
        }
        self.out_of_order_series += u64::from(out_of_order > 0);
        self.out_of_order_chunks += out_of_order;
    }

    /// Whether there is anything wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.out_of_order_chunks == 0 && self.outside_chunks == 0 && self.duplicated_chunks == 0
    }

    /// Chunks that lie partly outside of the block: leaving out what is outside would lose samples.
    #[must_use]
    pub fn partly_outside_chunks(&self) -> u64 {
        self.outside_chunks.saturating_sub(self.complete_outside_chunks + self.issue_347_outside_chunks)
    }
}

impl fmt::Display for IndexHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut found = Vec::new();
        for (count, what) in [
            (self.partly_outside_chunks(), "chunks non-completely outside the block time range"),
            (self.complete_outside_chunks, "chunks completely outside the block time range"),
            (
                self.issue_347_outside_chunks,
                "chunks outside the block time range introduced by https://github.com/prometheus/tsdb/issues/347",
            ),
            (self.duplicated_chunks, "chunks with the time range of the one before them"),
        ] {
            if count > 0 {
                found.push(format!("found {count} {what}"));
            }
        }
        if self.out_of_order_chunks > 0 {
            let (ordered, series) = (self.out_of_order_series, self.series);
            found.push(format!("{ordered}/{series} series have {} out-of-order chunks", self.out_of_order_chunks));
        }
        f.write_str(if found.is_empty() { "nothing is wrong" } else { "" })?;
        f.write_str(&found.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[(i64, i64)], expected: &str) {
        let mut health = IndexHealth { series: 1, ..IndexHealth::default() };
        health.count(chunks, TimeRange { mint: 100, maxt: 200 });
        assert_eq!(health.to_string(), expected, "{chunks:?}");
        assert_eq!(health.is_whole(), expected == "nothing is wrong");
    }

    #[test]
    fn what_is_wrong_is_counted() {
        check(&[(100, 120), (121, 199)], "nothing is wrong");
        // the end of a block is outside of it, but Thanos lets a chunk end there
        check(&[(100, 200)], "nothing is wrong");
        check(&[(90, 120)], "found 1 chunks non-completely outside the block time range");
        check(&[(0, 99), (201, 300)], "found 2 chunks completely outside the block time range");
        check(
            &[(200, 210)],
            "found 1 chunks outside the block time range introduced by https://github.com/prometheus/tsdb/issues/347",
        );
        check(&[(100, 120), (100, 120)], "found 1 chunks with the time range of the one before them");
        check(&[(100, 120), (110, 130), (105, 140)], "1/1 series have 2 out-of-order chunks");
    }
}
