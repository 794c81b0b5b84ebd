//! Flags of `tools bucket`: those of Thanos.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::select::SelectFlags;
use super::{LogFlags, ObjstoreFlags, duration};

/// What can be done with a bucket.
#[derive(Debug, Subcommand)]
pub enum BucketTool {
    /// List the blocks of a bucket.
    Ls(Box<LsFlags>),
    /// Show the blocks of a bucket as a table.
    Inspect(Box<InspectFlags>),
}

/// Flags of `tools bucket ls`.
#[derive(Debug, Args)]
pub struct LsFlags {
    /// What is printed of each block: nothing but its name where this is empty, one line (wide), its meta.json (json), or a template of
    /// Go's over its fields, as '{{.ULID}} {{.Thanos.Labels}}'
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "")]
    pub output: String,
    /// Leave blocks out that are marked for deletion
    #[arg(long = "exclude-delete")]
    pub exclude_delete: bool,
    /// How long reading what the bucket says of its blocks may take
    #[arg(long = "timeout", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub select: SelectFlags,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `tools bucket inspect`.
#[derive(Debug, Args)]
pub struct InspectFlags {
    /// Only blocks with this external label, as name="value"; may be repeated, and then all must be there
    #[arg(short = 'l', long = "selector", value_name = "NAME=\"VALUE\"")]
    pub selector: Vec<String>,
    /// Column to sort by; may be repeated, the first counts most
    #[arg(long = "sort-by", value_name = "COLUMN", default_values = ["FROM", "UNTIL"])]
    pub sort_by: Vec<Column>,
    /// How the table is written
    #[arg(long = "output", value_name = "FORMAT", default_value = "table")]
    pub output: TableFormat,
    /// How long reading what the bucket says of its blocks may take
    #[arg(long = "timeout", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For people.
    Table,
    /// Values between tabs.
    Tsv,
    /// Values between commas.
    Csv,
    /// A list of objects.
    Json,
}

/// A column of `tools bucket inspect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Column {
    #[value(name = "ULID")]
    Ulid,
    #[value(name = "FROM")]
    From,
    #[value(name = "UNTIL")]
    Until,
    #[value(name = "RANGE")]
    Range,
    #[value(name = "UNTIL-DOWN")]
    UntilDown,
    #[value(name = "#SERIES")]
    Series,
    #[value(name = "#SAMPLES")]
    Samples,
    #[value(name = "#CHUNKS")]
    Chunks,
    #[value(name = "COMP-LEVEL")]
    Level,
    #[value(name = "COMP-FAILED")]
    Failed,
    #[value(name = "LABELS")]
    Labels,
    #[value(name = "RESOLUTION")]
    Resolution,
    #[value(name = "SOURCE")]
    Source,
}
