//! Every route, asked through the router as a client would.

mod memory_store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use engine::{Deduplication, EngineFeatures, EngineSettings, ProcessPool};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use storage::ManualClock;
use tower::ServiceExt;

use super::*;
use memory_store::MemoryStore;

fn api() -> Router {
    api_with(|_, _| ())
}

fn api_with(change: impl FnOnce(&mut MemoryStore, &mut EngineSettings)) -> Router {
    let series = [
        "__name__=up,job=api,replica=a",
        "__name__=up,job=api,replica=b",
        "__name__=up,job=node,replica=a",
        "__name__=http.status,job=api,path=<&>",
    ];
    let mut store = MemoryStore::new(&series);
    let parse = ParseOptions::experimental();
    let mut engine_settings = EngineSettings {
        lookback_ms: 300_000,
        timeout: Duration::from_secs(60),
        max_samples: 0,
        memory: ProcessPool::new(1 << 30),
        partitions: 1,
        replica_labels: vec!["replica".to_owned()],
        deduplication: Deduplication::Penalty,
        default_subquery_step_ms: 60_000,
        parse,
        features: EngineFeatures::default(),
        compute: None,
    };
    change(&mut store, &mut engine_settings);
    let store: Arc<dyn Store> = Arc::new(store);
    let engine = Engine::new(Arc::clone(&store), engine_settings);
    let unknown = || "unknown".to_owned();
    let build = BuildInfo {
        version: "1.2.3".to_owned(),
        revision: unknown(),
        branch: unknown(),
        build_user: unknown(),
        build_date: unknown(),
        compiler: unknown(),
    };
    let flags = BTreeMap::from([("query.timeout".to_owned(), "2m".to_owned())]);
    let status = StatusSettings { build, flags, started: 0, cors: true };
    let settings = ApiSettings {
        max_concurrent: 2,
        lookback_ms: 300_000,
        dynamic_lookback: true,
        default_step: Duration::from_secs(1),
        metadata_range: Duration::ZERO,
        replica_labels: vec!["replica".to_owned()],
        auto_downsampling: false,
        instant_max_resolution_ms: 0,
        partial_response: true,
        parse,
        tenants: ReadTenants::All,
    };
    let readiness = Readiness::new();
    readiness.set(true);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(4000));
    let mut registry = Registry::default();
    let api = Api::new(Arc::new(engine), store, Arc::clone(&clock), settings, &mut registry);
    api.router(StatusApi::new(status, clock, readiness, registry), Router::new())
}

