//! Compaction of one bucket as it goes on in a process: run after run, under a lease, with metrics and the API of blocks. `quiver compact`
//! does nothing else; `quiver all` does it beside queries, on threads of its own that give way to them.

mod progress;

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::http::{BlocksApi, CompactMetrics};
use compat::objstore::Bucket;
use engine::ProcessPool;
use engine::compact::{JobSettings, OverlapMerge};
use engine::compactor::{BucketCompactor, CompactorSettings, Event, Observer, RunOutcome};
use object_store::path::Path;
use prometheus_client::registry::Registry;
use storage::Clock;
use storage::bucket::BlockFilters;
use storage::compact::{Acquired, Lease, LeaseSettings, PlanSettings, Retention, ViewSettings};
use storage::shipper::{Retry, UploadSettings};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use self::progress::watch;
use crate::flags::UpkeepFlags;

/// Parts in which files are uploaded, in bytes.
const PART_SIZE: usize = 8 << 20;
/// Requests of marking and deleting at once.
const REQUESTS: usize = 32;
/// How long to wait before a lease that another one holds is asked for again.
const LEASE_PAUSE: Duration = Duration::from_secs(15);

/// What a process brings to the flags of compaction.
#[derive(Debug)]
pub struct Means {
    /// Who compacts, for those who wait for the lease.
    pub role: &'static str,
    /// The memory that it may use.
    pub memory: Arc<ProcessPool>,
    /// Cores to use.
    pub partitions: usize,
    /// Folder for what is made on the way to a block; emptied at the start.
    pub scratch: PathBuf,
    /// Which blocks are looked at.
    pub filters: BlockFilters,
    /// Which blocks are merged.
    pub plan: PlanSettings,
    /// How samples of blocks that overlap are merged.
    pub merge: OverlapMerge,
    /// Whether blocks are made as local files first.
    pub whole_in_scratch: bool,
    /// How long blocks with that external label are kept where the flags do not say; others stay.
    pub kept: Option<(String, Duration)>,
}

/// The flags, checked.
#[derive(Debug, Clone)]
pub struct CompactionSettings {
    compactor: CompactorSettings,
    meta_concurrency: usize,
    delete_delay: Duration,
    consistency_delay: Duration,
    wait_interval: Duration,
    cleanup_interval: Duration,
    progress_interval: Duration,
    role: &'static str,
    /// Whether a group that cannot be compacted ends all work.
    pub halt_on_error: bool,
    /// External label that names a block's group.
    pub web_label: String,
    /// Whether the API may mark blocks.
    pub may_mark: bool,
}

impl CompactionSettings {
    /// Checks the flags and empties the folder for what is made on the way.
    ///
    /// # Errors
    /// Where one is wrong, or the folder cannot be had.
    pub fn try_new(flags: &UpkeepFlags, bucket: &Bucket, means: Means) -> anyhow::Result<Self> {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let mut filters = means.filters;
        filters.consistency_delay_ms = ms(flags.consistency_delay);
        let (mut retention, downsamples) =
            (retention(flags), !flags.downsampling_disable || flags.no_downsampling_disable);
        retention.check(downsamples)?;
        if let Some((label, kept)) = means.kept
            && retention == Retention::default()
        {
            let kept_ms = ms(kept);
            retention = Retention {
                raw_ms: kept_ms,
                five_minutes_ms: kept_ms,
                one_hour_ms: kept_ms,
                only_with: Some(label.into()),
            };
        }
        empty_folder(&means.scratch)?;
        let upload = UploadSettings {
            store: Arc::clone(&bucket.store),
            prefix: Path::default(),
            retry: Retry::default(),
            part_size: PART_SIZE,
            scratch: means.scratch,
            whole_in_scratch: means.whole_in_scratch,
        };
        let compactor = CompactorSettings {
            view: ViewSettings { filters, delete_delay_ms: ms(flags.delete_delay) },
            plan: means.plan,
            merge: means.merge,
            retention,
            downsamples,
            downsample_concurrency: usize::try_from(flags.downsample_concurrency).unwrap_or(1),
            concurrency: usize::try_from(flags.concurrency).unwrap_or(1),
            job: JobSettings { memory: means.memory, partitions: means.partitions, upload },
            local_root: bucket.local_root.clone(),
        };
        Ok(Self {
            compactor,
            meta_concurrency: usize::try_from(flags.meta_concurrency).unwrap_or(1),
            delete_delay: flags.delete_delay,
            consistency_delay: flags.consistency_delay,
            wait_interval: flags.wait_interval,
            cleanup_interval: flags.cleanup_interval,
            progress_interval: flags.progress_interval,
            role: means.role,
            halt_on_error: false,
            web_label: String::new(),
            may_mark: false,
        })
    }
}

