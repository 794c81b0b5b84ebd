//! Flags of what changes blocks of a bucket: those of Thanos, and `--dry-run` where something is deleted.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use storage::model::BlockId;

use super::TableFormat;
use crate::flags::select::RelabelSelectFlags;
use crate::flags::{LogFlags, ObjstoreFlags, ServerFlags, duration};

/// Flags of `tools bucket verify`.
#[derive(Debug, Args)]
pub struct VerifyFlags {
    /// Repair what can be repaired. Needs a bucket for backups
    #[arg(short = 'r', long = "repair", overrides_with = "no_repair")]
    pub repair: bool,
    #[arg(long = "no-repair", hide = true)]
    pub no_repair: bool,
    /// What is looked for; may be repeated. Without it index_known_issues and overlapped_blocks, or with --repair the former alone,
    /// since nothing repairs an overlap
    #[arg(short = 'i', long = "issues", value_name = "ISSUE")]
    pub issues: Vec<Issue>,
    /// Only this block; may be repeated
    #[arg(long = "id", value_name = "ULID")]
    pub ids: Vec<BlockId>,
    /// How long blocks stay that a repair replaced; 0s deletes them at once, else they are marked and a compactor deletes them
    #[arg(long = "delete-delay", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub delete_delay: Duration,
    /// File with the object storage configuration of the bucket for backups of blocks that a repair takes away
    #[arg(long = "objstore-backup.config-file", value_name = "FILE", conflicts_with = "backup_config")]
    pub backup_config_file: Option<PathBuf>,
    /// The configuration itself
    #[arg(long = "objstore-backup.config", value_name = "YAML")]
    pub backup_config: Option<String>,
    /// How what was found is written
    #[arg(long = "output", value_name = "FORMAT", default_value = "table")]
    pub output: TableFormat,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// What can be wrong with blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Issue {
    /// Blocks of a group share time.
    OverlappedBlocks,
    /// Chunks are out of order, doubled, or outside of their block.
    IndexKnownIssues,
    /// Blocks are made of the same ones, and equal.
    DuplicatedCompaction,
}

/// Flags of `tools bucket mark`.
#[derive(Debug, Args)]
pub struct MarkFlags {
    /// Block to mark; may be repeated
    #[arg(long = "id", value_name = "ULID", required = true)]
    pub ids: Vec<BlockId>,
    /// What it is marked against
    #[arg(long = "marker", value_name = "FILE")]
    pub marker: MarkerFile,
    /// Why, for people. Needed unless the mark is removed
    #[arg(long = "details", value_name = "TEXT")]
    pub details: Option<String>,
    /// Remove the mark
    #[arg(long = "remove", overrides_with = "no_remove")]
    pub remove: bool,
    #[arg(long = "no-remove", hide = true)]
    pub no_remove: bool,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// The file of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarkerFile {
    /// The block is deleted.
    #[value(name = "deletion-mark.json")]
    Deletion,
    /// The block is not compacted.
    #[value(name = "no-compact-mark.json")]
    NoCompact,
    /// The block is not downsampled.
    #[value(name = "no-downsample-mark.json")]
    NoDownsample,
}

