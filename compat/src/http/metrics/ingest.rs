//! What is written here: the head by tenant, its log, and what became of blocks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use storage::head::{Head, HeadFiles};
use storage::shipper::ShipperCounts;
use storage::wal::Wal;

/// Collects `prometheus_tsdb_head_*` by tenant, of the log `prometheus_tsdb_wal_*`, and what Prometheus has no name for.
#[derive(Debug)]
pub struct HeadCollector {
    /// The head.
    pub head: Arc<Head>,
    /// Its log.
    pub wal: Arc<Wal>,
    /// Its files beside the log.
    pub files: Arc<HeadFiles>,
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds are far below 2^53")]
impl Collector for HeadCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let tenants = self.head.tenants();
        let mut by_tenant = |name: &str, help: &str, values: Vec<f64>| -> Result<(), fmt::Error> {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (tenant, value) in tenants.iter().zip(values) {
                let labels = [("tenant", &*tenant.name)];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let series = tenants.iter().map(|tenant| tenant.series as f64).collect();
        by_tenant("prometheus_tsdb_head_series", "Series in the head", series)?;
        let newest = tenants.iter().map(|tenant| tenant.interval.maxt as f64).collect();
        by_tenant("prometheus_tsdb_head_max_time", "Time of the newest sample in the head, in milliseconds", newest)?;

        let (log, files) = (self.wal.totals(), self.files.totals());
        let gauges = [
            ("prometheus_tsdb_wal_segment_current", "Segment of the log that is written", log.segment as f64),
            ("quiver_wal_unsynced_bytes", "Bytes of the log that are not on disk yet", log.unsynced_bytes as f64),
            (
                "prometheus_tsdb_head_chunks_storage_size_bytes",
                "Size of the files of chunks of the head",
                files.chunk_bytes as f64,
            ),
            ("quiver_head_snapshot_size_bytes", "Size of the newest snapshot of the head", files.snapshot_bytes as f64),
            ("quiver_wal_writable", "Whether the log takes writes", f64::from(u8::from(self.wal.writable().is_ok()))),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("prometheus_tsdb_wal_writes_failed", "Writes and syncs of the log that failed", log.failures as f64),
            (
                "quiver_head_files_failed",
                "Files of chunks and snapshots of the head that could not be written",
                files.failures as f64,
            ),
            ("quiver_wal_fsyncs", "Syncs of the log", log.syncs as f64),
            ("quiver_wal_fsync_seconds", "Time in syncs of the log", log.sync_time.as_secs_f64()),
            ("quiver_wal_written_bytes", "Bytes of the log that were written", log.written_bytes as f64),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// `thanos_shipper_*`.
#[derive(Debug, Clone, Default)]
pub struct ShipperMetrics {
    dir_syncs: Counter,
    dir_sync_failures: Counter,
    uploads: Counter,
    upload_failures: Counter,
}

impl ShipperMetrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            ("dir_syncs", "Looks for blocks to upload", &metrics.dir_syncs),
            ("dir_sync_failures", "Looks for blocks to upload that failed", &metrics.dir_sync_failures),
            ("uploads", "Blocks that were uploaded", &metrics.uploads),
            ("upload_failures", "Uploads of blocks that failed", &metrics.upload_failures),
        ] {
            registry.register(format!("thanos_shipper_{name}"), help, counter.clone());
        }
        metrics
    }

    /// Adds what a sync did.
    pub fn add(&self, counts: &ShipperCounts) {
        self.dir_syncs.inc_by(counts.dir_syncs_total);
        self.dir_sync_failures.inc_by(counts.dir_sync_failures_total);
        self.uploads.inc_by(counts.uploads_total);
        self.upload_failures.inc_by(counts.upload_failures_total);
    }
}

#[cfg(test)]
mod tests {
    use storage::ManualClock;
    use storage::head::{FloatSample, HeadSettings, SeriesWrite};
    use storage::wal::{RealDisk, WalSettings};

    use super::*;

    #[test]
    fn names_are_those_that_dashboards_ask_for() {
        let folder = tempfile::tempdir().unwrap();
        let head = Arc::new(Head::new(HeadSettings::default(), Arc::new(ManualClock::new(5_000))));
        let wal = Arc::new(Wal::open(folder.path(), Arc::new(RealDisk), WalSettings::default(), 0).unwrap());
        let mut appender = head.appender("a");
        let floats = [FloatSample { t: 4_000, start: 0, value: 1.0 }];
        let labels = [("__name__", "up")];
        appender.push(&SeriesWrite {
            labels: &labels,
            floats: &floats,
            histograms: &[],
            exemplars: &[],
            metadata: None,
        });
        assert_eq!(appender.commit().unwrap().outcome.floats, 1);

        let mut registry = Registry::default();
        let files = Arc::new(HeadFiles::open(folder.path()).unwrap().0);
        registry.register_collector(Box::new(HeadCollector { head, wal, files }));
        ShipperMetrics::new(&mut registry).add(&ShipperCounts { uploads_total: 2, ..ShipperCounts::default() });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "prometheus_tsdb_head_series{tenant=\"a\"} 1.0",
            "prometheus_tsdb_head_max_time{tenant=\"a\"} 4000.0",
            "prometheus_tsdb_head_chunks_storage_size_bytes 0.0",
            "quiver_wal_writable 1.0",
            "prometheus_tsdb_wal_writes_failed_total 0.0",
            "thanos_shipper_uploads_total 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