async fn send(request: Request<Body>) -> (u16, http::HeaderMap, Vec<u8>) {
    let response = api().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn get(uri: &str) -> (u16, Value) {
    let (status, _, body) = send(Request::get(uri).body(Body::empty()).unwrap()).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn post(uri: &str, form: &'static str) -> (u16, Value) {
    let request = Request::post(uri)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    let (status, _, body) = send(request).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Asks and compares status, error type and error.
async fn check_error(uri: &str, status: u16, error_type: &str, error: &str) {
    let (got, body) = get(uri).await;
    assert_eq!((got, &body["status"], &body["errorType"]), (status, &json!("error"), &json!(error_type)), "{uri}");
    assert_eq!(body["error"], json!(error), "{uri}");
}

#[tokio::test]
async fn grafana_recognises_the_server() {
    let (status, body) = post("/api/v1/query", "query=1%2B1&time=4").await;
    assert_eq!((status, &body["data"]), (200, &json!({"resultType": "scalar", "result": [4, "2"]})));
    let (status, body) = get("/api/v1/status/buildinfo").await;
    assert_eq!((status, &body["data"]["version"]), (200, &json!("1.2.3")));
    assert!(body["data"].get("features").is_none());
    let (status, body) = get("/api/v1/status/flags").await;
    assert_eq!((status, &body["data"]["query.timeout"]), (200, &json!("2m")));
    let (status, body) = get("/api/v1/query_exemplars?query=test&start=1767225600000&end=1767229200000").await;
    assert_eq!((status, &body["data"]), (200, &json!([])));
    let (status, _, body) = send(Request::get("/api/v1/rules/none").body(Body::empty()).unwrap()).await;
    assert_eq!((status, body.as_slice()), (404, b"404 page not found\n".as_slice()));
}

#[tokio::test]
async fn wrong_range_queries_are_told_as_prometheus_does() {
    for (query, error) in [
        ("start=x&end=2&step=1", "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp"),
        ("start=1&step=1", "invalid parameter \"end\": cannot parse \"\" to a valid timestamp"),
        ("start=2&end=1&step=1", "invalid parameter \"end\": end timestamp must not be before start time"),
        (
            "start=1&end=2&step=0",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive \
             integer",
        ),
        ("start=1&end=2&step=y", "invalid parameter \"step\": cannot parse \"y\" to a valid duration"),
        (
            "start=0&end=11001&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "start=0&end=1&step=1&lookback_delta=z",
            "error parsing lookback delta duration: cannot parse \"z\" to a valid duration",
        ),
        ("start=0&end=1&step=1&engine=other", "'other' bad engine"),
        (
            "start=0&end=1&step=1&max_source_resolution=-1",
            "negative 'max_source_resolution' is not accepted. Try a positive integer",
        ),
    ] {
        check_error(&format!("/api/v1/query_range?query=up&{query}"), 400, "bad_data", error).await;
    }
}

#[tokio::test]
async fn wrong_queries_name_their_place() {
    let unclosed = "invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis";
    for path in ["query", "format_query", "parse_query"] {
        check_error(&format!("/api/v1/{path}?query=sum%28"), 400, "bad_data", unclosed).await;
    }
}

#[tokio::test]
async fn what_takes_too_long_is_given_up() {
    let router = api_with(|store, engine| (store.hang, engine.timeout) = (true, Duration::ZERO));
    let evaluation = "query timed out in expression evaluation";
    let lookup = "the deadline of the request passed while looking up series or labels";
    for (uri, error) in [
        ("query?query=up", evaluation),
        ("query_range?query=up&start=0&end=1&step=1", evaluation),
        ("query_explain?query=up", evaluation),
        ("query_range_explain?query=up&start=0&end=1&step=1", evaluation),
        ("series?match[]=up", lookup),
        ("labels", lookup),
        ("label/job/values", lookup),
        ("status/tsdb", lookup),
    ] {
        let request = Request::get(format!("/api/v1/{uri}")).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 503, "{uri}");
        let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(body, json!({"status": "error", "errorType": "timeout", "error": error}), "{uri}");
    }
}

#[tokio::test]
async fn series_are_joined_and_cut() {
    let (status, body) = get("/api/v1/series?match[]=up").await;
    let joined = json!([{"__name__": "up", "job": "api"}, {"__name__": "up", "job": "node"}]);
    assert_eq!((status, &body["data"]), (200, &joined));
    let (_, body) = get("/api/v1/series?match[]=up&dedup=false").await;
    assert_eq!(body["data"].as_array().unwrap().len(), 3);
    let (_, body) = post("/api/v1/series?limit=1", "match[]=up&match[]={job=\"api\"}").await;
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    check_error("/api/v1/series", 400, "bad_data", "no match[] parameter provided").await;
    let everything = "invalid parameter \"match[]\": match[] must contain at least one non-empty matcher";
    check_error("/api/v1/series?match[]=%7Bjob=~%22.*%22%7D", 400, "bad_data", everything).await;
}

#[tokio::test]
async fn labels_are_listed() {
    let (_, body) = get("/api/v1/labels").await;
    assert_eq!(body["data"], json!(["__name__", "job", "path", "replica"]));
    let (_, body) = post("/api/v1/labels", "match[]=up&limit=2").await;
    assert_eq!(body["data"], json!(["__name__", "job"]));
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    let (_, body) = get("/api/v1/label/job/values?match[]=up").await;
    assert_eq!(body["data"], json!(["api", "node"]));
    let (_, body) = get("/api/v1/label/U______name____/values").await;
    assert_eq!(body["data"], json!(["http.status", "up"]));
    let (_, body) = get("/api/v1/label/path/values").await;
    assert_eq!(body["data"], json!(["<&>"]));
    let (_, body) = get("/api/v1/label/none/values").await;
    assert_eq!(body["data"], json!([]));
}

#[tokio::test]
async fn methods_are_those_of_prometheus() {
    for uri in ["/api/v1/label/job/values", "/api/v1/metadata", "/api/v1/rules", "/api/v1/status/flags"] {
        let (status, headers, _) = send(Request::post(uri).body(Body::empty()).unwrap()).await;
        assert_eq!((status, headers[header::ALLOW].to_str().unwrap()), (405, "GET,HEAD"), "{uri}");
    }
    let request =
        Request::options("/api/v1/query").header(header::ORIGIN, "http://grafana").body(Body::empty()).unwrap();
    let (status, headers, _) = send(request).await;
    assert_eq!((status, headers[header::ACCESS_CONTROL_ALLOW_ORIGIN].to_str().unwrap()), (204, "*"));
}

#[tokio::test]
async fn what_there_is_none_of_is_empty_and_valid() {
    for (uri, data) in [
        ("/api/v1/rules", json!({"groups": []})),
        ("/api/v1/alerts", json!({"alerts": []})),
        ("/api/v1/metadata?metric=up&limit=10", json!({})),
        ("/api/v1/targets", json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}})),
    ] {
        let (status, body) = get(uri).await;
        assert_eq!((status, body), (200, json!({"status": "success", "data": data})), "{uri}");
    }
    check_error("/api/v1/metadata?limit=x", 400, "bad_data", "limit must be a number").await;
}

