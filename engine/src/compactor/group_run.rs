//! One group of blocks in one run: planned and merged until there is nothing more to do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use storage::block::BlockMeta;
use storage::block::marker::{
    DeletionMark, Marker, NO_COMPACT_CORRUPT, NO_COMPACT_OUT_OF_ORDER_CHUNK, NO_COMPACT_OVERLAP, NoCompactMark,
};
use storage::bucket::FoundBlocks;
use storage::compact::{
    Coverage, Group, NoCompactRequest, Reason, SOURCE_OF_COMPACTED, Step, WITHOUT_SAMPLES, output_meta, plan,
};
use storage::model::{BlockId, Timestamp};

use super::run_progress::GroupWritten;
use super::{Amount, BucketCompactor, Event};
use crate::compact::{CompactError, Damage, Job, Output};

/// What is said of blocks of which something is wrong, rather than just to be left alone.
const HALTING: [&str; 3] = [NO_COMPACT_CORRUPT, NO_COMPACT_OUT_OF_ORDER_CHUNK, NO_COMPACT_OVERLAP];

/// A group, and what is known of its blocks.
pub(super) struct GroupRun<'a> {
    compactor: &'a BucketCompactor,
    group: Group,
    no_compact: HashSet<BlockId>,
    /// What there is of lower resolutions; none where nothing is to be downsampled.
    coverage: Option<&'a Coverage>,
    /// A block that was set aside since something is wrong with it.
    waits_for: Option<BlockId>,
    index_sizes: HashMap<BlockId, u64>,
    done: Done,
}

/// What became of a group.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Blocks that were made.
    pub made: Vec<BlockId>,
    /// What failed and may not fail the next time.
    pub failed: Option<String>,
}

/// Why a group is not gone on with in this run.
enum Stop {
    /// There is nothing to do.
    Nothing,
    /// Somebody has to decide.
    Halted(String),
    /// Something failed.
    Failed(String),
}

