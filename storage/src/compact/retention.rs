//! Which blocks have been kept long enough.
//!
//! A block is past its retention when its end is longer ago than its resolution is kept. It is marked for deletion then, but,
//! which Thanos does not wait for, not before what is to be made of it is there:
//!
//! - a raw or 5 minute block that is still to be downsampled stays until the result stands, and is not marked itself
//! - a block that is still to be merged into one long enough for that stays until it is

use std::collections::HashSet;
use std::sync::Arc;

use crate::block::BlockMeta;
use crate::error::{Error, Result};
use crate::model::{BlockId, Timestamp};

use super::downsample_plan::{Coverage, FIVE_MINUTES_MS, FIVE_MINUTES_SPAN_MIN_MS, ONE_HOUR_MS, RAW, RAW_SPAN_MIN_MS};
use super::view::BucketView;

/// How long blocks of each resolution are kept, in milliseconds; 0 for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Raw samples.
    pub raw_ms: i64,
    /// Downsampled to 5 minutes.
    pub five_minutes_ms: i64,
    /// Downsampled to an hour.
    pub one_hour_ms: i64,
    /// The external label without which blocks are kept for ever; none where all blocks go.
    pub only_with: Option<Arc<str>>,
}

/// A block past its retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The block.
    pub id: BlockId,
    /// Why, for its deletion mark.
    pub details: String,
}

/// What retention comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expiry {
    /// These are to be marked for deletion.
    pub due: Vec<Expired>,
    /// These wait for what is to be made of them.
    pub waiting: Vec<BlockId>,
}

impl Retention {
    /// Refuses what would delete blocks before they are long enough to be downsampled.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`].
    pub fn check(&self, downsampling: bool) -> Result<()> {
        let spans = [
            ("raw", self.raw_ms, RAW_SPAN_MIN_MS, "40 hours, from which on raw blocks are downsampled to 5m"),
            ("5m", self.five_minutes_ms, FIVE_MINUTES_SPAN_MIN_MS, "10 days, from which on they are downsampled to 1h"),
        ];
        for (name, kept_ms, least_ms, least) in spans {
            if downsampling && kept_ms != 0 && kept_ms < least_ms {
                return Err(Error::InvalidRequest(format!("the retention of {name} blocks must be at least {least}")));
            }
        }
        Ok(())
    }

    /// How long blocks of that resolution are kept, in milliseconds; 0 for ever.
    #[must_use]
    pub fn of(&self, resolution_ms: i64) -> i64 {
        match resolution_ms {
            RAW => self.raw_ms,
            FIVE_MINUTES_MS => self.five_minutes_ms,
            ONE_HOUR_MS => self.one_hour_ms,
            _ => 0,
        }
    }

    /// Whether `block`, or what is made of it at `resolution_ms`, is past the retention of that resolution. The end counts in whole
    /// seconds.
    #[must_use]
    pub fn is_past(&self, resolution_ms: i64, block: &BlockMeta, now: Timestamp) -> bool {
        let kept_ms = self.of(resolution_ms);
        let goes = |label: &str| block.thanos.as_ref().is_some_and(|thanos| thanos.labels.contains_key(label));
        self.only_with.as_deref().is_none_or(goes)
            && kept_ms != 0
            && now > (block.max_time / 1_000).saturating_mul(1_000).saturating_add(kept_ms)
    }

    /// Whether `block` is past its retention.
    #[must_use]
    pub fn is_expired(&self, block: &BlockMeta, now: Timestamp) -> bool {
        self.is_past(block.resolution_ms(), block, now)
    }
}

