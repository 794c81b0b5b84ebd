//! What every server tells of itself, whatever its role: `/api/v1/status/…`, `/metrics`, and whether it lives and is ready. The layers
//! that every request goes through are here, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use prometheus_client::registry::Registry;
use serde_json::json;
use storage::Clock;
use storage::model::Timestamp;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use super::answer::success_json;
use super::error::ApiError;
use super::metrics::HttpMetrics;
use super::{Readiness, cors, metrics, panicked, readiness};
use crate::instant::format_rfc3339;

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

/// What the flags decide about it.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// What is running.
    pub build: BuildInfo,
    /// The flags with their values, secrets masked.
    pub flags: BTreeMap<String, String>,
    /// When the process started.
    pub started: Timestamp,
    /// `--web.disable-cors`, turned round.
    pub cors: bool,
}

/// What the handlers share.
pub struct StatusApi {
    settings: StatusSettings,
    clock: Arc<dyn Clock>,
    readiness: Readiness,
    metrics: HttpMetrics,
    registry: Arc<Registry>,
}

impl StatusApi {
    /// Serves `registry`, to which the metrics of requests are added.
    #[must_use]
    pub fn new(settings: StatusSettings, clock: Arc<dyn Clock>, readiness: Readiness, mut registry: Registry) -> Self {
        let metrics = HttpMetrics::new(&mut registry);
        Self { settings, clock, readiness, metrics, registry: Arc::new(registry) }
    }

    /// What `/metrics` serves.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// The routes, with those of a role below `/api/v1` and at the root, all behind the same layers.
    pub fn router(self, v1: Router, root: Router) -> Router {
        let (allow_every_origin, http_metrics) = (self.settings.cors, self.metrics.clone());
        let status = Router::new()
            .route("/status/buildinfo", get(build_info))
            .route("/status/flags", get(flags))
            .route("/status/runtimeinfo", get(runtime_info))
            .merge(v1.with_state(()));
        let v1 =
            if allow_every_origin { status.layer(axum::middleware::from_fn(cors::allow_every_origin)) } else { status };
        Router::new()
            .nest("/api/v1", v1)
            .route("/metrics", get(serve_metrics))
            .route("/-/healthy", get(readiness::healthy))
            .route("/-/ready", get(ready))
            .merge(root.with_state(()))
            .route_layer(CompressionLayer::new())
            .route_layer(axum::middleware::from_fn_with_state(http_metrics, metrics::observe))
            .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
            .layer(CatchPanicLayer::custom(panicked))
            .with_state(Arc::new(self))
    }
}

async fn serve_metrics(State(api): State<Arc<StatusApi>>, headers: http::HeaderMap) -> Response {
    metrics::serve(&api.registry, &headers)
}

async fn ready(State(api): State<Arc<StatusApi>>) -> (StatusCode, &'static str) {
    if api.readiness.is_ready() { (StatusCode::OK, "OK") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") }
}

/// The build. It has no `features`: Grafana would take a server that has some for one whose rules it can edit.
async fn build_info(State(api): State<Arc<StatusApi>>) -> Result<Response, ApiError> {
    let build = &api.settings.build;
    success_json(&json!({
        "version": build.version,
        "revision": build.revision,
        "branch": build.branch,
        "buildUser": build.build_user,
        "buildDate": build.build_date,
        "goVersion": build.compiler,
    }))
}

/// The flags. That they are told at all makes Grafana take this server for Thanos, as it should.
async fn flags(State(api): State<Arc<StatusApi>>) -> Result<Response, ApiError> {
    success_json(&api.settings.flags)
}

/// The process. Neither its folder nor its environment is told.
async fn runtime_info(State(api): State<Arc<StatusApi>>) -> Result<Response, ApiError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    success_json(&json!({
        "startTime": format_rfc3339(api.settings.started),
        "serverTime": format_rfc3339(api.clock.now()),
        "CWD": "",
        "GoroutineCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "reloadConfigSuccess": true,
        "storageRetention": "",
    }))
}