/// How long samples are kept.
fn retention(flags: &UpkeepFlags) -> Retention {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    Retention {
        raw_ms: ms(flags.retention_raw),
        five_minutes_ms: ms(flags.retention_5m),
        one_hour_ms: ms(flags.retention_1h),
        only_with: None,
    }
}

/// What a process that was killed left goes.
fn empty_folder(folder: &FilePath) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty the folder {}", folder.display()))
        }
        _ => std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display())),
    }
}

/// The work.
pub struct Compaction {
    compactor: BucketCompactor,
    blocks: Arc<BlocksApi>,
    metrics: Arc<CompactMetrics>,
    bucket: Bucket,
    clock: Arc<dyn Clock>,
    settings: CompactionSettings,
}

impl Compaction {
    /// The compaction of `bucket`; its metrics are in `registry`.
    pub fn new(bucket: Bucket, settings: CompactionSettings, clock: Arc<dyn Clock>, registry: &mut Registry) -> Self {
        let metrics = Arc::new(CompactMetrics::new(registry, settings.delete_delay, settings.consistency_delay));
        let objects =
            storage::compact::Bucket::new(Arc::clone(&bucket.store), Path::default(), REQUESTS, Retry::default());
        let label = settings.web_label.clone();
        let blocks = Arc::new(BlocksApi::new(objects.clone(), Arc::clone(&clock), label, settings.may_mark));
        // of blocks that another program made; nothing else in the folder has such a name
        let side_indexes = settings.compactor.job.upload.scratch.join("side-index");
        let compactor = BucketCompactor::new(
            objects,
            settings.compactor.clone(),
            settings.meta_concurrency,
            SideIndexCache::new(SideIndexSettings { folder: Some(side_indexes), ..SideIndexSettings::default() }),
            Arc::clone(&clock),
            Arc::<CompactMetrics>::clone(&metrics),
        );
        Self { compactor, blocks, metrics, bucket, clock, settings }
    }

    /// The API of blocks.
    pub fn blocks(&self) -> &Arc<BlocksApi> {
        &self.blocks
    }

    /// One run.
    ///
    /// # Errors
    /// Where anything failed or has to be decided.
    pub async fn once(&self) -> anyhow::Result<()> {
        let outcome = self.leased().await?;
        let halted = outcome.halted.iter().map(|(name, reason)| format!("{name}: {reason}"));
        let wrong: Vec<String> = halted.chain(outcome.failed).collect();
        if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
    }

    /// Runs again and again, and cleans away during runs. What fails is told and tried again.
    pub async fn forever(&self) {
        loop {
            // a run is a large future
            let ended = tokio::select! {
                ended = Box::pin(self.leased()) => ended,
                () = self.clean_up_forever() => continue,
            };
            match ended {
                Ok(outcome) => {
                    outcome.failed.iter().for_each(|error| tracing::warn!(error, "it is tried again"));
                    if self.settings.halt_on_error && !outcome.halted.is_empty() {
                        tracing::error!("critical error detected; halting, as --debug.halt-on-error asks for");
                        std::future::pending::<()>().await;
                    }
                }
                Err(error) => {
                    self.metrics.observe(Event::Retried);
                    tracing::error!("cannot compact; it is tried again: {error:#}");
                }
            }
            tokio::time::sleep(self.settings.wait_interval).await;
        }
    }

