//! `quiver tools bucket replicate`: copies blocks into another bucket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use compat::http::{Readiness, ReplicateMetrics, StatusApi, register_process};
use prometheus_client::registry::Registry;
use promql::ParseOptions;
use storage::block::BlockMeta;
use storage::bucket::BlockFilters;
use storage::model::{BlockId, Matcher};
use storage::replicate::{Replicated, Replicator};
use storage::shipper::Retry;
use storage::{Clock, SystemClock};

use super::{look, open, select};
use crate::flags::{ObjstoreFlags, ReplicateFlags};
use crate::settings;
use crate::worker::{self, Pages};

/// Pause between runs, as in Thanos.
const INTERVAL: Duration = Duration::from_secs(60);
/// Larger objects are copied in parts of this size, in bytes.
const PART_SIZE: u64 = 16 << 20;
/// How long reading what the bucket says of its blocks may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(300);

/// Copies once, or again and again.
///
/// # Errors
/// Where a flag is wrong, or with `--single-run` or `--id` where a block cannot be copied.
pub async fn run(
    flags: &ReplicateFlags,
    flag_values: std::collections::BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let job = Job::try_new(flags)?;
    if flags.single_run || !flags.ids.is_empty() {
        return job.once(None).await;
    }
    let server = settings::server_settings(&flags.server)?;
    let (mut registry, readiness, clock) = (Registry::default(), Readiness::new(), settings::clock());
    let status = settings::status_settings(&flags.server, flag_values, clock.now());
    register_process(&mut registry, &status.build.version, &status.build.revision, clock.now());
    let metrics = ReplicateMetrics::new(&mut registry);
    let status = StatusApi::new(status, clock, readiness.clone(), registry);
    let pages = Pages { status, v1: axum::Router::new(), readiness };
    let forever = async {
        loop {
            if let Err(error) = job.once(Some(&metrics)).await {
                tracing::error!("cannot copy blocks; it is tried again: {error:#}");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    worker::run(&server, pages, forever).await
}

/// The flags, checked.
struct Job {
    from: compat::objstore::Bucket,
    replicator: Replicator,
    filters: BlockFilters,
    matchers: Vec<Matcher>,
    resolutions_ms: BTreeSet<i64>,
    levels: BTreeSet<u32>,
    ids: BTreeSet<BlockId>,
    leave_marked: bool,
}

impl Job {
    fn try_new(flags: &ReplicateFlags) -> anyhow::Result<Self> {
        let to = ObjstoreFlags { config_file: flags.to_config_file.clone(), config: flags.to_config.clone() };
        let Some(to) = settings::bucket(&to)? else {
            bail!("--objstore-to.config-file or --objstore-to.config is needed, see docs/objstore.md");
        };
        let from = open(&flags.objstore)?;
        if flags.compaction.is_empty() && flags.compaction_min > flags.compaction_max {
            bail!("--compaction-min must be less than or equal to --compaction-max");
        }
        let levels = match flags.compaction.as_slice() {
            [] => (flags.compaction_min..=flags.compaction_max).collect(),
            some => some.iter().copied().collect(),
        };
        let matchers = flags.matchers.iter().map(|text| {
            let braced = if text.starts_with('{') { text.clone() } else { format!("{{{text}}}") };
            promql::parse_selector(&braced, &ParseOptions::default()).with_context(|| format!("--matcher={text}"))
        });
        let ms = |duration: &Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Ok(Self {
            replicator: Replicator {
                from: Arc::clone(&from.store),
                to: to.store,
                retry: Retry::default(),
                part_size: PART_SIZE,
            },
            from,
            filters: settings::block_filters(&flags.select)?,
            matchers: matchers.collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect(),
            resolutions_ms: flags.resolutions.iter().map(ms).collect(),
            levels,
            ids: flags.ids.iter().copied().collect(),
            leave_marked: flags.ignore_marked_for_deletion,
        })
    }

    /// Copies every block that is chosen; one that fails does not hold back the others.
    async fn once(&self, metrics: Option<&ReplicateMetrics>) -> anyhow::Result<()> {
        let began = Instant::now();
        let copied = self.copy_all(metrics).await;
        if let Some(metrics) = metrics {
            metrics.count_run(began.elapsed(), copied.is_err());
        }
        copied
    }

    async fn copy_all(&self, metrics: Option<&ReplicateMetrics>) -> anyhow::Result<()> {
        let found = look(&self.from, LOOK_TIMEOUT).await?;
        let marked: BTreeSet<BlockId> = found.deletion_marks.keys().copied().collect();
        let blocks = select(found, &self.filters, SystemClock.now());
        if let Some(missing) = self.ids.iter().find(|id| !blocks.contains_key(id)) {
            bail!("--id={missing}: {} has no such block", self.from.name);
        }
        let mut failed = 0_u64;
        let chosen = blocks.values().filter(|meta| self.chooses(meta));
        for meta in chosen.filter(|meta| !self.leave_marked || !marked.contains(&meta.id())) {
            let copied = self.replicator.replicate(meta.id()).await;
            if let (Some(metrics), Ok(copied)) = (metrics, &copied) {
                metrics.count_block(*copied);
            }
            match copied {
                Ok(done) if done == Replicated::default() => {
                    tracing::debug!(id = %meta.id(), "a block is there already")
                }
                Ok(done) => {
                    tracing::info!(id = %meta.id(), objects = done.objects, bytes = done.bytes, "copied a block")
                }
                Err(error) => {
                    failed += 1;
                    tracing::error!(id = %meta.id(), %error, "cannot copy a block");
                }
            }
        }
        if failed > 0 {
            bail!("{failed} blocks could not be copied");
        }
        Ok(())
    }

    fn chooses(&self, meta: &BlockMeta) -> bool {
        if !self.ids.is_empty() {
            return self.ids.contains(&meta.id());
        }
        let labels = meta.external_labels();
        if labels.is_empty() {
            tracing::error!(id = %meta.id(), "a block without external labels is left out");
            return false;
        }
        let matched = self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")));
        matched && self.resolutions_ms.contains(&meta.resolution_ms()) && self.levels.contains(&meta.compaction.level)
    }
}
