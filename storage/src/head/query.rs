//! What is asked of the head beside series: exemplars, metadata, and how it is filled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::exemplars::SeriesExemplars;
use super::metadata::{MetadataByFamily, family_of};
use super::write::Metadata;
use super::{Head, MetadataEntry};
use crate::error::{Error, Result};
use crate::model::{ExternalLabels, Labels, Matcher, TenantScope, TimeInterval, Timestamp};

/// A tenant of the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantStats {
    /// Its name.
    pub name: Arc<str>,
    /// The external labels of its series.
    pub external_labels: ExternalLabels,
    /// Its series.
    pub series: u64,
    /// From the oldest to the newest sample; empty where there is none.
    pub interval: TimeInterval,
    /// When samples came last, by the clock; the least of all times where none came since the start.
    pub last_write: Timestamp,
}

/// How much is in the head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series of all tenants.
    pub series: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Label pairs, each counted once a shard.
    pub label_pairs: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Series with exemplars.
    pub exemplar_series: u64,
    /// Memory of series, their open chunks, labels and postings, in bytes.
    pub series_bytes: u64,
    /// Memory of closed chunks, in bytes.
    pub chunk_bytes: u64,
}

/// What the series of a head share most, each list with the largest number first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series by metric name.
    pub series_by_metric: Vec<(String, u64)>,
    /// Distinct values by label name.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of names and values by label name, as if every series had its own, each with a byte for its length, four from 255 on:
    /// what Prometheus tells.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series by `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
    /// Distinct pairs.
    pub label_pairs: u64,
    /// Series.
    pub series: u64,
    /// Their chunks.
    pub chunks: u64,
}

impl Head {
    /// The exemplars in `interval` of series that pass one of the sets of matchers, by series.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a scope without a tenant.
    pub fn exemplars(
        &self,
        scope: &TenantScope,
        matcher_sets: &[Vec<Matcher>],
        interval: TimeInterval,
    ) -> Result<Vec<SeriesExemplars>> {
        let mut scope_matcher = None;
        if let TenantScope::Only { label, tenant } = scope {
            if label.is_empty() || tenant.is_empty() {
                return Err(Error::InvalidRequest("a tenant's label and name must not be empty".to_owned()));
            }
            scope_matcher = Some(Matcher::equal(label.as_ref(), tenant.as_ref()));
        }
        let tenants = self.tenants.all();
        let tenants: HashMap<u32, _> = tenants.iter().map(|tenant| (tenant.number, tenant)).collect();
        let mut found: BTreeMap<Labels, SeriesExemplars> = BTreeMap::new();
        let ring = self.exemplars.lock();
        for (series, exemplars) in ring.series() {
            let Some(tenant) = tenants.get(&series.tenant) else { continue };
            let pairs = series.labels.iter().map(|(n, v)| (n.into_owned(), v.into_owned()));
            let external = tenant.external.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            // the last of a name wins
            let labels = Labels::from_pairs(pairs.chain(external));
            let passes = |matcher: &Matcher| matcher.matches(labels.get(matcher.name()).as_deref().unwrap_or_default());
            if !scope_matcher.iter().all(passes) || !matcher_sets.iter().any(|set| set.iter().all(passes)) {
                continue;
            }
            let wanted: Vec<_> = exemplars.filter(|exemplar| interval.contains(exemplar.t)).cloned().collect();
            if !wanted.is_empty() {
                let entry = found.entry(labels.clone());
                let entry = entry.or_insert_with(|| SeriesExemplars { series: labels, exemplars: Vec::new() });
                entry.exemplars.extend(wanted);
            }
        }
        let mut found: Vec<SeriesExemplars> = found.into_values().collect();
        found.iter_mut().for_each(|series| series.exemplars.sort_by_key(|exemplar| exemplar.t));
        Ok(found)
    }

    /// Keeps what a request says of a family as a whole. It is not logged: senders repeat it.
    pub fn describe(&self, tenant: &str, family: &str, metadata: Metadata<'_>) {
        let number = self.metadata.intern(metadata);
        if number != 0 {
            let tenant = self.tenants.get(tenant, &self.settings, || self.clock.now());
            tenant.saw_sign(self.clock.now());
            self.families.lock().add_family(tenant.number, family, number);
        }
    }