/// Blocks past their retention. `downsampling` says whether blocks are downsampled at all; `to_merge` are those that a
/// compaction still waits for, by [`Progress::inputs`](super::Progress::inputs).
#[must_use]
pub fn expiry(view: &BucketView, retention: &Retention, downsampling: bool, to_merge: &HashSet<BlockId>) -> Expiry {
    let staying = view.blocks().values().filter(|block| view.stays(block.id()));
    let coverage = Coverage::of(staying);
    let mut expiry = Expiry::default();
    for (&id, block) in view.blocks() {
        if !retention.is_expired(block, view.now) || view.found.deletion_marks.contains_key(&id) {
            continue;
        }
        let marked = view.found.no_downsample_marks.contains_key(&id);
        let to_downsample = !marked && coverage.missing(block, retention, view.now).is_some();
        if downsampling && (to_downsample || to_merge.contains(&id)) {
            expiry.waiting.push(id);
            continue;
        }
        let kept_s = retention.of(block.resolution_ms()) / 1_000;
        expiry.due.push(Expired { id, details: format!("block exceeding retention of {kept_s}s") });
    }
    expiry
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::marker::{DeletionMark, NoDownsampleMark};
    use crate::bucket::FoundBlocks;
    use crate::compact::testing::{id, sourced};
    use crate::compact::view::ViewSettings;

    const FIVE: i64 = FIVE_MINUTES_MS;
    const HOUR: i64 = ONE_HOUR_MS;
    const DAYS_10: i64 = FIVE_MINUTES_SPAN_MIN_MS;
    const NOW: Timestamp = 100 * DAYS_10;
    const ALL: Retention =
        Retention { raw_ms: DAYS_10, five_minutes_ms: 2 * DAYS_10, one_hour_ms: 3 * DAYS_10, only_with: None };
    /// Raw samples go, what is made of them stays.
    const RAW_ONLY: Retention = Retention { raw_ms: DAYS_10, five_minutes_ms: 0, one_hour_ms: 0, only_with: None };

    fn found(blocks: &[BlockMeta]) -> FoundBlocks {
        let metas = blocks.iter().map(|meta| (meta.id(), Arc::new(meta.clone()))).collect();
        FoundBlocks { metas, ..FoundBlocks::default() }
    }

    fn check(found: FoundBlocks, retention: &Retention, downsampling: bool, due: &[u64], waiting: &[u64]) {
        let settings = ViewSettings { delete_delay_ms: NOW, ..ViewSettings::default() };
        let expiry = expiry(&BucketView::new(found, settings, NOW), retention, downsampling, &HashSet::new());
        let ids = |ns: &[u64]| ns.iter().map(|&n| id(n)).collect::<Vec<_>>();
        assert_eq!(expiry.due.iter().map(|block| block.id).collect::<Vec<_>>(), ids(due));
        assert_eq!(expiry.waiting, ids(waiting));
    }

    #[test]
    fn each_resolution_has_its_own() {
        let ending = |n, maxt, resolution| sourced(n, (0, maxt), resolution, &[n]);
        let found = found(&[
            ending(1, NOW - DAYS_10 - 1_000, 0),
            ending(2, NOW - DAYS_10, 0),
            ending(3, NOW - 2 * DAYS_10 - 1_000, FIVE),
            ending(4, NOW - 2 * DAYS_10, FIVE),
            ending(5, NOW - 3 * DAYS_10 - 1_000, HOUR),
            ending(6, NOW - 3 * DAYS_10, HOUR),
            ending(7, 0, 60_000),
        ]);
        check(found.clone(), &ALL, false, &[1, 3, 5], &[]);
        check(found, &Retention::default(), false, &[], &[]);
        // whole seconds, as Thanos counts
        assert!(ALL.is_past(0, &ending(1, NOW - DAYS_10 - 1, 0), NOW));
        assert!(!ALL.is_past(0, &ending(1, NOW - DAYS_10 + 999, 0), NOW));
    }

    #[test]
    fn blocks_without_the_label_stay() {
        let mut ours = sourced(1, (0, 10), 0, &[1]);
        ours.thanos.get_or_insert_default().labels.insert("tenant_id".to_owned(), "a".to_owned());
        let found = found(&[ours, sourced(2, (0, 10), 0, &[2])]);
        check(found.clone(), &RAW_ONLY, false, &[1, 2], &[]);
        check(found, &Retention { only_with: Some("tenant_id".into()), ..RAW_ONLY }, false, &[1], &[]);
    }

    #[test]
    fn what_is_still_to_be_made_of_a_block_comes_first() {
        let raw = sourced(1, (0, RAW_SPAN_MIN_MS), 0, &[1, 2]);
        check(found(std::slice::from_ref(&raw)), &RAW_ONLY, true, &[], &[1]);
        check(found(std::slice::from_ref(&raw)), &RAW_ONLY, false, &[1], &[]);
        check(found(&[raw.clone(), sourced(9, (0, 9), FIVE, &[1])]), &RAW_ONLY, true, &[], &[1]);
        let covered = found(&[raw.clone(), sourced(9, (0, 9), FIVE, &[1, 2])]);
        check(covered.clone(), &RAW_ONLY, true, &[1], &[]);
        // what was made of it is to go itself
        let mut marked = covered;
        marked.deletion_marks.insert(id(9), DeletionMark::new(id(9), NOW / 1_000, ""));
        check(marked, &RAW_ONLY, true, &[], &[1]);
        // too short ever to be downsampled, or marked so
        check(found(&[sourced(1, (0, 10), 0, &[1])]), &RAW_ONLY, true, &[1], &[]);
        let mut kept_raw = found(&[raw]);
        kept_raw.no_downsample_marks.insert(id(1), NoDownsampleMark::new(id(1), 0, ""));
        check(kept_raw, &RAW_ONLY, true, &[1], &[]);
        // nobody would keep what could be made of it
        check(found(&[sourced(1, (0, DAYS_10), 0, &[1])]), &ALL, true, &[1], &[]);
        let five = Retention { five_minutes_ms: DAYS_10, ..Retention::default() };
        check(found(&[sourced(1, (0, DAYS_10), FIVE, &[1])]), &five, true, &[], &[1]);
        check(found(&[sourced(1, (0, DAYS_10 - 1), FIVE, &[1])]), &five, true, &[1], &[]);
    }

    #[test]
    fn a_block_that_is_still_to_be_merged_waits() {
        let view = BucketView::new(found(&[sourced(1, (0, 10), 0, &[1])]), ViewSettings::default(), NOW);
        let to_merge = HashSet::from([id(1)]);
        assert_eq!(expiry(&view, &RAW_ONLY, true, &to_merge).waiting, [id(1)]);
        let due = expiry(&view, &RAW_ONLY, false, &to_merge).due;
        assert_eq!(due, [Expired { id: id(1), details: "block exceeding retention of 864000s".to_owned() }]);
    }

    #[test]
    fn a_block_is_marked_once() {
        let mut found = found(&[sourced(1, (0, 10), 0, &[1])]);
        found.deletion_marks.insert(id(1), DeletionMark::new(id(1), NOW / 1_000, ""));
        check(found, &ALL, true, &[], &[]);
    }

    #[test]
    fn retention_must_leave_time_to_downsample() {
        let check = |raw_ms, five_minutes_ms, downsampling| {
            Retention { raw_ms, five_minutes_ms, one_hour_ms: 1, only_with: None }
                .check(downsampling)
                .map_err(|e| e.to_string())
        };
        assert!(check(RAW_SPAN_MIN_MS, DAYS_10, true).is_ok());
        assert!(check(0, 0, true).is_ok());
        assert!(check(1, 1, false).is_ok());
        assert!(check(RAW_SPAN_MIN_MS - 1, 0, true).unwrap_err().contains("raw blocks must be at least 40 hours"));
        assert!(check(0, DAYS_10 - 1, true).unwrap_err().contains("5m blocks must be at least 10 days"));
    }
}
