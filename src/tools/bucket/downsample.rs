//! `quiver tools bucket downsample`: makes what blocks lack of lower resolutions, and nothing else of what a compactor does.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use compat::http::{CompactMetrics, Readiness, StatusApi, register_process};
use engine::compact::OverlapMerge;
use engine::compactor::{BucketCompactor, CompactorSettings};
use prometheus_client::registry::Registry;
use std::time::Duration;
use storage::compact::{PlanSettings, Retention, ViewSettings};
use storage::side_index::{SideIndexCache, SideIndexSettings};

use super::anew::job_settings;
use super::{META_CONCURRENCY, open, to_change};
use crate::data_dir::FolderLock;
use crate::flags::DownsampleFlags;
use crate::settings;
use crate::worker::{self, Pages};

/// Looks for blocks once, or again and again.
///
/// # Errors
/// Where a flag is wrong, the folder is in use, or with `--single-run` where a block cannot be downsampled.
pub async fn run(flags: &DownsampleFlags, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    let bucket = open(&flags.objstore)?;
    let _lock = FolderLock::take(&flags.data_dir)?;
    let (mut registry, readiness, clock) = (Registry::default(), Readiness::new(), settings::clock());
    let server = settings::server_settings(&flags.server)?;
    let status = settings::status_settings(&flags.server, flag_values, clock.now());
    register_process(&mut registry, &status.build.version, &status.build.revision, clock.now());
    let compactor = CompactorSettings {
        view: ViewSettings::default(),
        plan: PlanSettings::default(),
        merge: OverlapMerge::OneToOne,
        retention: Retention::default(),
        downsamples: true,
        concurrency: 1,
        downsample_concurrency: usize::try_from(flags.concurrency).unwrap_or(1),
        job: job_settings(&bucket, &flags.data_dir.join("downsample")),
        local_root: bucket.local_root.clone(),
    };
    let compactor = BucketCompactor::new(
        to_change(&bucket),
        compactor,
        META_CONCURRENCY,
        SideIndexCache::new(SideIndexSettings::default()),
        Arc::clone(&clock),
        Arc::new(CompactMetrics::new(&mut registry, Duration::ZERO, Duration::ZERO)),
    );
    if flags.single_run {
        return once(&compactor).await;
    }
    let status = StatusApi::new(status, clock, readiness.clone(), registry);
    let pages = Pages { status, v1: axum::Router::new(), readiness };
    let forever = async {
        loop {
            if let Err(error) = once(&compactor).await {
                tracing::error!("cannot downsample; it is tried again: {error:#}");
            }
            tokio::time::sleep(flags.wait_interval).await;
        }
    };
    worker::run(&server, pages, forever).await
}

async fn once(compactor: &BucketCompactor) -> anyhow::Result<()> {
    let outcome = Box::pin(compactor.downsample()).await.context("cannot read the bucket")?;
    tracing::info!(made = outcome.made.len(), "downsampled blocks");
    let halted = outcome.halted.iter().map(|(what, reason)| format!("{what}: {reason}"));
    let wrong: Vec<String> = halted.chain(outcome.failed).collect();
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}
