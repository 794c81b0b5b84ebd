//! How much is left to do, found out by planning to the end without doing anything.
//!
//! Each group is planned again and again, with what every plan would make in place of its inputs, until it has nothing left
//! to do. The counts are those of Thanos's `thanos_compact_todo_*`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ulid::Ulid;

use crate::block::BlockMeta;
use crate::block::meta::BlockStats;
use crate::model::BlockId;

use super::downsample_plan::{Downsampling, downsampling};
use super::group::Group;
use super::output::output_meta;
use super::plan::{PlanSettings, Step, plan};
use super::retention::{Expiry, Retention, expiry};
use super::view::BucketView;

/// What is left to do in one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupProgress {
    /// Merges.
    pub compactions: u64,
    /// Blocks that go into them; what one merge makes and another takes counts too.
    pub compaction_blocks: u64,
    /// Bytes that the merges read; what earlier ones make counts as long as its inputs.
    pub bytes: u64,
    /// Samples that the merges read.
    pub samples: u64,
    /// Whether it halts before all of that is done.
    pub halts: bool,
    /// Blocks of the bucket that the merges take.
    pub inputs: HashSet<BlockId>,
}

/// What is left to do in a bucket.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// For each group by its key.
    pub groups: HashMap<String, GroupProgress>,
    /// Blocks to downsample, as they are now.
    pub downsampling: Vec<Downsampling>,
    /// Blocks past their retention, also those that still wait for something.
    pub expiry: Expiry,
}

impl Progress {
    /// Plans to the end. `retention` and `downsamples` as in [`expiry`].
    #[must_use]
    pub fn of(view: &BucketView, settings: &PlanSettings, retention: &Retention, downsamples: bool) -> Self {
        let no_compact = view.no_compact();
        let groups: HashMap<String, GroupProgress> = view
            .groups()
            .into_iter()
            .map(|group| (group.key().to_owned(), simulate(group, settings, &no_compact)))
            .collect();
        let to_merge = groups.values().flat_map(|group| &group.inputs).copied().collect();
        let downsampling = if downsamples { downsampling(view, retention) } else { Vec::new() };
        Self { groups, downsampling, expiry: expiry(view, retention, downsamples, &to_merge) }
    }

    /// Blocks that merges still wait for, for [`expiry`].
    #[must_use]
    pub fn inputs(&self) -> HashSet<BlockId> {
        self.groups.values().flat_map(|group| &group.inputs).copied().collect()
    }

    /// `thanos_compact_todo_compactions`
    #[must_use]
    pub fn compactions(&self) -> u64 {
        self.groups.values().map(|group| group.compactions).sum()
    }

    /// `thanos_compact_todo_compaction_blocks`
    #[must_use]
    pub fn compaction_blocks(&self) -> u64 {
        self.groups.values().map(|group| group.compaction_blocks).sum()
    }

    /// `thanos_compact_todo_downsample_blocks`
    #[must_use]
    pub fn downsample_blocks(&self) -> u64 {
        self.downsampling.len() as u64
    }

    /// `thanos_compact_todo_deletion_blocks`
    #[must_use]
    pub fn deletion_blocks(&self) -> u64 {
        (self.expiry.due.len() + self.expiry.waiting.len()) as u64
    }

    /// Bytes that merges and downsampling are to read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let merged = self.groups.values().map(|group| group.bytes);
        merged.chain(self.downsampling.iter().map(|job| size(&job.block))).fold(0, u64::saturating_add)
    }

    /// Samples that merges and downsampling are to read.
    #[must_use]
    pub fn samples(&self) -> u64 {
        let merged = self.groups.values().map(|group| group.samples);
        merged.chain(self.downsampling.iter().map(|job| job.block.stats.num_samples)).fold(0, u64::saturating_add)
    }
}

/// Bytes of a block's files, as far as its `meta.json` tells.
fn size(block: &BlockMeta) -> u64 {
    let files = block.thanos.iter().flat_map(|thanos| &thanos.files);
    files.map(|file| file.size_bytes).fold(0, u64::saturating_add)
}

