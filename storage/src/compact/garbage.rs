//! Blocks that are not needed any more: what may be marked for deletion, and what may be deleted.
//!
//! A block is **garbage** when another block of its group holds all of it: its compaction was interrupted between upload and
//! marks, or two compactors did it at once. It gets a mark; after the delay, what is marked is deleted.
//!
//! Only deletion loses data, so it trusts no mark that says the block was replaced: all sources of the block must be found in
//! blocks that can be read and are not marked themselves. Else the block is held back, and told of.

use std::collections::{BTreeSet, HashMap};

use crate::block::BlockMeta;
use crate::model::BlockId;

use super::retention::Retention;
use super::view::BucketView;

/// What a deletion mark says of a block that was merged into another; the words are Thanos's.
pub const SOURCE_OF_COMPACTED: &str = "source of compacted block";
/// What a deletion mark says of garbage; the words are Thanos's.
pub const OUTDATED: &str = "outdated block";
/// What a deletion mark says of a block without samples.
pub const WITHOUT_SAMPLES: &str = "block without samples";

/// A block that another one holds all of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage {
    /// The block.
    pub id: BlockId,
    /// The block that holds it, and stays.
    pub held_by: BlockId,
}

/// A block that is marked and past the delay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The block.
    pub id: BlockId,
    /// When it was marked, in seconds since the epoch.
    pub marked_s: i64,
    /// The blocks that together hold all of it; empty where it goes without replacement, by retention or somebody's wish.
    pub held_by: Vec<BlockId>,
}

/// What is to be done with blocks past the delay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// These go.
    pub due: Vec<Deletion>,
    /// These were marked because something replaced them, but not all of their sources are in blocks that stay.
    pub held_back: Vec<BlockId>,
}

/// Blocks to be marked [`OUTDATED`], in order.
#[must_use]
pub fn garbage(view: &BucketView) -> Vec<Garbage> {
    let pairs = view.report().duplicates.iter().map(|(&id, &held_by)| Garbage { id, held_by });
    pairs.filter(|pair| is_garbage(view, *pair)).collect()
}

fn is_garbage(view: &BucketView, pair: Garbage) -> bool {
    let metas = &view.found.metas;
    let (Some(block), Some(holder)) = (metas.get(&pair.id), metas.get(&pair.held_by)) else { return false };
    // sources say what went in; a block that reaches further than its holder has something else too
    let inside = holder.min_time <= block.min_time && block.max_time <= holder.max_time;
    inside && view.stays(pair.held_by) && !view.found.deletion_marks.contains_key(&pair.id)
}

/// Blocks whose deletion is due. Of the window of time and the shard only; blocks without `meta.json`, of which nobody
/// knows either, are due for all.
#[must_use]
pub fn deletions(view: &BucketView, retention: &Retention) -> Deletions {
    let holders = Holders::new(view);
    let mut deletions = Deletions::default();
    for (&id, mark) in &view.found.deletion_marks {
        let marked_s = mark.deletion_time_s;
        let age_ms = view.now.saturating_sub(marked_s.saturating_mul(1_000));
        if age_ms <= view.settings.delete_delay_ms || view.found.unreadable.contains_key(&id) {
            continue;
        }
        let Some(meta) = view.found.metas.get(&id) else {
            // its deletion was begun, and cut off
            deletions.due.push(Deletion { id, marked_s, held_by: Vec::new() });
            continue;
        };
        if !view.settings.filters.selects(meta, view.now) {
            continue;
        }
        let replaced = mark.details == SOURCE_OF_COMPACTED || mark.details == OUTDATED;
        let empty = meta.stats.num_samples == 0 && meta.stats.num_series == 0;
        if !replaced || empty || retention.is_expired(meta, view.now) {
            deletions.due.push(Deletion { id, marked_s, held_by: Vec::new() });
            continue;
        }
        match holders.of(meta) {
            Some(held_by) => deletions.due.push(Deletion { id, marked_s, held_by }),
            None => deletions.held_back.push(id),
        }
    }
    deletions
}