    /// As [`forever`](Self::forever), on the threads of another runtime. A panic is told, and the loop begun anew.
    pub async fn forever_on(self: &Arc<Self>, threads: &Handle) {
        let mut task = JoinSet::new();
        loop {
            let this = Arc::clone(self);
            task.spawn_on(async move { this.forever().await }, threads);
            if let Some(Err(error)) = task.join_next().await {
                tracing::error!(%error, "compaction broke off; it is tried again");
            }
            tokio::time::sleep(self.settings.wait_interval).await;
        }
    }

    async fn clean_up_forever(&self) {
        let interval = self.settings.cleanup_interval;
        loop {
            tokio::time::sleep(if interval.is_zero() { Duration::MAX } else { interval }).await;
            match self.compactor.clean_up().await {
                Ok(outcome) => outcome.failed.iter().for_each(|error| tracing::warn!(error, "cannot clean up")),
                Err(error) => tracing::warn!(%error, "cannot clean up"),
            }
        }
    }

    /// A run while no other compactor works on the bucket, as far as can be known.
    async fn leased(&self) -> anyhow::Result<RunOutcome> {
        let holder = format!("quiver {}, process {}", self.settings.role, std::process::id());
        let lease = loop {
            let (store, clock) = (Arc::clone(&self.bucket.store), Arc::clone(&self.clock));
            let lease = LeaseSettings::new("compact", holder.clone());
            match Lease::acquire(store, &Path::default(), lease, clock).await {
                Ok(Acquired::Held(lease)) => break Some(lease),
                Ok(Acquired::Other(other)) => {
                    tracing::info!(holder = other.holder, "another compactor works on the bucket; waiting for it");
                    tokio::time::sleep(LEASE_PAUSE).await;
                }
                Ok(Acquired::Unsupported(why)) => {
                    tracing::warn!(
                        bucket = self.bucket.name,
                        why,
                        "the bucket can hold no lease: see to it that there is one compactor only"
                    );
                    break None;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot lease the bucket {}", self.bucket.name));
                }
            }
        };
        let Some(lease) = lease else { return self.watched().await };
        let ended = tokio::select! {
            ended = self.watched() => ended,
            () = lost(&lease) => Err(anyhow::anyhow!("the lease of the bucket was lost")),
        };
        if let Err(error) = lease.release().await {
            tracing::warn!(%error, "cannot give up the lease; others wait until it is over");
        }
        ended
    }

    /// A run, and how far it is meanwhile.
    async fn watched(&self) -> anyhow::Result<RunOutcome> {
        let watching = watch(self.compactor.progress(), self.settings.progress_interval, &*self.metrics);
        tokio::select! {
            ended = Box::pin(self.run()) => ended,
            // it never ends
            () = watching => Err(anyhow::anyhow!("nobody watches any more")),
        }
    }

    async fn run(&self) -> anyhow::Result<RunOutcome> {
        let ran = self.compactor.run().await.with_context(|| format!("cannot compact the bucket {}", self.bucket.name));
        let seen = self.compactor.look().await;
        let seen = seen.map_err(|error| error.to_string());
        self.blocks
            .set_global(seen.as_ref().map(|view| view.found().metas.values().cloned().collect()).map_err(Clone::clone));
        self.blocks.set_loaded(seen.map(|view| view.blocks().values().cloned().collect()));
        if let Ok(outcome) = &ran {
            let (made, halted, failed) = (outcome.made.len(), outcome.halted.len(), outcome.failed.len());
            tracing::info!(made, halted, failed, "compaction iterations done");
        }
        ran
    }
}

/// Renews the lease, and ends when it is lost.
async fn lost(lease: &Lease) {
    while lease.is_held() {
        let third = u64::try_from(lease.remaining_ms() / 3).unwrap_or(0).max(100);
        tokio::time::sleep(Duration::from_millis(third)).await;
        if let Err(error) = lease.renew().await {
            tracing::warn!(%error, "cannot renew the lease of the bucket; it is tried again");
        }
    }
}
