//! `thanos_replicate_*`: what was copied from bucket to bucket.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use storage::replicate::Replicated;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunResult {
    result: &'static str,
}

/// The metrics.
#[derive(Debug, Clone)]
pub struct ReplicateMetrics {
    runs: Family<RunResult, Counter>,
    seconds: Family<RunResult, Histogram, fn() -> Histogram>,
    blocks: Counter,
    blocks_before: Counter,
    objects: Counter,
}

/// Prometheus's default buckets.
fn seconds() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl ReplicateMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            runs: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            blocks: Counter::default(),
            blocks_before: Counter::default(),
            objects: Counter::default(),
        };
        for result in ["success", "error"] {
            let _ = metrics.runs.get_or_create(&RunResult { result });
        }
        let name = |name: &str| format!("thanos_replicate_{name}");
        registry.register(name("replication_runs"), "Runs by how they ended", metrics.runs.clone());
        registry.register(name("replication_run_duration_seconds"), "How long runs took", metrics.seconds.clone());
        registry.register(name("blocks_replicated"), "Blocks that were copied", metrics.blocks.clone());
        registry.register(name("blocks_already_replicated"), "Blocks that were there", metrics.blocks_before.clone());
        registry.register(name("objects_replicated"), "Objects that were copied", metrics.objects.clone());
        metrics
    }

    /// Counts a run.
    pub fn count_run(&self, took: Duration, failed: bool) {
        let result = RunResult { result: if failed { "error" } else { "success" } };
        self.runs.get_or_create(&result).inc();
        self.seconds.get_or_create(&result).observe(took.as_secs_f64());
    }

    /// Counts a block.
    pub fn count_block(&self, copied: Replicated) {
        if copied == Replicated::default() {
            self.blocks_before.inc();
        } else {
            self.blocks.inc();
            self.objects.inc_by(copied.objects);
        }
    }
}
