//! Blocks that are queried together: which of them a request needs, and the answers of all.
//!
//! Blocks with equal external labels form a group. Of a group, a request with a coarsest acceptable resolution gets
//! the coarsest blocks allowed; [what they leave open](super::coverage) is filled from the next finer resolution, and so on to raw.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};

use crate::bucket::Unreadable;
use crate::error::Result;
use crate::model::{BlockId, ExternalLabels, TimeInterval};

use super::coverage::{Candidate, Cut, choose};
use super::{BlockStore, LabelRequest, SeriesPart, SeriesRequest, StoreInfo};

/// Blocks of one request that are opened and selected from at once.
pub const BLOCKS_AHEAD: usize = 16;

/// How far a block's samples may lie after its making, for clocks that differ: an hour, in milliseconds.
const CLOCK_SKEW_MS: i64 = 3_600_000;

/// An unchanging set of blocks.
#[derive(Debug, Default)]
pub struct BlockSet {
    /// By external labels; in each by time.
    groups: BTreeMap<ExternalLabels, Vec<BlockStore>>,
    count: usize,
    /// Blocks that would belong here, but of which nothing could be read.
    unknown: Vec<(BlockId, Unreadable)>,
}

impl BlockSet {
    /// A set of these blocks.
    #[must_use]
    pub fn new(blocks: Vec<BlockStore>) -> Self {
        let count = blocks.len();
        let mut groups: BTreeMap<ExternalLabels, Vec<BlockStore>> = BTreeMap::new();
        for block in blocks {
            groups.entry(block.external_labels().clone()).or_default().push(block);
        }
        groups.values_mut().for_each(|blocks| blocks.sort_by_key(|block| (block.range().mint, block.id())));
        Self { groups, count, unknown: Vec::new() }
    }

    /// The set, knowing of blocks that it lacks because nothing could be read of them.
    #[must_use]
    pub fn with_unknown(self, unknown: Vec<(BlockId, Unreadable)>) -> Self {
        Self { unknown, ..self }
    }

    /// What an answer for `interval` may lack, for the client to see. A block holds nothing that is younger than itself.
    #[must_use]
    pub fn warnings(&self, interval: TimeInterval) -> Vec<String> {
        let may_hold = |made: i64| interval.mint <= made.saturating_add(CLOCK_SKEW_MS);
        let unknown = self.unknown.iter().filter(|(_, unreadable)| may_hold(unreadable.made));
        unknown.map(|(id, unreadable)| format!("block {id} is left out: {}", unreadable.reason)).collect()
    }

    /// How many blocks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All blocks.
    pub fn iter(&self) -> impl Iterator<Item = &BlockStore> {
        self.groups.values().flatten()
    }

    /// The block of that name.
    #[must_use]
    pub fn get(&self, id: BlockId) -> Option<&BlockStore> {
        self.iter().find(|block| block.id() == id)
    }

    /// What the blocks cover.
    #[must_use]
    pub fn info(&self) -> StoreInfo {
        let interval = self.iter().fold(TimeInterval::new(i64::MAX, i64::MIN), |all, block| {
            let range = block.range();
            TimeInterval::new(all.mint.min(range.mint), all.maxt.max(range.maxt.saturating_sub(1)))
        });
        StoreInfo { external_labels: self.groups.keys().cloned().collect(), interval }
    }

    /// The blocks that a request for `interval` needs, at the coarsest resolution up to `resolution_max_ms`, by time, and what
    /// is left of each.
    #[must_use]
    pub fn pick(&self, interval: TimeInterval, resolution_max_ms: i64) -> Vec<(&BlockStore, Cut)> {
        let mut picked = Vec::new();
        for group in self.groups.values() {
            let allowed = |block: &&BlockStore| {
                block.meta().resolution_ms() <= resolution_max_ms && block.range().overlaps(interval)
            };
            let blocks: Vec<&BlockStore> = group.iter().filter(allowed).collect();
            let candidates: Vec<Candidate> = blocks.iter().map(|block| candidate(block)).collect();
            picked.extend(choose(&candidates, interval).into_iter().map(|(i, cut)| (blocks[i], cut)));
        }
        picked.sort_by_key(|(block, _)| (block.range().mint, block.id()));
        picked
    }

