//! The metrics: which series there are, in the order of their labels, and what their labels are.
//!
//! A block has its series in the order of their label sets, that is by metric name first, and then label by label in the
//! order of the labels' names. The series of one metric have the same names of labels; so they are sorted by the ranks of
//! their values, which takes a few words of memory a series, and labels are only made when they are written.

use std::collections::BTreeMap;

use super::latency::CLASSIC_BOUNDS;
use super::node_metrics::{NODE_METRICS, SERIES_PER_NODE};
use super::targets::{Target, numbered};
use super::workload::Workload;
use crate::model::{Labels, METRIC_NAME};

/// Series of one classic histogram: its buckets, count and sum.
pub(super) const CLASSIC_SERIES: u64 = CLASSIC_BOUNDS.len() as u64 + 2;
/// Status codes.
pub(super) const CODES: [&str; 5] = ["200", "201", "404", "500", "503"];
const PATHS: [&str; 20] = [
    "/",
    "/api/v1/accounts",
    "/api/v1/basket",
    "/api/v1/catalogue",
    "/api/v1/checkout",
    "/api/v1/coupons",
    "/api/v1/delivery",
    "/api/v1/items",
    "/api/v1/login",
    "/api/v1/logout",
    "/api/v1/orders",
    "/api/v1/payments",
    "/api/v1/prices",
    "/api/v1/quotes",
    "/api/v1/ratings",
    "/api/v1/search",
    "/api/v1/sessions",
    "/api/v1/status",
    "/api/v1/stock",
    "/api/v1/users",
];
const NODE_JOB: &str = "node-exporter";
const POD_INFO_JOB: &str = "kube-state-metrics";
const POD_INFO_INSTANCE: &str = "10.0.0.10:8080";

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Native,
    Bucket,
    Count,
    Sum,
    Requests,
    PodInfo,
    /// One of [`NODE_METRICS`].
    Node(usize),
}

/// A series of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Series {
    /// Index of its target.
    pub target: u32,
    /// Index of its code, bucket or node label set.
    pub variant: u16,
    /// Index of its path.
    pub path: u16,
}

/// What the series of a block hang on.
#[derive(Debug)]
pub(super) struct Population<'a> {
    pub workload: &'a Workload,
    pub containers: Vec<Target>,
    pub nodes: Vec<Target>,
    /// Ranks of the containers' labels, by index of the target.
    ranks: Vec<Ranks>,
    /// As `ranks`, of the nodes.
    node_ranks: Vec<Ranks>,
}

/// Ranks of a target's labels among those of all.
#[derive(Debug, Clone, Copy, Default)]
struct Ranks {
    zone: u32,
    container: u32,
    instance: u32,
    namespace: u32,
    node: u32,
    pod: u32,
}

impl Family {
    /// All of them, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        let pods = [Self::Native, Self::Bucket, Self::Count, Self::Sum, Self::Requests, Self::PodInfo];
        pods.into_iter().chain((0..NODE_METRICS.len()).map(Self::Node))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "http_request_duration_seconds",
            Self::Bucket => "http_request_duration_seconds_bucket",
            Self::Count => "http_request_duration_seconds_count",
            Self::Sum => "http_request_duration_seconds_sum",
            Self::Requests => "http_requests_total",
            Self::PodInfo => "kube_pod_info",
            Self::Node(metric) => NODE_METRICS[metric].name,
        }
    }

    /// How many variants a container has of each path.
    fn variants(self) -> usize {
        match self {
            Self::Requests => CODES.len(),
            Self::Bucket => CLASSIC_BOUNDS.len(),
            _ => 1,
        }
    }
}

impl<'a> Population<'a> {
    pub fn new(workload: &'a Workload, containers: Vec<Target>, nodes: Vec<Target>) -> Self {
        let (ranks, node_ranks) = (ranks(&containers), ranks(&nodes));
        Self { workload, containers, nodes, ranks, node_ranks }
    }