impl From<storage::Error> for Stop {
    fn from(error: storage::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl<'a> GroupRun<'a> {
    /// A run over `group` of the bucket in which `found` is; `coverage` is that of all of it.
    pub(super) fn new(
        compactor: &'a BucketCompactor,
        group: Group,
        found: &FoundBlocks,
        coverage: Option<&'a Coverage>,
    ) -> Self {
        let marks = &found.no_compact_marks;
        // for a block that is to go, somebody has decided already
        let waiting = |id: &BlockId| {
            !found.deletion_marks.contains_key(id)
                && marks.get(id).is_some_and(|mark| HALTING.contains(&mark.reason.as_str()))
        };
        let waits_for = group.blocks().iter().map(|block| block.id()).find(waiting);
        let no_compact = marks.keys().copied().collect();
        Self { compactor, group, no_compact, coverage, waits_for, index_sizes: HashMap::new(), done: Done::default() }
    }

    pub(super) async fn run(mut self) -> Done {
        let (observer, resolution_ms) = (&self.compactor.observer, self.group.resolution_ms());
        observer.observe(Event::GroupStarted { resolution_ms });
        let group = self.group.key().to_owned();
        let stop = loop {
            if let Err(stop) = self.step().await {
                break stop;
            }
        };
        match stop {
            Stop::Nothing => {
                match self.waits_for {
                    Some(block) => self.compactor.halt(&group, format!("block {block} is marked against compaction")),
                    None => self.compactor.go_on(&group),
                }
                observer.observe(Event::GroupCompleted { resolution_ms });
            }
            Stop::Halted(reason) => {
                tracing::error!(group, labels = %self.group.labels().to_labels(), reason, "a group of blocks is left alone until somebody decides; others go on");
                self.compactor.halt(&group, reason);
            }
            Stop::Failed(reason) => {
                tracing::warn!(group, reason, "a group of blocks could not be compacted; it is tried again");
                self.done.failed = Some(format!("group {group}: {reason}"));
            }
        }
        self.done
    }

    /// Plans, and does what is planned.
    async fn step(&mut self) -> Result<(), Stop> {
        let planned = plan(&self.group, &self.compactor.settings.plan, &self.no_compact, &self.index_sizes);
        for request in planned.marks {
            self.set_aside(&request).await?;
        }
        match planned.step {
            Step::Nothing => Err(Stop::Nothing),
            Step::NeedsIndexSizes(ids) => {
                let sizes = self.compactor.bucket.index_sizes(&ids).await?;
                self.index_sizes.extend(sizes);
                Ok(())
            }
            Step::Halt(halt) => {
                for request in halt.set_aside() {
                    self.set_aside(&request).await?;
                }
                let commands = Commands(halt.blocks().iter().map(|block| block.id()).collect());
                Err(Stop::Halted(format!(
                    "{halt}; merge them with --compact.enable-vertical-compaction, once their marks are removed: {}; or mark \
                     what is not wanted for deletion: {}",
                    commands.unmark(),
                    commands.delete()
                )))
            }
            Step::Merge(reason, inputs) => self.merge(reason, &inputs).await,
        }
    }

    async fn merge(&mut self, reason: Reason, inputs: &[Arc<BlockMeta>]) -> Result<(), Stop> {
        let (compactor, resolution_ms) = (self.compactor, self.group.resolution_ms());
        let (began, now) = (Instant::now(), compactor.clock.now());
        let meta = output_meta(BlockId::made_at(now), &self.group, inputs);
        let names: Vec<String> = inputs.iter().map(|block| block.id().to_string()).collect();
        tracing::info!(group = self.group.key(), blocks = names.join(","), into = %meta.id(), "compacting blocks");
        let lower = self.lower_resolutions(inputs, &meta, now);
        let job = Job {
            inputs: inputs.iter().map(|block| compactor.block(block)).collect(),
            merge: compactor.settings.merge,
            outputs: [Output { meta }].into_iter().chain(lower.iter().cloned()).collect(),
        };
        compactor.progress.merge_began(self.group.key(), amount(inputs));
        let written = GroupWritten { run: &compactor.progress, group: self.group.key() };
        let ended = job.run(&compactor.settings.job, &written, now).await;
        compactor.progress.merge_ended(self.group.key(), ended.is_ok());
        compactor.observer.observe(Event::Todo(compactor.progress.todo()));
        let all = match ended {
            Ok(made) => made,
            Err(error) => {
                compactor.observer.observe(Event::CompactionFailed { resolution_ms });
                return self.failed(error).await;
            }
        };
        // what has no series has none in a lower resolution either
        let Some(made) = all.first().cloned() else { return self.without_samples(inputs).await };
        self.check_samples(reason, inputs, &all).await?;
        let ids: Vec<BlockId> = inputs.iter().map(|block| block.id()).collect();
        let marked = compactor.bucket.mark_replaced(&ids, made.id(), SOURCE_OF_COMPACTED, now).await?;
        (0..marked.written).for_each(|_| {
            compactor.observer.observe(Event::Marked { marker: DeletionMark::FILE, reason: "" });
        });
        // nobody merges them again
        ids.iter().for_each(|&id| compactor.side_indexes.remove(id));
        compactor.observer.observe(Event::Compacted { resolution_ms, vertical: reason == Reason::Overlap });
        tracing::info!(into = %made.id(), series = made.stats.num_series, samples = made.stats.num_samples, "compacted blocks");
        self.done.made.extend(all.iter().map(BlockMeta::id));
        compactor.downsampled(&made, &lower, &all, began).await?;
        self.group.replace(inputs, Arc::new(made));
        Ok(())
    }

    /// The blocks of lower resolutions to be made with `meta` of `inputs`: none where `meta` is to be merged again.
    fn lower_resolutions(&self, inputs: &[Arc<BlockMeta>], meta: &BlockMeta, now: Timestamp) -> Vec<Output> {
        let Some(coverage) = self.coverage else { return Vec::new() };
        let mut group = self.group.clone();
        group.replace(inputs, Arc::new(meta.clone()));
        match plan(&group, &self.compactor.settings.plan, &self.no_compact, &self.index_sizes).step {
            Step::Nothing => self.compactor.lower_resolutions(coverage, meta, now),
            _ => Vec::new(),
        }
    }

    /// Where blocks do not share time and nothing was deleted, the result has all of their samples, or nobody gets to see it.
    /// `all` begins with the result; lower resolutions follow.
    async fn check_samples(&self, reason: Reason, inputs: &[Arc<BlockMeta>], all: &[BlockMeta]) -> Result<(), Stop> {
        let expected: u64 = inputs.iter().map(|block| block.stats.num_samples).sum();
        let has_tombstones = inputs.iter().any(|block| block.stats.num_tombstones > 0);
        let found = all.first().map_or(0, |made| made.stats.num_samples);
        if reason != Reason::Range || has_tombstones || found == expected {
            return Ok(());
        }
        for made in all.iter().rev() {
            self.compactor.bucket.delete_block(made.id()).await?;
        }
        Err(Stop::Halted(format!("of {expected} samples {found} came out; the block was not kept")))
    }

    /// No series was left. Blocks that never had samples go; another one is a riddle.
    async fn without_samples(&mut self, inputs: &[Arc<BlockMeta>]) -> Result<(), Stop> {
        if let Some(block) = inputs.iter().find(|block| block.stats.num_samples > 0) {
            return Err(Stop::Halted(format!("nothing came out of blocks of which {} has samples", block.id())));
        }
        let now_s = self.compactor.clock.now().div_euclid(1_000);
        for block in inputs {
            self.compactor.bucket.mark(&DeletionMark::new(block.id(), now_s, WITHOUT_SAMPLES)).await?;
            self.compactor.observer.observe(Event::Marked { marker: DeletionMark::FILE, reason: "" });
        }
        Err(Stop::Nothing)
    }

    /// A damaged block is set aside, and the rest of its group gone on with.
    async fn failed(&mut self, error: CompactError) -> Result<(), Stop> {
        match error {
            CompactError::Damaged { block, damage, reason } => {
                let word = match damage {
                    Damage::OutOfOrder => NO_COMPACT_OUT_OF_ORDER_CHUNK,
                    Damage::Corrupt => NO_COMPACT_CORRUPT,
                };
                let request = NoCompactRequest { id: block, reason: word, details: reason.clone() };
                self.set_aside(&request).await?;
                Err(Stop::Halted(format!(
                    "{reason}; block {block} is marked against compaction, and the next run goes on without it; replace it by a \
                     whole one, or mark it for deletion: {}",
                    Commands(vec![block]).delete()
                )))
            }
            CompactError::Halt(reason) => Err(Stop::Halted(reason)),
            CompactError::Retry(error) => Err(Stop::Failed(error.to_string())),
            CompactError::Internal(reason) => Err(Stop::Failed(reason)),
        }
    }

    async fn set_aside(&mut self, request: &NoCompactRequest) -> Result<(), Stop> {
        self.compactor.bucket.mark(&request.mark(self.compactor.clock.now())).await?;
        tracing::warn!(block = %request.id, reason = request.reason, details = request.details, "marking a block against compaction");
        self.compactor.observer.observe(Event::Marked { marker: NoCompactMark::FILE, reason: request.reason });
        self.no_compact.insert(request.id);
        Ok(())
    }
}

/// What merging `inputs` reads.
fn amount(inputs: &[Arc<BlockMeta>]) -> Amount {
    let files = inputs.iter().flat_map(|block| &block.thanos).flat_map(|thanos| &thanos.files);
    Amount {
        compactions: 1,
        blocks: inputs.len() as u64,
        bytes: files.map(|file| file.size_bytes).fold(0, u64::saturating_add),
        samples: inputs.iter().map(|block| block.stats.num_samples).fold(0, u64::saturating_add),
    }
}

/// What repairs a group that waits for somebody's decision, to be copied from the log.
struct Commands(Vec<BlockId>);

impl Commands {
    /// Marks the blocks for deletion.
    fn delete(&self) -> String {
        // a log line escapes double quotes, and a shell would take them as they then stand there
        self.mark(DeletionMark::FILE, "--details='not wanted'")
    }

    /// Takes the marks against compaction away.
    fn unmark(&self) -> String {
        self.mark(NoCompactMark::FILE, "--remove")
    }

    fn mark(&self, marker: &str, how: &str) -> String {
        let ids: Vec<String> = self.0.iter().map(|id| format!("--id={id}")).collect();
        let ids = ids.join(" ");
        format!("quiver tools bucket mark --objstore.config-file=FILE --marker={marker} {how} {ids}")
    }
}
