//! Flags of `tools generate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use compat::parse_time;
use storage::model::Timestamp;

use super::{LogFlags, duration};

/// Flags of `tools generate`.
#[derive(Debug, Clone, Args)]
pub struct GenerateFlags {
    /// Folder that the blocks are put into: a bucket of type FILESYSTEM, or the data of a Prometheus. Made where it does
    /// not exist; blocks that are there already are not made again
    #[arg(long = "out", value_name = "DIR")]
    pub out: PathBuf,
    /// What all that is random comes from
    #[arg(long = "seed", value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Series of the counter http_requests_total
    #[arg(long = "series", value_name = "N", default_value_t = 20_000)]
    pub series: u64,
    /// Pods at any one time; without it, as many as make 50 counters a container
    #[arg(long = "pods", value_name = "N")]
    pub pods: Option<u64>,
    /// Containers of a pod; more than one have the label container
    #[arg(long = "containers", value_name = "N", default_value_t = 1)]
    pub containers: u64,
    /// Series as of node exporters, most of them gauges; a node has 30
    #[arg(long = "gauges", value_name = "N", default_value_t = 0)]
    pub gauges: u64,
    /// Classic histograms http_request_duration_seconds; one has 14 series
    #[arg(long = "classic-histograms", value_name = "N", default_value_t = 0)]
    pub classic_histograms: u64,
    /// Series of the native histogram http_request_duration_seconds
    #[arg(long = "native-histograms", value_name = "N", default_value_t = 0)]
    pub native_histograms: u64,
    /// Add kube_pod_info, one series a pod, which has its node
    #[arg(long = "pod-info")]
    pub pod_info: bool,
    /// Part of the pods that is replaced during each block, 0 to 1
    #[arg(long = "churn", value_name = "FRACTION", default_value_t = 0.0)]
    pub churn: f64,
    /// Producers that scrape the same; more than one do so at other moments and lose some scrapes
    #[arg(long = "replicas", value_name = "N", default_value_t = 1)]
    pub replicas: u32,
    /// External label that tells replicas apart, where there are more than one
    #[arg(long = "replica-label", value_name = "LABEL", default_value = "replica")]
    pub replica_label: String,
    /// External label of all blocks; may be repeated. Blocks without external labels are plain blocks of Prometheus
    #[arg(long = "external-label", value_name = "NAME=VALUE", value_parser = label)]
    pub external_labels: Vec<(String, String)>,
    /// Time from scrape to scrape
    #[arg(long = "scrape-interval", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub scrape_interval: Duration,
    /// Most that a scrape is late; most are not
    #[arg(long = "jitter", value_name = "DURATION", default_value = "5ms", value_parser = duration)]
    pub jitter: Duration,
    /// What a block covers; blocks begin at multiples of it
    #[arg(long = "block-duration", value_name = "DURATION", default_value = "2h", value_parser = duration)]
    pub block_duration: Duration,
    /// What all blocks cover, back from the end
    #[arg(long = "duration", value_name = "DURATION", default_value = "12h", value_parser = duration)]
    pub duration: Duration,
    /// End of the data, in seconds or as RFC 3339
    #[arg(long = "end", value_name = "TIME", default_value = "2026-01-01T00:00:00Z", value_parser = parse_time)]
    pub end: Timestamp,
    /// Leave out the side-index, which other servers have no use for
    #[arg(long = "no-side-index")]
    pub no_side_index: bool,
    #[command(flatten)]
    pub log: LogFlags,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not a name and a value, as cluster=eu-1")),
    }
}