/// Plans one group to its end.
fn simulate(mut group: Group, settings: &PlanSettings, no_compact: &HashSet<BlockId>) -> GroupProgress {
    // sizes of indexes would have to be asked for
    let settings = PlanSettings { index_size_max: u64::MAX, ..settings.clone() };
    let mut progress = GroupProgress::default();
    let mut no_compact = no_compact.clone();
    let mut sizes: HashMap<BlockId, u64> = group.blocks().iter().map(|block| (block.id(), size(block))).collect();
    let mut made: HashSet<BlockId> = HashSet::new();
    // every merge but one of a single block leaves fewer blocks, and that one leaves fewer tombstones
    for n in 0..2 * group.blocks().len() as u128 {
        let next = plan(&group, &settings, &no_compact, &HashMap::new());
        no_compact.extend(next.marks.iter().map(|request| request.id));
        let inputs = match next.step {
            Step::Merge(_, inputs) => inputs,
            Step::Halt(_) => {
                progress.halts = true;
                break;
            }
            Step::Nothing | Step::NeedsIndexSizes(_) => break,
        };
        let id = BlockId::new(Ulid::from(u128::MAX - n));
        let bytes =
            inputs.iter().map(|block| sizes.get(&block.id()).copied().unwrap_or(0)).fold(0, u64::saturating_add);
        let samples = inputs.iter().map(|block| block.stats.num_samples).fold(0, u64::saturating_add);
        progress.compactions += 1;
        progress.compaction_blocks += inputs.len() as u64;
        progress.bytes = progress.bytes.saturating_add(bytes);
        progress.samples = progress.samples.saturating_add(samples);
        progress.inputs.extend(inputs.iter().map(|block| block.id()).filter(|id| !made.contains(id)));
        made.insert(id);
        sizes.insert(id, bytes);
        let mut output = output_meta(id, &group, &inputs);
        output.stats = BlockStats { num_samples: samples, ..BlockStats::default() };
        group.replace(&inputs, Arc::new(output));
    }
    progress
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::marker::NoCompactMark;
    use crate::bucket::FoundBlocks;
    use crate::compact::downsample_plan::{FIVE_MINUTES_SPAN_MIN_MS, RAW_SPAN_MIN_MS};
    use crate::compact::testing::{block, id, labeled, sourced, with_index};
    use crate::compact::view::ViewSettings;

    fn found(blocks: impl IntoIterator<Item = BlockMeta>) -> FoundBlocks {
        let full = |mut meta: BlockMeta| {
            meta.stats.num_samples = 10;
            (meta.id(), Arc::new(with_index(meta, 100)))
        };
        FoundBlocks { metas: blocks.into_iter().map(full).collect(), ..FoundBlocks::default() }
    }

    fn settings() -> PlanSettings {
        PlanSettings::default().with_ranges(vec![20, 60, 180, 540]).unwrap()
    }

    fn progress(found: FoundBlocks, settings: &PlanSettings) -> Progress {
        Progress::of(&BucketView::new(found, ViewSettings::default(), 0), settings, &Retention::default(), true)
    }

    #[test]
    fn merges_of_merges_count() {
        // 3 x 3 of 20 become 3 of 60, these one of 180; one more is the newest
        let blocks = (0..10).map(|n| block(n + 1, (20 * n as i64, 20 * n as i64 + 20)));
        let todo = progress(found(blocks), &settings());
        assert_eq!((todo.compactions(), todo.compaction_blocks()), (4, 12));
        assert_eq!((todo.bytes(), todo.samples()), (2 * 900, 2 * 90));
        assert_eq!(todo.inputs(), (1..10).map(id).collect());
    }

    #[test]
    fn a_group_that_halts_counts_up_to_there() {
        let blocks = [
            labeled(1, (0, 20), &[("c", "x")]),
            labeled(2, (10, 30), &[("c", "x")]),
            labeled(3, (0, 20), &[("c", "y")]),
            labeled(4, (20, 40), &[("c", "y")]),
            labeled(5, (80, 100), &[("c", "y")]),
            labeled(6, (100, 120), &[("c", "y")]),
        ];
        let todo = progress(found(blocks.clone()), &settings());
        assert_eq!((todo.compactions(), todo.groups.values().filter(|group| group.halts).count()), (1, 1));
        let vertical = PlanSettings { vertical: true, ..settings() };
        let todo = progress(found(blocks), &vertical);
        assert_eq!((todo.compactions(), todo.groups.values().filter(|group| group.halts).count()), (2, 0));
    }

    #[test]
    fn it_ends_where_marks_have_to_be_written_first() {
        let vertical = PlanSettings { vertical: true, ..settings() };
        let blocks = [sourced(1, (0, 20), 300_000, &[1]), sourced(2, (10, 30), 300_000, &[2])];
        assert_eq!(progress(found(blocks), &vertical).compactions(), 0);
        let mut marked = found((0..10).map(|n| block(n + 1, (20 * n as i64, 20 * n as i64 + 20))));
        marked.no_compact_marks.insert(id(2), NoCompactMark::new(id(2), 0, "", ""));
        let todo = progress(marked, &settings());
        assert!(!todo.inputs().contains(&id(2)));
        assert!(todo.compactions() > 0);
    }

    #[test]
    fn downsampling_and_retention_count_too() {
        let blocks =
            [sourced(1, (0, RAW_SPAN_MIN_MS), 0, &[1]), sourced(2, (RAW_SPAN_MIN_MS, RAW_SPAN_MIN_MS + 1), 0, &[2])];
        let view = BucketView::new(found(blocks), ViewSettings::default(), 10 * FIVE_MINUTES_SPAN_MIN_MS);
        let retention = Retention { raw_ms: RAW_SPAN_MIN_MS, ..Retention::default() };
        let todo = Progress::of(&view, &PlanSettings::default(), &retention, true);
        assert_eq!((todo.downsample_blocks(), todo.deletion_blocks(), todo.samples()), (1, 2, 10));
        assert_eq!(todo.expiry.waiting, [id(1)]);
        let todo = Progress::of(&view, &PlanSettings::default(), &retention, false);
        assert_eq!((todo.downsample_blocks(), todo.expiry.due.len()), (0, 2));
    }
}