    /// The series of a metric, in the order of their labels.
    pub fn series(&self, family: Family) -> Vec<Series> {
        let mut series = Vec::new();
        let mut push = |target: usize, variant: usize, path: u64| {
            let fit = (u32::try_from(target), u16::try_from(variant), u16::try_from(path));
            // the workload was checked
            if let (Ok(target), Ok(variant), Ok(path)) = fit {
                series.push(Series { target, variant, path });
            }
        };
        match family {
            Family::PodInfo => {
                let infos = self.containers.iter().enumerate().filter(|_| self.workload.pod_info);
                infos.filter(|(_, t)| t.position % self.workload.containers == 0).for_each(|(i, _)| push(i, 0, 0));
            }
            Family::Node(metric) => {
                let before: usize = NODE_METRICS[..metric].iter().map(|metric| metric.series.len()).sum();
                for (i, node) in self.nodes.iter().enumerate() {
                    let left = self.workload.gauges.saturating_sub(node.position * SERIES_PER_NODE + before as u64);
                    let variants = NODE_METRICS[metric].series.len() as u64;
                    (0..usize::try_from(variants.min(left)).unwrap_or(0)).for_each(|variant| push(i, variant, 0));
                }
            }
            _ => {
                let (total, split) = self.total(family);
                let each = self.workload.per_container(total);
                for (i, target) in self.containers.iter().enumerate() {
                    let left = total.saturating_sub(target.position * each).min(each);
                    for k in 0..left {
                        let variant = usize::try_from(k % split).unwrap_or(0);
                        // what counts as one histogram are all its buckets
                        let variants = if split == 1 { 0..family.variants() } else { variant..variant + 1 };
                        variants.for_each(|variant| push(i, variant, k / split));
                    }
                }
            }
        }
        series.sort_unstable_by_key(|series| self.sort_key(family, *series));
        series
    }

    /// How many units of a metric there are, and into how many variants units are split.
    fn total(&self, family: Family) -> (u64, u64) {
        match family {
            Family::Requests => (self.workload.counters, CODES.len() as u64),
            Family::Native => (self.workload.native_histograms, 1),
            _ => (self.workload.classic_histograms, 1),
        }
    }

    /// Orders the series of one metric as their label sets are. Labels that a target decides need no place once its
    /// instance has one.
    fn sort_key(&self, family: Family, series: Series) -> [u32; 6] {
        let (variant, path) = (u32::from(series.variant), u32::from(series.path));
        if let Family::Node(_) = family {
            return [variant, self.node_ranks[series.target as usize].instance, 0, 0, 0, 0];
        }
        let Ranks { zone, container, instance, namespace, node, pod } = self.ranks[series.target as usize];
        match family {
            Family::PodInfo => [namespace, node, pod, 0, 0, 0],
            Family::Requests => [zone, variant, container, instance, path, 0],
            _ => [zone, container, instance, variant, path, 0],
        }
    }

    /// The labels of a series.
    pub fn labels(&self, family: Family, series: Series, paths: &[String]) -> Labels {
        let name = (METRIC_NAME, family.name());
        if let Family::Node(metric) = family {
            let node = &self.nodes[series.target as usize].names;
            let own = NODE_METRICS[metric].series[usize::from(series.variant)];
            return Labels::from_pairs(
                [name, ("instance", &node.instance), ("job", NODE_JOB)].iter().chain(own).copied(),
            );
        }
        let names = &self.containers[series.target as usize].names;
        let job = if family == Family::PodInfo { POD_INFO_JOB } else { &names.job };
        let mut pairs = vec![name, ("job", job), ("namespace", names.namespace), ("pod", &names.pod)];
        if family == Family::PodInfo {
            pairs.extend([("instance", POD_INFO_INSTANCE), ("node", &names.node)]);
            return Labels::from_pairs(pairs);
        }
        pairs.extend([("cluster_zone", names.zone), ("container", &names.container), ("instance", &names.instance)]);
        pairs.push(("path", paths.get(usize::from(series.path)).map_or("", String::as_str)));
        match family {
            Family::Requests => pairs.push(("code", CODES[usize::from(series.variant)])),
            Family::Bucket => pairs.push(("le", CLASSIC_BOUNDS[usize::from(series.variant)].0)),
            _ => {}
        }
        Labels::from_pairs(pairs)
    }

    /// The paths of a metric, in order.
    pub fn paths(&self, family: Family) -> Vec<String> {
        let (total, split) = self.total(family);
        let mut paths: Vec<String> =
            (0..self.workload.per_container(total).div_ceil(split)).map(|i| numbered(&PATHS, i)).collect();
        paths.sort_unstable();
        paths
    }
}

fn ranks(targets: &[Target]) -> Vec<Ranks> {
    let rank = |of: &dyn Fn(&Target) -> String| -> Vec<u32> {
        let mut values: BTreeMap<String, u32> = targets.iter().map(|target| (of(target), 0)).collect();
        values.values_mut().zip(0..).for_each(|(rank, i)| *rank = i);
        targets.iter().map(|target| values.get(&of(target)).copied().unwrap_or(0)).collect()
    };
    let zone = rank(&|target| target.names.zone.to_owned());
    let container = rank(&|target| target.names.container.clone());
    let instance = rank(&|target| target.names.instance.clone());
    let namespace = rank(&|target| target.names.namespace.to_owned());
    let node = rank(&|target| target.names.node.clone());
    let pod = rank(&|target| target.names.pod.clone());
    let of = |i: usize| Ranks {
        zone: zone[i],
        container: container[i],
        instance: instance[i],
        namespace: namespace[i],
        node: node[i],
        pod: pod[i],
    };
    (0..targets.len()).map(of).collect()
}
