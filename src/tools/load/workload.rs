//! What is sent: labels, values and times of every sample, each a pure function of the seed and of where it stands.
//!
//! ```text
//! slot ──/100──> target (a pod) ──churn, time──> generation ──> label pod
//!   └────%100──> name, path, code, …
//! round ──> start + round × interval, the timestamp of every sample of the round
//! ```
//!
//! A slot is a place for a series: the series in it is replaced by the next generation when its pod is. A batch is a run of slots
//! that one request has; batches go to tenants in turn. So a batch and a round name their samples, and that is all a ledger needs.

use anyhow::ensure;

/// Series of one target, as an exporter has them.
pub const SLOTS_PER_TARGET: u64 = 100;
/// Metric names; with [`PATHS`] of each they tell the series of a target apart.
const NAMES: u64 = 20;
const PATHS: u64 = SLOTS_PER_TARGET / NAMES;
/// `__name__`, `pod` and `path` are what a series cannot do without.
pub const LABELS_MIN: usize = 3;
/// Most labels of a series that Quiver takes are more than that.
pub const LABELS_MAX: usize = 1_000;
/// Digits of a generation in the label `pod`.
pub const GENERATION_DIGITS: usize = 4;
const HOUR_MS: f64 = 3_600_000.0;
/// Timestamps whose varint has six bytes: 1971 to 2109.
const TIMES: std::ops::Range<i64> = 1 << 35..1 << 42;

/// What a load is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// What all that is random comes from, and part of every pod's name.
    pub seed: u64,
    /// Series at any one time.
    pub series: u64,
    /// Labels of a series, with its name.
    pub labels: usize,
    /// Share of the pods replaced an hour of timestamps; more than 1 is several times.
    pub churn: f64,
    /// Series of a request.
    pub batch: u64,
    /// Tenants; 0 where none is named.
    pub tenants: u64,
    /// First timestamp, in milliseconds.
    pub start_ms: i64,
    /// From one sample of a series to the next, in milliseconds.
    pub interval_ms: i64,
}

impl Workload {
    /// Checks it, and makes batches small enough for every tenant to have one.
    ///
    /// # Errors
    /// Where something of it cannot be.
    pub fn try_new(mut self) -> anyhow::Result<Self> {
        ensure!((1..1 << 31).contains(&self.series), "--series: {} is not 1 to 2^31", self.series);
        ensure!(self.batch > 0, "--batch: a request has at least one series");
        ensure!(self.tenants <= self.series, "--tenants: every tenant has at least one series");
        ensure!(
            (LABELS_MIN..=LABELS_MAX).contains(&self.labels),
            "--labels: {} is not {LABELS_MIN} to {LABELS_MAX}",
            self.labels
        );
        ensure!((0.0..=100.0).contains(&self.churn), "--churn: {} is not 0 to 100", self.churn);
        ensure!((10..=86_400_000).contains(&self.interval_ms), "--interval: it has to be 10ms to 1d");
        ensure!(TIMES.contains(&self.start_ms), "--start: it has to lie between 1972 and 2109");
        self.batch = self.batch.min(self.series.div_ceil(self.tenants.max(1)));
        Ok(self)
    }

    /// Requests of a round.
    pub const fn batches(&self) -> u64 {
        self.series.div_ceil(self.batch)
    }

    /// The slots of a batch.
    pub fn slots(&self, batch: u64) -> std::ops::Range<u64> {
        let first = batch.saturating_mul(self.batch).min(self.series);
        first..first.saturating_add(self.batch).min(self.series)
    }

    /// Whose a batch is, as a header says it.
    pub fn tenant(&self, batch: u64) -> Option<String> {
        (self.tenants > 0).then(|| format!("load-{}", batch % self.tenants))
    }

    /// The timestamp of a round; nothing where it is too late to be one.
    pub fn time(&self, round: u64) -> Option<i64> {
        let since = i64::try_from(round).ok()?.checked_mul(self.interval_ms)?;
        self.start_ms.checked_add(since).filter(|t| TIMES.contains(t))
    }

