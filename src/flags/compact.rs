//! Flags of `compact`: those of Thanos compact.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::select::SelectFlags;
use super::{LogFlags, ObjstoreFlags, ServerFlags, duration};
use crate::memory::{ByteSize, parse_byte_size};

/// Flags of `compact`.
#[derive(Debug, Args)]
pub struct CompactRoleFlags {
    /// Folder for what is made on the way to a block. Made where it does not exist, empty between runs
    #[arg(long = "data-dir", value_name = "DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// Do not end when there is nothing left to do, but wait for more
    #[arg(long = "wait", short = 'w', overrides_with = "no_wait")]
    pub wait: bool,
    #[arg(long = "no-wait", hide = true)]
    pub no_wait: bool,
    /// Do not serve the API of blocks
    #[arg(long = "web.disable", overrides_with = "no_disable_web")]
    pub disable_web: bool,
    #[arg(long = "no-web.disable", hide = true)]
    pub no_disable_web: bool,
    /// External label that names a block's group on pages that show blocks
    #[arg(long = "bucket-web-label", value_name = "LABEL", default_value = "")]
    pub web_label: String,
    /// Do not let the API mark blocks
    #[arg(long = "disable-admin-operations", overrides_with = "no_disable_admin_operations")]
    pub disable_admin_operations: bool,
    #[arg(long = "no-disable-admin-operations", hide = true)]
    pub no_disable_admin_operations: bool,
    #[command(flatten)]
    pub upkeep: UpkeepFlags,
    #[command(flatten)]
    pub compact: CompactFlags,
    #[command(flatten)]
    pub select: SelectFlags,
    #[command(flatten)]
    pub objstore: ObjstoreFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub log: LogFlags,
}

/// What becomes of blocks in the bucket, whoever compacts it.
#[derive(Debug, Clone, Args)]
pub struct UpkeepFlags {
    /// How old a block has to be before it is compacted, so that all of it can be seen. Blocks of a compactor need not wait
    #[arg(long = "consistency-delay", value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub consistency_delay: Duration,
    /// How long blocks stay after they were marked for deletion, so that readers go over to what replaces them; 0s deletes at once
    #[arg(long = "delete-delay", value_name = "DURATION", default_value = "48h", value_parser = duration)]
    pub delete_delay: Duration,
    /// How long raw samples are kept; 0d keeps them
    #[arg(long = "retention.resolution-raw", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    pub retention_raw: Duration,
    /// How long samples of 5 minutes are kept; 0d keeps them
    #[arg(long = "retention.resolution-5m", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    pub retention_5m: Duration,
    /// How long samples of an hour are kept; 0d keeps them
    #[arg(long = "retention.resolution-1h", value_name = "DURATION", default_value = "0d", value_parser = duration)]
    pub retention_1h: Duration,
    /// Do not make downsampled blocks, without which queries over a long time read every raw sample
    #[arg(long = "downsampling.disable", overrides_with = "no_downsampling_disable")]
    pub downsampling_disable: bool,
    #[arg(long = "no-downsampling.disable", hide = true)]
    pub no_downsampling_disable: bool,
    /// Groups of blocks that are compacted at once
    #[arg(long = "compact.concurrency", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub concurrency: u32,
    /// Blocks that are downsampled at once. One that is downsampled while it is merged does not count
    #[arg(long = "downsample.concurrency", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub downsample_concurrency: u32,
    /// How long compaction waits between runs
    #[arg(long = "wait-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub wait_interval: Duration,
    /// How often blocks that are marked for deletion and uploads that were given up are cleaned away during a run; 0s does it only at
    /// its end
    #[arg(long = "compact.cleanup-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub cleanup_interval: Duration,
    /// How often the log says how far compaction is; 0s says it never. On a terminal a bar shows it
    #[arg(long = "compact.progress-interval", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub progress_interval: Duration,
    /// Blocks whose meta.json is read at once
    #[arg(long = "block-meta-fetch-concurrency", value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub meta_concurrency: u32,
}

/// How `compact` merges blocks.
#[derive(Debug, Clone, Args)]
pub struct CompactFlags {
    /// How overlapping samples become one series: one replica's at a time (penalty), or without it every time that any has
    #[arg(long = "deduplication.func", value_name = "FUNCTION", default_value = "")]
    pub deduplication: CompactDeduplication,
    /// External label that tells replicas apart: their blocks become one, which cannot be undone. May be repeated, or hold several
    /// with commas
    #[arg(long = "deduplication.replica-label", value_name = "LABEL", value_delimiter = ',')]
    pub replica_labels: Vec<String>,
    /// Merge blocks that overlap, which cannot be undone. Implied by --deduplication.replica-label
    #[arg(long = "compact.enable-vertical-compaction", overrides_with = "no_vertical_compaction")]
    pub vertical_compaction: bool,
    #[arg(long = "no-compact.enable-vertical-compaction", hide = true)]
    pub no_vertical_compaction: bool,
    /// Where a new block is put together: its files streamed into the bucket as they are made, or as local files first
    #[arg(long = "compact.scratch", value_name = "WHERE", default_value = "stream")]
    pub scratch: Scratch,
    /// Largest index that a compaction may make, by the sum of its inputs; the largest input is left out beyond it
    #[arg(long = "compact.block-max-index-size", value_name = "BYTES", default_value = "64GB", value_parser = parse_byte_size, hide = true)]
    pub max_index_size: ByteSize,
    /// Stop all work where a group of blocks cannot be compacted, as Thanos does, instead of leaving that group alone
    #[arg(long = "debug.halt-on-error", overrides_with = "no_halt_on_error", hide = true)]
    pub halt_on_error: bool,
    #[arg(long = "no-debug.halt-on-error", hide = true)]
    pub no_halt_on_error: bool,
    /// Highest compaction level: 1 is 2 h, 2 is 8 h, 3 is 2 d, 4 is 14 d
    #[arg(long = "debug.max-compaction-level", value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u8).range(1..=4), hide = true)]
    pub max_level: u8,
}

/// Compaction beside queries.
#[derive(Debug, Clone, Args)]
pub struct AllCompactFlags {
    /// Compact the bucket. To be switched off where another compactor that is no Quiver works on it; several Quivers take turns
    #[arg(long = "compact", default_value_t = true, overrides_with = "no_compact")]
    pub compact: bool,
    #[arg(long = "no-compact", hide = true)]
    pub no_compact: bool,
    /// Merge blocks of the same external labels that overlap, as late samples make them; without it they stop their group
    #[arg(
        long = "compact.enable-vertical-compaction",
        default_value_t = true,
        overrides_with = "no_vertical_compaction"
    )]
    pub vertical_compaction: bool,
    #[arg(long = "no-compact.enable-vertical-compaction", hide = true)]
    pub no_vertical_compaction: bool,
    #[command(flatten)]
    pub upkeep: UpkeepFlags,
}

/// How overlapping samples become one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompactDeduplication {
    /// Every time that any of them has, once.
    #[value(name = "")]
    OneToOne,
    /// One replica at a time.
    Penalty,
}

/// Where a new block is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scratch {
    /// In the bucket.
    Stream,
    /// On disk.
    Disk,
}
