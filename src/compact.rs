//! `quiver compact`: keeps the blocks of a bucket in order, once or for as long as it runs.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use compat::http::{Readiness, StatusApi, register_process};
use compat::objstore::Bucket;
use compat::tenant::ReadTenants;
use engine::ProcessPool;
use engine::compact::OverlapMerge;
use prometheus_client::registry::Registry;
use storage::compact::PlanSettings;

use crate::compaction::{Compaction, CompactionSettings, Means};
use crate::data_dir::FolderLock;
use crate::flags::{CompactDeduplication, CompactRoleFlags, Scratch};
use crate::memory::{available_bytes, share_arenas};
use crate::settings;
use crate::worker::{self, Pages};

/// Runs once, or until a signal comes.
///
/// # Errors
/// Where the flags are wrong, the folder is in use, or without `--wait` where something failed or has to be decided.
pub fn run(flags: &CompactRoleFlags, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    let Some(bucket) = settings::bucket(&flags.objstore)? else {
        bail!("--objstore.config-file or --objstore.config is needed, see docs/objstore.md");
    };
    std::fs::create_dir_all(&flags.data_dir)
        .with_context(|| format!("--data-dir={}: cannot be made", flags.data_dir.display()))?;
    let lock = FolderLock::take(&flags.data_dir)?;
    let compaction = compaction_settings(flags, &bucket)?;
    share_arenas();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let ended = runtime.block_on(serve(flags, flag_values, bucket, compaction));
    runtime.shutdown_background();
    drop(lock);
    ended
}

/// Checks the flags.
fn compaction_settings(flags: &CompactRoleFlags, bucket: &Bucket) -> anyhow::Result<CompactionSettings> {
    let compact = &flags.compact;
    if compact.replica_labels.iter().any(String::is_empty) {
        bail!("--deduplication.replica-label: a label needs a name");
    }
    let penalty = compact.deduplication == CompactDeduplication::Penalty;
    if penalty && compact.replica_labels.is_empty() {
        bail!("penalty based deduplication needs at least one replica label specified: --deduplication.replica-label");
    }
    let mut filters = settings::block_filters(&flags.select)?;
    filters.replica_labels = compact.replica_labels.clone();
    let mut plan = PlanSettings::default().with_level_max(usize::from(compact.max_level))?;
    let vertical = compact.vertical_compaction && !compact.no_vertical_compaction;
    plan.vertical = vertical || !compact.replica_labels.is_empty();
    plan.index_size_max = compact.max_index_size.0 as u64;
    let means = Means {
        role: "compact",
        memory: ProcessPool::new(available_bytes() / 2),
        partitions: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        scratch: flags.data_dir.join("compact"),
        filters,
        plan,
        merge: if penalty { OverlapMerge::Penalty } else { OverlapMerge::OneToOne },
        whole_in_scratch: compact.scratch == Scratch::Disk,
        kept: None,
    };
    let mut settings = CompactionSettings::try_new(&flags.upkeep, bucket, means)?;
    settings.halt_on_error = compact.halt_on_error && !compact.no_halt_on_error;
    settings.web_label = flags.web_label.clone();
    settings.may_mark = !flags.disable_admin_operations || flags.no_disable_admin_operations;
    Ok(settings)
}

async fn serve(
    flags: &CompactRoleFlags,
    flag_values: BTreeMap<String, String>,
    bucket: Bucket,
    compaction: CompactionSettings,
) -> anyhow::Result<()> {
    let (clock, readiness, mut registry) = (settings::clock(), Readiness::new(), Registry::default());
    let server = settings::server_settings(&flags.server)?;
    let status = settings::status_settings(&flags.server, flag_values, clock.now());
    register_process(&mut registry, &status.build.version, &status.build.revision, clock.now());
    let compaction = Compaction::new(bucket, compaction, std::sync::Arc::clone(&clock), &mut registry);
    if !flags.wait || flags.no_wait {
        return compaction.once().await;
    }
    let serves_blocks = !flags.disable_web || flags.no_disable_web;
    let v1 = if serves_blocks { compaction.blocks().clone().router(&ReadTenants::All) } else { axum::Router::new() };
    let status = StatusApi::new(status, clock, readiness.clone(), registry);
    let work = async {
        compaction.forever().await;
        Ok(())
    };
    worker::run(&server, Pages { status, v1, readiness }, work).await
}
