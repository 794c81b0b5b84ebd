//! `/metrics`: what the server tells of itself.
//!
//! Names and labels are those that Thanos's dashboards and alerts ask for.

mod compact;
mod exposition;
mod ingest;
mod limits;
mod own;
mod process;
mod replicate;

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use storage::model::Timestamp;

pub use compact::CompactMetrics;
pub use ingest::{HeadCollector, ShipperMetrics};
pub use limits::LimitMetrics;
pub use own::{OwnSample, own_samples};
pub use process::ProcessCollector;
pub use replicate::ReplicateMetrics;

use exposition::{OPENMETRICS, TEXT, to_text_format, wants_openmetrics};

/// The labels of a request. All three come from closed sets, so that no client can make series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: u16,
    handler: &'static str,
    method: &'static str,
}

/// Counts requests.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RequestLabels, Histogram, fn() -> Histogram>,
}

fn duration_histogram() -> Histogram {
    Histogram::new([0.001, 0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0, 240.0, 360.0, 720.0])
}

impl HttpMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds = Family::<RequestLabels, Histogram, fn() -> Histogram>::new_with_constructor(duration_histogram);
        registry.register("http_requests", "HTTP requests", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "How long HTTP requests took until their answer began",
            seconds.clone(),
        );
        Self { requests, seconds }
    }
}

/// Blocks by what became of them when the bucket was last listed.
#[derive(Debug, Clone, Default)]
pub struct BlockMetrics {
    synced: Family<BlockState, Gauge>,
    syncs: Counter,
    failures: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BlockState {
    state: &'static str,
}

impl BlockMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("thanos_blocks_meta_synced", "Blocks by state", metrics.synced.clone());
        registry.register("thanos_blocks_meta_syncs", "Looks into the bucket", metrics.syncs.clone());
        registry.register(
            "thanos_blocks_meta_sync_failures",
            "Looks into the bucket that failed",
            metrics.failures.clone(),
        );
        metrics
    }

    /// Counts a look into the bucket.
    pub fn count_sync(&self, failed: bool) {
        self.syncs.inc();
        if failed {
            self.failures.inc();
        }
    }

    /// Sets how many blocks are in `state`.
    pub fn set(&self, state: &'static str, blocks: u64) {
        self.synced.get_or_create(&BlockState { state }).set(i64::try_from(blocks).unwrap_or(i64::MAX));
    }
}

/// Registers what every server tells: version and process.
pub fn register_process(registry: &mut Registry, version: &str, revision: &str, started: Timestamp) {
    let labels = vec![("version".to_owned(), version.to_owned()), ("revision".to_owned(), revision.to_owned())];
    registry.register(
        "quiver_build",
        "Version of the running program",
        prometheus_client::metrics::info::Info::new(labels),
    );
    registry.register_collector(Box::new(ProcessCollector::new(started)));
}

/// Counts and times every request that has a route.
pub async fn observe(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let handler = request.extensions().get::<MatchedPath>().map_or("other", |path| handler_name(path.as_str()));
    let method = match *request.method() {
        Method::GET => "get",
        Method::POST => "post",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "other",
    };
    let began = Instant::now();
    let response = next.run(request).await;
    let labels = RequestLabels { code: response.status().as_u16(), handler, method };
    metrics.requests.get_or_create(&labels).inc();
    metrics.seconds.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
    response
}

/// Thanos's name for a route.
fn handler_name(path: &str) -> &'static str {
    match path.strip_prefix("/api/v1/").unwrap_or(path) {
        "query" => "query",
        "query_range" => "query_range",
        "query_explain" | "query_range_explain" => "explain",
        "series" => "series",
        "labels" => "label_names",
        "label/{name}/values" => "label_values",
        "metadata" => "metadata",
        "rules" => "rules",
        "alerts" => "alerts",
        "targets" => "targets",
        "stores" => "stores",
        "query_exemplars" => "exemplars",
        "format_query" => "format_query",
        "parse_query" => "parse_query",
        "write" | "receive" => "receive",
        "otlp" | "otlp/v1/metrics" => "otlp",
        "read" => "remote_read",
        "/federate" => "federate",
        "status/tsdb" => "status_tsdb",
        "/metrics" => "metrics",
        "/" => "page",
        status if status.starts_with("status/") => "status",
        _ => "other",
    }
}

/// The registry's content, in the format that the client asks for.
pub fn serve(registry: &Registry, headers: &HeaderMap) -> Response {
    let mut text = String::new();
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, registry) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if wants_openmetrics(accept) {
        ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT)], to_text_format(&text)).into_response()
    }
}