    /// The round of a timestamp; nothing where none has it.
    pub fn round(&self, t: i64) -> Option<u64> {
        let since = t.checked_sub(self.start_ms)?;
        if since % self.interval_ms == 0 { u64::try_from(since / self.interval_ms).ok() } else { None }
    }

    /// How often the pod of a target has been replaced by the time `t`. Pods are replaced one after the other.
    #[expect(clippy::cast_precision_loss, reason = "a time within the load, and 32 bits of a hash")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to what its digits can say")]
    pub fn generation(&self, target: u64, t: i64) -> u16 {
        if self.churn == 0.0 {
            return 0;
        }
        let phase = (mix(self.seed ^ mix(target)) >> 32) as f64 / (1_u64 << 32) as f64;
        let hours = t.saturating_sub(self.start_ms) as f64 / HOUR_MS;
        hours.mul_add(self.churn, phase) as u16
    }

    /// The value of a series at a time: most are counters, some gauges, some do not change. All are integers that a double holds,
    /// so that nobody has to round.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "at most 2^50")]
    pub fn value(&self, slot: u64, generation: u16, t: i64) -> f64 {
        let series = mix(self.seed ^ mix(slot << 16 | u64::from(generation)));
        let now = mix(series ^ t.cast_unsigned());
        let value = match slot % 10 {
            0..6 => {
                // it grows each interval by its rate, and never falls as what is random is less than that
                let rate = 1 + (series & 0xfff);
                let intervals = t.div_euclid(self.interval_ms).cast_unsigned() & 0x3f_ffff_ffff;
                rate.wrapping_mul(intervals) + now % rate
            }
            6..8 => now & 0xffff,
            _ => series & 0xff,
        };
        value as f64
    }

    /// The name of a target's pod but for its generation, which follows in [`GENERATION_DIGITS`] digits of base 16.
    pub fn pod_prefix(&self, target: u64) -> String {
        format!("load-{:x}-{target:07}-", self.seed)
    }

