//! What the operating system knows of this process, read when it is asked for.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use storage::model::Timestamp;

/// Collects `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`, `process_start_time_seconds`.
#[derive(Debug)]
pub struct ProcessCollector {
    started: Timestamp,
}

impl ProcessCollector {
    /// For a process that started at `started`.
    #[must_use]
    pub fn new(started: Timestamp) -> Self {
        Self { started }
    }
}

impl Collector for ProcessCollector {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact in a float")]
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let cpu = ConstCounter::new(cpu_seconds());
        let metric =
            encoder.encode_descriptor("process_cpu", "CPU time used", Some(&Unit::Seconds), cpu.metric_type())?;
        cpu.encode(metric)?;
        let gauges: [(&str, &str, Option<f64>); 3] = [
            ("process_resident_memory_bytes", "Resident memory", resident_bytes().map(|bytes| bytes as f64)),
            ("process_open_fds", "Open file descriptors", open_files().map(|files| files as f64)),
            ("process_start_time_seconds", "When the process started", Some(self.started as f64 / 1000.0)),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
                gauge.encode(metric)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds are far below 2^53")]
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// `None` where there is no `/proc`.
fn resident_bytes() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    pages.split_ascii_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(rustix::param::page_size())
}

/// `None` where there is no `/proc`.
fn open_files() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}
