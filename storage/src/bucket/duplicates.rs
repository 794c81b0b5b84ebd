//! Blocks that another block holds all of.
//!
//! A block knows the blocks cut from heads that went into it, its sources. Where all sources of one block are among those
//! of another of its group and resolution, it has nothing that the other lacks:
//!
//! 1. sort each group by number of sources, most first; of equal ones, those not marked for deletion first, then by name
//! 2. a block whose sources one kept block has is a duplicate of that one; else it is kept
//!
//! The mark counts since a block that is rewritten in place has its predecessor's sources: what stays has to win.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::block::BlockMeta;
use crate::model::{BlockId, ExternalLabels};

/// Each duplicate with a block that holds it, one that is not `marked` for deletion where there is one. A block that
/// names no sources is none: nobody can tell what it holds.
pub(super) fn duplicates(
    metas: &BTreeMap<BlockId, Arc<BlockMeta>>,
    marked: impl Fn(BlockId) -> bool,
) -> Vec<(BlockId, BlockId)> {
    let mut groups: HashMap<(i64, ExternalLabels), Vec<&Arc<BlockMeta>>> = HashMap::new();
    for meta in metas.values().filter(|meta| !meta.compaction.sources.is_empty()) {
        groups.entry((meta.resolution_ms(), meta.external_labels())).or_default().push(meta);
    }
    let mut duplicates = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by_cached_key(|meta| (Reverse(meta.compaction.sources.len()), marked(meta.id()), meta.id()));
        // which kept blocks hold a source: only they can hold all sources
        let mut holders: HashMap<BlockId, Vec<usize>> = HashMap::new();
        let mut kept: Vec<(BlockId, HashSet<BlockId>)> = Vec::new();
        for meta in group {
            let sources = &meta.compaction.sources;
            let candidates = sources.first().and_then(|first| holders.get(first)).into_iter().flatten();
            let covering = candidates.filter(|&&i| sources.iter().all(|source| kept[i].1.contains(source)));
            if let Some(holder) = covering.map(|&i| kept[i].0).min_by_key(|&holder| marked(holder)) {
                duplicates.push((meta.id(), holder));
                continue;
            }
            for &source in sources {
                holders.entry(source).or_default().push(kept.len());
            }
            kept.push((meta.id(), sources.iter().copied().collect()));
        }
    }
    duplicates
}
