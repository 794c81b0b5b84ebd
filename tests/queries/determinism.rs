//! The same query twice gives the same bytes, however its series are spread over partitions.

use crate::golden::cases;
use crate::served::Served;

const END: &str = "1767250800";
const START: &str = "1767247200";

/// Sums, ties and joins: where the order of evaluation would show.
const QUERIES: [&str; 13] = [
    "sum by (job) (rate(http_requests_total[5m]))",
    "avg(rate(http_request_duration_seconds_bucket[5m]))",
    "stddev by (handler) (http_requests_total)",
    "topk(3, http_requests_total)",
    "topk(2, up)",
    "limitk(3, http_requests_total)",
    "count_values by (job) (\"value\", up)",
    "sum(rate(rpc_duration_seconds[10m]))",
    "sum(rate(http_request_duration_seconds_bucket[5m]))",
    "topk(5, {__name__=~\"http_request.+\"})",
    "limitk(5, {__name__=~\"http_request.+\"})",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    "http_requests_total / on (instance, job) group_left () sum by (instance, job) (http_requests_total)",
];

fn range(served: &Served, query: &str) -> Vec<u8> {
    let form = [("query", query), ("start", START), ("end", END), ("step", "60")];
    let (status, body) = served.post("query_range", &form);
    assert_eq!(status, 200, "{query}: {}", String::from_utf8_lossy(&body));
    body
}

#[test]
fn the_same_query_gives_the_same_bytes() {
    let served = Served::shared();
    for query in QUERIES {
        let first = range(served, query);
        for _ in 0..3 {
            assert!(range(served, query) == first, "{query}: another run, another answer");
        }
    }
}

/// One process after another, as after a restart: nothing may depend on a hasher's seed or on what was asked before.
#[test]
fn another_process_gives_the_same_bytes() {
    let (first, second) = (Served::new(2), Served::new(2));
    for query in QUERIES.iter().rev() {
        assert!(range(&first, query) == range(&second, query), "{query}");
    }
}

/// An instant query's series come in an order that does not depend on the number of partitions.
#[test]
fn partitions_do_not_change_which_series_come_in_which_order() {
    let (one, three) = (Served::new(1), Served::new(3));
    let series = |served: &Served, query: &str| -> Vec<String> {
        let (status, body) = served.post("query", &[("query", query), ("time", END)]);
        let reply: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{query}: {reply}");
        let result = reply["data"]["result"].as_array().cloned().unwrap_or_default();
        result.iter().map(|series| series["metric"].to_string()).collect()
    };
    let selectors = cases().into_iter().filter(|case| case.instant && ["agg", "set"].contains(&case.group()));
    let recorded: Vec<String> = selectors.step_by(4).map(|case| case.query).collect();
    for query in QUERIES.iter().copied().chain(recorded.iter().map(String::as_str)) {
        assert_eq!(series(&one, query), series(&three, query), "{query}");
    }
}
