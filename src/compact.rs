//! `quiver compact`: keeps the blocks of a bucket in order, once or for as long as it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::http::{BlocksApi, CompactMetrics, Readiness, StatusApi, register_process};
use compat::objstore::Bucket;
use engine::ProcessPool;
use engine::compact::{JobSettings, OverlapMerge};
use engine::compactor::{BucketCompactor, CompactorSettings, Event, Observer, RunOutcome};
use object_store::path::Path;
use prometheus_client::registry::Registry;
use storage::Clock;
use storage::compact::{Acquired, Lease, LeaseSettings, PlanSettings, Retention, ViewSettings};
use storage::shipper::{Retry, UploadSettings};
use storage::side_index::{SideIndexCache, SideIndexSettings};

use crate::data_dir::FolderLock;
use crate::flags::{CompactDeduplication, CompactRoleFlags, Scratch};
use crate::memory::available_bytes;
use crate::settings;
use crate::worker::{self, Pages};

/// Parts in which files are uploaded, in bytes.
const PART_SIZE: usize = 8 << 20;
/// Requests of marking and deleting at once.
const REQUESTS: usize = 32;
/// How long to wait before a lease that another one holds is asked for again.
const LEASE_PAUSE: Duration = Duration::from_secs(15);

/// Runs once, or until a signal comes.
///
/// # Errors
/// Where the flags are wrong, the folder is in use, or without `--wait` where something failed or has to be decided.
pub fn run(flags: &CompactRoleFlags, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    let Some(bucket) = settings::bucket(&flags.objstore)? else {
        bail!("--objstore.config-file or --objstore.config is needed, see docs/objstore.md");
    };
    if !flags.compact.downsampling_disable || flags.compact.no_downsampling_disable {
        bail!("--downsampling.disable is needed: this version makes no downsampled blocks");
    }
    let compactor = compactor_settings(flags, &bucket)?;
    std::fs::create_dir_all(&flags.data_dir)
        .with_context(|| format!("--data-dir={}: cannot be made", flags.data_dir.display()))?;
    let lock = FolderLock::take(&flags.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let ended = runtime.block_on(serve(flags, flag_values, bucket, compactor));
    runtime.shutdown_background();
    drop(lock);
    ended
}

/// Checks the flags.
fn compactor_settings(flags: &CompactRoleFlags, bucket: &Bucket) -> anyhow::Result<CompactorSettings> {
    let (compact, ms) = (&flags.compact, |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
    if compact.replica_labels.iter().any(String::is_empty) {
        bail!("--deduplication.replica-label: a label needs a name");
    }
    let penalty = compact.deduplication == CompactDeduplication::Penalty;
    if penalty && compact.replica_labels.is_empty() {
        bail!("penalty based deduplication needs at least one replica label specified: --deduplication.replica-label");
    }
    let mut filters = settings::block_filters(&flags.select)?;
    filters.consistency_delay_ms = ms(compact.consistency_delay);
    filters.replica_labels = compact.replica_labels.clone();
    let mut plan = PlanSettings::default().with_level_max(usize::from(compact.max_level))?;
    let vertical = compact.vertical_compaction && !compact.no_vertical_compaction;
    plan.vertical = vertical || !compact.replica_labels.is_empty();
    plan.index_size_max = compact.max_index_size.0 as u64;
    let retention = Retention {
        raw_ms: ms(compact.retention_raw),
        five_minutes_ms: ms(compact.retention_5m),
        one_hour_ms: ms(compact.retention_1h),
    };
    let upload = UploadSettings {
        store: Arc::clone(&bucket.store),
        prefix: Path::default(),
        retry: Retry::default(),
        part_size: PART_SIZE,
        scratch: flags.data_dir.join("compact"),
        whole_in_scratch: compact.scratch == Scratch::Disk,
    };
    Ok(CompactorSettings {
        view: ViewSettings { filters, delete_delay_ms: ms(compact.delete_delay) },
        plan,
        merge: if penalty { OverlapMerge::Penalty } else { OverlapMerge::OneToOne },
        retention,
        concurrency: usize::try_from(compact.concurrency).unwrap_or(1),
        job: JobSettings {
            memory: ProcessPool::new(available_bytes() / 2),
            partitions: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            upload,
        },
        local_root: bucket.local_root.clone(),
    })
}

async fn serve(
    flags: &CompactRoleFlags,
    flag_values: BTreeMap<String, String>,
    bucket: Bucket,
    compactor: CompactorSettings,
) -> anyhow::Result<()> {
    let (clock, readiness, mut registry) = (settings::clock(), Readiness::new(), Registry::default());
    let server = settings::server_settings(&flags.server)?;
    let status = settings::status_settings(&flags.server, flag_values, clock.now());
    register_process(&mut registry, &status.build.version, &status.build.revision, clock.now());
    let (delete_delay, consistency_delay) = (flags.compact.delete_delay, flags.compact.consistency_delay);
    let metrics = Arc::new(CompactMetrics::new(&mut registry, delete_delay, consistency_delay));
    let objects = storage::compact::Bucket::new(Arc::clone(&bucket.store), Path::default(), REQUESTS, Retry::default());
    let may_mark = !flags.disable_admin_operations || flags.no_disable_admin_operations;
    let blocks = Arc::new(BlocksApi::new(objects.clone(), Arc::clone(&clock), flags.web_label.clone(), may_mark));
    let job = Compact {
        compactor: BucketCompactor::new(
            objects,
            compactor,
            usize::try_from(flags.compact.meta_concurrency).unwrap_or(1),
            SideIndexCache::new(SideIndexSettings::default()),
            Arc::clone(&clock),
            Arc::<CompactMetrics>::clone(&metrics),
        ),
        blocks: Arc::clone(&blocks),
        metrics,
        bucket,
        clock: Arc::clone(&clock),
        halt_on_error: flags.compact.halt_on_error && !flags.compact.no_halt_on_error,
    };
    if !flags.wait || flags.no_wait {
        return job.once().await;
    }
    let serves_blocks = !flags.disable_web || flags.no_disable_web;
    let v1 = if serves_blocks { blocks.router() } else { axum::Router::new() };
    let status = StatusApi::new(status, clock, readiness.clone(), registry);
    // a run is a large future
    let work = Box::pin(job.forever(flags.wait_interval, flags.cleanup_interval));
    worker::run(&server, Pages { status, v1, readiness }, work).await
}

/// The work.
struct Compact {
    compactor: BucketCompactor,
    blocks: Arc<BlocksApi>,
    metrics: Arc<CompactMetrics>,
    bucket: Bucket,
    clock: Arc<dyn Clock>,
    halt_on_error: bool,
}

impl Compact {
    /// One run; an error where anything failed or has to be decided.
    async fn once(&self) -> anyhow::Result<()> {
        let outcome = self.leased().await?;
        let halted = outcome.halted.iter().map(|(group, reason)| format!("group {group}: {reason}"));
        let wrong: Vec<String> = halted.chain(outcome.failed).collect();
        if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
    }

    /// Runs again and again, and cleans away between runs.
    async fn forever(&self, interval: Duration, cleanup_interval: Duration) -> anyhow::Result<()> {
        loop {
            let cleaning = async {
                loop {
                    let pause = if cleanup_interval.is_zero() { Duration::MAX } else { cleanup_interval };
                    tokio::time::sleep(pause).await;
                    match self.compactor.clean_up().await {
                        Ok(outcome) => outcome.failed.iter().for_each(|error| tracing::warn!(error, "cannot clean up")),
                        Err(error) => tracing::warn!(%error, "cannot clean up"),
                    }
                }
            };
            let ended = tokio::select! {
                ended = self.leased() => ended,
                () = cleaning => continue,
            };
            match ended {
                Ok(outcome) => {
                    outcome.failed.iter().for_each(|error| tracing::warn!(error, "it is tried again"));
                    if self.halt_on_error && !outcome.halted.is_empty() {
                        tracing::error!("critical error detected; halting, as --debug.halt-on-error asks for");
                        std::future::pending::<()>().await;
                    }
                }
                Err(error) => {
                    self.metrics.observe(Event::Retried);
                    tracing::error!("cannot compact; it is tried again: {error:#}");
                }
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// A run while no other compactor works on the bucket, as far as can be known.
    async fn leased(&self) -> anyhow::Result<RunOutcome> {
        let holder = format!("quiver compact, process {}", std::process::id());
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
        let Some(lease) = lease else { return self.run().await };
        let ended = tokio::select! {
            ended = self.run() => ended,
            () = lost(&lease) => Err(anyhow::anyhow!("the lease of the bucket was lost")),
        };
        if let Err(error) = lease.release().await {
            tracing::warn!(%error, "cannot give up the lease; others wait until it is over");
        }
        ended
    }

    async fn run(&self) -> anyhow::Result<RunOutcome> {
        let ran = self.compactor.run().await.with_context(|| format!("cannot compact the bucket {}", self.bucket.name));
        let seen = self.compactor.look().await;
        let seen = seen.map_err(|error| error.to_string());
        self.blocks
            .set_global(seen.as_ref().map(|view| view.found().metas.values().cloned().collect()).map_err(Clone::clone));
        self.blocks.set_loaded(seen.map(|view| view.blocks().values().cloned().collect()));
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
