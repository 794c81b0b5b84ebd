//! What is to be generated.

use crate::error::{Error, Result};
use crate::model::{TimeRange, Timestamp};

/// Most series of one kind; enough for every machine, and numbers of series stay far from overflow.
const SERIES_MAX: u64 = 1 << 30;
/// Most blocks of a replica.
const BLOCKS_MAX: i64 = 100_000;
/// Series of `http_requests_total` in a container where `pods` is not given.
const SERIES_PER_CONTAINER: u64 = 50;
/// Histograms in a container where nothing else says how many pods there are.
const HISTOGRAMS_PER_CONTAINER: u64 = 10;

/// A set of blocks. The same workload gives the same bytes, on any machine and in any number of threads.
#[derive(Debug, Clone)]
pub struct Workload {
    /// What all randomness comes from.
    pub seed: u64,
    /// Series of `http_requests_total`.
    pub counters: u64,
    /// Pods at any one time; as many as the series need where it is `None`.
    pub pods: Option<u64>,
    /// Containers of a pod.
    pub containers: u64,
    /// Series of node metrics.
    pub gauges: u64,
    /// Classic histograms, of 14 series each.
    pub classic_histograms: u64,
    /// Native histogram series.
    pub native_histograms: u64,
    /// Whether each pod has a series that says which node it is on.
    pub pod_info: bool,
    /// Part of the pods that are replaced while a block lasts, 0 to 1.
    pub churn: f64,
    /// Producers that scrape the same targets. More than one lose some scrapes.
    pub replicas: u32,
    /// The external label that tells them apart.
    pub replica_label: String,
    /// Further external labels.
    pub external_labels: Vec<(String, String)>,
    /// Time from scrape to scrape, in milliseconds.
    pub scrape_interval_ms: i64,
    /// Most that a scrape is late, in milliseconds.
    pub jitter_ms: i64,
    /// Time that a block covers, in milliseconds; blocks begin at multiples of it.
    pub block_duration_ms: i64,
    /// What all blocks cover.
    pub range: TimeRange,
    /// Whether blocks have a side-index.
    pub side_index: bool,
}

impl Default for Workload {
    /// 20,000 counters over 12 hours.
    fn default() -> Self {
        let hour_ms = 3_600_000;
        // 2026-01-01T00:00:00Z
        let maxt: Timestamp = 1_767_225_600_000;
        Self {
            seed: 1,
            counters: 20_000,
            pods: None,
            containers: 1,
            gauges: 0,
            classic_histograms: 0,
            native_histograms: 0,
            pod_info: false,
            churn: 0.0,
            replicas: 1,
            replica_label: "replica".to_owned(),
            external_labels: Vec::new(),
            scrape_interval_ms: 15_000,
            jitter_ms: 5,
            block_duration_ms: 2 * hour_ms,
            range: TimeRange { mint: maxt - 12 * hour_ms, maxt },
            side_index: true,
        }
    }
}

impl Workload {
    /// Refuses what cannot be generated.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::InvalidRequest(what.to_owned()));
        let numbers = [self.counters, self.gauges, self.classic_histograms, self.native_histograms];
        if numbers.iter().any(|n| *n > SERIES_MAX) || self.pods.is_some_and(|pods| pods > SERIES_MAX) {
            return wrong("more than 2^30 series of a kind, or pods, are too many");
        }
        if !(1..=100).contains(&self.containers) {
            return wrong("a pod has 1 to 100 containers");
        }
        if !(1..=100).contains(&self.replicas) {
            return wrong("there are 1 to 100 replicas");
        }
        if !(0.0..=1.0).contains(&self.churn) {
            return wrong("churn is a fraction from 0 to 1");
        }
        if self.scrape_interval_ms < 1 || self.block_duration_ms < self.scrape_interval_ms {
            return wrong("a scrape interval is at least a millisecond, and a block as long as a scrape interval");
        }
        if self.jitter_ms < 0 || self.jitter_ms >= self.scrape_interval_ms {
            return wrong("the jitter is less than a scrape interval");
        }
        // where i64 milliseconds and f64 arithmetic are exact
        if self.range.mint < 0 || self.range.maxt >= 1 << 48 || self.range.maxt <= self.range.mint {
            return wrong("the time range is empty, begins before 1970 or ends past the year 10000");
        }
        if (self.range.maxt - self.range.mint) / self.block_duration_ms >= BLOCKS_MAX {
            return wrong("these are more than 100,000 blocks");
        }
        if self.replicas > 1 && self.replica_label.is_empty() {
            return wrong("the replica label needs a name");
        }
        if self.external_labels.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
            return wrong("an external label needs a name and a value");
        }
        if self.per_container(self.counters).max(self.per_container(self.classic_histograms)) > u64::from(u16::MAX) {
            return wrong("more than 65,535 series of a kind in one container: have more pods");
        }
        if self.per_container(self.native_histograms) > u64::from(u16::MAX) {
            return wrong("more than 65,535 native histograms in one container: have more pods");
        }
        Ok(())
    }

    /// Pods at any one time.
    pub(super) fn pod_count(&self) -> u64 {
        self.pods
            .unwrap_or_else(|| {
                let needed = |series: u64, each: u64| series.div_ceil(each * self.containers);
                let histograms = self.classic_histograms.max(self.native_histograms);
                if self.counters > 0 {
                    needed(self.counters, SERIES_PER_CONTAINER)
                } else {
                    needed(histograms, HISTOGRAMS_PER_CONTAINER)
                }
            })
            .max(1)
    }

    /// How many of `total` each container has; the last may have fewer.
    pub(super) fn per_container(&self, total: u64) -> u64 {
        total.div_ceil((self.pod_count() * self.containers).max(1))
    }

    /// The ranges of the blocks.
    pub(super) fn block_ranges(&self) -> Vec<TimeRange> {
        let TimeRange { mint, maxt } = self.range;
        let first = mint.div_euclid(self.block_duration_ms);
        let last = (maxt - 1).div_euclid(self.block_duration_ms);
        let range = |i: i64| TimeRange {
            mint: (i * self.block_duration_ms).max(mint),
            maxt: ((i + 1) * self.block_duration_ms).min(maxt),
        };
        (first..=last).map(range).collect()
    }

    /// About how many samples there will be in all, for a progress bar.
    #[must_use]
    pub fn samples_estimate(&self) -> u64 {
        let scrapes = (self.range.maxt - self.range.mint) / self.scrape_interval_ms.max(1);
        let pod_info = if self.pod_info { self.pod_count() } else { 0 };
        let classic = self.classic_histograms * super::families::CLASSIC_SERIES;
        let series = self.counters + self.gauges + classic + self.native_histograms + pod_info;
        series.saturating_mul(scrapes.max(0).cast_unsigned()).saturating_mul(u64::from(self.replicas))
    }
}
