//! Blocks that are long enough, in lower resolutions.
//!
//! ```text
//! merge, nothing left to merge in its group ─> raw block, 5 minutes, 1 hour     in the merge's own pass
//! block that lacks a resolution ────────────────────────> 5 minutes, 1 hour     afterwards, block by block
//! ```
//!
//! Either way one reading of the raw samples makes all that is missing. A merge whose result is to be merged again makes nothing else:
//! what was made of it would be made anew. Blocks are committed with the finest first, so that one that is there stands on its own, and
//! what is missing after a crash is made afterwards.
//!
//! A block of which nothing is left, for it has nothing but staleness markers and NaNs, is marked against downsampling: retention
//! would wait for ever for what is made of it.

use std::time::Instant;

use futures::StreamExt;
use storage::Result;
use storage::block::BlockMeta;
use storage::block::marker::{Marker, NoDownsampleMark};
use storage::compact::{BucketView, Coverage, Downsampling, downsampled_meta, downsampling};
use storage::model::{BlockId, Timestamp};

use super::{BucketCompactor, Event, RunOutcome};
use crate::compact::{CompactError, Job, Output};

/// Why a block is marked whose samples do not count.
const NOTHING_LEFT: &str = "no series has a sample that downsampling keeps";

/// How the name of a downsampling that waits for a decision begins, beside those of groups.
const WAITING: &str = "downsampling of ";

fn waiting(block: BlockId) -> String {
    format!("{WAITING}{block}")
}

impl BucketCompactor {
    /// Makes what blocks lack of lower resolutions, and nothing else, whether or not [`run`](Self::run) would.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn downsample(&self) -> Result<RunOutcome> {
        let mut outcome = RunOutcome::default();
        let view = self.look().await?;
        self.downsample_blocks(&view, &mut outcome).await;
        outcome.halted = self.halted.lock().clone();
        Ok(outcome)
    }

    /// Makes what blocks in `view` lack. A block that fails does not keep others from it.
    pub(super) async fn downsample_blocks(&self, view: &BucketView, outcome: &mut RunOutcome) {
        let unread: Vec<String> = view.unread().map(|(id, unread)| format!("block {id}: {}", unread.reason)).collect();
        if !unread.is_empty() {
            // one of them may be what is missing
            outcome.failed.extend(unread);
            return;
        }
        let coverage = Coverage::of(view.blocks().values());
        let todo = downsampling(view, &self.settings.retention);
        self.forget_all_but(&todo);
        let jobs = todo.into_iter().map(|todo| async {
            let block = todo.block.id();
            (block, self.downsample_block(todo, &coverage).await)
        });
        let mut jobs = futures::stream::iter(jobs).buffer_unordered(self.settings.downsample_concurrency.max(1));
        while let Some((block, ended)) = jobs.next().await {
            let waiting = waiting(block);
            match ended {
                Ok(made) => {
                    self.go_on(&waiting);
                    outcome.made.extend(made);
                }
                Err(error) => {
                    tracing::warn!(%block, %error, "a block could not be downsampled");
                    match error {
                        CompactError::Damaged { reason, .. } | CompactError::Halt(reason) => {
                            self.halt(&waiting, reason)
                        }
                        error => outcome.failed.push(format!("block {block} cannot be downsampled: {error}")),
                    }
                }
            }
        }
    }

    /// Nobody has to decide any more about blocks that are not to be downsampled.
    fn forget_all_but(&self, todo: &[Downsampling]) {
        let mut left = Vec::new();
        for name in self.halted.lock().keys().filter(|name| name.starts_with(WAITING)) {
            if !todo.iter().any(|todo| *name == waiting(todo.block.id())) {
                left.push(name.clone());
            }
        }
        left.iter().for_each(|name| self.go_on(name));
    }

    async fn downsample_block(&self, todo: Downsampling, coverage: &Coverage) -> Result<Vec<BlockId>, CompactError> {
        let (began, now) = (Instant::now(), self.clock.now());
        let outputs = self.lower_resolutions(coverage, &todo.block, now);
        let names: Vec<String> = outputs.iter().map(|output| output.meta.id().to_string()).collect();
        tracing::info!(block = %todo.block.id(), into = names.join(","), "downsampling a block");
        let inputs = vec![self.block(&todo.block)];
        let job = Job { inputs, merge: self.settings.merge, outputs: outputs.clone() };
        let made = match job.run(&self.settings.job, &(), now).await {
            Ok(made) => made,
            Err(error) => {
                self.observer.observe(Event::DownsamplingFailed { resolution_ms: todo.block.resolution_ms() });
                return Err(error);
            }
        };
        self.side_indexes.remove(todo.block.id());
        self.downsampled(&todo.block, &outputs, &made, began).await.map_err(CompactError::Retry)?;
        Ok(made.iter().map(BlockMeta::id).collect())
    }

    /// The blocks of lower resolutions that are still to be made of `block`, the finest first.
    pub(super) fn lower_resolutions(&self, coverage: &Coverage, block: &BlockMeta, now: Timestamp) -> Vec<Output> {
        let mut outputs: Vec<Output> = Vec::new();
        loop {
            let finer = outputs.last().map_or(block, |output| &output.meta);
            let Some(resolution_ms) = coverage.missing(finer, &self.settings.retention, now) else { return outputs };
            outputs.push(Output { meta: downsampled_meta(BlockId::made_at(now), finer, resolution_ms) });
        }
    }

    /// Says what was made of `block`, of `wanted`, since `began`; where one of them came out empty, marks what it was made of.
    pub(super) async fn downsampled(
        &self,
        block: &BlockMeta,
        wanted: &[Output],
        made: &[BlockMeta],
        began: Instant,
    ) -> Result<()> {
        let mut finer = block;
        for output in wanted {
            let resolution_ms = finer.resolution_ms();
            let Some(made) = made.iter().find(|made| made.id() == output.meta.id()) else {
                let now_s = self.clock.now().div_euclid(1_000);
                self.bucket.mark(&NoDownsampleMark::new(finer.id(), now_s, NOTHING_LEFT)).await?;
                tracing::info!(block = %finer.id(), reason = NOTHING_LEFT, "marking a block against downsampling");
                self.observer.observe(Event::Marked { marker: NoDownsampleMark::FILE, reason: "" });
                return Ok(());
            };
            tracing::info!(from = %finer.id(), block = %made.id(), series = made.stats.num_series, samples = made.stats.num_samples, "downsampled a block");
            self.observer.observe(Event::Downsampled { resolution_ms, took: began.elapsed() });
            finer = made;
        }
        Ok(())
    }
}
