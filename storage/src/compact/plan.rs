//! Which blocks of a group are merged next.
//!
//! The rules of Thanos, by which it and we can take turns on a bucket. Over the blocks of a group in order of their first
//! millisecond:
//!
//! 1. Blocks that share time halt the group, unless overlaps are merged: then the first run of overlapping blocks is the
//!    plan. Downsampled blocks cannot be merged so, and are marked against compaction.
//! 2. Else the newest block is left out, and for each range but the shortest, ascending, the blocks that lie within one
//!    multiple of it are looked at. The first such set is the plan that has two blocks at least, none of which ever failed,
//!    and that either fills the range or ends before the newest block that is left begins.
//!    Blocks marked against compaction are never in a plan, and no plan spans one.
//! 3. Else a block at least as long as the middle range with tombstones for more than 5 % of its series is rewritten.
//! 4. Where the indexes of a plan together come near the limit, the largest of them is marked, and planning begins anew.
//!
//! Planning asks nobody and changes nothing: it says what is to be marked and what is to be done then.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::block::BlockMeta;
use crate::block::marker::{NO_COMPACT_DOWNSAMPLE_VERTICAL, NO_COMPACT_INDEX_SIZE, NoCompactMark};
use crate::error::{Error, Result};
use crate::model::{BlockId, Timestamp};

use super::group::Group;
use super::halt::Halt;

const HOUR_MS: i64 = 3_600_000;
/// Spans that blocks grow to, in milliseconds; the first is not used.
pub const RANGES_MS: [i64; 5] = [HOUR_MS, 2 * HOUR_MS, 8 * HOUR_MS, 48 * HOUR_MS, 14 * 24 * HOUR_MS];
/// Largest index of a block, in bytes: what its references can address.
pub const INDEX_SIZE_MAX: u64 = 64 << 30;
/// Share of the index limit that a plan may come to, in percent.
const INDEX_SIZE_PERCENT: u64 = 85;
/// A block is rewritten when it has more tombstones than this share of its series.
const TOMBSTONES_SHARE: f64 = 0.05;

/// How blocks are planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSettings {
    /// Spans that blocks grow to, positive and ascending, in milliseconds; at least one.
    pub(super) ranges_ms: Vec<i64>,
    /// Whether blocks that share time are merged.
    pub vertical: bool,
    /// Largest index of a block, in bytes; `u64::MAX` asks for no sizes.
    pub index_size_max: u64,
    /// Whether a group halts at an overlap too of which one side is marked against compaction, as Thanos's does.
    pub marked_overlaps_halt: bool,
}

impl Default for PlanSettings {
    fn default() -> Self {
        let ranges_ms = RANGES_MS.to_vec();
        Self { ranges_ms, vertical: false, index_size_max: INDEX_SIZE_MAX, marked_overlaps_halt: false }
    }
}

impl PlanSettings {
    /// With other ranges.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] where there are none, or they are not positive and ascending.
    pub fn with_ranges(self, ranges_ms: Vec<i64>) -> Result<Self> {
        let ascending = ranges_ms.windows(2).all(|pair| pair[0] < pair[1]);
        match ranges_ms.first() {
            Some(1..) if ascending => Ok(Self { ranges_ms, ..self }),
            _ => Err(Error::InvalidRequest(format!("ranges {ranges_ms:?} ms are not positive and ascending"))),
        }
    }

    /// With the first of [`RANGES_MS`], up to the one of index `level_max`.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] where there is none.
    pub fn with_level_max(self, level_max: usize) -> Result<Self> {
        match RANGES_MS.get(..=level_max) {
            Some(ranges) => self.with_ranges(ranges.to_vec()),
            None => Err(Error::InvalidRequest(format!(
                "compaction level {level_max} is above the highest, {}",
                RANGES_MS.len() - 1
            ))),
        }
    }
}

/// A block that is to be marked against compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoCompactRequest {
    /// The block.
    pub id: BlockId,
    /// Why: one of the `NO_COMPACT_*` words.
    pub reason: &'static str,
    /// Why, for people.
    pub details: String,
}

impl NoCompactRequest {
    /// The mark to write.
    #[must_use]
    pub fn mark(&self, now: Timestamp) -> NoCompactMark {
        NoCompactMark::new(self.id, now.div_euclid(1_000), self.reason, self.details.clone())
    }
}

/// Why blocks are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// They lie within one range.
    Range,
    /// They share time.
    Overlap,
    /// One block with many tombstones.
    Tombstones,
}

