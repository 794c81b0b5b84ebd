//! Queries over generated blocks, whose answers are known without a server to ask.

use storage::generate::{Generator, Workload};
use storage::model::TimeRange;

use crate::served::Served;

/// 2026-01-01T12:00Z, the end of the blocks.
const END_MS: i64 = 1_767_268_800_000;

fn served(workload: Workload) -> (tempfile::TempDir, Served) {
    let folder = tempfile::tempdir().unwrap();
    let workload = Workload { range: TimeRange { mint: END_MS - 4 * 3_600_000, maxt: END_MS }, gauges: 30, ..workload };
    Generator::try_new(workload).unwrap().write_all(folder.path(), 2, &|_| ()).unwrap();
    let served = Served::over(folder.path().to_owned(), 2);
    (folder, served)
}

/// The values of an instant query at the end of the blocks.
fn values(served: &Served, query: &str) -> Vec<f64> {
    let form = [("query", query), ("time", "1767268799"), ("replicaLabels[]", "replica")];
    let (status, body) = served.post("query", &form);
    let reply: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 200, "{query}: {reply}");
    let series = reply["data"]["result"].as_array().cloned().unwrap_or_default();
    series.iter().map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect()
}

fn check(served: &Served, query: &str, expected: impl Fn(f64) -> bool) {
    let found = values(served, query);
    assert!(found.len() == 1 && expected(found[0]), "{query}: {found:?}");
}

#[test]
fn generated_blocks_answer() {
    let (_folder, served) = served(Workload {
        counters: 120,
        classic_histograms: 6,
        native_histograms: 6,
        pod_info: true,
        ..Workload::default()
    });
    check(&served, "count(http_requests_total)", |v| v == 120.0);
    check(&served, "sum(count_over_time(http_requests_total[2h]))", |v| v == 120.0 * 480.0);
    check(&served, "sum(rate(http_requests_total[5m])) > 0", |v| v < 120.0 * 130.0);
    check(&served, "count(http_request_duration_seconds)", |v| v == 6.0);
    check(&served, "histogram_quantile(0.5, sum(rate(http_request_duration_seconds[1h])))", |v| v > 0.001 && v < 10.0);
    check(&served, "histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket[1h])))", |v| {
        v > 0.001 && v < 10.0
    });
    check(&served, "count(sum by (pod) (http_requests_total) * on (pod) group_left (node) kube_pod_info)", |v| {
        v == 3.0
    });
    check(&served, "count({job=\"node-exporter\"})", |v| v == 30.0);
    assert!(values(&served, "http_requests_total < 0").is_empty());
}

/// What one replica lost, the other one has.
#[test]
fn replicas_become_one() {
    let (_folder, served) = served(Workload { counters: 60, replicas: 2, ..Workload::default() });
    check(&served, "count(http_requests_total)", |v| v == 60.0);
    check(&served, "min(count_over_time(http_requests_total[2h]))", |v| v > 450.0);
    check(&served, "min(rate(http_requests_total{code=\"200\"}[1h])) > bool 0", |v| v == 1.0);
}
