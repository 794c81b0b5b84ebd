//! Which blocks are downsampled next.
//!
//! A raw block becomes one of 5 minutes, and that one of an hour, when
//!
//! 1. it is long enough for about two chunks a series: 40 hours, or ten days
//! 2. some of its sources are in no block of the next resolution yet
//! 3. nobody marked it against downsampling
//! 4. retention would not delete the result at once, unless a coarser one is to be made of it
//!
//! The first three are Thanos's rules. It makes what retention deletes again and again; and a mark on a block of 5 minutes
//! makes it forget that this block exists, so that it is made again.

use std::collections::HashSet;
use std::sync::Arc;

use crate::block::BlockMeta;
use crate::model::BlockId;

use super::retention::Retention;
use super::view::BucketView;

/// Milliseconds between samples of a raw block, as `meta.json` spells it.
pub const RAW: i64 = 0;
/// Milliseconds between samples of a block downsampled once.
pub const FIVE_MINUTES_MS: i64 = 300_000;
/// Milliseconds between samples of a block downsampled twice.
pub const ONE_HOUR_MS: i64 = 3_600_000;
/// Shortest raw block that is downsampled, in milliseconds: 40 hours.
pub const RAW_SPAN_MIN_MS: i64 = 40 * 3_600_000;
/// Shortest block of 5 minutes that is downsampled, in milliseconds: ten days.
pub const FIVE_MINUTES_SPAN_MIN_MS: i64 = 10 * 24 * 3_600_000;

/// A block to be downsampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Downsampling {
    /// The block.
    pub block: Arc<BlockMeta>,
    /// Milliseconds between samples of what it becomes.
    pub resolution_ms: i64,
}

/// Which sources are in blocks of which resolution.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    five_minutes: HashSet<BlockId>,
    one_hour: HashSet<BlockId>,
}

impl Coverage {
    /// What `blocks` cover.
    pub fn of<'a>(blocks: impl IntoIterator<Item = &'a Arc<BlockMeta>>) -> Self {
        let mut coverage = Self::default();
        for block in blocks {
            let sources = match block.resolution_ms() {
                FIVE_MINUTES_MS => &mut coverage.five_minutes,
                ONE_HOUR_MS => &mut coverage.one_hour,
                _ => continue,
            };
            sources.extend(&block.compaction.sources);
        }
        coverage
    }

    /// The resolution that `block` is still to be downsampled to, if any.
    #[must_use]
    pub fn missing(&self, block: &BlockMeta, retention: &Retention, now: i64) -> Option<i64> {
        let span_ms = block.max_time.saturating_sub(block.min_time);
        let lacks = |sources: &HashSet<BlockId>| block.compaction.sources.iter().any(|id| !sources.contains(id));
        let wanted = |resolution_ms| !retention.is_past(resolution_ms, block, now);
        let lacks_hour = span_ms >= FIVE_MINUTES_SPAN_MIN_MS && wanted(ONE_HOUR_MS) && lacks(&self.one_hour);
        match block.resolution_ms() {
            RAW if span_ms >= RAW_SPAN_MIN_MS && lacks(&self.five_minutes) => {
                (wanted(FIVE_MINUTES_MS) || lacks_hour).then_some(FIVE_MINUTES_MS)
            }
            FIVE_MINUTES_MS if lacks_hour => Some(ONE_HOUR_MS),
            _ => None,
        }
    }
}

