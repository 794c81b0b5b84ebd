//! `quiver all`: everything in one process, with a data directory of its own.

use std::collections::BTreeMap;

use compat::objstore::open_directory;
use compat::remote::Dialect;

use crate::data_dir::DataDir;
use crate::flags::AllFlags;
use crate::ingest::IngestSettings;
use crate::query::{IngestRole, QueryRole};
use crate::settings;

/// Runs until a signal comes.
///
/// # Errors
/// Where the flags are wrong, the data directory is in use, or the server cannot start.
pub fn run(flags: &AllFlags, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    let configured = settings::bucket(&flags.objstore)?;
    let ingest = IngestSettings::try_new(&flags.ingest)?;
    if flags.sample && configured.is_some() {
        anyhow::bail!("--sample fills the bucket of the data directory; it excludes --objstore.config and its file");
    }
    let data_dir = DataDir::open(&flags.data_dir)?;
    if flags.sample {
        let blocks = data_dir.add_sample()?;
        tracing::info!(blocks, "sample blocks added");
    }
    // into a bucket of its own nothing is uploaded: the blocks are in the data directory already
    let upload_to = configured.clone();
    let bucket = match configured {
        Some(bucket) => bucket,
        None => open_directory(&data_dir.bucket())?,
    };
    let role = QueryRole {
        bucket: Some(bucket),
        cache_dir: Some(data_dir.cache()),
        sync_interval: flags.sync_block_duration,
        ingest: Some(IngestRole {
            folder: data_dir.tsdb(),
            settings: ingest,
            upload_to,
            dialects: vec![Dialect::Prometheus, Dialect::Thanos],
            listen: None,
            own_metrics: true,
        }),
    };
    role.run(&flags.query, &flags.server, flag_values)
}