/// Flags that `tools bucket cleanup` and `retention` share.
#[derive(Debug, Args)]
pub struct SweepFlags {
    /// How long blocks stay after they were marked for deletion
    #[arg(long = "delete-delay", value_name = "DURATION", default_value = "48h", value_parser = duration)]
    pub delete_delay: Duration,
    /// How old a block that no compactor made has to be before it is looked at
    #[arg(long = "consistency-delay", value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub consistency_delay: Duration,
    /// Blocks whose meta.json is read at once
    #[arg(long = "block-sync-concurrency", value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub sync_concurrency: u32,
    /// Only tell what would be done
    #[arg(long = "dry-run", overrides_with = "no_dry_run")]
    pub dry_run: bool,
    #[arg(long = "no-dry-run", hide = true)]
    pub no_dry_run: bool,
    /// How what was done is written
    #[arg(long = "output", value_name = "FORMAT", default_value = "table")]
    pub output: TableFormat,
    #[command(flatten)]
    pub select: RelabelSelectFlags,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `tools bucket cleanup`.
#[derive(Debug, Args)]
pub struct CleanupFlags {
    #[command(flatten)]
    pub sweep: SweepFlags,
}

/// Flags of `tools bucket retention`.
#[derive(Debug, Args)]
pub struct RetentionFlags {
    /// How long raw samples are kept; 0d keeps them
    #[arg(long = "retention.resolution-raw", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    pub raw: Duration,
    /// How long samples of 5 minutes are kept; 0d keeps them
    #[arg(long = "retention.resolution-5m", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    pub five_minutes: Duration,
    /// How long samples of an hour are kept; 0d keeps them
    #[arg(long = "retention.resolution-1h", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    pub one_hour: Duration,
    #[command(flatten)]
    pub sweep: SweepFlags,
}

/// Flags of `tools bucket rewrite`.
#[derive(Debug, Args)]
pub struct RewriteFlags {
    /// Block to rewrite; may be repeated
    #[arg(long = "id", value_name = "ULID", required = true)]
    pub ids: Vec<BlockId>,
    /// Folder for what is made on the way, and for the change log
    #[arg(long = "tmp.dir", value_name = "DIR", default_value = "/tmp/thanos-rewrite")]
    pub tmp_dir: PathBuf,
    /// Print what would change, and change nothing; --no-dry-run changes it
    #[arg(long = "dry-run", default_value_t = true, overrides_with = "no_dry_run")]
    pub dry_run: bool,
    #[arg(long = "no-dry-run", hide = true)]
    pub no_dry_run: bool,
    /// Take blocks without external labels: those of a Prometheus
    #[arg(long = "prom-blocks", overrides_with = "no_prom_blocks")]
    pub prom_blocks: bool,
    #[arg(long = "no-prom-blocks", hide = true)]
    pub no_prom_blocks: bool,
    /// Mark the blocks for deletion that were rewritten
    #[arg(long = "delete-blocks", overrides_with = "no_delete_blocks")]
    pub delete_blocks: bool,
    #[arg(long = "no-delete-blocks", hide = true)]
    pub no_delete_blocks: bool,
    /// File with a list of deletions, as {matchers: '{job="x"}', intervals: [{mint: 0, maxt: 1}]}: all samples where there are no
    /// intervals
    #[arg(long = "rewrite.to-delete-config-file", value_name = "FILE", conflicts_with = "to_delete")]
    pub to_delete_file: Option<PathBuf>,
    /// The list itself
    #[arg(long = "rewrite.to-delete-config", value_name = "YAML", allow_hyphen_values = true)]
    pub to_delete: Option<String>,
    /// File with rules of relabelling
    #[arg(long = "rewrite.to-relabel-config-file", value_name = "FILE", conflicts_with = "to_relabel")]
    pub to_relabel_file: Option<PathBuf>,
    /// The rules themselves
    #[arg(long = "rewrite.to-relabel-config", value_name = "YAML", allow_hyphen_values = true)]
    pub to_relabel: Option<String>,
    /// Write every change into the file change.log of the new block's folder in --tmp.dir
    #[arg(long = "rewrite.add-change-log", default_value_t = true, overrides_with = "no_change_log")]
    pub change_log: bool,
    #[arg(long = "no-rewrite.add-change-log", hide = true)]
    pub no_change_log: bool,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// Flags of `tools bucket downsample`.
#[derive(Debug, Args)]
pub struct DownsampleFlags {
    /// How long to wait between runs
    #[arg(long = "wait-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub wait_interval: Duration,
    /// Blocks that are downsampled at once
    #[arg(long = "downsample.concurrency", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub concurrency: u32,
    /// Folder for what is made on the way to a block. Made where it does not exist
    #[arg(long = "data-dir", value_name = "DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Downsample once, and end
    #[arg(long = "single-run")]
    pub single_run: bool,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub log: LogFlags,
}
