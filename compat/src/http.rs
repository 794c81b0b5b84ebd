//! The Prometheus HTTP API with Thanos's parameters.
//!
//! ```text
//! request ─> panic guard ─> metrics ─> compression ─> CORS ─> handler ─┬─ query, query_range ─> gate ─> Engine ─> JSON
//!                                                                     ├─ series, labels ────> Store ──────────> JSON
//!                                                                     └─ status, rules, … ────────────────────> JSON
//! ```
//!
//! An answer is complete before its status is sent, but for those of SQL; then its JSON is written as the connection takes it. A client that goes
//! away drops its handler's future, and with it the query.

mod answer;
mod blocks;
mod cors;
mod empty;
mod error;
mod exemplars;
mod explain;
mod format;
mod gate;
mod head_status;
mod json;
mod labels;
mod lookup_time;
mod matchers;
mod metadata;
mod metrics;
mod number;
mod page;
mod params;
mod parse_query;
mod query;
mod readiness;
mod scope;
mod series;
mod series_keys;
mod sql;
mod status;
mod stores;
mod tsdb_status;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::Engine;
use engine::sql::SqlEngine;
use prometheus_client::registry::Registry;
use promql::ParseOptions;
use storage::head::Head;
use storage::{Clock, Store};

use crate::tenant::ReadTenants;

pub use blocks::BlocksApi;
pub use error::{ApiError, ErrorKind};
pub use gate::{GatePass, OwnedGatePass, QueryGate, WAITING_MAX};
pub use head_status::tenant_status_router;
pub use json::AnswerJson;
pub use metrics::{
    BlockMetrics, CompactMetrics, HeadCollector, HttpMetrics, LimitMetrics, OwnSample, ReplicateMetrics,
    ShipperMetrics, own_samples, register_process,
};
pub(crate) use params::Params;
pub use readiness::{Readiness, starting_router};
pub use status::{BuildInfo, StatusApi, StatusSettings};

/// What the flags decide about the API.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// `--query.max-concurrent`
    pub max_concurrent: usize,
    /// `--query.lookback-delta`, in milliseconds.
    pub lookback_ms: i64,
    /// `--query.dynamic-lookback-delta`
    pub dynamic_lookback: bool,
    /// `--query.default-step`
    pub default_step: Duration,
    /// `--query.metadata.default-time-range`; zero is all of time.
    pub metadata_range: Duration,
    /// `--query.replica-label`
    pub replica_labels: Vec<String>,
    /// `--query.auto-downsampling`
    pub auto_downsampling: bool,
    /// `--query.instant.default.max_source_resolution`, in milliseconds: what `auto` means to an instant query.
    pub instant_max_resolution_ms: i64,
    /// `--query.partial-response`
    pub partial_response: bool,
    /// What the query language may do, as the engine has it.
    pub parse: ParseOptions,
    /// Whose series a request may see.
    pub tenants: ReadTenants,
}

/// What all handlers of queries share.
pub struct Api {
    engine: Arc<Engine>,
    sql: SqlEngine,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: ApiSettings,
    /// Held by whoever else runs queries, too.
    gate: Arc<QueryGate>,
    /// Has exemplars and what metrics are; blocks have neither.
    head: Option<Arc<Head>>,
}

impl Api {
    /// Puts the API together; its own metrics join those in `registry`.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: ApiSettings,
        registry: &mut Registry,
    ) -> Self {
        let gate = Arc::new(QueryGate::new(settings.max_concurrent, registry));
        let sql = SqlEngine::new(Arc::clone(&engine));
        Self { engine, sql, store, clock, settings, gate, head: None }
    }

    /// With the exemplars and the metadata of a head.
    #[must_use]
    pub fn with_head(self, head: Arc<Head>) -> Self {
        Self { head: Some(head), ..self }
    }

    /// The gate that queries pass, for others that run some.
    #[must_use]
    pub fn gate(&self) -> Arc<QueryGate> {
        Arc::clone(&self.gate)
    }

    /// The routes beside those of `status`, and `more` of other parts of compat behind the same layers.
    pub fn router(self, status: StatusApi, more: Router) -> Router {
        let api = Arc::new(self);
        let lookups = Router::new()
            .route("/series", get(series::series).post(series::series))
            .route("/labels", get(labels::names).post(labels::names))
            .route("/label/{name}/values", get(labels::values))
            .route("/status/tsdb", get(tsdb_status::tsdb))
            .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&api), lookup_time::limit));
        let v1 = Router::new()
            .route("/query", get(query::instant).post(query::instant))
            .route("/query_range", get(query::range).post(query::range))
            .route("/query_explain", get(explain::instant).post(explain::instant))
            .route("/query_range_explain", get(explain::range).post(explain::range))
            .route("/sql", post(sql::sql))
            .route("/format_query", get(format::format_query).post(format::format_query))
            .route("/parse_query", get(parse_query::parse_query).post(parse_query::parse_query))
            .route("/metadata", get(metadata::metadata))
            .route("/stores", get(stores::stores))
            .route("/rules", get(empty::rules))
            .route("/alerts", get(empty::alerts))
            .route("/targets", get(empty::targets))
            .route("/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
            .merge(lookups);
        status.router(v1.with_state(api), Router::new().route("/", get(page::page)).merge(more))
    }
}

/// What a client gets of a panic in a handler; the process lives on.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("unknown"), "a request handler panicked");
    ApiError::new(ErrorKind::Internal, "internal error: a request handler panicked").into_response()
}

#[cfg(test)]
mod tests;
