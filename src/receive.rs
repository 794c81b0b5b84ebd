//! `quiver receive`: takes remote write into a folder of its own and uploads blocks from there, as Thanos receive does in ingestor mode.
//! Until blocks go, its HTTP address answers queries over them.

use std::collections::BTreeMap;

use anyhow::bail;
use compat::remote::Dialect;

use crate::data_dir::FolderLock;
use crate::flags::ReceiveFlags;
use crate::ingest::IngestSettings;
use crate::query::{IngestRole, QueryRole, WriteAddress};
use crate::{port_tls, settings, tenancy};

/// Runs until a signal comes.
///
/// # Errors
/// Where the flags are wrong, the folder is in use, or the server cannot start.
pub fn run(flags: &ReceiveFlags, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    let bucket = settings::bucket(&flags.objstore)?;
    let ingest = IngestSettings::try_new(&flags.ingest, true)?;
    if ingest.labels.is_empty() {
        bail!(
            "no external labels configured for receive, uniquely identifying external labels must be configured (ideally with \
             `receive_` prefix); use --label; see https://thanos.io/tip/thanos/storage.md#external-labels for details."
        );
    }
    FolderLock::refuse_beside_receive(&flags.path)?;
    let lock = if flags.no_lockfile { None } else { Some(FolderLock::take(&flags.path)?) };
    let address = settings::listen_address("--remote-write.address", &flags.remote_write_address)?;
    let tls = port_tls::write_tls(&flags.write_tls)?;
    let role = QueryRole {
        bucket: None,
        cache_dir: None,
        sync_interval: std::time::Duration::from_secs(60),
        compaction: None,
        grpc: None,
        tenants: tenancy::read_tenants(&flags.query.tenancy, Some(&flags.ingest))?,
        ingest: Some(IngestRole {
            folder: flags.path.clone(),
            settings: ingest,
            upload_to: bucket,
            dialects: vec![Dialect::Thanos],
            listen: Some(WriteAddress { address, tls }),
            own_metrics: false,
        }),
    };
    let ended = role.run(&flags.query, &flags.server, flag_values);
    drop(lock);
    ended
}