/// For each resolution and source, the block that holds it; of several, one made of many.
struct Holders(HashMap<(i64, BlockId), BlockId>);

impl Holders {
    fn new(view: &BucketView) -> Self {
        let mut staying: Vec<_> = view.found.metas.values().filter(|meta| view.stays(meta.id())).collect();
        staying.sort_by_key(|meta| (meta.compaction.sources.len(), meta.id()));
        let pairs = staying.into_iter().flat_map(|meta| {
            meta.compaction.sources.iter().map(move |&source| ((meta.resolution_ms(), source), meta.id()))
        });
        Self(pairs.collect())
    }

    /// The blocks that together hold all of `meta`, if there are such.
    fn of(&self, meta: &BlockMeta) -> Option<Vec<BlockId>> {
        let sources = &meta.compaction.sources;
        let holders = sources.iter().map(|&source| self.0.get(&(meta.resolution_ms(), source)).copied());
        let holders: BTreeSet<BlockId> = holders.collect::<Option<_>>()?;
        (!holders.is_empty()).then(|| holders.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::marker::DeletionMark;
    use crate::bucket::{BlockFilters, FoundBlocks, TimeBound, Unreadable};
    use crate::compact::testing::{id, sourced};
    use crate::compact::view::ViewSettings;

    const NOW_S: i64 = 1_000_000;
    const DELAY_S: i64 = 1_000;

    struct Case(FoundBlocks);

    impl Case {
        fn new(blocks: impl IntoIterator<Item = BlockMeta>) -> Self {
            let full = |mut meta: BlockMeta| {
                meta.stats.num_samples = 1;
                (meta.id(), Arc::new(meta))
            };
            Self(FoundBlocks { metas: blocks.into_iter().map(full).collect(), ..FoundBlocks::default() })
        }

        fn marked(mut self, n: u64, age_s: i64, details: &str) -> Self {
            self.0.deletion_marks.insert(id(n), DeletionMark::new(id(n), NOW_S - age_s, details));
            self
        }

        fn unreadable(mut self, n: u64) -> Self {
            let unreadable = Unreadable { file: "meta.json", corrupt: true, reason: "x".to_owned(), made: 0 };
            self.0.unreadable.insert(id(n), unreadable);
            self
        }

        fn view(self) -> BucketView {
            let settings = ViewSettings { delete_delay_ms: DELAY_S * 1_000, ..ViewSettings::default() };
            BucketView::new(self.0, settings, NOW_S * 1_000)
        }

        fn garbage(self, expected: &[(u64, u64)]) {
            let found: Vec<_> = garbage(&self.view()).iter().map(|pair| (pair.id, pair.held_by)).collect();
            assert_eq!(found, expected.iter().map(|&(a, b)| (id(a), id(b))).collect::<Vec<_>>());
        }

        fn deletions(self, due: &[(u64, &[u64])], held_back: &[u64]) {
            let ids = |ns: &[u64]| ns.iter().map(|&n| id(n)).collect::<Vec<_>>();
            let found = deletions(&self.view(), &Retention::default());
            let marked_s = NOW_S - DELAY_S - 1;
            let due = due.iter().map(|&(n, held_by)| Deletion { id: id(n), marked_s, held_by: ids(held_by) });
            let due = due.collect();
            assert_eq!(found, Deletions { due, held_back: ids(held_back) });
        }
    }

    #[test]
    fn garbage_is_what_a_block_that_stays_holds() {
        let merged = || [sourced(1, (0, 10), 0, &[1]), sourced(2, (10, 20), 0, &[2]), sourced(9, (0, 20), 0, &[1, 2])];
        Case::new(merged()).garbage(&[(1, 9), (2, 9)]);
        Case::new(merged()).marked(1, 1, "").garbage(&[(2, 9)]);
        // what holds them is to go, or nobody knows whether it can be read
        Case::new(merged()).marked(9, 1, "").garbage(&[]);
        Case::new(merged()).unreadable(9).garbage(&[]);
        // a coarser block does not hold a finer one
        Case::new([sourced(1, (0, 10), 0, &[1]), sourced(9, (0, 20), 300_000, &[1, 2])]).garbage(&[]);
        // one that reaches further has what the other lacks
        Case::new([sourced(1, (0, 30), 0, &[1]), sourced(9, (0, 20), 0, &[1, 2])]).garbage(&[]);
        // of a double output, all compactors choose the same
        Case::new([sourced(8, (0, 20), 0, &[1, 2]), sourced(9, (0, 20), 0, &[1, 2])]).garbage(&[(9, 8)]);
    }

    #[test]
    fn marks_keep_blocks_for_the_delay() {
        let one = || Case::new([sourced(1, (0, 10), 0, &[1])]);
        one().deletions(&[], &[]);
        one().marked(1, DELAY_S, "because").deletions(&[], &[]);
        one().marked(1, DELAY_S + 1, "because").deletions(&[(1, &[])], &[]);
        one().marked(1, DELAY_S + 1, "because").unreadable(1).deletions(&[], &[]);
        Case::new([]).marked(7, DELAY_S + 1, SOURCE_OF_COMPACTED).deletions(&[(7, &[])], &[]);
    }

    #[test]
    fn what_was_replaced_goes_only_when_its_replacement_stays() {
        let age = DELAY_S + 1;
        let of = |sources: &[u64]| sourced(1, (0, 10), 0, sources);
        let case = |rest: &[BlockMeta]| {
            Case::new(rest.iter().cloned().chain([of(&[1, 2])])).marked(1, age, SOURCE_OF_COMPACTED)
        };
        let whole = sourced(5, (0, 20), 0, &[1, 2, 3]);
        case(&[]).deletions(&[], &[1]);
        case(std::slice::from_ref(&whole)).deletions(&[(1, &[5])], &[]);
        case(std::slice::from_ref(&whole)).unreadable(5).deletions(&[], &[1]);
        // its replacement was merged in turn, and is to go as well
        case(&[whole.clone(), sourced(6, (0, 40), 0, &[1, 2, 3, 4])]).marked(5, 5, "").deletions(&[(1, &[6])], &[]);
        case(std::slice::from_ref(&whole)).marked(5, 5, SOURCE_OF_COMPACTED).deletions(&[], &[1]);
        // of another resolution, or only in part
        case(&[sourced(5, (0, 20), 300_000, &[1, 2])]).deletions(&[], &[1]);
        case(&[sourced(5, (0, 20), 0, &[1])]).deletions(&[], &[1]);
        // in two blocks together
        case(&[sourced(5, (0, 9), 0, &[1]), sourced(6, (5, 9), 0, &[2])]).deletions(&[(1, &[5, 6])], &[]);
        Case::new([of(&[])]).marked(1, age, OUTDATED).deletions(&[], &[1]);
    }

    #[test]
    fn a_block_without_samples_or_past_its_retention_needs_no_replacement() {
        let found = Case::new([sourced(1, (0, 10), 0, &[1])]).marked(1, DELAY_S + 1, OUTDATED).0;
        let due = vec![Deletion { id: id(1), marked_s: NOW_S - DELAY_S - 1, held_by: Vec::new() }];
        let settings = ViewSettings { delete_delay_ms: DELAY_S * 1_000, ..ViewSettings::default() };
        let retention = Retention { raw_ms: 1_000, ..Retention::default() };
        let view = BucketView::new(found.clone(), settings.clone(), NOW_S * 1_000);
        assert_eq!(deletions(&view, &retention).due, due);
        assert_eq!(deletions(&view, &Retention::default()).held_back, [id(1)]);
        let mut empty = found.clone();
        Arc::make_mut(empty.metas.get_mut(&id(1)).unwrap()).stats.num_samples = 0;
        assert_eq!(deletions(&BucketView::new(empty, settings.clone(), NOW_S * 1_000), &Retention::default()).due, due);
        // another window's
        let filters = BlockFilters { min_time: Some(TimeBound::Absolute(11)), ..BlockFilters::default() };
        let view = BucketView::new(found, ViewSettings { filters, ..settings }, NOW_S * 1_000);
        assert_eq!(deletions(&view, &retention), Deletions::default());
    }
}
