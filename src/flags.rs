//! Flags, named, defaulted and written as in Thanos: `--flag=value`, `--no-flag`, repeatable.
//!
//! What is here is as it was typed; [`crate::settings`] checks it. docs/flags.md is made of these definitions.

mod bucket;
mod compact;
pub mod document;
mod export;
mod generate;
mod grpc;
mod ingest;
mod load;
mod receive;
mod select;
mod tenancy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use compat::parse_duration_flag;

pub use self::bucket::{
    BucketTool, CleanupFlags, Column, DownsampleFlags, InspectFlags, Issue, LsFlags, MarkFlags, MarkerFile,
    ReplicateFlags, RetentionFlags, RewriteFlags, SweepFlags, TableFormat, UploadBlocksFlags, VerifyFlags,
};
pub use self::compact::{AllCompactFlags, CompactDeduplication, CompactRoleFlags, Scratch, UpkeepFlags};
pub use self::export::{ExportFlags, ExportFormat, QueryLanguage};
pub use self::generate::GenerateFlags;
pub use self::grpc::{GrpcFlags, GrpcTlsFlags};
pub use self::ingest::{CertificateTenant, IngestFlags, ReceiveFlags, WalSync, WriteTlsFlags};
pub use self::load::{LoadFlags, Start};
pub use self::receive::{IdleFlags, LimitFlags, ShipperFlags, TranslationFlags};
pub use self::select::{RelabelSelectFlags, SelectFlags};
pub use self::tenancy::TenancyFlags;
use crate::memory::{ByteSize, parse_byte_size, parse_byte_size_or_zero};

/// Long-term storage for Prometheus metrics, and PromQL and SQL over them.
#[derive(Debug, Parser)]
#[command(name = "quiver", disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    /// Print what this build is
    #[arg(long = "version")]
    pub version: bool,
    /// The role of this process.
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// What a process does.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Everything in one process, with its bucket in a local folder unless told otherwise.
    All(Box<AllFlags>),
    /// Take remote write, keep it safe, and upload it to a bucket block by block.
    Receive(Box<ReceiveFlags>),
    /// Answer queries over the blocks of a bucket.
    Query(Box<QueryRoleFlags>),
    /// Merge the blocks of a bucket into larger ones, and delete what is past its retention.
    Compact(Box<CompactRoleFlags>),
    /// What is of use beside a running Quiver.
    #[command(subcommand)]
    Tools(Tool),
    /// Print docs/flags.md.
    #[command(hide = true)]
    FlagsDocument,
}

/// What is of use beside a running Quiver.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Write blocks that are made up from a seed; the same flags give the same bytes.
    Generate(Box<GenerateFlags>),
    /// What can be done with a bucket.
    #[command(subcommand)]
    Bucket(BucketTool),
    /// Write the answer of a query over the blocks of a bucket to a file or another bucket.
    Export(Box<ExportFlags>),
    /// Send made-up samples to an endpoint of remote write, as fast as they are acknowledged, or check that they are there.
    Load(Box<LoadFlags>),
}

