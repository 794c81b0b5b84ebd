//! Flags of `tools export`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use compat::parse_time;
use storage::model::Timestamp;

use super::{ByteSize, DeduplicationFunc, LogFlags, ObjstoreFlags, duration, parse_byte_size};

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Parquet.
    Parquet,
    /// CSV with a header.
    Csv,
    /// A stream of Arrow IPC.
    Arrow,
}

/// What a query is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueryLanguage {
    /// SQL.
    Sql,
    /// PromQL.
    Promql,
}

/// Flags of `tools export`.
#[derive(Debug, Clone, Args)]
pub struct ExportFlags {
    /// The query, in SQL unless --language says otherwise
    #[arg(long = "query", value_name = "QUERY")]
    pub query: String,
    /// What the query is written in
    #[arg(long = "language", value_name = "LANGUAGE", default_value = "sql")]
    pub language: QueryLanguage,
    /// First step of a query in PromQL
    #[arg(long = "start", value_name = "TIME", value_parser = parse_time)]
    pub start: Option<Timestamp>,
    /// Last step of a query in PromQL, and its only one without --start
    #[arg(long = "end", value_name = "TIME", value_parser = parse_time)]
    pub end: Option<Timestamp>,
    /// From step to step of a query in PromQL
    #[arg(long = "step", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub step: Duration,
    /// What is written
    #[arg(long = "format", value_name = "FORMAT", default_value = "parquet")]
    pub output_format: ExportFormat,
    /// File to write, or the name of the object where --objstore-to names a bucket; - is standard output
    #[arg(long = "out", value_name = "PATH")]
    pub out: String,
    /// File with the object storage configuration of the bucket to write to
    #[arg(long = "objstore-to.config-file", value_name = "FILE", conflicts_with = "to_config")]
    pub to_config_file: Option<PathBuf>,
    /// The configuration itself
    #[arg(long = "objstore-to.config", value_name = "YAML")]
    pub to_config: Option<String>,
    /// Most memory, as 4GiB or 500MB; half of what the machine or its container has where it is not set
    #[arg(long = "query.max-memory", value_name = "BYTES", value_parser = parse_byte_size)]
    pub max_memory: Option<ByteSize>,
    /// A label that tells replicas apart; may be repeated, or hold several with commas
    #[arg(long = "query.replica-label", value_name = "LABEL", value_delimiter = ',')]
    pub replica_labels: Vec<String>,
    /// How replicas become one series: one replica's samples at a time, or every time that any has
    #[arg(long = "deduplication.func", value_name = "FUNCTION", default_value = "penalty")]
    pub deduplication: DeduplicationFunc,
    /// Longest time that the export may take
    #[arg(long = "timeout", value_name = "DURATION", default_value = "1d", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}
