//! Flags of what is written here: those of Thanos receive.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{LogFlags, ObjstoreFlags, QueryFlags, ServerFlags, duration};

/// Flags of `receive`.
#[derive(Debug, Args)]
pub struct ReceiveFlags {
    /// Folder of the write-ahead log and of the blocks of all tenants. Made where it does not exist; that of a Prometheus is taken
    /// as it stands
    #[arg(long = "tsdb.path", value_name = "DIR", default_value = "./data")]
    pub path: PathBuf,
    /// Address to listen on for remote write
    #[arg(long = "remote-write.address", value_name = "HOST:PORT", default_value = "0.0.0.0:19291")]
    pub remote_write_address: String,
    #[command(flatten)]
    pub ingest: IngestFlags,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// How writes are taken, and what becomes of them.
#[derive(Debug, Clone, Args)]
pub struct IngestFlags {
    /// An external label of everything that is written, as name="value"; may be repeated
    #[arg(long = "label", value_name = "NAME=\"VALUE\"")]
    pub labels: Vec<String>,
    /// How long blocks are kept in the local folder; 0d keeps them. With a bucket they go only when they are uploaded
    #[arg(long = "tsdb.retention", value_name = "DURATION", default_value = "15d", value_parser = duration)]
    pub retention: Duration,
    /// Time that a block covers
    #[arg(long = "tsdb.min-block-duration", value_name = "DURATION", default_value = "2h", value_parser = duration, hide = true)]
    pub min_block_duration: Duration,
    /// The same; the two must agree, since blocks are compacted in the bucket alone
    #[arg(long = "tsdb.max-block-duration", value_name = "DURATION", default_value = "2h", value_parser = duration, hide = true)]
    pub max_block_duration: Duration,
    /// How far before the newest sample of its tenant a sample may lie that is older than its series' newest; 0s takes none
    #[arg(long = "tsdb.out-of-order.time-window", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub out_of_order_window: Duration,
    /// How far after now a sample may lie; 0s takes any
    #[arg(long = "tsdb.too-far-in-future.time-window", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub max_future: Duration,
    /// Exemplars kept in memory, of all tenants; 0 keeps none
    #[arg(long = "tsdb.max-exemplars", value_name = "N", default_value_t = 0)]
    pub max_exemplars: usize,
    /// When a write is acknowledged: when it is on disk (always), or when it is handed to the system, which writes it to disk every 5 s
    /// (interval) or when it likes (never)
    #[arg(long = "tsdb.wal-sync", value_name = "WHEN", default_value = "always")]
    pub wal_sync: WalSync,
    /// Compress the write-ahead log
    #[arg(long = "tsdb.wal-compression", default_value_t = true, overrides_with = "no_wal_compression")]
    pub wal_compression: bool,
    #[arg(long = "no-tsdb.wal-compression", hide = true)]
    pub no_wal_compression: bool,
    /// Header that names the tenant of a write
    #[arg(long = "receive.tenant-header", value_name = "HEADER", default_value = "THANOS-TENANT")]
    pub tenant_header: String,
    /// Tenant of writes that name none
    #[arg(long = "receive.default-tenant-id", value_name = "TENANT", default_value = "default-tenant")]
    pub default_tenant: String,
    /// External label that holds the tenant
    #[arg(long = "receive.tenant-label-name", value_name = "LABEL", default_value = "tenant_id")]
    pub tenant_label: String,
    /// Label of a series that names its tenant, and is taken off; series without it are the request's tenant's
    #[arg(long = "receive.split-tenant-label-name", value_name = "LABEL")]
    pub split_tenant_label: Option<String>,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WalSync {
    /// When it is on disk.
    Always,
    /// When the system has it, which is told to write to disk every five seconds.
    Interval,
    /// When the system has it.
    Never,
}
