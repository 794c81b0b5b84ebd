//! `quiver all`: everything in one process, with a data directory of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use compat::objstore::{Bucket, open_directory};
use compat::remote::Dialect;
use engine::ProcessPool;
use engine::compact::OverlapMerge;
use storage::bucket::BlockFilters;
use storage::compact::PlanSettings;

use crate::compaction::{CompactionSettings, Means};
use crate::data_dir::DataDir;
use crate::flags::AllFlags;
use crate::ingest::IngestSettings;
use crate::query::{IngestRole, QueryRole, background_threads};
use crate::{settings, tenancy};

/// How long a block that is in the bucket of the data directory is kept beside it where it was cut: the disk is the same, so a copy
/// is of use only until the bucket's has been read for some time.
const COPIES_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Runs until a signal comes.
///
/// # Errors
/// Where the flags are wrong, the data directory is in use, or the server cannot start.
pub fn run(flags: &AllFlags, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    let configured = settings::bucket(&flags.objstore)?;
    let ingest = IngestSettings::try_new(&flags.ingest, false)?;
    if flags.sample && configured.is_some() {
        anyhow::bail!("--sample fills the bucket of the data directory; it excludes --objstore.config and its file");
    }
    let data_dir = DataDir::open(&flags.data_dir)?;
    if flags.sample {
        let blocks = data_dir.add_sample()?;
        if blocks > 0 {
            tracing::info!(blocks, "sample blocks added");
        }
    }
    let compacts = flags.compact.compact && !flags.compact.no_compact;
    let (own, bucket) = match configured {
        Some(bucket) => (false, bucket),
        None => (true, open_directory(&data_dir.bucket())?),
    };
    let compaction = if compacts { Some(compaction(flags, (&bucket, own), &data_dir)?) } else { None };
    // without compaction blocks are as well off where they were cut as in a bucket of its own
    let upload_to = (compacts || !own).then(|| bucket.clone());
    let role = QueryRole {
        bucket: Some(bucket),
        cache_dir: Some(data_dir.cache()),
        sync_interval: flags.sync_block_duration,
        compaction,
        grpc: Some(settings::grpc_settings(&flags.grpc)?),
        tenants: tenancy::read_tenants(&flags.query.tenancy, Some(&flags.ingest))?,
        ingest: Some(IngestRole {
            folder: data_dir.tsdb(),
            settings: if compacts && own { ingest.with_copies_kept(COPIES_KEPT) } else { ingest },
            upload_to,
            dialects: vec![Dialect::Prometheus, Dialect::Thanos],
            listen: None,
            own_metrics: true,
        }),
    };
    role.run(&flags.query, &flags.server, flag_values)
}

/// Compaction beside queries: on half the cores, with memory of its own, so that neither can take the other's.
///
/// In a bucket of its own, what was written here goes after `--tsdb.retention`, as it does from a Prometheus's disk. Blocks that
/// somebody put there stay.
fn compaction(
    flags: &AllFlags,
    (bucket, own): (&Bucket, bool),
    data_dir: &DataDir,
) -> anyhow::Result<CompactionSettings> {
    let (tenant_label, retention) = (&flags.ingest.tenant_label, flags.ingest.retention);
    let kept = (own && !retention.is_zero() && !tenant_label.is_empty()).then(|| (tenant_label.clone(), retention));
    let mut plan = PlanSettings::default();
    plan.vertical = flags.compact.vertical_compaction && !flags.compact.no_vertical_compaction;
    let means = Means {
        role: "all",
        memory: ProcessPool::new(settings::query_memory(&flags.query) / 2),
        partitions: background_threads(),
        scratch: data_dir.cache().join("compact"),
        filters: BlockFilters::default(),
        plan,
        merge: OverlapMerge::OneToOne,
        whole_in_scratch: false,
        kept,
    };
    CompactionSettings::try_new(&flags.compact.upkeep, bucket, means)
}
