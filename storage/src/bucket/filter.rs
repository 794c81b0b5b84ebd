//! Which blocks of a bucket are served.
//!
//! In the order in which Thanos's store gateway and compactor apply them: time window, shard, consistency delay, deletion
//! mark, then, with replica labels gone, duplicates. A block is counted under the first that leaves it out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::block::BlockMeta;
use crate::model::{BlockId, Labels, Timestamp};

use super::duplicates::duplicates;
use super::sync::{FoundBlocks, Unreadable};

/// The name under which a shard rule sees a block's ULID.
const BLOCK_ID_LABEL: &str = "__block_id";

/// What became of a block; the words are values of the label `state` of `thanos_blocks_meta_synced`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockState {
    /// Its `meta.json` is not one.
    CorruptedMeta,
    /// It has no `meta.json`: partly uploaded or partly deleted.
    NoMeta,
    /// It is served.
    Loaded,
    /// It could not be read.
    Failed,
    /// Another shard serves it.
    LabelExcluded,
    /// It lies outside of the time window.
    TimeExcluded,
    /// It is younger than the consistency delay.
    TooFresh,
    /// A compacted block holds all of it.
    Duplicate,
    /// It was marked for deletion longer ago than the delay.
    MarkedForDeletion,
    /// Only for compaction: it must not be compacted.
    MarkedForNoCompact,
    /// Only for downsampling: it must not be downsampled.
    MarkedForNoDownsample,
    /// Only for Thanos: a Parquet gateway serves it.
    ParquetMigrated,
}

impl BlockState {
    /// Every state, for a gauge to show them all.
    pub const ALL: [BlockState; 12] = [
        Self::CorruptedMeta,
        Self::NoMeta,
        Self::Loaded,
        Self::Failed,
        Self::LabelExcluded,
        Self::TimeExcluded,
        Self::TooFresh,
        Self::Duplicate,
        Self::MarkedForDeletion,
        Self::MarkedForNoCompact,
        Self::MarkedForNoDownsample,
        Self::ParquetMigrated,
    ];

    /// The value of the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CorruptedMeta => "corrupted-meta-json",
            Self::NoMeta => "no-meta-json",
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::LabelExcluded => "label-excluded",
            Self::TimeExcluded => "time-excluded",
            Self::TooFresh => "too-fresh",
            Self::Duplicate => "duplicate",
            Self::MarkedForDeletion => "marked-for-deletion",
            Self::MarkedForNoCompact => "marked-for-no-compact",
            Self::MarkedForNoDownsample => "marked-for-no-downsample",
            Self::ParquetMigrated => "parquet-migrated",
        }
    }
}

/// What a sync found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// How many blocks are in each state.
    pub counts: BTreeMap<BlockState, u64>,
    /// Blocks that are not served, in order, and why, in words.
    pub left_out: BTreeMap<BlockId, (BlockState, String)>,
    /// Blocks all of which another one holds, with that one.
    pub duplicates: BTreeMap<BlockId, BlockId>,
    /// Blocks of which a file could not be read. One of them that is not in `left_out` is served by what was read of it
    /// earlier; of the others nobody knows what they hold.
    pub unreadable: BTreeMap<BlockId, Unreadable>,
}

impl SyncReport {
    /// How many blocks are in `state`.
    #[must_use]
    pub fn count(&self, state: BlockState) -> u64 {
        self.counts.get(&state).copied().unwrap_or(0)
    }

    /// Blocks that are left out because nothing could ever be read of them, past the consistency delay.
    pub fn unknown(&self) -> impl Iterator<Item = (BlockId, &Unreadable)> {
        let of_unknown = |id: &BlockId| {
            let state = self.left_out.get(id).map(|(state, _)| *state);
            matches!(state, Some(BlockState::CorruptedMeta | BlockState::Failed))
        };
        self.unreadable.iter().filter(move |(id, _)| of_unknown(id)).map(|(&id, unreadable)| (id, unreadable))
    }

    fn leave_out(&mut self, id: BlockId, state: BlockState, reason: String) {
        *self.counts.entry(state).or_default() += 1;
        self.left_out.insert(id, (state, reason));
    }
}

/// One end of a time window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeBound {
    /// Milliseconds since the epoch.
    Absolute(Timestamp),
    /// Milliseconds after now; negative before.
    FromNow(i64),
}

impl TimeBound {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Absolute(t) => t,
            Self::FromNow(distance) => now.saturating_add(distance),
        }
    }
}

/// Decides by external labels and `__block_id` whether this process serves a block.
#[derive(Clone)]
pub struct KeepBlock(Arc<dyn Fn(&Labels) -> bool + Send + Sync>);

impl KeepBlock {
    /// Wraps a rule.
    pub fn new(rule: impl Fn(&Labels) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }
}

impl fmt::Debug for KeepBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepBlock")
    }
}

/// Which blocks are served. The default leaves out only duplicates and what was marked for deletion.
#[derive(Debug, Clone, Default)]
pub struct BlockFilters {
    /// Blocks that end before this are left out.
    pub min_time: Option<TimeBound>,
    /// Blocks that begin after this are left out.
    pub max_time: Option<TimeBound>,
    /// The shard.
    pub keep: Option<KeepBlock>,
    /// Blocks younger than this, in milliseconds, are left out, unless a compactor made them.
    pub consistency_delay_ms: i64,
    /// A marked block is served for so long after it was marked, in milliseconds.
    pub deletion_mark_delay_ms: i64,
    /// External labels that a compactor takes away, so that replicas become one group; shards do not see them. A block that
    /// has no other gets the first of them, as `deduped`. Empty for who only reads.
    pub replica_labels: Vec<String>,
}

