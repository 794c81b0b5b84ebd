//! The compactor: keeps a bucket in order.
//!
//! ```text
//! look ─> delete what was marked long ago ─> mark what another block holds ─> each group: plan, merge, mark the inputs, plan again
//!      ─> look again ─> make what blocks lack of lower resolutions
//!      ─> look again ─> mark what is past its retention ─> delete uploads that were given up
//! ```
//!
//! What is to be done, `storage::compact` decides; [`Job`] does it. Groups have no block in common: one that fails or has to wait for
//! somebody's decision does not keep others from going on. What one run leaves undone, the next one takes up from what the bucket shows;
//! nothing is remembered on disk.
//!
//! **Invariant:** a block is marked as replaced only after its replacement was seen in the bucket, and where no samples can have been
//! merged, only if that has as many of them.

mod downsampling;
mod group_run;
mod observer;
mod run_progress;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use parking_lot::Mutex;
use storage::block::marker::{DeletionMark, Marker};
use storage::bucket::MetaSync;
use storage::compact::{
    Bucket, BucketView, Coverage, Deleted, OUTDATED, PlanSettings, Progress, Retention, ViewSettings, aborted,
    deletions, expiry, garbage,
};
use storage::model::BlockId;
use storage::side_index::SideIndexCache;
use storage::store::{BlockFiles, BlockStore};
use storage::{Clock, Error, Result};

use crate::compact::{JobSettings, OverlapMerge};
use group_run::GroupRun;
pub use observer::{Event, Observer, Todo};
pub use run_progress::{Amount, RunProgress, Share, Snapshot};

/// How a bucket is kept in order: Thanos's flags, checked.
#[derive(Debug, Clone)]
pub struct CompactorSettings {
    /// Which blocks are looked at, and how long marked ones stay.
    pub view: ViewSettings,
    /// Which blocks are merged.
    pub plan: PlanSettings,
    /// How samples of blocks that overlap are merged.
    pub merge: OverlapMerge,
    /// How long samples are kept.
    pub retention: Retention,
    /// Whether a run makes blocks of lower resolutions.
    pub downsamples: bool,
    /// Groups that are compacted at once.
    pub concurrency: usize,
    /// Blocks that are downsampled at once.
    pub downsample_concurrency: usize,
    /// Where jobs run and blocks go.
    pub job: JobSettings,
    /// Where the bucket's objects are files of this machine, the folder that holds them.
    pub local_root: Option<PathBuf>,
}

/// Keeps one bucket in order.
pub struct BucketCompactor {
    bucket: Bucket,
    sync: MetaSync,
    settings: CompactorSettings,
    side_indexes: Arc<SideIndexCache>,
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    /// Groups, and downsamplings, that wait for somebody's decision, by their keys.
    halted: Mutex<BTreeMap<String, String>>,
    progress: RunProgress,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// Blocks that were made.
    pub made: Vec<BlockId>,
    /// Groups, and downsamplings, that wait for somebody's decision, by their keys, and why.
    pub halted: BTreeMap<String, String>,
    /// What failed and may not fail the next time, in words.
    pub failed: Vec<String>,
}

impl BucketCompactor {
    /// A compactor of `bucket`, of which `sync` reads what it says of its blocks.
    #[must_use]
    pub fn new(
        bucket: Bucket,
        settings: CompactorSettings,
        meta_concurrency: usize,
        side_indexes: Arc<SideIndexCache>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let sync = MetaSync::new(Arc::clone(bucket.store()), bucket.prefix().clone(), meta_concurrency).for_compactor();
        Self {
            bucket,
            sync,
            settings,
            side_indexes,
            clock,
            observer,
            halted: Mutex::default(),
            progress: RunProgress::default(),
        }
    }

    /// How far the run is that is under way, or was last.
    #[must_use]
    pub fn progress(&self) -> &RunProgress {
        &self.progress
    }

    /// Does all there is to do now. May be dropped at any point.
    ///
    /// # Errors
    /// Where the bucket cannot be looked at; what else fails is in the outcome.
    pub async fn run(&self) -> Result<RunOutcome> {
        let mut outcome = RunOutcome::default();
        let view = self.look().await?;
        self.delete_marked(&view, &mut outcome).await;
        self.collect_garbage(&view, &mut outcome).await;
        let unread: Vec<String> = view.unread().map(|(id, unread)| format!("block {id}: {}", unread.reason)).collect();
        self.tell_progress(&view);
        if unread.is_empty() {
            self.compact_groups(&view, &mut outcome).await;
        } else {
            // a plan without them could leave a gap
            outcome.failed.extend(unread);
        }
        let mut view = self.look().await?;
        if self.settings.downsamples {
            self.downsample_blocks(&view, &mut outcome).await;
            view = self.look().await?;
        }
        self.tell_progress(&view);
        self.retain(&view, &mut outcome).await;
        self.reap(&view, &mut outcome).await;
        outcome.halted = self.halted.lock().clone();
        self.observer.observe(if outcome.failed.is_empty() { Event::Iterated } else { Event::Retried });
        Ok(outcome)
    }

