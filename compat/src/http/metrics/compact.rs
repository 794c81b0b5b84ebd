//! `thanos_compact_*`: what a compactor did and has to do.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use engine::compactor::{Event, Observer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use storage::block::marker::{
    DeletionMark, Marker, NO_COMPACT_INDEX_SIZE, NO_COMPACT_OUT_OF_ORDER_CHUNK, NoCompactMark,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resolution {
    resolution: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mark {
    marker: String,
    reason: String,
}

type ByResolution = Family<Resolution, Counter>;
type Durations = Family<Resolution, Histogram, fn() -> Histogram>;

/// The metrics, under Thanos's names; those that its alerts ask for by an older name have both.
#[derive(Debug)]
pub struct CompactMetrics {
    runs_started: ByResolution,
    runs_completed: ByResolution,
    compactions: ByResolution,
    vertical: ByResolution,
    failures: ByResolution,
    halted: Gauge,
    halted_groups: AtomicI64,
    retries: Counter,
    iterations: Counter,
    marked: Family<Mark, Counter>,
    marked_for_deletion: Counter,
    garbage_collected: Counter,
    garbage_collections: Counter,
    garbage_collection_failures: Counter,
    garbage_collection_seconds: Histogram,
    downsampled: ByResolution,
    downsampling_failures: ByResolution,
    downsampling_seconds: Durations,
    partial_deletions: Counter,
    cleaned: Counter,
    clean_up_failures: Counter,
    clean_ups: Counter,
    todo: [Gauge; 7],
}

fn seconds() -> Histogram {
    Histogram::new([0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0, 360.0, 720.0])
}

fn long_seconds() -> Histogram {
    Histogram::new([60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0])
}

impl CompactMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &mut Registry, delete_delay: Duration, consistency_delay: Duration) -> Self {
        let metrics = Self {
            runs_started: Family::default(),
            runs_completed: Family::default(),
            compactions: Family::default(),
            vertical: Family::default(),
            failures: Family::default(),
            halted: Gauge::default(),
            halted_groups: AtomicI64::new(0),
            retries: Counter::default(),
            iterations: Counter::default(),
            marked: Family::default(),
            marked_for_deletion: Counter::default(),
            garbage_collected: Counter::default(),
            garbage_collections: Counter::default(),
            garbage_collection_failures: Counter::default(),
            garbage_collection_seconds: seconds(),
            downsampled: Family::default(),
            downsampling_failures: Family::default(),
            downsampling_seconds: Family::new_with_constructor(long_seconds),
            partial_deletions: Counter::default(),
            cleaned: Counter::default(),
            clean_up_failures: Counter::default(),
            clean_ups: Counter::default(),
            todo: Default::default(),
        };
        metrics.register_families(registry);
        metrics.register_counters(registry);
        metrics.register_gauges(registry, delete_delay, consistency_delay);
        for (marker, reason) in [
            (NoCompactMark::FILE, NO_COMPACT_OUT_OF_ORDER_CHUNK),
            (NoCompactMark::FILE, NO_COMPACT_INDEX_SIZE),
            (DeletionMark::FILE, ""),
        ] {
            let _ = metrics.marked.get_or_create(&Mark { marker: marker.to_owned(), reason: reason.to_owned() });
        }
        metrics
    }

    fn register_families(&self, registry: &mut Registry) {
        for (name, help, family) in [
            ("group_compaction_runs_started", "Groups that were taken up", &self.runs_started),
            ("group_compaction_runs_completed", "Groups that were gone through", &self.runs_completed),
            ("group_compactions", "Compactions that ended with a new block", &self.compactions),
            ("group_vertical_compactions", "Compactions of blocks that overlapped", &self.vertical),
            ("group_compactions_failures", "Compactions that failed", &self.failures),
            ("downsample", "Blocks that were downsampled", &self.downsampled),
            ("downsample_failures", "Downsamplings that failed", &self.downsampling_failures),
            ("downsample_failed", "Downsamplings that failed", &self.downsampling_failures),
        ] {
            registry.register(format!("thanos_compact_{name}"), help, family.clone());
        }
        registry.register("thanos_compact_blocks_marked", "Blocks that got a mark", self.marked.clone());
        registry.register(
            "thanos_compact_downsample_duration_seconds",
            "How long downsampling a block took",
            self.downsampling_seconds.clone(),
        );
        registry.register(
            "thanos_compact_garbage_collection_duration_seconds",
            "How long looking for blocks whose samples are in another took",
            self.garbage_collection_seconds.clone(),
        );
    }

    fn register_counters(&self, registry: &mut Registry) {
        for (name, help, counter) in [
            ("retries", "Runs that ended with an error that may not come again", &self.retries),
            ("iterations", "Runs that ended without an error", &self.iterations),
            ("blocks_marked_for_deletion", "Blocks that were marked for deletion", &self.marked_for_deletion),
            ("garbage_collected_blocks", "Blocks marked since their samples are in another", &self.garbage_collected),
            ("garbage_collection", "Looks for blocks whose samples are in another", &self.garbage_collections),
            ("garbage_collection_failures", "Such looks that failed", &self.garbage_collection_failures),
            (
                "aborted_partial_uploads_deletion_attempts",
                "Uploads that were given up, and deleted",
                &self.partial_deletions,
            ),
            ("blocks_cleaned", "Blocks that were deleted", &self.cleaned),
            ("block_cleanup_failures", "Deletions of blocks that failed", &self.clean_up_failures),
            ("block_cleanup_loops", "Looks for blocks to delete", &self.clean_ups),
        ] {
            registry.register(format!("thanos_compact_{name}"), help, counter.clone());
        }
    }

    fn register_gauges(&self, registry: &mut Registry, delete_delay: Duration, consistency_delay: Duration) {
        registry.register("thanos_compact_halted", "Whether a group is left alone for an error", self.halted.clone());
        for ((name, help), gauge) in [
            ("thanos_compact_todo_compactions", "Compactions to do"),
            ("thanos_compact_todo_compaction_blocks", "Blocks that they read"),
            ("thanos_compact_todo_downsample_blocks", "Blocks to downsample"),
            ("thanos_compact_todo_deletion_blocks", "Blocks past their retention"),
            ("quiver_compact_todo_samples", "Samples in the blocks to compact"),
            ("quiver_compact_todo_bytes", "Bytes of the blocks to compact"),
            ("quiver_compact_time_left_seconds", "How long compacting them may take; 0 where nobody can tell"),
        ]
        .into_iter()
        .zip(&self.todo)
        {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, delay) in [
            ("thanos_delete_delay_seconds", "--delete-delay", delete_delay),
            ("thanos_consistency_delay_seconds", "--consistency-delay", consistency_delay),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(delay.as_secs()).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
    }
}