    /// The parts of all blocks that a request needs, by time.
    ///
    /// # Errors
    /// The first error of a block: a partial answer is none.
    pub async fn series(&self, request: &SeriesRequest) -> Result<Vec<std::sync::Arc<dyn SeriesPart>>> {
        let picked = self.pick(request.interval, request.max_resolution_ms).into_iter();
        let selecting: Vec<_> = picked.map(|(block, cut)| select(block.clone(), request.clone(), cut)).collect();
        let parts: Vec<_> = futures::stream::iter(selecting).buffered(BLOCKS_AHEAD).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// The label names of all blocks in the request's interval.
    ///
    /// # Errors
    /// The first error of a block.
    pub async fn label_names(&self, request: &LabelRequest) -> Result<BTreeSet<String>> {
        let blocks = self.iter().filter(|block| block.range().overlaps(request.interval)).cloned();
        let asking: Vec<_> = blocks.map(|block| names(block, request.clone())).collect();
        collect(asking).await
    }

    /// The values of label `name` of all blocks in the request's interval.
    ///
    /// # Errors
    /// The first error of a block.
    pub async fn label_values(&self, name: &str, request: &LabelRequest) -> Result<BTreeSet<String>> {
        let blocks = self.iter().filter(|block| block.range().overlaps(request.interval)).cloned();
        let asking: Vec<_> = blocks.map(|block| values(block, name.to_owned(), request.clone())).collect();
        collect(asking).await
    }
}

fn candidate(block: &BlockStore) -> Candidate {
    Candidate { resolution_ms: block.meta().resolution_ms(), range: block.range() }
}

async fn select(block: BlockStore, request: SeriesRequest, cut: Cut) -> Result<Option<std::sync::Arc<dyn SeriesPart>>> {
    block.select_cut(&request, cut).await
}

async fn names(block: BlockStore, request: LabelRequest) -> Result<BTreeSet<String>> {
    block.names(&request).await
}

async fn values(block: BlockStore, name: String, request: LabelRequest) -> Result<BTreeSet<String>> {
    block.values(&name, &request).await
}

async fn collect(asking: Vec<impl Future<Output = Result<BTreeSet<String>>> + Send>) -> Result<BTreeSet<String>> {
    let merge = async |mut all: BTreeSet<String>, more: BTreeSet<String>| {
        all.extend(more);
        Ok(all)
    };
    futures::stream::iter(asking).buffered(BLOCKS_AHEAD).try_fold(BTreeSet::new(), merge).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block::BlockMeta;
    use crate::block::meta::{Downsample, ThanosMeta};
    use crate::model::TimeRange;
    use crate::side_index::{SideIndexCache, SideIndexSettings};
    use crate::store::BlockFiles;

    fn check(blocks: &[(i64, i64, i64)], interval: (i64, i64), resolution: i64, expected: &[usize]) {
        let cache = SideIndexCache::new(SideIndexSettings::default());
        let id = |i: usize| BlockId::new(ulid::Ulid::from_parts(i as u64, 0));
        let stores = blocks.iter().enumerate().map(|(i, &(resolution, mint, maxt))| {
            let mut meta = BlockMeta::new(id(i), TimeRange { mint, maxt });
            meta.thanos = Some(ThanosMeta { downsample: Downsample { resolution }, ..ThanosMeta::default() });
            BlockStore::new(BlockFiles::memory(id(i), Vec::new()), Arc::new(meta), Arc::clone(&cache))
        });
        let set = BlockSet::new(stores.collect());
        let picked: Vec<BlockId> =
            set.pick(TimeInterval::new(interval.0, interval.1), resolution).iter().map(|(b, _)| b.id()).collect();
        assert_eq!(picked, expected.iter().map(|&i| id(i)).collect::<Vec<_>>(), "{interval:?} at {resolution}");
    }

    #[test]
    fn gaps_are_filled_from_finer_blocks() {
        let blocks =
            [(0, 0, 100), (0, 100, 200), (0, 200, 300), (300_000, 100, 200), (3_600_000, 100, 150), (0, 300, 400)];
        check(&blocks, (0, 399), 0, &[0, 1, 2, 5]);
        check(&blocks, (0, 399), 300_000, &[0, 3, 2, 5]);
        check(&blocks, (0, 199), 299_999, &[0, 1]);
        check(&blocks, (120, 140), i64::MAX, &[4]);
        check(&blocks, (120, 160), i64::MAX, &[3, 4]);
        check(&blocks, (0, 100), i64::MAX, &[0, 4]);
        check(&blocks, (400, 500), 0, &[]);
        check(&[(300_000, 0, 100)], (0, 100), 0, &[]);
        check(&[(0, i64::MIN, i64::MAX), (300_000, i64::MIN, 5)], (i64::MIN, i64::MAX), 300_000, &[0, 1]);
    }
}