/// Blocks to downsample, in order of their names, which is about the order in which they were made. What a raw block becomes may
/// be to be downsampled itself: [`Coverage::missing`] says so of its `meta.json`.
#[must_use]
pub fn downsampling(view: &BucketView, retention: &Retention) -> Vec<Downsampling> {
    let coverage = Coverage::of(view.blocks().values());
    let free = view.blocks().values().filter(|block| !view.found.no_downsample_marks.contains_key(&block.id()));
    let missing = free.filter_map(|block| {
        let resolution_ms = coverage.missing(block, retention, view.now)?;
        Some(Downsampling { block: Arc::clone(block), resolution_ms })
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::marker::NoDownsampleMark;
    use crate::bucket::FoundBlocks;
    use crate::compact::testing::{id, sourced};
    use crate::compact::view::ViewSettings;

    const FIVE: i64 = FIVE_MINUTES_MS;
    const HOUR: i64 = ONE_HOUR_MS;
    const DAYS_10: i64 = FIVE_MINUTES_SPAN_MIN_MS;

    fn check(blocks: &[BlockMeta], no_downsample: &[u64], retention: &Retention, now: i64, expected: &[(u64, i64)]) {
        let metas = blocks.iter().map(|meta| (meta.id(), Arc::new(meta.clone()))).collect();
        let mark = |&n: &u64| (id(n), NoDownsampleMark::new(id(n), 0, ""));
        let no_downsample_marks = no_downsample.iter().map(mark).collect();
        let found = FoundBlocks { metas, no_downsample_marks, ..FoundBlocks::default() };
        let planned = downsampling(&BucketView::new(found, ViewSettings::default(), now), retention);
        let planned: Vec<_> = planned.iter().map(|job| (job.block.id(), job.resolution_ms)).collect();
        assert_eq!(planned, expected.iter().map(|&(n, resolution)| (id(n), resolution)).collect::<Vec<_>>());
    }

    #[test]
    fn only_long_blocks_are_downsampled() {
        let none = Retention::default();
        let blocks = [
            sourced(1, (0, RAW_SPAN_MIN_MS - 1), 0, &[1]),
            sourced(2, (0, RAW_SPAN_MIN_MS), 0, &[2]),
            sourced(3, (0, DAYS_10 - 1), FIVE, &[3]),
            sourced(4, (0, DAYS_10), FIVE, &[4]),
            sourced(5, (0, DAYS_10), HOUR, &[5]),
            sourced(6, (0, DAYS_10), 60_000, &[6]),
        ];
        check(&blocks, &[], &none, 0, &[(2, FIVE), (4, HOUR)]);
    }

    #[test]
    fn only_what_is_missing_is_made() {
        let none = Retention::default();
        let raw = sourced(1, (0, RAW_SPAN_MIN_MS), 0, &[1, 2]);
        check(&[raw.clone(), sourced(9, (0, 10), FIVE, &[1])], &[], &none, 0, &[(1, FIVE)]);
        let both = [raw.clone(), sourced(8, (0, 10), FIVE, &[1]), sourced(9, (10, 20), FIVE, &[2, 3])];
        check(&both, &[], &none, 0, &[]);
        check(&[raw, sourced(9, (0, 10), HOUR, &[1, 2])], &[], &none, 0, &[(1, FIVE)]);
        let five = sourced(1, (0, DAYS_10), FIVE, &[1]);
        check(&[five, sourced(9, (0, DAYS_10), HOUR, &[1])], &[], &none, 0, &[]);
    }

    #[test]
    fn marks_keep_a_block_as_it_is_but_it_counts() {
        let none = Retention::default();
        let raw = sourced(1, (0, DAYS_10), 0, &[1]);
        check(std::slice::from_ref(&raw), &[1], &none, 0, &[]);
        check(&[raw, sourced(9, (0, DAYS_10), FIVE, &[1])], &[9], &none, 0, &[]);
    }

    #[test]
    fn what_retention_would_delete_is_not_made() {
        let raw = sourced(1, (0, RAW_SPAN_MIN_MS), 0, &[1]);
        let now = DAYS_10 + 10_000;
        let short = Retention { five_minutes_ms: 1_000, ..Retention::default() };
        check(&[raw], &[], &short, now, &[]);
        // but where the hour is to stay, there is no other way to it
        let long = sourced(1, (0, DAYS_10), 0, &[1]);
        check(std::slice::from_ref(&long), &[], &short, now, &[(1, FIVE)]);
        check(&[long.clone(), sourced(9, (0, DAYS_10), HOUR, &[1])], &[], &short, now, &[]);
        let shorter = Retention { one_hour_ms: 1_000, ..short.clone() };
        check(std::slice::from_ref(&long), &[], &shorter, now, &[]);
        check(&[long], &[], &shorter, DAYS_10, &[(1, FIVE)]);
    }
}