/// Flags of `all`.
#[derive(Debug, Args)]
pub struct AllFlags {
    /// Folder that holds what is written, the bucket and the cache. Made where it does not exist
    #[arg(long = "data-dir", value_name = "DIR", default_value = "quiver-data")]
    pub data_dir: PathBuf,
    /// Put the sample blocks that come with the source into the bucket, where it is empty
    #[arg(long = "sample")]
    pub sample: bool,
    /// How often the bucket is looked at for new blocks
    #[arg(long = "sync-block-duration", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub sync_block_duration: Duration,
    #[command(flatten)]
    pub ingest: IngestFlags,
    #[command(flatten)]
    pub compact: AllCompactFlags,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub grpc: GrpcFlags,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `query`.
#[derive(Debug, Args)]
pub struct QueryRoleFlags {
    /// Folder for side-indexes that had to be built; without it they are kept in memory
    #[arg(long = "cache-dir", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// How often the bucket is looked at for new blocks
    #[arg(long = "sync-block-duration", value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub sync_block_duration: Duration,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub grpc: GrpcFlags,
    #[command(flatten)]
    pub query: QueryFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Which bucket.
#[derive(Debug, Clone, Args)]
pub struct ObjstoreFlags {
    /// File with the object storage configuration, see docs/objstore.md
    #[arg(long = "objstore.config-file", value_name = "FILE", conflicts_with = "config")]
    pub config_file: Option<PathBuf>,
    /// The object storage configuration itself
    #[arg(long = "objstore.config", value_name = "YAML")]
    pub config: Option<String>,
}

/// How the server listens.
#[derive(Debug, Clone, Args)]
pub struct ServerFlags {
    /// Address to listen on
    #[arg(long = "http-address", value_name = "HOST:PORT", default_value = "0.0.0.0:10902")]
    pub http_address: String,
    /// How long requests under way may take after a signal to stop
    #[arg(long = "http-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub http_grace_period: Duration,
    /// File that sets up TLS, client certificates and users for every port, and headers and a rate limit for those of HTTP, see
    /// docs/web-config.md
    #[arg(long = "http.config", value_name = "FILE")]
    pub http_config: Option<PathBuf>,
    /// Do not let pages of other origins call the API
    #[arg(long = "web.disable-cors", overrides_with = "no_disable_cors")]
    pub disable_cors: bool,
    #[arg(long = "no-web.disable-cors", hide = true)]
    pub no_disable_cors: bool,
}

/// How queries are answered.
#[derive(Debug, Clone, Args)]
pub struct QueryFlags {
    /// Longest time that a query may take, waiting included, or a lookup of series and labels
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub timeout: Duration,
    /// Most queries that run or are explained at once; more wait. Lookups of series and labels do not count
    #[arg(long = "query.max-concurrent", value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_concurrent: u32,
    /// Most samples that a query may load; 0 is no limit
    #[arg(long = "query.max-samples", value_name = "N", default_value_t = 50_000_000)]
    pub max_samples: usize,
    /// Most memory of all queries together, as 4GiB or 500MB; half of what the machine or its container has where it is not set
    #[arg(long = "query.max-memory", value_name = "BYTES", value_parser = parse_byte_size)]
    pub max_memory: Option<ByteSize>,
    /// How far back an instant selector looks for a sample
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub lookback_delta: Duration,
    /// Look back further where a query may read downsampled data
    #[arg(long = "query.dynamic-lookback-delta", default_value_t = true, overrides_with = "no_dynamic_lookback_delta")]
    pub dynamic_lookback_delta: bool,
    #[arg(long = "no-query.dynamic-lookback-delta", hide = true)]
    pub no_dynamic_lookback_delta: bool,
    /// A label that tells replicas apart; may be repeated, or hold several with commas
    #[arg(long = "query.replica-label", value_name = "LABEL", value_delimiter = ',')]
    pub replica_labels: Vec<String>,
    /// How replicas become one series: one replica's samples at a time, or every time that any has
    #[arg(long = "deduplication.func", value_name = "FUNCTION", default_value = "penalty")]
    pub deduplication: DeduplicationFunc,
    /// Let queries that do not ask read downsampled data, by their step
    #[arg(long = "query.auto-downsampling", overrides_with = "no_auto_downsampling")]
    pub auto_downsampling: bool,
    #[arg(long = "no-query.auto-downsampling", hide = true)]
    pub no_auto_downsampling: bool,
    /// Coarsest data that an instant query reads which leaves it to the server; 0 is raw
    #[arg(long = "query.instant.default.max_source_resolution", value_name = "DURATION", default_value = "0s",
          value_parser = duration, hide = true)]
    pub instant_max_source_resolution: Duration,
    /// Answer with a warning where a block is left out because its meta.json cannot be read, instead of failing; other
    /// failures to read always fail the query
    #[arg(long = "query.partial-response", default_value_t = true, overrides_with = "no_partial_response")]
    pub partial_response: bool,
    #[arg(long = "no-query.partial-response", hide = true)]
    pub no_partial_response: bool,
    /// Step of a subquery that has none
    #[arg(long = "query.default-evaluation-interval", value_name = "DURATION", default_value = "1m",
          value_parser = duration)]
    pub default_evaluation_interval: Duration,
    /// Smallest step of a range query that has none
    #[arg(long = "query.default-step", value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub default_step: Duration,
    /// Time range of series and label requests that have none; 0 is all of time
    #[arg(long = "query.metadata.default-time-range", value_name = "DURATION", default_value = "0s",
          value_parser = duration)]
    pub metadata_default_time_range: Duration,
    /// Experimental parts of PromQL; may be repeated, or hold several with commas
    #[arg(long = "enable-feature", value_name = "FEATURE", value_delimiter = ',')]
    pub features: Vec<Feature>,
    #[command(flatten)]
    pub tenancy: TenancyFlags,
}

