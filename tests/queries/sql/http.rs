//! `POST /api/v1/sql`.

use arrow::ipc::reader::StreamReader;
use serde_json::Value;

use crate::served::Served;

const COUNT: &str = "SELECT job, count(*) AS n FROM up GROUP BY job ORDER BY job";

fn post(body: &str, headers: &[(&str, &str)]) -> (u16, String, Vec<u8>) {
    Served::shared().post_sql("/api/v1/sql", body, headers)
}

#[test]
fn every_format_has_the_same_rows() {
    let (status, content_type, body) = post(COUNT, &[]);
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["status"], "success");
    assert_eq!(json["data"]["rows"], serde_json::json!([{"job": "api", "n": 11340}, {"job": "node", "n": 14400}]));

    let (status, content_type, body) = post(COUNT, &[("accept", "text/csv")]);
    assert_eq!((status, content_type.as_str()), (200, "text/csv; charset=utf-8"));
    assert_eq!(String::from_utf8(body).unwrap(), "job,n\napi,11340\nnode,14400\n");

    let (status, _, body) = post(COUNT, &[("accept", "application/vnd.apache.arrow.stream")]);
    assert_eq!(status, 200);
    let rows: usize =
        StreamReader::try_new(body.as_slice(), None).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 2);

    let (status, content_type, body) = post(COUNT, &[("accept", "application/vnd.apache.parquet")]);
    assert_eq!((status, content_type.as_str()), (200, "application/vnd.apache.parquet"));
    assert_eq!((&body[..4], &body[body.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
}

#[test]
fn forms_json_and_parameters() {
    let count = |body: &str, content_type: &str| {
        let (status, _, body) = post(body, &[("content-type", content_type)]);
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{json}");
        json["data"]["rows"][0]["n"].clone()
    };
    assert_eq!(count("query=SELECT+count(*)+AS+n+FROM+up", "application/x-www-form-urlencoded"), 25740);
    let json = r#"{"query": "SELECT count(*) AS n FROM up WHERE job = $1 AND timestamp < $2", "parameters": ["api", "2026-01-01T01:00:00Z"]}"#;
    assert_eq!(count(json, "application/json"), 960);
}

#[test]
fn errors_are_those_of_the_table() {
    for (body, accept, expected, kind) in [
        ("SELECT * FROM no_such_metric", "*/*", 400, "bad_data"),
        ("SELEC 1", "*/*", 400, "bad_data"),
        ("DROP TABLE up", "*/*", 400, "bad_data"),
        ("SELECT 1/0", "*/*", 422, "execution"),
        ("SELECT 1", "image/png", 406, "not_acceptable"),
    ] {
        let (status, _, answer) = post(body, &[("accept", accept)]);
        let json: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status, json["errorType"].as_str()), (expected, Some(kind)), "{body}: {json}");
    }
    let (status, _, _) = Served::shared().post_sql("/api/v1/sql?timeout=1ms", COUNT, &[]);
    assert_eq!(status, 503);
}

#[test]
fn replicas_join_where_they_are_named() {
    let ask = |uri: &str| {
        let (status, _, body) = Served::shared().post_sql(uri, "SELECT * FROM up LIMIT 1", &[]);
        assert_eq!(status, 200);
        let json: Value = serde_json::from_slice(&body).unwrap();
        json["data"]["rows"][0].as_object().unwrap().contains_key("replica")
    };
    assert!(ask("/api/v1/sql"));
    assert!(!ask("/api/v1/sql?replicaLabels[]=replica"));
    assert!(ask("/api/v1/sql?replicaLabels[]=replica&dedup=false"));
}
