//! Gauges as a node exporter has them.

use super::busy::wander;
use super::seed::Seed;
use crate::model::Timestamp;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// Memory is counted in pages of this many bytes.
const PAGE: f64 = 4096.0;
/// Memory of the smallest nodes, in bytes.
const MEMORY: f64 = 16_777_216_000.0;
/// Size of the smallest file systems, in bytes.
const DISK: f64 = 107_374_182_400.0;

/// A metric of a node.
#[derive(Debug)]
pub(super) struct NodeMetric {
    pub name: &'static str,
    /// The labels of its series beside `instance` and `job`. In order, which the first label of each decides, and that label
    /// comes before `instance`.
    pub series: &'static [&'static [(&'static str, &'static str)]],
    pub course: Course,
}

/// How a gauge moves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Course {
    /// It does not.
    Constant(f64),
    /// It does not; one, two, four or eight times this, by node.
    Size(f64),
    /// A moment before the data, in seconds, by node.
    Boot,
    /// Whole numbers about the base, with swings of minutes.
    Count(f64),
    /// A load average in hundredths; of the number of minutes.
    Load(i64),
    /// Bytes in pages, about this part of what is installed.
    Memory(f64),
    /// Bytes of a file system.
    Disk,
    /// Degrees in halves.
    Celsius,
    /// A frequency that jumps between steps of this many hertz.
    Hertz(f64),
}

const ONE: &[&[(&str, &str)]] = &[&[]];
const CPUS: &[&[(&str, &str)]] = &[
    &[("cpu", "0")],
    &[("cpu", "1")],
    &[("cpu", "2")],
    &[("cpu", "3")],
    &[("cpu", "4")],
    &[("cpu", "5")],
    &[("cpu", "6")],
    &[("cpu", "7")],
];
const FILESYSTEMS: &[&[(&str, &str)]] = &[
    &[("device", "/dev/nvme0n1p1"), ("fstype", "ext4"), ("mountpoint", "/")],
    &[("device", "/dev/nvme1n1"), ("fstype", "xfs"), ("mountpoint", "/var/lib/containers")],
    &[("device", "tmpfs"), ("fstype", "tmpfs"), ("mountpoint", "/run")],
];
const SENSORS: &[&[(&str, &str)]] = &[
    &[("chip", "nvme_nvme0"), ("sensor", "temp1")],
    &[("chip", "pci0000_00"), ("sensor", "temp1")],
    &[("chip", "platform_coretemp_0"), ("sensor", "temp1")],
];
const DEVICES: &[&[(&str, &str)]] = &[&[("device", "eth0")], &[("device", "lo")]];

const fn metric(
    name: &'static str,
    series: &'static [&'static [(&'static str, &'static str)]],
    course: Course,
) -> NodeMetric {
    NodeMetric { name, series, course }
}

/// All of them, by name.
pub(super) const NODE_METRICS: [NodeMetric; 16] = [
    metric("node_boot_time_seconds", ONE, Course::Boot),
    metric("node_cpu_scaling_frequency_hertz", CPUS, Course::Hertz(100_000_000.0)),
    metric("node_entropy_available_bits", ONE, Course::Constant(256.0)),
    metric("node_filesystem_avail_bytes", FILESYSTEMS, Course::Disk),
    metric("node_filesystem_size_bytes", FILESYSTEMS, Course::Size(DISK)),
    metric("node_hwmon_temp_celsius", SENSORS, Course::Celsius),
    metric("node_load1", ONE, Course::Load(1)),
    metric("node_load15", ONE, Course::Load(15)),
    metric("node_load5", ONE, Course::Load(5)),
    metric("node_memory_Buffers_bytes", ONE, Course::Memory(0.02)),
    metric("node_memory_Cached_bytes", ONE, Course::Memory(0.3)),
    metric("node_memory_MemAvailable_bytes", ONE, Course::Memory(0.5)),
    metric("node_memory_MemFree_bytes", ONE, Course::Memory(0.2)),
    metric("node_memory_MemTotal_bytes", ONE, Course::Size(MEMORY)),
    metric("node_network_up", DEVICES, Course::Constant(1.0)),
    metric("node_procs_running", ONE, Course::Count(4.0)),
];

/// Series of one node.
pub(super) const SERIES_PER_NODE: u64 = 30;

impl Course {
    /// The value at `t` of a series of a node.
    pub fn at(self, node: Seed, series: Seed, t: Timestamp) -> f64 {
        let level = || series.fraction();
        let swing = |scale_ms| wander(series, t, scale_ms);
        let pages = |bytes: f64| (bytes / PAGE).floor() * PAGE;
        match self {
            Self::Constant(value) => value,
            Self::Size(base) => base * size(node),
            Self::Boot => 1_600_000_000.0 + (node.fraction() * 1e7).floor(),
            Self::Count(base) => (base * (1.0 + level() + 0.8 * swing(MINUTE_MS))).round(),
            Self::Load(minutes) => {
                let sway = 1.0 + 0.4 * swing(HOUR_MS) + 0.4 * swing(minutes * MINUTE_MS);
                ((0.5 + 6.0 * level()) * sway * 100.0).round() / 100.0
            }
            Self::Memory(part) => {
                pages(MEMORY * size(node) * part * (1.0 + 0.3 * swing(HOUR_MS) + 0.02 * swing(MINUTE_MS)))
            }
            Self::Disk => pages(DISK * size(node) * (0.5 + 0.3 * swing(6 * HOUR_MS) + 0.001 * swing(MINUTE_MS))),
            Self::Celsius => ((40.0 + 10.0 * swing(HOUR_MS) + 3.0 * swing(MINUTE_MS)) * 2.0).round() / 2.0,
            Self::Hertz(step) => (24.0 + 8.0 * swing(MINUTE_MS / 4)).round() * step,
        }
    }
}

/// How big a node is: one, two, four or eight.
fn size(node: Seed) -> f64 {
    [1.0, 2.0, 4.0, 8.0][usize::try_from(node.below(4)).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(NODE_METRICS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(NODE_METRICS.iter().map(|metric| metric.series.len() as u64).sum::<u64>(), SERIES_PER_NODE);
        for metric in &NODE_METRICS {
            assert!(metric.series.windows(2).all(|pair| pair[0][0] < pair[1][0]), "{}", metric.name);
            assert!(metric.series.iter().all(|labels| labels.first().is_none_or(|(name, _)| *name < "instance")));
        }
    }
}
