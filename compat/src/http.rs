//! The Prometheus HTTP API with Thanos's parameters.
//!
//! ```text
//! request ─> panic guard ─> metrics ─> compression ─> CORS ─> handler ─┬─ query, query_range ─> gate ─> Engine ─> JSON
//!                                                                     ├─ series, labels ────> Store ──────────> JSON
//!                                                                     └─ status, rules, … ────────────────────> JSON
//! ```
//!
//! An answer is complete before its status is sent; then its JSON is written as the connection takes it. A client that goes
//! away drops its handler's future, and with it the query.

mod answer;
mod cors;
mod empty;
mod error;
mod exemplars;
mod explain;
mod format;
mod gate;
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
mod series;
mod series_keys;
mod status;
mod stores;
mod tsdb_status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::Engine;
use http::StatusCode;
use prometheus_client::registry::Registry;
use promql::ParseOptions;
use storage::head::Head;
use storage::model::Timestamp;
use storage::{Clock, Store};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

pub use error::{ApiError, ErrorKind};
pub use gate::{GatePass, QueryGate, WAITING_MAX};
pub use json::AnswerJson;
pub use metrics::{BlockMetrics, HeadCollector, HttpMetrics, OwnSample, ShipperMetrics, own_samples, register_process};
pub(crate) use params::Params;
pub use readiness::{Readiness, starting_router};

/// What `/api/v1/status/buildinfo` and `--version` tell.
#[derive(Debug, Clone)]
pub struct BuildInfo {
    /// A semantic version: Grafana decides by it what it may ask.
    pub version: String,
    /// The commit.
    pub revision: String,
    /// The branch.
    pub branch: String,
    /// Who built it.
    pub build_user: String,
    /// When.
    pub build_date: String,
    /// With which compiler.
    pub compiler: String,
}

/// What the flags decide about the API.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// What is running.
    pub build: BuildInfo,
    /// The flags with their values, secrets masked.
    pub flags: BTreeMap<String, String>,
    /// When the process started.
    pub started: Timestamp,
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
    /// `--query.partial-response`
    pub partial_response: bool,
    /// `--web.disable-cors`, turned round.
    pub cors: bool,
    /// What the query language may do, as the engine has it.
    pub parse: ParseOptions,
}

/// What all handlers share.
pub struct Api {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: ApiSettings,
    gate: QueryGate,
    metrics: HttpMetrics,
    registry: Arc<Registry>,
    readiness: Readiness,
    /// Has exemplars and what metrics are; blocks have neither.
    head: Option<Arc<Head>>,
}

impl Api {
    /// Puts the API together; its own metrics join those in `registry`, which it serves.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: ApiSettings,
        readiness: Readiness,
        mut registry: Registry,
    ) -> Self {
        let gate = QueryGate::new(settings.max_concurrent, &mut registry);
        let metrics = HttpMetrics::new(&mut registry);
        Self { engine, store, clock, settings, gate, metrics, registry: Arc::new(registry), readiness, head: None }
    }

    /// With the exemplars and the metadata of a head.
    #[must_use]
    pub fn with_head(self, head: Arc<Head>) -> Self {
        Self { head: Some(head), ..self }
    }

    /// What `/metrics` serves.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// The routes, and `more` of other parts of compat behind the same layers.
    pub fn router(self, more: Router) -> Router {
        let (cors, http_metrics) = (self.settings.cors, self.metrics.clone());
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
            .route("/format_query", get(format::format_query).post(format::format_query))
            .route("/parse_query", get(parse_query::parse_query).post(parse_query::parse_query))
            .route("/metadata", get(metadata::metadata))
            .route("/stores", get(stores::stores))
            .route("/rules", get(empty::rules))
            .route("/alerts", get(empty::alerts))
            .route("/targets", get(empty::targets))
            .route("/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
            .route("/status/buildinfo", get(status::build_info))
            .route("/status/flags", get(status::flags))
            .route("/status/runtimeinfo", get(status::runtime_info))
            .merge(lookups);
        let v1 = if cors { v1.layer(axum::middleware::from_fn(cors::allow_every_origin)) } else { v1 };
        Router::new()
            .nest("/api/v1", v1)
            .route("/metrics", get(metrics::serve))
            .route("/-/healthy", get(readiness::healthy))
            .route("/-/ready", get(readiness::ready))
            .route("/", get(page::page))
            .merge(more.with_state(()))
            .route_layer(CompressionLayer::new())
            .route_layer(axum::middleware::from_fn_with_state(http_metrics, metrics::observe))
            .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
            .layer(CatchPanicLayer::custom(panicked))
            .with_state(api)
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
