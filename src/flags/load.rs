//! Flags of `tools load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use compat::parse_time;
use storage::model::Timestamp;

use super::{LogFlags, duration};
use crate::tools::Protocol;

/// Flags of `tools load`.
#[derive(Debug, Clone, Args)]
pub struct LoadFlags {
    /// Where samples are sent: any endpoint of remote write, as http://127.0.0.1:19291/api/v1/receive
    #[arg(long = "url", value_name = "URL", required_unless_present = "verify", conflicts_with = "verify")]
    pub url: Option<String>,
    /// Series at any one time
    #[arg(long = "series", value_name = "N", default_value_t = 100_000)]
    pub series: u64,
    /// Labels of a series, its name among them
    #[arg(long = "labels", value_name = "N", default_value_t = 15)]
    pub labels: usize,
    /// Share of the series that is replaced by others in an hour of timestamps
    #[arg(long = "churn", value_name = "FRACTION", default_value_t = 0.0)]
    pub churn: f64,
    /// Samples a second; 0 is as many as are acknowledged
    #[arg(long = "rate", value_name = "N", default_value_t = 0)]
    pub rate: u64,
    /// How long samples are sent
    #[arg(long = "duration", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub duration: Duration,
    /// Series of a request
    #[arg(long = "batch", value_name = "N", default_value_t = 2_000)]
    pub batch: u64,
    /// Requests under way at once, each over a connection of its own
    #[arg(long = "concurrency", value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub concurrency: u32,
    /// Version of remote write
    #[arg(long = "protocol", value_name = "VERSION", default_value = "1.0")]
    pub protocol: Protocol,
    /// Tenants load-0, load-1, … that share the series; 0 names none
    #[arg(long = "tenants", value_name = "N", default_value_t = 0)]
    pub tenants: u64,
    /// Header that names the tenant
    #[arg(long = "tenant-header", value_name = "HEADER", default_value = "THANOS-TENANT")]
    pub tenant_header: String,
    /// From one timestamp of a series to the next
    #[arg(long = "interval", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub interval: Duration,
    /// First timestamp, in seconds, as RFC 3339, or as now-1h. Servers refuse what is far ahead of the clock, so a load faster
    /// than its interval has to begin in the past
    #[arg(long = "start", value_name = "TIME", default_value = "now", value_parser = start)]
    pub start: Start,
    /// What all that is random comes from
    #[arg(long = "seed", value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Longest wait for an answer; a request without one is sent again
    #[arg(long = "timeout", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// New file that acknowledged requests are entered in and synced
    #[arg(long = "ledger", value_name = "FILE", required_if_eq("verify", "true"))]
    pub ledger: Option<PathBuf>,
    /// Send nothing; ask whether all samples that the ledger says were acknowledged are there, once, and end with 1 where not
    #[arg(long = "verify", requires = "query_url")]
    pub verify: bool,
    /// Where the API of PromQL is, as http://127.0.0.1:10902
    #[arg(long = "query-url", value_name = "URL")]
    pub query_url: Option<String>,
    /// Print the summary as JSON
    #[arg(long = "json")]
    pub json: bool,
    #[command(flatten)]
    pub log: LogFlags,
}

/// When something begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At a time.
    At(Timestamp),
    /// That long before now.
    Ago(Duration),
}

fn start(text: &str) -> Result<Start, String> {
    match text.strip_prefix("now") {
        Some("") => Ok(Start::Ago(Duration::ZERO)),
        Some(ago) => {
            ago.strip_prefix('-').ok_or_else(|| format!("{text:?} is not as now-1h")).and_then(duration).map(Start::Ago)
        }
        None => parse_time(text).map(Start::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        assert_eq!(start("now"), Ok(Start::Ago(Duration::ZERO)));
        assert_eq!(start("now-1h30m"), Ok(Start::Ago(Duration::from_mins(90))));
        assert_eq!(start("12.5"), Ok(Start::At(12_500)));
        assert!(start("now+1h").is_err() && start("nowish").is_err() && start("then").is_err());
    }
}
