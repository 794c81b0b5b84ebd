//! Flags of what is written here: those of Thanos receive.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{
    ByteSize, IdleFlags, LimitFlags, LogFlags, ObjstoreFlags, QueryFlags, ServerFlags, ShipperFlags, TranslationFlags,
    duration, parse_byte_size_or_zero,
};

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
    /// Do not hold the lock on the folder that keeps a second process out
    #[arg(long = "tsdb.no-lockfile")]
    pub no_lockfile: bool,
    #[command(flatten)]
    pub write_tls: WriteTlsFlags,
    #[command(flatten)]
    pub ingest: IngestFlags,
    #[command(flatten)]
    pub idle: IdleFlags,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// TLS of the remote write port.
#[derive(Debug, Clone, Args)]
pub struct WriteTlsFlags {
    /// File with the TLS certificate of the remote write port, in place of that of --http.config; leave blank for none
    #[arg(long = "remote-write.server-tls-cert", value_name = "FILE")]
    pub cert: Option<String>,
    /// File with its key
    #[arg(long = "remote-write.server-tls-key", value_name = "FILE")]
    pub key: Option<String>,
    /// File with the CA that has signed the certificates which clients then have to show; leave blank for none
    #[arg(long = "remote-write.server-tls-client-ca", value_name = "FILE")]
    pub client_ca: Option<String>,
    /// Least version of TLS on the remote write port; 1.0 and 1.1 are refused
    #[arg(long = "remote-write.server-tls-min-version", value_name = "VERSION", default_value = "1.3")]
    pub min_version: TlsVersion,
    /// A cipher suite of TLS 1.2 for the remote write port, by its name in Go; may be repeated
    #[arg(long = "remote-write.server-tls-ciphers", value_name = "SUITE")]
    pub ciphers: Vec<String>,
    /// A curve for the remote write port: CurveP256, CurveP384 or X25519; may be repeated
    #[arg(long = "remote-write.server-tls-curves", value_name = "CURVE")]
    pub curves: Vec<String>,
}

/// A version of TLS that Thanos knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsVersion {
    #[value(name = "1.0")]
    Tls10,
    #[value(name = "1.1")]
    Tls11,
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

impl TlsVersion {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls10 => "1.0",
            Self::Tls11 => "1.1",
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// Which name in a client's certificate is its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub enum CertificateTenant {
    /// The first organization.
    Organization,
    /// The first organizational unit.
    OrganizationalUnit,
    /// The common name.
    CommonName,
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
    /// Most bytes of local blocks of a tenant, as 512MB; the oldest go first, with a bucket only when they are uploaded. 0 is no limit
    #[arg(long = "tsdb.max-retention-bytes", value_name = "BYTES", default_value = "0", value_parser = parse_byte_size_or_zero)]
    pub max_retention_bytes: ByteSize,
    /// A snapshot of the head is written when the log has grown by this since the last one, or by twice the snapshot's size where that
    /// is more: the next start reads no more of the log. 0 writes one a second
    #[arg(long = "tsdb.snapshot-log-size", value_name = "BYTES", default_value = "128MiB", value_parser = parse_byte_size_or_zero, hide = true)]
    pub snapshot_log_size: ByteSize,
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
    /// When the process is told to stop, cut all that is in memory into blocks and upload them, for at most the grace period;
    /// `receive` does so unless it is given --no-tsdb.flush-on-stop, `all` does not
    #[arg(long = "tsdb.flush-on-stop", overrides_with = "no_flush_on_stop")]
    pub flush_on_stop: bool,
    #[arg(long = "no-tsdb.flush-on-stop", hide = true)]
    pub no_flush_on_stop: bool,
    /// Compress the write-ahead log
    #[arg(long = "tsdb.wal-compression", default_value_t = true, overrides_with = "no_wal_compression")]
    pub wal_compression: bool,
    #[arg(long = "no-tsdb.wal-compression", hide = true)]
    pub no_wal_compression: bool,
    /// Header that names the tenant of a write
    #[arg(long = "receive.tenant-header", value_name = "HEADER", default_value = "THANOS-TENANT")]
    pub tenant_header: String,
    /// Which name in the client's certificate is the tenant of a write, in place of the header; a write without it is refused
    #[arg(long = "receive.tenant-certificate-field", value_name = "FIELD")]
    pub tenant_certificate_field: Option<CertificateTenant>,
    /// Tenant of writes that name none
    #[arg(long = "receive.default-tenant-id", value_name = "TENANT", default_value = "default-tenant")]
    pub default_tenant: String,
    /// External label that holds the tenant
    #[arg(long = "receive.tenant-label-name", value_name = "LABEL", default_value = "tenant_id")]
    pub tenant_label: String,
    /// Label of a series that names its tenant, and is taken off; series without it are the request's tenant's
    #[arg(long = "receive.split-tenant-label-name", value_name = "LABEL")]
    pub split_tenant_label: Option<String>,
    #[command(flatten)]
    pub limits: LimitFlags,
    #[command(flatten)]
    pub translation: TranslationFlags,
    #[command(flatten)]
    pub shipper: ShipperFlags,
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
