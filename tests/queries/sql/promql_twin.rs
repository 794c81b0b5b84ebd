//! Aggregates in SQL beside what PromQL says of the same samples.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;

use super::database::Database;

/// The end of the golden blocks, in seconds.
const END_S: i64 = 1_767_268_800;

/// Checks that both queries have the same rows, (labels…, value): texts are equal and numbers to 1e-9 of the larger.
fn check(sql: &str, promql: &str) {
    let database = Database::golden();
    let twin = format!("SELECT * EXCLUDE (timestamp, histogram) FROM promql('{promql}', {END_S})");
    let read = |text: &str| {
        let mut rows: Vec<(Vec<String>, f64)> = Vec::new();
        for batch in database.answer(text).unwrap_or_else(|error| panic!("{text}: {error}")) {
            let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
            let mut labels: Vec<(String, arrow::array::ArrayRef)> = Vec::new();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                if field.name() != "value" {
                    labels.push((
                        field.name().clone(),
                        arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap(),
                    ));
                }
            }
            labels.sort_by(|a, b| a.0.cmp(&b.0));
            for row in 0..batch.num_rows() {
                let labels =
                    labels.iter().map(|(name, column)| format!("{name}={}", column.as_string::<i32>().value(row)));
                rows.push((labels.collect(), values.value(row)));
            }
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    };
    let (ours, theirs) = (read(sql), read(&twin));
    assert!(!theirs.is_empty(), "{promql} has no answer");
    assert_eq!(ours.len(), theirs.len(), "{sql}\n{ours:?}\n{theirs:?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.0, theirs.0, "{sql}");
        let (a, b) = (ours.1, theirs.1);
        let same = (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
        assert!(same, "{sql}: {ours:?}, {promql}: {theirs:?}");
    }
}

/// A range selector of 2 h leaves its first millisecond out, as SQL says here.
const LAST_2H: &str = "timestamp > TIMESTAMP '2026-01-01T10:00:00Z' AND timestamp <= TIMESTAMP '2026-01-01T12:00:00Z'";

#[test]
fn counts_sums_and_extremes_over_time() {
    for metric in ["up", "node_filesystem_avail_bytes", "http_requests_total"] {
        for (function, over_time, outer) in [
            ("count", "count_over_time", "sum"),
            ("sum", "sum_over_time", "sum"),
            ("min", "min_over_time", "min"),
            ("max", "max_over_time", "max"),
        ] {
            check(
                &format!("SELECT job, {function}(value)::DOUBLE AS value FROM {metric} WHERE {LAST_2H} GROUP BY job"),
                &format!("{outer} by (job) ({over_time}({metric}[2h]))"),
            );
        }
    }
}

#[test]
fn averages_of_a_series() {
    check(
        &format!("SELECT instance, job, avg(value) AS value FROM up WHERE {LAST_2H} GROUP BY instance, job"),
        "avg by (instance, job) (avg_over_time(up[2h]))",
    );
    check(
        &format!("SELECT job, avg(value) AS value FROM node_filesystem_avail_bytes WHERE {LAST_2H} GROUP BY job"),
        "sum by (job) (sum_over_time(node_filesystem_avail_bytes[2h])) / sum by (job) (count_over_time(node_filesystem_avail_bytes[2h]))",
    );
}

#[test]
fn quantiles_of_native_histograms() {
    check(
        "SELECT instance, service, histogram_quantile(0.9, histogram) AS value FROM (
           SELECT instance, service, histogram, row_number() OVER (PARTITION BY instance, service ORDER BY timestamp DESC) AS n
           FROM rpc_duration_seconds
           WHERE timestamp > TIMESTAMP '2026-01-01T11:55:00Z' AND timestamp <= TIMESTAMP '2026-01-01T12:00:00Z')
         WHERE n = 1",
        "sum by (instance, service) (histogram_quantile(0.9, rpc_duration_seconds))",
    );
}