/// The value of the first replica label where it was the only external label.
const NO_LABEL_LEFT: &str = "deduped";

impl BlockFilters {
    /// Splits what was found into blocks to serve and a report on the others.
    #[must_use]
    pub fn apply(&self, found: FoundBlocks, now: Timestamp) -> (BTreeMap<BlockId, Arc<BlockMeta>>, SyncReport) {
        let mut report = SyncReport::default();
        for id in found.without_meta.into_keys() {
            report.leave_out(id, BlockState::NoMeta, "there is no meta.json".to_owned());
        }
        let mut metas = found.metas;
        for (id, unreadable) in found.unreadable {
            if !metas.contains_key(&id) {
                let state = if unreadable.corrupt { BlockState::CorruptedMeta } else { BlockState::Failed };
                report.leave_out(id, state, unreadable.reason.clone());
                // a file that is still being written looks the same
                if self.is_fresh(unreadable.made, now) {
                    continue;
                }
            }
            report.unreadable.insert(id, unreadable);
        }
        metas.retain(|&id, meta| {
            let marked = found.deletion_marks.get(&id).map(|mark| mark.deletion_time_s);
            match self.judge(id, meta, marked, now) {
                Some((state, reason)) => {
                    report.leave_out(id, state, reason);
                    false
                }
                None => true,
            }
        });
        if !self.replica_labels.is_empty() {
            metas.values_mut().for_each(|meta| self.drop_replica_labels(meta));
        }
        for (id, covering) in duplicates(&metas, |id| found.deletion_marks.contains_key(&id)) {
            metas.remove(&id);
            report.duplicates.insert(id, covering);
            report.leave_out(id, BlockState::Duplicate, format!("block {covering} holds all of it"));
        }
        report.counts.insert(BlockState::Loaded, metas.len() as u64);
        (metas, report)
    }

    /// Whether time and labels choose the block, whatever its age and marks.
    #[must_use]
    pub fn selects(&self, meta: &BlockMeta, now: Timestamp) -> bool {
        self.unselected(meta, now).is_none()
    }

    /// Whether what was made then is within the consistency delay.
    fn is_fresh(&self, made: Timestamp, now: Timestamp) -> bool {
        self.consistency_delay_ms > 0 && now.saturating_sub(made) < self.consistency_delay_ms
    }

    fn unselected(&self, meta: &BlockMeta, now: Timestamp) -> Option<(BlockState, String)> {
        let range = meta.range();
        let min_time = self.min_time.map_or(Timestamp::MIN, |bound| bound.at(now));
        let max_time = self.max_time.map_or(Timestamp::MAX, |bound| bound.at(now));
        if range.maxt < min_time || range.mint > max_time {
            return Some((BlockState::TimeExcluded, format!("outside of {min_time} to {max_time}")));
        }
        if let Some(KeepBlock(keep)) = &self.keep {
            let labels = meta.external_labels().without(&self.replica_labels).to_labels();
            if !keep(&labels.with(BLOCK_ID_LABEL, &meta.id().to_string())) {
                return Some((BlockState::LabelExcluded, "another shard's".to_owned()));
            }
        }
        None
    }

    fn drop_replica_labels(&self, meta: &mut Arc<BlockMeta>) {
        let labels = meta.thanos.as_ref().map(|thanos| &thanos.labels);
        let carries_one = labels.is_some_and(|labels| self.replica_labels.iter().any(|name| labels.contains_key(name)));
        if !carries_one && labels.is_some_and(|labels| !labels.is_empty()) {
            return;
        }
        let labels = &mut Arc::make_mut(meta).thanos.get_or_insert_default().labels;
        labels.retain(|name, _| !self.replica_labels.contains(name));
        if labels.is_empty() {
            labels.extend(self.replica_labels.first().map(|name| (name.clone(), NO_LABEL_LEFT.to_owned())));
        }
    }

    fn judge(
        &self,
        id: BlockId,
        meta: &BlockMeta,
        marked_s: Option<i64>,
        now: Timestamp,
    ) -> Option<(BlockState, String)> {
        if let Some(left_out) = self.unselected(meta, now) {
            return Some(left_out);
        }
        let made_ms = meta.upload_time().unwrap_or_else(|| i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX));
        let source = meta.thanos.as_ref().map_or("", |thanos| thanos.source.as_str());
        let from_compactor = matches!(source, "bucket.repair" | "compactor" | "compactor.repair");
        if !from_compactor && self.is_fresh(made_ms, now) {
            let reason = format!("younger than {} ms", self.consistency_delay_ms);
            return Some((BlockState::TooFresh, reason));
        }
        let marked_ms = marked_s?.saturating_mul(1_000);
        (now.saturating_sub(marked_ms) > self.deletion_mark_delay_ms)
            .then(|| (BlockState::MarkedForDeletion, format!("marked for deletion at {marked_ms}")))
    }
}

#[cfg(test)]
mod tests;
