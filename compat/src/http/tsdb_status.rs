//! `/api/v1/status/tsdb`: which metrics and labels make the most series.
//!
//! Of the head where there is one and the request selects nothing; else counts over the last [`WINDOW_MS`] of data, which is what
//! Prometheus's head would hold.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use futures::TryStreamExt;
use storage::model::{METRIC_NAME, TenantScope, TimeInterval, label_key};

use super::Api;
use super::answer::success;
use super::error::{ApiError, ErrorKind};
use super::head_status::{
    ALL_TENANTS_REFUSED, HeadCounts, Stat, TsdbStatus, by_tenant, limit, wants_all_tenants, whole,
};
use super::matchers::parse_matcher_sets;
use super::params::Params;
use super::scope::Scope;
use super::series::select;
use super::series_keys::merged_keys;

/// How much time is counted, back from the last sample.
const WINDOW_MS: i64 = 2 * 3_600_000;

/// Counts series by metric, label and label pair.
pub async fn tsdb(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    let limit = limit(&params)?;
    let mut sets = parse_matcher_sets(&params, &api.settings.parse)?;
    let all_tenants = wants_all_tenants(&params);
    if all_tenants && scope != TenantScope::All {
        return Err(ApiError::bad_data(ALL_TENANTS_REFUSED));
    }
    if let (Some(head), true) = (&api.head, sets.is_empty()) {
        match &scope {
            TenantScope::All if all_tenants => return by_tenant(head, None, limit).await,
            TenantScope::All => return whole(head, None, limit).await,
            // of another label the head keeps no counts
            TenantScope::Only { label, tenant } if **label == head.settings().tenant_label => {
                return whole(head, Some(tenant), limit).await;
            }
            _ => {}
        }
    }
    if sets.is_empty() {
        sets.push(Arc::from([]));
    }
    let covered = match &scope {
        TenantScope::All => api.store.info().interval,
        // when others have samples is not for it
        own => own_interval(&api, own).await?,
    };
    let interval = TimeInterval::new(covered.mint.max(covered.maxt.saturating_sub(WINDOW_MS)), covered.maxt);
    // where nothing is known to be covered, the store may still have to say what it lacks
    let asked = if covered.mint <= covered.maxt { interval } else { TimeInterval::ALL };
    let (mut parts, mut warnings) = (Vec::new(), BTreeSet::new());
    for matchers in sets {
        let set = select(&api, &scope, (matchers, asked), &Arc::from([]), None).await?;
        parts.extend(set.parts);
        warnings.extend(set.warnings);
    }
    let mut counts = Counts::default();
    let mut keys = std::pin::pin!(merged_keys(&parts));
    while let Some(key) = keys.try_next().await? {
        counts.add(&key);
    }
    let data = serde_json::to_vec(&counts.report(interval, limit));
    let data = data.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    Ok(success(&data, &Vec::from_iter(warnings)))
}

/// What the samples of a tenant lie within: its blocks, and what the head has of it, whose part cannot tell.
async fn own_interval(api: &Arc<Api>, scope: &TenantScope) -> Result<TimeInterval, ApiError> {
    let set = select(api, scope, (Arc::from([]), TimeInterval::ALL), &Arc::from([]), None).await?;
    let parts = set.parts.iter().filter(|part| part.series_count() > 0).map(|part| part.interval());
    let in_head = api.head.iter().flat_map(|head| head.tenants()).filter(|tenant| match scope {
        TenantScope::Only { label, tenant: own } => tenant.external_labels.get(label) == Some(&**own),
        _ => false,
    });
    let known = parts.filter(|interval| *interval != TimeInterval::ALL).chain(in_head.map(|tenant| tenant.interval));
    let together = |a: TimeInterval, b: TimeInterval| TimeInterval::new(a.mint.min(b.mint), a.maxt.max(b.maxt));
    Ok(known.fold(TimeInterval::new(i64::MAX, i64::MIN), together))
}

#[derive(Default)]
struct Counts {
    series: u64,
    by_metric: HashMap<String, u64>,
    by_pair: HashMap<String, u64>,
}

impl Counts {
    fn add(&mut self, key: &str) {
        self.series += 1;
        for pair in label_key::pairs(key) {
            if pair.name.is(METRIC_NAME) {
                count(&mut self.by_metric, &pair.value.text());
            }
            count(&mut self.by_pair, pair.raw);
        }
    }

    fn report(&self, interval: TimeInterval, limit: usize) -> TsdbStatus {
        let mut values_by_label: HashMap<String, u64> = HashMap::new();
        let mut bytes_by_label: HashMap<String, u64> = HashMap::new();
        let mut by_pair = Vec::with_capacity(self.by_pair.len());
        for (raw, series) in &self.by_pair {
            for pair in label_key::pairs(raw) {
                let (name, value) = (pair.name.text(), pair.value.text());
                count(&mut values_by_label, &name);
                let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX).saturating_mul(*series);
                *bytes_by_label.entry(name.clone().into_owned()).or_default() += bytes;
                by_pair.push((format!("{name}={value}"), *series));
            }
        }
        TsdbStatus {
            head_stats: HeadCounts {
                num_series: self.series,
                num_label_pairs: self.by_pair.len() as u64,
                chunk_count: 0,
                min_time: interval.mint,
                max_time: interval.maxt,
            },
            series_count_by_metric_name: largest(self.by_metric.clone(), limit),
            label_value_count_by_label_name: largest(values_by_label, limit),
            memory_in_bytes_by_label_name: largest(bytes_by_label, limit),
            series_count_by_label_value_pair: largest(by_pair, limit),
        }
    }
}

fn count(counts: &mut HashMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(n) => *n += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

/// The `limit` largest, ties by name.
fn largest(counts: impl IntoIterator<Item = (String, u64)>, limit: usize) -> Vec<Stat> {
    let mut stats: Vec<Stat> = counts.into_iter().map(|(name, value)| Stat { name, value }).collect();
    stats.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    stats.truncate(limit);
    stats
}
