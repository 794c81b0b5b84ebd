//! Several stores as one: head, local blocks and bucket as one timeline.
//!
//! All members are asked at once. A block that two of them hold, as a local block does that was just uploaded, answers
//! once: of parts with the same ULID as name the one of the earlier member stays, so members come with the cheapest to
//! read first. Both must show the block with the same external labels, and open side-indexes through a cache of their own.
//! Whoever deletes a local block makes sure that the bucket's store has synced since the upload.
//!
//! Where members hold the same series at different resolutions, as local raw blocks and downsampled ones of the bucket, the
//! coarsest that the request allows [answers](super::coverage), and the others for what it leaves open. The head is never cut: what is
//! in it is not in a block yet, let alone in a downsampled one.
//!
//! Other parts may hold the same samples: the head those of a block that was just cut from it, a bucket's compacted block
//! those of the local blocks that it was made of. This is harmless. The same series has the same replica number in both, and
//! whoever merges parts takes one sample at a time of each replica.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};

use crate::error::{Error, Result};
use crate::model::{BlockId, ExternalLabels, TimeInterval, TimeRange};

use super::block::label_set;
use super::coverage::{Candidate, choose};
use super::{BlockStore, LabelRequest, LabelSet, SeriesPart, SeriesRequest, SeriesSet, Store, StoreInfo};

/// Stores that answer together. A member that fails fails the request: what it alone holds would be missing unseen.
pub struct UnionStore {
    members: Vec<Arc<dyn Store>>,
}

impl UnionStore {
    /// Of these members; where two hold the same block, the earlier one is read.
    #[must_use]
    pub fn new(members: Vec<Arc<dyn Store>>) -> Self {
        Self { members }
    }

    /// The members, in the order in which they were given.
    #[must_use]
    pub fn members(&self) -> &[Arc<dyn Store>] {
        &self.members
    }

    async fn all_series(&self, request: &SeriesRequest) -> Result<SeriesSet> {
        let sets = try_join_all(self.members.iter().map(|member| member.series(request.clone()))).await?;
        let (mut parts, mut warnings) = (Vec::new(), Vec::new());
        for set in sets {
            parts.extend(set.parts);
            warnings.extend(set.warnings);
        }
        let parts = one_resolution_a_time(without_repeats(parts), request.interval);
        Ok(SeriesSet { parts: in_time_order(parts), warnings: distinct(warnings) })
    }

    async fn all_names(&self, request: &LabelRequest) -> Result<LabelSet> {
        let sets = try_join_all(self.members.iter().map(|member| member.label_names(request.clone()))).await?;
        Ok(merged(sets, request.limit))
    }

    async fn all_values(&self, name: &str, request: &LabelRequest) -> Result<LabelSet> {
        let sets = try_join_all(self.members.iter().map(|member| member.label_values(name, request.clone()))).await?;
        Ok(merged(sets, request.limit))
    }

    /// Has the members look again where `error` is that a block is gone: another one may hold what was in it.
    async fn after_gone(&self, error: Error) -> Result<()> {
        let Error::BlockGone(block) = error else { return Err(error) };
        self.refresh(block).await
    }
}

/// The first of the parts of each block. Parts of other names, a head's or a peer's, all stay.
fn without_repeats(parts: Vec<Arc<dyn SeriesPart>>) -> Vec<Arc<dyn SeriesPart>> {
    let mut seen: HashSet<BlockId> = HashSet::new();
    let first = |part: &Arc<dyn SeriesPart>| part.name().parse().map_or(true, |block| seen.insert(block));
    parts.into_iter().filter(first).collect()
}

/// Of parts with equal external labels those of the coarsest resolution, and of the others what these leave open.
fn one_resolution_a_time(parts: Vec<Arc<dyn SeriesPart>>, interval: TimeInterval) -> Vec<Arc<dyn SeriesPart>> {
    if parts.iter().all(|part| part.resolution_ms() == 0) {
        return parts;
    }
    let mut groups: BTreeMap<&ExternalLabels, Vec<usize>> = BTreeMap::new();
    for (i, part) in parts.iter().enumerate() {
        if let Some(labels) = part.external_labels() {
            groups.entry(labels).or_default().push(i);
        }
    }
    // what is left of each part; one without labels of its own stays whole
    let mut left: Vec<Option<Arc<dyn SeriesPart>>> = parts.iter().cloned().map(Some).collect();
    for group in groups.values() {
        let candidates: Vec<Candidate> = group.iter().map(|&i| candidate(parts[i].as_ref())).collect();
        let chosen = choose(&candidates, interval);
        for (n, &i) in group.iter().enumerate() {
            left[i] = match chosen.get(&n) {
                None => None,
                Some(None) => continue,
                Some(Some(cut)) => Some(parts[i].within(cut.as_slice()).unwrap_or_else(|| Arc::clone(&parts[i]))),
            };
        }
    }
    left.into_iter().flatten().collect()
}

fn candidate(part: &dyn SeriesPart) -> Candidate {
    let TimeInterval { mint, maxt } = part.interval();
    Candidate { resolution_ms: part.resolution_ms(), range: TimeRange { mint, maxt: maxt.saturating_add(1) } }
}

/// By the time where they begin; those that begin together, by members.
fn in_time_order(mut parts: Vec<Arc<dyn SeriesPart>>) -> Vec<Arc<dyn SeriesPart>> {
    parts.sort_by_key(|part| part.interval().mint);
    parts
}

/// Each member gave its first `limit` values, so the first `limit` of all are among them.
fn merged(sets: Vec<LabelSet>, limit: Option<usize>) -> LabelSet {
    let (mut values, mut warnings) = (BTreeSet::new(), Vec::new());
    for set in sets {
        values.extend(set.values);
        warnings.extend(set.warnings);
    }
    LabelSet { warnings: distinct(warnings), ..label_set(values, limit) }
}

/// Without those that are there already.
fn distinct(mut warnings: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    warnings.retain(|warning| seen.insert(warning.clone()));
    warnings
}

#[async_trait]
impl Store for UnionStore {
    fn info(&self) -> StoreInfo {
        let mut external_labels: BTreeSet<ExternalLabels> = BTreeSet::new();
        let mut interval = TimeInterval::new(i64::MAX, i64::MIN);
        for info in self.members.iter().map(|member| member.info()) {
            external_labels.extend(info.external_labels);
            if info.interval.mint <= info.interval.maxt {
                interval.mint = interval.mint.min(info.interval.mint);
                interval.maxt = interval.maxt.max(info.interval.maxt);
            }
        }
        StoreInfo { external_labels: external_labels.into_iter().collect(), interval }
    }

    fn held_blocks(&self) -> Vec<BlockStore> {
        self.members.iter().flat_map(|member| member.held_blocks()).collect()
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet> {
        match self.all_series(&request).await {
            Err(error) => {
                self.after_gone(error).await?;
                self.all_series(&request).await
            }
            found => found,
        }
    }

    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet> {
        match self.all_names(&request).await {
            Err(error) => {
                self.after_gone(error).await?;
                self.all_names(&request).await
            }
            found => found,
        }
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet> {
        match self.all_values(name, &request).await {
            Err(error) => {
                self.after_gone(error).await?;
                self.all_values(name, &request).await
            }
            found => found,
        }
    }

    /// All members look again, also where one of them cannot.
    async fn refresh(&self, block: BlockId) -> Result<()> {
        join_all(self.members.iter().map(|member| member.refresh(block))).await.into_iter().collect()
    }
}

impl fmt::Debug for UnionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}

#[cfg(test)]
mod tests;
