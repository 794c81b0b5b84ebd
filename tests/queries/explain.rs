//! The plans of a dozen golden queries: small operators, partial and final aggregation, nothing done twice.
//!
//! Where a plan changes on purpose, `INSTA_UPDATE=always cargo test --test queries plans_of` writes the snapshot anew.

use std::fmt::Write;

use engine::{QueryRequest, QueryTime};
use promql::tree::Grid;

use crate::served::Served;

/// An hour in the middle of the golden blocks, over the border of two of them, a minute a step.
const GRID: Grid = Grid { start: 1_767_252_600_000, end: 1_767_256_200_000, step_ms: 60_000 };

const QUERIES: [&str; 15] = [
    "up",
    "http_requests_total{handler=\"/\"}[5m]",
    "rate(http_requests_total[5m])",
    "sum(http_requests_total)",
    "sum(http_request_duration_seconds_bucket)",
    "sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m])) / sum by (job) (rate(http_requests_total[5m]))",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    "topk(3, http_requests_total)",
    "http_requests_total * on (instance) group_left (version) build_info",
    "up and process_start_time_seconds",
    "max_over_time(rate(http_requests_total[5m])[30m:2m])",
    "label_replace(up, \"host\", \"$1\", \"instance\", \"(.*):.*\")",
    "absent(up{job=\"none\"})",
    "sort_desc(sum by (job) (up))",
    "vector(1) + time()",
];

#[test]
fn plans_of_golden_queries() {
    let served = Served::shared();
    let mut plans = String::new();
    for query in QUERIES {
        let instant = query.ends_with(']') || query.starts_with("sort");
        let time = if instant { QueryTime::Instant(GRID.end) } else { QueryTime::Range(GRID) };
        let mut request = QueryRequest::new(query, time);
        request.replica_labels = Some(vec!["cluster".to_owned(), "replica".to_owned()]);
        let kind = if instant { "instant" } else { "range" };
        let _ = write!(plans, "# {kind}: {query}\n{}\n", served.explain(request));
    }
    insta::assert_snapshot!("plans", plans);
}

#[test]
fn aggregation_is_partial_in_each_partition_and_final_above() {
    // a metric with enough series for two partitions
    let request = QueryRequest::new("sum(http_request_duration_seconds_bucket)", QueryTime::Range(GRID));
    let plan = Served::shared().explain(request);
    let last = plan.find("mode=Final").unwrap_or_else(|| panic!("no final aggregation:\n{plan}"));
    let partial = plan.find("mode=Partial").unwrap_or_else(|| panic!("no partial aggregation:\n{plan}"));
    let scans = plan.matches("SeriesScanExec").count();
    assert!(last < partial && scans == 2, "{scans} scans:\n{plan}");
}