/// What is to be done in a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing, until the bucket changes.
    Nothing,
    /// These become one block; never empty, in order of time.
    Merge(Reason, Vec<Arc<BlockMeta>>),
    /// Plan again with the sizes in bytes of these blocks' indexes, which their `meta.json` lacks.
    NeedsIndexSizes(Vec<BlockId>),
    /// Nothing, until somebody decides.
    Halt(Halt),
}

/// What planning comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Marks to write before the step is taken; it already heeds them.
    pub marks: Vec<NoCompactRequest>,
    /// What to do then.
    pub step: Step,
}

/// Plans the next step of `group`. `no_compact` are the blocks marked against compaction; `index_sizes` the sizes in bytes
/// of indexes that `meta.json` does not tell.
#[must_use]
pub fn plan<S: std::hash::BuildHasher>(
    group: &Group,
    settings: &PlanSettings,
    no_compact: &HashSet<BlockId, S>,
    index_sizes: &HashMap<BlockId, u64, S>,
) -> Plan {
    let mut set_aside: HashSet<BlockId> = no_compact.iter().copied().collect();
    let mut marks: Vec<NoCompactRequest> = Vec::new();
    loop {
        let (step, more) = plan_once(group.blocks(), settings, &set_aside, index_sizes);
        if more.is_empty() {
            return Plan { marks, step };
        }
        set_aside.extend(more.iter().map(|request| request.id));
        marks.extend(more);
    }
}

/// One round: a step, or blocks that must be set aside first.
fn plan_once<S: std::hash::BuildHasher>(
    blocks: &[Arc<BlockMeta>],
    settings: &PlanSettings,
    set_aside: &HashSet<BlockId>,
    index_sizes: &HashMap<BlockId, u64, S>,
) -> (Step, Vec<NoCompactRequest>) {
    let free: Vec<&Arc<BlockMeta>> = blocks.iter().filter(|block| !set_aside.contains(&block.id())).collect();
    let overlapping = first_overlap(&free);
    if !settings.vertical {
        let strict = settings.marked_overlaps_halt.then(|| first_overlap(&blocks.iter().collect::<Vec<_>>()));
        let halting = strict.unwrap_or_else(|| overlapping.clone());
        if !halting.is_empty() {
            return (Step::Halt(Halt::Overlap(halting)), Vec::new());
        }
    }
    let (reason, plan) = match overlapping.is_empty() {
        false => (Reason::Overlap, overlapping),
        true => match within_ranges(&settings.ranges_ms, blocks, set_aside) {
            plan if plan.is_empty() => (Reason::Tombstones, with_tombstones(&settings.ranges_ms, blocks, set_aside)),
            plan => (Reason::Range, plan),
        },
    };
    if plan.is_empty() {
        return (Step::Nothing, Vec::new());
    }
    match index_too_large(&plan, settings.index_size_max, index_sizes) {
        Ok(None) => {}
        Ok(Some(largest)) => return (Step::Nothing, vec![largest]),
        Err(unknown) => return (Step::NeedsIndexSizes(unknown), Vec::new()),
    }
    if reason == Reason::Overlap {
        let downsampled: Vec<NoCompactRequest> =
            plan.iter().filter(|block| block.resolution_ms() > 0).map(|block| not_vertically(block)).collect();
        return (Step::Merge(reason, plan), downsampled);
    }
    if !settings.vertical
        && let Some(source) = shared_source(&plan)
    {
        return (Step::Halt(Halt::SharedSource(source, plan)), Vec::new());
    }
    (Step::Merge(reason, plan), Vec::new())
}

/// The first run of blocks that share time, in order; empty where none do.
fn first_overlap(blocks: &[&Arc<BlockMeta>]) -> Vec<Arc<BlockMeta>> {
    let mut run: Vec<Arc<BlockMeta>> = Vec::new();
    let mut maxt = Timestamp::MIN;
    for (i, block) in blocks.iter().enumerate() {
        if i > 0 && block.min_time < maxt {
            if run.is_empty() {
                run.push(Arc::clone(blocks[i - 1]));
            }
            run.push(Arc::clone(block));
        } else if !run.is_empty() {
            break;
        }
        maxt = maxt.max(block.max_time);
    }
    run
}