#[tokio::test]
async fn stores_can_be_chosen() {
    let (_, body) = get("/api/v1/stores").await;
    assert_eq!(body["data"]["store"][0]["name"], "local");
    let (status, _) = get("/api/v1/series?match[]=up&storeMatch[]=%7B__address__=%22local%22%7D").await;
    assert_eq!(status, 200);
    let (status, _) = get("/api/v1/series?match[]=up&storeMatch[]=%7B__address__=%22other%22%7D").await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn cardinality_is_counted() {
    let (status, body) = get("/api/v1/status/tsdb?limit=1").await;
    assert_eq!(status, 200);
    assert_eq!(body["data"]["headStats"]["numSeries"], 4);
    assert_eq!(body["data"]["seriesCountByMetricName"], json!([{"name": "up", "value": 3}]));
    assert_eq!(body["data"]["seriesCountByLabelValuePair"], json!([{"name": "__name__=up", "value": 3}]));
}

#[tokio::test]
async fn queries_are_formatted() {
    let (_, body) = get("/api/v1/format_query?query=sum(up)by(job)").await;
    assert_eq!(body["data"], "sum by (job) (up)");
}

#[tokio::test]
async fn answers_are_compressed_where_the_client_takes_it() {
    let request = Request::get("/").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty()).unwrap();
    let (status, headers, body) = send(request).await;
    assert_eq!((status, headers[header::CONTENT_ENCODING].to_str().unwrap()), (200, "gzip"));
    assert_eq!(body[..2], [0x1f, 0x8b]);
    assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
}

#[tokio::test]
async fn errors_are_not_cached() {
    let (_, headers, _) = send(Request::get("/api/v1/query?query=%28").body(Body::empty()).unwrap()).await;
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
}

#[tokio::test]
async fn supervisors_and_scrapers_are_answered() {
    let router = api();
    let ask = |uri: &'static str| {
        let router = router.clone();
        async move {
            let response = router.oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
            let status = response.status().as_u16();
            (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
        }
    };
    assert_eq!(ask("/-/healthy").await.0, 200);
    assert_eq!(ask("/-/ready").await.0, 200);
    ask("/api/v1/labels").await;
    ask("/api/v1/query_explain?query=up").await;
    ask("/api/v1/query?query=up").await;
    let (status, metrics) = ask("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "http_requests_total{code=\"200\",handler=\"label_names\",method=\"get\"} 1",
        "http_request_duration_seconds_count{code=\"200\",handler=\"label_names\",method=\"get\"} 1",
        "thanos_query_concurrent_gate_queries_max 2",
        "thanos_query_concurrent_gate_queries_total 2",
        "thanos_query_concurrent_gate_queries_in_flight 0",
    ] {
        assert!(metrics.lines().any(|got| got == line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("# EOF"), "nobody asked for OpenMetrics");
}
