//! What a compactor sees of a bucket at one moment; everything is planned from it.
//!
//! ```text
//! MetaSync::for_compactor().fetch() ──> BucketView ──┬─> garbage, deletable          [`super::garbage`]
//!                                                    ├─> groups ──> plan             [`super::plan`]
//!                                                    ├─> downsampling                [`super::downsample_plan`]
//!                                                    ├─> retention                   [`super::retention`]
//!                                                    └─> aborted uploads             [`super::partial`]
//! ```
//!
//! A block that is marked for deletion stays in view for half of the delay after which it goes: until then what replaces it
//! may not be in view everywhere, and a plan without either would leave a gap.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::block::BlockMeta;
use crate::bucket::{BlockFilters, FoundBlocks, SyncReport, Unreadable};
use crate::model::{BlockId, Timestamp};

use super::group::{Group, groups};

/// Which blocks a compactor works on.
#[derive(Debug, Clone, Default)]
pub struct ViewSettings {
    /// Time window, shard, consistency delay and replica labels. Its deletion delay is not used.
    pub filters: BlockFilters,
    /// How long a block outlives its deletion mark, in milliseconds.
    pub delete_delay_ms: i64,
}

/// A bucket at one moment.
#[derive(Debug, Clone)]
pub struct BucketView {
    pub(super) now: Timestamp,
    pub(super) settings: ViewSettings,
    pub(super) found: FoundBlocks,
    blocks: BTreeMap<BlockId, Arc<BlockMeta>>,
    report: SyncReport,
}

impl BucketView {
    /// What `found` shows at `now`.
    #[must_use]
    pub fn new(found: FoundBlocks, settings: ViewSettings, now: Timestamp) -> Self {
        let filters = BlockFilters { deletion_mark_delay_ms: settings.delete_delay_ms / 2, ..settings.filters.clone() };
        let (blocks, report) = filters.apply(found.clone(), now);
        Self { now, settings, found, blocks, report }
    }

    /// When it was taken.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Blocks to work on, without replica labels and without those that another block holds all of.
    #[must_use]
    pub fn blocks(&self) -> &BTreeMap<BlockId, Arc<BlockMeta>> {
        &self.blocks
    }

    /// What became of every block.
    #[must_use]
    pub fn report(&self) -> &SyncReport {
        &self.report
    }

    /// Everything that was found.
    #[must_use]
    pub fn found(&self) -> &FoundBlocks {
        &self.found
    }

    /// Blocks to work on, by what can be merged.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        groups(self.blocks.values())
    }

    /// Blocks that must not be compacted.
    #[must_use]
    pub fn no_compact(&self) -> HashSet<BlockId> {
        self.found.no_compact_marks.keys().copied().collect()
    }

    /// Blocks of which nothing is known because reading failed, which may pass. While there are any, a plan could leave one
    /// out that belongs into it: nothing should be merged.
    pub fn unread(&self) -> impl Iterator<Item = (BlockId, &Unreadable)> {
        let unknown = self.found.unreadable.iter().filter(|(id, _)| !self.found.metas.contains_key(id));
        unknown.filter(|(_, unreadable)| !unreadable.corrupt).map(|(&id, unreadable)| (id, unreadable))
    }

    /// Whether the block will be there for good, as far as is known: it can be read, and nobody marked it for deletion.
    pub(super) fn stays(&self, id: BlockId) -> bool {
        !self.found.deletion_marks.contains_key(&id) && !self.found.unreadable.contains_key(&id)
    }
}