    /// Deletes what was marked long enough ago, and uploads that were given up.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn clean_up(&self) -> Result<RunOutcome> {
        let mut outcome = RunOutcome::default();
        let view = self.look().await?;
        self.delete_marked(&view, &mut outcome).await;
        self.reap(&view, &mut outcome).await;
        Ok(outcome)
    }

    /// The bucket as it is now.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub async fn look(&self) -> Result<BucketView> {
        if let Some(root) = &self.settings.local_root {
            // listing a folder that is not there finds nothing, which would look like an empty bucket
            std::fs::read_dir(root).map_err(|error| Error::io(root, error))?;
        }
        let found = self.sync.fetch().await?;
        Ok(BucketView::new(found, self.settings.view.clone(), self.clock.now()))
    }

    async fn compact_groups(&self, view: &BucketView, outcome: &mut RunOutcome) {
        let coverage = self.settings.downsamples.then(|| Coverage::of(view.blocks().values()));
        let coverage = coverage.as_ref();
        let runs = view.groups().into_iter().map(|group| GroupRun::new(self, group, view.found(), coverage).run());
        let mut runs = futures::stream::iter(runs).buffer_unordered(self.settings.concurrency.max(1));
        while let Some(run) = runs.next().await {
            outcome.made.extend(run.made);
            outcome.failed.extend(run.failed);
        }
    }

    async fn collect_garbage(&self, view: &BucketView, outcome: &mut RunOutcome) {
        let (began, before) = (Instant::now(), outcome.failed.len());
        for pair in garbage(view) {
            match self.bucket.mark_replaced(&[pair.id], pair.held_by, OUTDATED, self.clock.now()).await {
                Ok(count) if count.written > 0 => {
                    tracing::info!(block = %pair.id, held_by = %pair.held_by, "marking outdated block for deletion");
                    self.observer.observe(Event::Marked { marker: DeletionMark::FILE, reason: "" });
                    self.observer.observe(Event::GarbageCollected(pair.id));
                }
                Ok(_) => {}
                Err(error) => outcome.failed.push(format!("cannot mark the outdated block {}: {error}", pair.id)),
            }
        }
        let failed = outcome.failed.len() > before;
        self.observer.observe(Event::GarbageCollection { took: began.elapsed(), failed });
    }

    async fn retain(&self, view: &BucketView, outcome: &mut RunOutcome) {
        let (settings, now) = (&self.settings, self.clock.now());
        let downsamples = settings.downsamples;
        let to_merge = Progress::of(view, &settings.plan, &settings.retention, downsamples).inputs();
        for expired in expiry(view, &settings.retention, downsamples, &to_merge).due {
            let mark = DeletionMark::new(expired.id, now.div_euclid(1_000), expired.details);
            match self.bucket.mark(&mark).await {
                Ok(_) => {
                    tracing::info!(block = %expired.id, reason = mark.details, "marking a block for deletion");
                    self.observer.observe(Event::Marked { marker: DeletionMark::FILE, reason: "" });
                }
                Err(error) => outcome.failed.push(format!("cannot mark block {}: {error}", expired.id)),
            }
        }
    }

    async fn delete_marked(&self, view: &BucketView, outcome: &mut RunOutcome) {
        let deletions = deletions(view, &self.settings.retention);
        for id in deletions.held_back {
            tracing::warn!(block = %id, "a marked block is kept: not all that it holds is in blocks that stay");
        }
        for deletion in deletions.due {
            let deleted = self.bucket.delete_marked(&deletion).await;
            self.note_deletion(deletion.id, deleted, outcome);
        }
    }

    async fn reap(&self, view: &BucketView, outcome: &mut RunOutcome) {
        for id in aborted(view) {
            self.observer.observe(Event::PartialUploadDeleted(id));
            let deleted = self.bucket.reap(id, self.clock.now()).await;
            self.note_deletion(id, deleted, outcome);
        }
        self.observer.observe(Event::CleanedUp);
    }

    fn note_deletion(&self, id: BlockId, deleted: Result<Deleted>, outcome: &mut RunOutcome) {
        match deleted {
            Ok(Deleted::Deleted) => {
                tracing::info!(block = %id, "deleted a block");
                self.observer.observe(Event::Cleaned(id));
            }
            Ok(Deleted::NotDue) => {}
            Err(error) => {
                self.observer.observe(Event::CleanUpFailed(id));
                outcome.failed.push(format!("cannot delete block {id}: {error}"));
            }
        }
    }

    fn tell_progress(&self, view: &BucketView) {
        let CompactorSettings { plan, retention, downsamples, .. } = &self.settings;
        self.progress.begin(&Progress::of(view, plan, retention, *downsamples));
        self.observer.observe(Event::Todo(self.progress.todo()));
    }

    /// A block to read.
    fn block(&self, meta: &Arc<storage::block::BlockMeta>) -> BlockStore {
        let id = meta.id();
        let files = match &self.settings.local_root {
            Some(root) => BlockFiles::local(id, root.join(id.to_string())),
            None => {
                let prefix = self.bucket.prefix().clone().join(id.to_string());
                BlockFiles::remote(id, Arc::clone(self.bucket.store()), prefix)
            }
        };
        BlockStore::new(files, Arc::clone(meta), Arc::clone(&self.side_indexes))
    }

    /// Leaves a group alone until somebody decides, and says so once.
    fn halt(&self, group: &str, reason: String) {
        if self.halted.lock().insert(group.to_owned(), reason).is_none() {
            self.observer.observe(Event::Halted(true));
        }
    }

    fn go_on(&self, group: &str) {
        if self.halted.lock().remove(group).is_some() {
            self.observer.observe(Event::Halted(false));
        }
    }
}