/// A part of PromQL that Prometheus may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Feature {
    /// Functions, `limitk` and `limit_ratio`.
    PromqlExperimentalFunctions,
    /// Arithmetic in ranges, steps and offsets.
    PromqlDurationExpr,
    /// `anchored` and `smoothed`.
    PromqlExtendedRangeSelectors,
    /// `fill`, `fill_left` and `fill_right`.
    PromqlBinopFillModifiers,
    /// Metric names go at the end of a query.
    PromqlDelayedNameRemoval,
    /// Counters are told by the label `__type__`.
    TypeAndUnitLabels,
    /// `start_timestamp`, and start timestamps in functions of counters.
    UseStartTimestamps,
    /// Of Thanos receive, so that it need not be taken out of a command line; it changes nothing here.
    #[value(hide = true)]
    MetricNamesFilter,
}

/// How replicas become one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeduplicationFunc {
    /// For replicas that scrape by themselves.
    Penalty,
    /// For copies of the same samples.
    Chain,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogFlags {
    /// Least important messages that are written
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    pub level: LogLevel,
    /// How messages are written
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    pub format: LogFormat,
}

/// Importance of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// Form of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Logfmt,
    Json,
}

/// Reads the command line; the second value is every flag with its value, for `/api/v1/status/flags`.
///
/// # Errors
/// What clap tells the user: a usage error, or the text of `--help` and `--version`.
pub fn parse(
    args: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<(Cli, BTreeMap<String, String>), clap::Error> {
    let command = Cli::command();
    let matches = command.clone().try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command.clone()))?;
    // those of the innermost command
    let (mut command, mut matches) = (&command, &matches);
    while let Some((name, below)) = matches.subcommand()
        && let Some(found) = command.find_subcommand(name)
    {
        (command, matches) = (found, below);
    }
    let values = flag_values(command, matches);
    Ok((cli, values))
}

/// Flags whose values hold secrets, or may.
const SECRET_FLAGS: [&str; 6] = [
    "objstore.config",
    "objstore.config-file",
    "objstore-to.config",
    "objstore-to.config-file",
    "objstore-backup.config",
    "objstore-backup.config-file",
];

fn flag_values(command: &clap::Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(name) = arg.get_long() else { continue };
        if matches!(name, "help" | "version") {
            continue;
        }
        let raw = matches.get_raw(arg.get_id().as_str());
        let value: Vec<String> = raw.into_iter().flatten().map(|v| v.to_string_lossy().into_owned()).collect();
        let secret = SECRET_FLAGS.contains(&name) && !value.is_empty();
        values.insert(name.to_owned(), if secret { "<REDACTED>".to_owned() } else { value.join(",") });
    }
    values
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration_flag(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<(Cli, BTreeMap<String, String>), clap::Error> {
        parse(["quiver"].iter().chain(args).map(std::ffi::OsString::from))
    }

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_written_as_in_kingpin() {
        let (cli, values) = parsed(&[
            "query",
            "--objstore.config=secret_key: hunter2",
            "--query.timeout=1h30m",
            "--query.replica-label=replica,prometheus_replica",
            "--query.replica-label",
            "rule_replica",
            "--no-query.partial-response",
            "--query.auto-downsampling",
            "--enable-feature=promql-experimental-functions",
        ])
        .unwrap();
        let Some(Role::Query(flags)) = cli.role else { panic!("{cli:?}") };
        assert_eq!(flags.query.timeout, Duration::from_secs(5400));
        assert_eq!(flags.query.replica_labels, ["replica", "prometheus_replica", "rule_replica"]);
        assert!(flags.query.auto_downsampling && flags.query.no_partial_response);
        assert_eq!(flags.query.features, [Feature::PromqlExperimentalFunctions]);
        assert_eq!(values["objstore.config"], "<REDACTED>");
        assert_eq!(values["http-address"], "0.0.0.0:10902");
        assert!(!format!("{values:?}").contains("hunter2"));
    }

    #[test]
    fn wrong_values_are_told_by_flag() {
        for (arg, part) in [
            ("--query.timeout=soon", "\"soon\" is not a duration"),
            ("--query.max-concurrent=0", "--query.max-concurrent"),
            ("--query.max-memory=lots", "--query.max-memory"),
            ("--log.level=loud", "error, warn, info, debug"),
            ("--query.timeou=1m", "--query.timeout"),
        ] {
            let error = parsed(&["query", arg]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
