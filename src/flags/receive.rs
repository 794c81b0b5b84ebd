//! Flags of Thanos receive about what comes in, and those that it has and that need nothing here.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use storage::shipper::HashFunction;

use super::duration;

/// Limits on what a tenant may write.
#[derive(Debug, Clone, Args)]
pub struct LimitFlags {
    /// File with limits on requests and on series in the head, for all tenants and for single ones; read again when it changes
    #[arg(long = "receive.limits-config-file", value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
    /// The limits themselves
    #[arg(id = "text", long = "receive.limits-config", value_name = "YAML")]
    pub text: Option<String>,
    /// How often that file is looked at
    #[arg(long = "receive.limits-config-reload-timer", value_name = "DURATION", default_value = "1s", value_parser = duration, hide = true)]
    pub reload_timer: Duration,
}

/// What becomes of labels.
#[derive(Debug, Clone, Args)]
pub struct TranslationFlags {
    /// File with rules of relabelling for what is written; they come before tenants are split and names are asked for
    #[arg(long = "receive.relabel-config-file", value_name = "FILE", conflicts_with = "relabel_config")]
    pub relabel_config_file: Option<PathBuf>,
    /// The rules themselves
    #[arg(long = "receive.relabel-config", value_name = "YAML", allow_hyphen_values = true)]
    pub relabel_config: Option<String>,
    /// Write target_info for the resources of OTLP
    #[arg(
        long = "receive.otlp-enable-target-info",
        default_value_t = true,
        overrides_with = "no_otlp_enable_target_info"
    )]
    pub otlp_enable_target_info: bool,
    #[arg(long = "no-receive.otlp-enable-target-info", hide = true)]
    pub no_otlp_enable_target_info: bool,
    /// An attribute of OTLP resources that becomes a label of every series; may be repeated
    #[arg(long = "receive.otlp-promote-resource-attributes", value_name = "ATTRIBUTE")]
    pub otlp_promote_resource_attributes: Vec<String>,
}

/// How blocks are uploaded.
#[derive(Debug, Clone, Args)]
pub struct ShipperFlags {
    /// Files of a block that are uploaded at once; 0 is two
    #[arg(long = "shipper.upload-concurrency", value_name = "N", default_value_t = 0)]
    pub upload_concurrency: usize,
    /// Go on to later blocks where one cannot be uploaded
    #[arg(long = "shipper.allow-out-of-order-uploads", hide = true)]
    pub allow_out_of_order_uploads: bool,
    /// Blocks that are damaged never hold others back
    #[arg(long = "shipper.skip-corrupted-blocks", hide = true)]
    pub skip_corrupted_blocks: bool,
    /// Hash of each file of a block that its meta.json in the bucket lists: SHA256; none where it is empty or not set
    #[arg(long = "hash-func", value_name = "FUNCTION", value_parser = hash_function)]
    pub hash: Option<HashChoice>,
}

/// A hash, or an empty text for none.
pub type HashChoice = Option<HashFunction>;

fn hash_function(text: &str) -> Result<HashChoice, String> {
    match text {
        "" => Ok(None),
        text if text == HashFunction::Sha256.name() => Ok(Some(HashFunction::Sha256)),
        other => Err(format!("{other:?} is none of \"\", \"SHA256\"")),
    }
}

/// Flags of Thanos receive that are taken so that a command line can stay as it is. They tune what is made otherwise here.
#[derive(Debug, Clone, Args)]
pub struct IdleFlags {
    /// Samples of a chunk out of order
    #[arg(
        long = "tsdb.out-of-order.cap-max",
        value_name = "N",
        default_value_t = 0,
        hide = true,
        allow_negative_numbers = true
    )]
    pub out_of_order_cap_max: i64,
    /// Overlaps are always read as one
    #[arg(long = "tsdb.allow-overlapping-blocks", hide = true)]
    pub allow_overlapping_blocks: bool,
    /// Native histograms are always taken
    #[arg(long = "tsdb.enable-native-histograms", hide = true)]
    pub enable_native_histograms: bool,
    /// No chunk of the head is on disk
    #[arg(long = "tsdb.write-queue-size", value_name = "N", default_value_t = 0, hide = true)]
    pub write_queue_size: i64,
    /// The log is replayed, or all is cut into blocks
    #[arg(long = "tsdb.memory-snapshot-on-shutdown", hide = true)]
    pub memory_snapshot_on_shutdown: bool,
    /// No cache of postings
    #[arg(long = "tsdb.head.expanded-postings-cache-size", value_name = "BYTES", default_value_t = 0, hide = true)]
    pub head_postings_cache: u64,
    /// No cache of postings
    #[arg(long = "tsdb.block.expanded-postings-cache-size", value_name = "BYTES", default_value_t = 0, hide = true)]
    pub block_postings_cache: u64,
    /// No cache of matchers
    #[arg(long = "matcher-cache-size", value_name = "N", default_value_t = 0, hide = true)]
    pub matcher_cache_size: u64,
    /// Answers are streams
    #[arg(long = "receive.lazy-retrieval-max-buffered-responses", value_name = "N", default_value_t = 20, hide = true)]
    pub lazy_retrieval_max_buffered_responses: u64,
}