    /// The labels of a slot, sorted by name, and which of them is the pod, whose value is without its generation.
    pub fn labels(&self, slot: u64) -> (Vec<(String, String)>, usize) {
        let (target, within) = (slot / SLOTS_PER_TARGET, slot % SLOTS_PER_TARGET);
        let (name, path) = (within % NAMES, within / NAMES);
        let pick = |of: &[&str], by: u64| of[usize::try_from(by).unwrap_or(0) % of.len()].to_owned();
        let node = target / 30;
        let mut labels = vec![
            ("__name__", format!("load_{}_{name:02}_total", pick(&SUBSYSTEMS, name))),
            ("pod", self.pod_prefix(target)),
            ("path", format!("/api/v1/{}/{path}", pick(&SUBSYSTEMS, name + path))),
            ("instance", format!("10.{}.{}.{}:9100", target >> 16 & 255, target >> 8 & 255, target & 255)),
            ("job", format!("app-{:03}", target % 200)),
            ("code", pick(&["200", "201", "404", "500", "503"], path)),
            ("method", pick(&["GET", "POST", "PUT", "DELETE"], name + path)),
            ("namespace", format!("team-{:02}", target % 40)),
            ("container", pick(&["main", "sidecar"], name)),
            ("service", format!("app-{:03}-service", target % 200)),
            ("cluster", pick(&["eu-1", "eu-2", "us-1", "us-2"], node)),
            ("node", format!("node-{node:05}.internal")),
            ("region", pick(&["europe-west", "us-east"], node / 2)),
            ("zone", pick(&["zone-a", "zone-b", "zone-c"], node)),
            ("endpoint", "http-metrics".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect::<Vec<_>>();
        labels.extend((labels.len()..self.labels).map(|n| (format!("label_{n:04}"), format!("value-{}", slot % 7))));
        labels.truncate(self.labels);
        labels.sort_unstable();
        let pod = labels.iter().position(|(name, _)| name == "pod").unwrap_or(0);
        (labels, pod)
    }

    /// The slot of a series within a target, of its labels `__name__` and `path`; nothing where no slot has them.
    pub fn slot(&self, target: u64, name: &str, path: &str) -> Option<u64> {
        let name: u64 = name.strip_suffix("_total")?.rsplit_once('_')?.1.parse().ok()?;
        let path: u64 = path.rsplit_once('/')?.1.parse().ok()?;
        let slot = target.checked_mul(SLOTS_PER_TARGET)?.checked_add(path.checked_mul(NAMES)?)?.checked_add(name)?;
        (name < NAMES && path < PATHS && slot < self.series).then_some(slot)
    }
}

const SUBSYSTEMS: [&str; 10] =
    ["http", "database", "cache", "queue", "scheduler", "storage", "auth", "search", "billing", "gateway"];

/// The finaliser of `SplitMix64`: each bit of the result depends on each of `x`.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
pub mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A load of 250 series, three tenants and some churn.
    pub fn small() -> Workload {
        Workload {
            seed: 7,
            series: 250,
            labels: 15,
            churn: 0.5,
            batch: 60,
            tenants: 3,
            start_ms: 1_767_225_600_000,
            interval_ms: 15_000,
        }
    }

    #[test]
    fn series_are_distinct_and_found_again() {
        for labels in [3, 15, 40] {
            let load = Workload { labels, ..small() };
            let mut seen = HashSet::new();
            for slot in 0..load.series {
                let (pairs, pod) = load.labels(slot);
                assert_eq!((pairs.len(), pairs[pod].0.as_str()), (labels, "pod"));
                assert!(pairs.is_sorted_by(|a, b| a.0 < b.0) && pairs.iter().all(|(_, value)| !value.is_empty()));
                let of = |name: &str| pairs.iter().find(|(n, _)| n == name).unwrap().1.as_str();
                assert_eq!(load.slot(slot / SLOTS_PER_TARGET, of("__name__"), of("path")), Some(slot));
                assert!(seen.insert(pairs));
            }
        }
    }

    #[test]
    fn batches_cover_every_slot_and_every_tenant() {
        let load = Workload { batch: 10_000, ..small() }.try_new().unwrap();
        let covered: u64 = (0..load.batches()).map(|batch| load.slots(batch).end - load.slots(batch).start).sum();
        let tenants: HashSet<_> = (0..load.batches()).map(|batch| load.tenant(batch)).collect();
        assert_eq!((covered, tenants.len()), (250, 3));
        assert_eq!((load.slots(99).count(), load.round(load.time(9).unwrap())), (0, Some(9)));
        assert_eq!((load.round(load.start_ms + 1), load.round(load.start_ms - 15_000)), (None, None));
    }

    #[test]
    fn the_share_of_pods_is_replaced() {
        let load = small();
        let replaced = |hours: i64| {
            let t = load.start_ms + hours * 3_600_000;
            (0..10_000).filter(|&target| load.generation(target, t) > 0).count()
        };
        assert_eq!(replaced(0), 0);
        assert!((4_800..5_200).contains(&replaced(1)), "{}", replaced(1));
        assert_eq!(replaced(2), 10_000);
    }

    #[test]
    fn counters_do_not_fall() {
        let load = small();
        for slot in 0..6 {
            let values: Vec<f64> = (0..50).map(|round| load.value(slot, 0, load.time(round).unwrap())).collect();
            assert!(values.is_sorted() && values.iter().all(|v| v.fract() == 0.0 && *v < 9e15), "{values:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for load in [
            Workload { series: 0, ..small() },
            Workload { labels: 2, ..small() },
            Workload { churn: f64::NAN, ..small() },
            Workload { interval_ms: 0, ..small() },
            Workload { start_ms: 0, ..small() },
            Workload { tenants: 251, ..small() },
        ] {
            assert!(load.try_new().is_err());
        }
    }
}