    /// What is known of families, of one where `family` says which.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a scope without a tenant.
    pub fn metadata(&self, scope: &TenantScope, family: Option<&str>) -> Result<MetadataByFamily> {
        let groups = self.groups(scope, &[], |_| true)?;
        let tenants: BTreeSet<u32> = groups
            .iter()
            .filter(|group| group.matchers.is_empty())
            .flat_map(|group| group.tenants.keys().copied())
            .collect();
        let mut numbers: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        let mut add = |name: &str, found: &[u32]| {
            for &number in found {
                let kind = self.metadata.get(number).map_or_else(Default::default, |entry| entry.kind);
                let name = family_of(name, kind);
                if family.is_none_or(|family| family == name) {
                    numbers.entry(name.to_owned()).or_default().insert(number);
                }
            }
        };
        for &tenant in &tenants {
            self.families.lock().of(tenant).for_each(|(name, found)| add(name, found));
            for shard in self.shards.iter() {
                shard.read().families.of(tenant).for_each(|(name, found)| add(name, found));
            }
        }
        let entries = |found: BTreeSet<u32>| -> Vec<Arc<MetadataEntry>> {
            let distinct: BTreeSet<_> = found.into_iter().filter_map(|number| self.metadata.get(number)).collect();
            distinct.into_iter().collect()
        };
        Ok(numbers.into_iter().map(|(name, found)| (name, entries(found))).collect())
    }

    /// The tenants that wrote since the start, or are in the log, and were not removed.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantStats> {
        let stats = |tenant: &Arc<super::tenants::Tenant>| TenantStats {
            name: Arc::clone(&tenant.name),
            external_labels: tenant.external.clone(),
            series: tenant.series.load(Ordering::SeqCst),
            interval: tenant.interval(),
            last_write: tenant.last_write(),
        };
        self.tenants.all().iter().map(stats).collect()
    }

    /// How much is in the head. Visits every series.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        let mut stats = HeadStats::default();
        for shard in self.shards.iter() {
            let shard = shard.read();
            let (series_bytes, chunk_bytes) = shard.size_bytes();
            stats.series += shard.series.len() as u64;
            stats.chunks += shard.series.iter().map(|series| series.chunk_count() as u64).sum::<u64>();
            stats.label_pairs += shard.pairs.len() as u64;
            stats.series_bytes += series_bytes as u64;
            stats.chunk_bytes += chunk_bytes as u64;
        }
        let (exemplars, exemplar_series) = self.exemplars.lock().len();
        (stats.exemplars, stats.exemplar_series) = (exemplars as u64, exemplar_series as u64);
        stats
    }

    /// What the series of a tenant, or of all, share most; at most `limit` entries a list.
    #[must_use]
    pub fn cardinality(&self, tenant: Option<&str>, limit: usize) -> Cardinality {
        let only = match tenant {
            None => None,
            Some(name) => match self.tenants.find(name) {
                Some(tenant) => Some(tenant.number),
                None => return Cardinality::default(),
            },
        };
        let mut pairs: HashMap<(String, String), u64> = HashMap::new();
        let (mut series, mut chunks) = (0, 0);
        for shard in self.shards.iter() {
            let shard = shard.read();
            for own in shard.series.iter().filter(|series| only.is_none_or(|only| series.tenant == only)) {
                series += 1;
                chunks += own.chunk_count() as u64;
            }
            let mut add = |name: &str, value: &str, count: u64| {
                if count > 0 {
                    *pairs.entry((name.to_owned(), value.to_owned())).or_default() += count;
                }
            };
            match only {
                None => shard.pairs.all().for_each(|(name, value, postings)| add(name, value, postings.len() as u64)),
                Some(tenant) => {
                    let mut counts = vec![0_u64; shard.pairs.len()];
                    for series in shard.series.iter().filter(|series| series.tenant == tenant) {
                        for pair in super::pairs::Pairs::numbers(shard.label_bytes(series)) {
                            if let Some(count) = counts.get_mut(pair as usize) {
                                *count += 1;
                            }
                        }
                    }
                    counts.iter().zip(0..).for_each(|(&count, number)| {
                        let (name, value) = shard.pairs.pair(number);
                        add(name, value, count);
                    });
                }
            }
        }
        let (mut metrics, mut values, mut bytes) = (Vec::new(), HashMap::new(), HashMap::new());
        for ((name, value), count) in &pairs {
            if name == crate::model::METRIC_NAME {
                metrics.push((value.clone(), *count));
            }
            *values.entry(name.clone()).or_default() += 1;
            let encoded = |text: &str| (text.len() + if text.len() < 255 { 1 } else { 4 }) as u64;
            *bytes.entry(name.clone()).or_default() += (encoded(name) + encoded(value)) * count;
        }
        let label_pairs = pairs.len() as u64;
        Cardinality {
            series_by_metric: largest(metrics, limit),
            values_by_label: largest(values, limit),
            bytes_by_label: largest(bytes, limit),
            series_by_pair: largest(pairs.into_iter().map(|((n, v), count)| (format!("{n}={v}"), count)), limit),
            label_pairs,
            series,
            chunks,
        }
    }
}

/// The `limit` largest, equal ones by name.
fn largest(all: impl IntoIterator<Item = (String, u64)>, limit: usize) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = all.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(limit);
    all
}