impl Observer for CompactMetrics {
    fn observe(&self, event: Event<'_>) {
        let count = |family: &ByResolution, resolution| {
            family.get_or_create(&Resolution { resolution }).inc();
        };
        let tick = |counter: &Counter| {
            counter.inc();
        };
        match event {
            Event::GroupStarted { resolution_ms } => count(&self.runs_started, resolution_ms),
            Event::GroupCompleted { resolution_ms } => count(&self.runs_completed, resolution_ms),
            Event::Compacted { resolution_ms, vertical } => {
                count(&self.compactions, resolution_ms);
                if vertical {
                    count(&self.vertical, resolution_ms);
                }
            }
            Event::CompactionFailed { resolution_ms } => count(&self.failures, resolution_ms),
            Event::Halted(halted) => {
                let change = if halted { 1 } else { -1 };
                let groups = self.halted_groups.fetch_add(change, Ordering::Relaxed) + change;
                self.halted.set(i64::from(groups > 0));
            }
            Event::Retried => tick(&self.retries),
            Event::Iterated => tick(&self.iterations),
            Event::Marked { marker, reason } => {
                let mark = Mark { marker: marker.to_owned(), reason: reason.to_owned() };
                self.marked.get_or_create(&mark).inc();
                if marker == DeletionMark::FILE {
                    self.marked_for_deletion.inc();
                }
            }
            Event::GarbageCollected(_) => tick(&self.garbage_collected),
            Event::GarbageCollection { took, failed } => {
                self.garbage_collections.inc();
                self.garbage_collection_failures.inc_by(u64::from(failed));
                self.garbage_collection_seconds.observe(took.as_secs_f64());
            }
            Event::Downsampled { resolution_ms, took } => {
                count(&self.downsampled, resolution_ms);
                let resolution = Resolution { resolution: resolution_ms };
                self.downsampling_seconds.get_or_create(&resolution).observe(took.as_secs_f64());
            }
            Event::DownsamplingFailed { resolution_ms } => count(&self.downsampling_failures, resolution_ms),
            Event::PartialUploadDeleted(_) => tick(&self.partial_deletions),
            Event::Cleaned(_) => tick(&self.cleaned),
            Event::CleanUpFailed(_) => tick(&self.clean_up_failures),
            Event::CleanedUp => tick(&self.clean_ups),
            Event::Todo(todo) => {
                let left = [
                    todo.compactions,
                    todo.compaction_blocks,
                    todo.downsample_blocks,
                    todo.deletion_blocks,
                    todo.samples,
                    todo.bytes,
                    todo.seconds_left,
                ];
                for (gauge, left) in self.todo.iter().zip(left) {
                    gauge.set(i64::try_from(left).unwrap_or(i64::MAX));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_and_dashboards_find_their_names() {
        let mut registry = Registry::default();
        let metrics = CompactMetrics::new(&mut registry, Duration::from_secs(172_800), Duration::from_secs(1_800));
        metrics.observe(Event::GroupStarted { resolution_ms: 0 });
        metrics.observe(Event::Compacted { resolution_ms: 0, vertical: true });
        metrics.observe(Event::Marked { marker: DeletionMark::FILE, reason: "" });
        metrics.observe(Event::Halted(true));
        metrics.observe(Event::Halted(true));
        metrics.observe(Event::Halted(false));
        metrics.observe(Event::DownsamplingFailed { resolution_ms: 300_000 });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "thanos_compact_group_compaction_runs_started_total{resolution=\"0\"} 1",
            "thanos_compact_group_compactions_total{resolution=\"0\"} 1",
            "thanos_compact_group_vertical_compactions_total{resolution=\"0\"} 1",
            "thanos_compact_blocks_marked_total{marker=\"deletion-mark.json\",reason=\"\"} 1",
            "thanos_compact_blocks_marked_total{marker=\"no-compact-mark.json\",reason=\"index-size-exceeding\"} 0",
            "thanos_compact_blocks_marked_for_deletion_total 1",
            "thanos_compact_downsample_failures_total{resolution=\"300000\"} 1",
            "thanos_compact_downsample_failed_total{resolution=\"300000\"} 1",
            "thanos_compact_halted 1",
            "thanos_compact_iterations_total 0",
            "thanos_compact_todo_compactions 0",
            "thanos_delete_delay_seconds 172800",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn every_name_of_thanos_is_there() {
        let mut registry = Registry::default();
        let metrics = CompactMetrics::new(&mut registry, Duration::ZERO, Duration::ZERO);
        // families have lines from their first value on
        for event in [
            Event::GroupStarted { resolution_ms: 0 },
            Event::GroupCompleted { resolution_ms: 0 },
            Event::Compacted { resolution_ms: 0, vertical: true },
            Event::CompactionFailed { resolution_ms: 0 },
            Event::Downsampled { resolution_ms: 0, took: Duration::ZERO },
            Event::DownsamplingFailed { resolution_ms: 0 },
        ] {
            metrics.observe(event);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let names = "halted retries_total iterations_total block_cleanup_loops_total \
            aborted_partial_uploads_deletion_attempts_total blocks_cleaned_total block_cleanup_failures_total \
            blocks_marked_total garbage_collected_blocks_total garbage_collection_total garbage_collection_failures_total \
            garbage_collection_duration_seconds_sum group_compactions_total group_compactions_failures_total \
            group_compaction_runs_started_total group_compaction_runs_completed_total group_vertical_compactions_total \
            todo_compactions todo_compaction_blocks todo_downsample_blocks todo_deletion_blocks downsample_total \
            downsample_failures_total downsample_duration_seconds_sum downsample_failed_total \
            blocks_marked_for_deletion_total";
        let names = names.split_whitespace().map(|name| format!("thanos_compact_{name}"));
        let delays = ["thanos_delete_delay_seconds", "thanos_consistency_delay_seconds"].map(str::to_owned);
        for name in names.chain(delays) {
            let has =
                text.lines().any(|line| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with([' ', '{'])));
            assert!(has, "{name} in\n{text}");
        }
    }
}