/// The first set of blocks that together are due for one of the ranges; empty where none is.
fn within_ranges(ranges_ms: &[i64], blocks: &[Arc<BlockMeta>], set_aside: &HashSet<BlockId>) -> Vec<Arc<BlockMeta>> {
    let Some((_newest, blocks)) = blocks.split_last() else { return Vec::new() };
    let Some(last) = blocks.last() else { return Vec::new() };
    for &range_ms in ranges_ms.iter().skip(1) {
        for part in split_by_range(blocks, range_ms) {
            let (Some(first), Some(end)) = (part.first(), part.last()) else { continue };
            if part.len() < 2 || part.iter().any(|block| block.compaction.failed) {
                continue;
            }
            // one that ends later may still get company
            let fills = end.max_time.saturating_sub(first.min_time) == range_ms;
            if !fills && end.max_time > last.min_time {
                continue;
            }
            let mut runs = part.split(|block| set_aside.contains(&block.id()));
            if let Some(run) = runs.find(|run| run.len() > 1) {
                return run.to_vec();
            }
        }
    }
    Vec::new()
}

/// Sets of consecutive blocks that lie within one multiple of `range_ms`. Blocks across a border are in none.
fn split_by_range(blocks: &[Arc<BlockMeta>], range_ms: i64) -> Vec<&[Arc<BlockMeta>]> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(block) = blocks.get(at) {
        let end = block.min_time.div_euclid(range_ms).saturating_add(1).saturating_mul(range_ms);
        let inside = blocks[at..].iter().take_while(|block| block.max_time <= end).count();
        if inside > 0 {
            parts.push(&blocks[at..at + inside]);
        }
        at += inside.max(1);
    }
    parts
}

/// The newest long block but one that has many tombstones; looks no further than the first short one.
fn with_tombstones(ranges_ms: &[i64], blocks: &[Arc<BlockMeta>], set_aside: &HashSet<BlockId>) -> Vec<Arc<BlockMeta>> {
    let long_ms = ranges_ms.get(ranges_ms.len() / 2).copied().unwrap_or(i64::MAX);
    let Some((_newest, blocks)) = blocks.split_last() else { return Vec::new() };
    let free = blocks.iter().rev().filter(|block| !set_aside.contains(&block.id()));
    let mut long = free.take_while(|block| block.max_time.saturating_sub(block.min_time) >= long_ms);
    #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
    let many = |block: &&Arc<BlockMeta>| {
        block.stats.num_tombstones as f64 / block.stats.num_series.saturating_add(1) as f64 > TOMBSTONES_SHARE
    };
    long.find(many).cloned().into_iter().collect()
}

/// The block to set aside so that the index of what is made of `plan` stays below the limit, or those whose sizes are not
/// known. As if no two indexes had a byte in common.
fn index_too_large<S: std::hash::BuildHasher>(
    plan: &[Arc<BlockMeta>],
    index_size_max: u64,
    index_sizes: &HashMap<BlockId, u64, S>,
) -> Result<Option<NoCompactRequest>, Vec<BlockId>> {
    if index_size_max == u64::MAX {
        return Ok(None);
    }
    let size = |block: &BlockMeta| block.file_size("index").or_else(|| index_sizes.get(&block.id()).copied());
    let unknown: Vec<BlockId> = plan.iter().filter(|block| size(block).is_none()).map(|block| block.id()).collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let limit = u128::from(index_size_max) * u128::from(INDEX_SIZE_PERCENT) / 100;
    let mut total: u128 = 0;
    let mut largest: Option<(u64, BlockId)> = None;
    for block in plan {
        let size = size(block).unwrap_or(0);
        if largest.is_none_or(|(most, _)| most < size) {
            largest = Some((size, block.id()));
        }
        total += u128::from(size);
        if let Some((_, id)) = largest.filter(|_| total >= limit) {
            let details =
                format!("the index of the compacted block could exceed {index_size_max} bytes with this block");
            return Ok(Some(NoCompactRequest { id, reason: NO_COMPACT_INDEX_SIZE, details }));
        }
    }
    Ok(None)
}

fn not_vertically(block: &BlockMeta) -> NoCompactRequest {
    let details = "downsampled blocks that overlap cannot be merged".to_owned();
    NoCompactRequest { id: block.id(), reason: NO_COMPACT_DOWNSAMPLE_VERTICAL, details }
}

/// A source that two blocks of `plan` have.
fn shared_source(plan: &[Arc<BlockMeta>]) -> Option<BlockId> {
    let mut seen = HashSet::new();
    plan.iter().flat_map(|block| &block.compaction.sources).copied().find(|&source| !seen.insert(source))
}

#[cfg(test)]
mod tests;
