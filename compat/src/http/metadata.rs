//! `/api/v1/metadata`: types, units and help texts of metrics. A head has them; blocks do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use storage::head::MetricKind;

use super::Api;
use super::answer::{success, success_json};
use super::error::{ApiError, ErrorKind};
use super::params::{Params, parse_integer};
use super::scope::Scope;

/// One entry as Prometheus writes it.
#[derive(Debug, serde::Serialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: &'static str,
    help: String,
    unit: String,
}

/// The metadata of `metric`, or of all; at most `limit` metrics, and `limit_per_metric` entries of each.
pub async fn metadata(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    let limit = |name: &str| match params.non_empty(name) {
        // a limit below zero is none, as in Prometheus
        Some(text) => match parse_integer(text) {
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(_) => Err(ApiError::bad_data(format!("{name} must be a number"))),
        },
        None => Ok(usize::MAX),
    };
    let (metrics_max, entries_max) = (limit("limit")?, limit("limit_per_metric")?);
    let entries_max = if entries_max == 0 { usize::MAX } else { entries_max };
    let Some(head) = &api.head else { return Ok(success(b"{}", &[])) };
    let found = head.metadata(&scope, params.non_empty("metric"));
    let found = found.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    let entries = found.into_iter().take(metrics_max).map(|(name, entries)| {
        let entries = entries.iter().take(entries_max).map(|entry| Entry {
            kind: kind_name(entry.kind),
            help: entry.help.clone(),
            unit: entry.unit.clone(),
        });
        (name, entries.collect())
    });
    success_json(&entries.collect::<BTreeMap<String, Vec<Entry>>>())
}

const fn kind_name(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "unknown",
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
        MetricKind::GaugeHistogram => "gaugehistogram",
        MetricKind::Summary => "summary",
        MetricKind::Info => "info",
        MetricKind::StateSet => "stateset",
    }
}
