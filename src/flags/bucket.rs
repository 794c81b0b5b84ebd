//! Flags of `tools bucket`: those of Thanos.

mod change;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use storage::model::BlockId;

pub use self::change::{
    CleanupFlags, DownsampleFlags, Issue, MarkFlags, MarkerFile, RetentionFlags, RewriteFlags, SweepFlags, VerifyFlags,
};
use super::select::SelectFlags;
use super::{LogFlags, ObjstoreFlags, ServerFlags, duration};

/// What can be done with a bucket.
#[derive(Debug, Subcommand)]
pub enum BucketTool {
    /// List the blocks of a bucket.
    Ls(Box<LsFlags>),
    /// Show the blocks of a bucket as a table.
    Inspect(Box<InspectFlags>),
    /// Look for what is known to go wrong with blocks, and repair what can be.
    Verify(Box<VerifyFlags>),
    /// Mark blocks for deletion, or against compaction or downsampling, or remove such a mark.
    Mark(Box<MarkFlags>),
    /// Delete blocks that are marked for it, and uploads that were given up.
    Cleanup(Box<CleanupFlags>),
    /// Mark blocks for deletion that are past their retention.
    Retention(Box<RetentionFlags>),
    /// Make downsampled blocks of those that are long enough, and nothing else of what a compactor does.
    Downsample(Box<DownsampleFlags>),
    /// Write blocks anew without some of their samples, or with other labels.
    Rewrite(Box<RewriteFlags>),
    /// Copy blocks into another bucket, once or again and again.
    Replicate(Box<ReplicateFlags>),
    /// Upload the blocks of a local folder.
    UploadBlocks(Box<UploadBlocksFlags>),
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

/// Flags of `tools bucket replicate`.
#[derive(Debug, Args)]
pub struct ReplicateFlags {
    /// File with the object storage configuration of the bucket to copy to
    #[arg(long = "objstore-to.config-file", value_name = "FILE", conflicts_with = "to_config")]
    pub to_config_file: Option<PathBuf>,
    /// The configuration itself
    #[arg(long = "objstore-to.config", value_name = "YAML")]
    pub to_config: Option<String>,
    /// Only blocks of this resolution; may be repeated
    #[arg(long = "resolution", value_name = "DURATION", default_values = ["0s", "5m", "1h"], value_parser = duration)]
    pub resolutions: Vec<Duration>,
    /// Only blocks of at least this compaction level
    #[arg(long = "compaction-min", value_name = "LEVEL", default_value_t = 1)]
    pub compaction_min: u32,
    /// Only blocks of at most this compaction level
    #[arg(long = "compaction-max", value_name = "LEVEL", default_value_t = 4)]
    pub compaction_max: u32,
    /// Only blocks of this compaction level; may be repeated, and then the two above do not count
    #[arg(long = "compaction", value_name = "LEVEL")]
    pub compaction: Vec<u32>,
    /// Only blocks whose external labels match, as cluster="eu-1"; may be repeated, and then all have to
    #[arg(long = "matcher", value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// Copy once, and end
    #[arg(long = "single-run")]
    pub single_run: bool,
    /// Only this block, whatever else is asked for, and once; may be repeated
    #[arg(long = "id", value_name = "ULID")]
    pub ids: Vec<BlockId>,
    /// Leave blocks out that are marked for deletion
    #[arg(long = "ignore-marked-for-deletion")]
    pub ignore_marked_for_deletion: bool,
    #[command(flatten)]
    pub select: SelectFlags,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `tools bucket upload-blocks`.
#[derive(Debug, Args)]
pub struct UploadBlocksFlags {
    /// Folder with the blocks
    #[arg(long = "path", value_name = "DIR", default_value = "./data")]
    pub path: PathBuf,
    /// External label that the blocks get, as name="value"; may be repeated
    #[arg(long = "label", value_name = "NAME=\"VALUE\"")]
    pub labels: Vec<String>,
    /// Upload blocks too that were compacted
    #[arg(long = "shipper.upload-compacted")]
    pub upload_compacted: bool,
    /// Files that are uploaded at once
    #[arg(long = "shipper.upload-concurrency", value_name = "N", default_value_t = 5)]
    pub concurrency: usize,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}
