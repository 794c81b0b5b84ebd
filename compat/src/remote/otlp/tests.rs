use std::io::Write;

use axum::Router;
use axum::http::Request;
use http_body_util::BodyExt;
use storage::ManualClock;
use storage::head::HistogramValue;
use storage::model::{Labels, is_stale_nan};
use tower::ServiceExt;

use super::*;
use crate::remote::testing::{Kept, MemoryTarget, Message};
use crate::remote::{WriteSettings, otlp_router};

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const NOW: i64 = 1_700_000_000_000;

fn text(number: u32, text: &str) -> Message {
    Message::default().bytes(number, text.as_bytes())
}

fn fixed(message: Message, number: u32, value: u64) -> Message {
    message.double(number, f64::from_bits(value))
}

fn attribute(key: &str, value: &str) -> Message {
    text(1, key).message(2, text(1, value))
}

/// A metric with one kind of data under `number`.
fn metric(name: &str, unit: &str, number: u32, data: Message) -> Message {
    text(1, name).bytes(2, b"help").bytes(3, unit.as_bytes()).message(number, data)
}

fn request(resource: &[(&str, &str)], metrics: impl IntoIterator<Item = Message>) -> Vec<u8> {
    let resource =
        resource.iter().fold(Message::default(), |resource, (key, value)| resource.message(1, attribute(key, value)));
    let scope = metrics.into_iter().fold(Message::default(), |scope, metric| scope.message(2, metric));
    Message::default().message(1, Message::default().message(1, resource).message(2, scope)).0
}

fn number_point(value: f64) -> Message {
    fixed(fixed(Message::default(), 2, NOW_NS - 60_000_000_000), 3, NOW_NS)
        .double(4, value)
        .message(7, attribute("http.method", "GET"))
}

fn translate(body: &[u8], settings: &OtlpSettings) -> (Kept, Tally) {
    let admission =
        Admission { tenant: "t".to_owned(), split_label: None, latest: i64::MAX, name_required: true, relabel: None };
    let mut request = OtlpRequest {
        body: Some(body.to_vec().into()),
        settings,
        admission: &admission,
        tally: Tally::default(),
        malformed: None,
    };
    let mut kept = Kept::default();
    request.visit(&mut kept).unwrap();
    (kept, request.tally)
}

/// Labels, value and time of every float.
fn floats(kept: &Kept) -> Vec<(String, f64, i64)> {
    let samples = kept.pushed.iter().flat_map(|p| p.floats.iter().map(|s| (p.labels.to_string(), s.value, s.t)));
    samples.collect()
}

#[test]
fn numbers_and_what_their_resource_adds() {
    let sum = Message::default().message(1, number_point(5.0)).varint(2, 2).varint(3, 1);
    let gauge = Message::default().message(1, number_point(0.5));
    let body = request(
        &[("service.name", "api"), ("service.namespace", "shop"), ("service.instance.id", "i1"), ("host.name", "h")],
        [metric("http.requests", "{request}", 7, sum), metric("cpu.load", "1", 5, gauge)],
    );
    let settings =
        OtlpSettings { promote_resource_attributes: vec!["host.name".to_owned()], ..OtlpSettings::default() };
    let (kept, tally) = translate(&body, &settings);
    assert_eq!(tally.reasons(), "");
    let base = r#"host_name="h", http_method="GET", instance="i1", job="shop/api"}"#;
    let expected = [
        (format!(r#"{{__name__="http_requests_total", {base}"#), 5.0, NOW),
        (format!(r#"{{__name__="cpu_load_ratio", {base}"#), 0.5, NOW),
        (r#"{__name__="target_info", host_name="h", instance="i1", job="shop/api"}"#.to_owned(), 1.0, NOW),
    ];
    assert_eq!(floats(&kept), expected);
    assert_eq!(kept.pushed[0].floats[0].start, NOW - 60_000);
    let (kind, unit, help) = kept.pushed[0].metadata.clone().unwrap();
    assert_eq!((kind, unit.as_str(), help.as_str()), (storage::head::MetricKind::Counter, "", "help"));
}

#[test]
fn histograms_and_summaries() {
    let exemplar = |value: f64| {
        fixed(Message::default(), 2, NOW_NS).double(3, value).bytes(5, &[0xab; 16]).message(7, attribute("k", "v"))
    };
    let packed = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let bounds: Vec<u64> = [0.5_f64, 10.0].iter().map(|bound| bound.to_bits()).collect();
    let point = fixed(fixed(Message::default(), 3, NOW_NS), 4, 6)
        .double(5, 12.5)
        .bytes(6, &packed(&[1, 2, 3]))
        .bytes(7, &packed(&bounds))
        .message(8, exemplar(0.1))
        .message(8, exemplar(99.0));
    let histogram = Message::default().message(1, point).varint(2, 2);
    let quantile = Message::default().double(1, 0.99).double(2, 7.0);
    let point = fixed(fixed(Message::default(), 3, NOW_NS), 4, 3).double(5, 4.5).message(6, quantile);
    let summary = Message::default().message(1, point);
    let body = request(&[], [metric("took", "s", 9, histogram), metric("size", "By", 11, summary)]);
    let (kept, tally) = translate(&body, &OtlpSettings::default());
    assert_eq!(tally.reasons(), "");
    let expected = [
        (r#"{__name__="took_seconds_sum"}"#, 12.5),
        (r#"{__name__="took_seconds_count"}"#, 6.0),
        (r#"{__name__="took_seconds_bucket", le="0.5"}"#, 1.0),
        (r#"{__name__="took_seconds_bucket", le="10"}"#, 3.0),
        (r#"{__name__="took_seconds_bucket", le="+Inf"}"#, 6.0),
        (r#"{__name__="size_bytes_sum"}"#, 4.5),
        (r#"{__name__="size_bytes_count"}"#, 3.0),
        (r#"{__name__="size_bytes", quantile="0.99"}"#, 7.0),
    ];
    assert_eq!(floats(&kept), expected.map(|(labels, value)| (labels.to_owned(), value, NOW)));
    let labels = Labels::from_pairs([("k", "v"), ("trace_id", &*"ab".repeat(16))]);
    assert_eq!(kept.pushed[2].exemplars, [(labels.clone(), NOW, 0.1)]);
    assert_eq!((kept.pushed[3].exemplars.len(), &kept.pushed[4].exemplars), (0, &vec![(labels, NOW, 99.0)]));
}

#[test]
fn exponential_histograms_become_native() {
    let point = |scale: u64, flags: u64| {
        fixed(fixed(Message::default(), 3, NOW_NS), 4, 10)
            .double(5, 3.0)
            .varint(6, scale)
            .double(7, f64::from_bits(1))
            .message(8, Message::default().varint(1, 2).packed(2, &[4, 3, 2]))
            .varint(10, flags)
    };
    let data = |point| Message::default().message(1, point).varint(2, 2);
    // scale 0, zigzag 9 (-5), and no recorded value
    let body = request(
        &[],
        [
            metric("a", "", 10, data(point(0, 0))),
            metric("b", "", 10, data(point(9, 0))),
            metric("c", "", 10, data(point(0, 1))),
        ],
    );
    let (kept, tally) = translate(&body, &OtlpSettings::default());
    assert_eq!(
        tally.reasons(),
        "cannot convert exponential to native histogram. Scale must be >= -4, was -5 in metric \"b\""
    );
    let HistogramValue::Integer(h) = &kept.pushed[0].histograms[0].histogram else { panic!("integer counts") };
    assert_eq!((h.schema, h.count, h.zero_count, h.sum, h.zero_threshold), (0, 10, 1, 3.0, 1e-128));
    assert_eq!(h.positive_spans, [storage::model::Span { offset: 2, length: 3 }]);
    assert_eq!(h.positive_deltas, [4, -1, -1]);
    let HistogramValue::Integer(stale) = &kept.pushed[1].histograms[0].histogram else { panic!("integer counts") };
    assert!(is_stale_nan(stale.sum));
}

#[test]
fn what_cannot_be_translated_is_named() {
    let delta = Message::default().message(1, number_point(5.0)).message(1, number_point(6.0)).varint(2, 1);
    let good = Message::default().message(1, number_point(1.0));
    let bad_label = Message::default().message(1, number_point(1.0).message(7, attribute("..", "x")));
    let body = request(
        &[],
        [
            metric("requests", "", 7, delta),
            metric("...", "", 5, good.clone()),
            metric("empty", "", 5, Message::default()),
            text(1, "no data"),
            metric("labels", "", 5, bad_label),
            metric("good", "", 5, good),
        ],
    );
    let (kept, tally) = translate(&body, &OtlpSettings::default());
    assert_eq!(floats(&kept), [(r#"{__name__="good", http_method="GET"}"#.to_owned(), 1.0, NOW)]);
    let expected = [
        "invalid temporality and type combination for metric \"requests\"",
        "normalization for metric \"...\" resulted in an invalid name",
        "could not get aggregation temporality for no data: unsupported type",
        "normalization for label name \"..\" resulted in an invalid name in metric \"labels\"",
    ];
    assert_eq!(tally.reasons().lines().collect::<Vec<_>>(), expected);
    assert_eq!(tally.refused_total(), 5);
}

#[test]
fn target_info_is_found_wherever_a_data_point_is() {
    let point = |ns: u64| fixed(Message::default(), 3, ns).double(4, 1.0);
    let gauge = Message::default().message(1, point(NOW_NS)).message(1, point(NOW_NS + 400_000_000_000));
    let body = request(&[("service.name", "api"), ("a.b", "1"), ("a_b", "2")], [metric("g", "", 5, gauge)]);
    let both: Vec<u8> = [body.as_slice(), &body].concat();
    let (kept, _) = translate(&both, &OtlpSettings::default());
    let info: Vec<_> = floats(&kept).into_iter().filter(|(labels, ..)| labels.contains("target_info")).collect();
    assert_eq!(info[0].0, r#"{__name__="target_info", a_b="1;2", job="api"}"#);
    let times: Vec<_> = info.iter().map(|(_, _, t)| t - NOW).collect();
    assert_eq!(times, [0, 150_000, 300_000, 400_000]);
    let off = OtlpSettings { target_info: false, ..OtlpSettings::default() };
    assert!(floats(&translate(&body, &off).0).iter().all(|(labels, ..)| !labels.contains("target_info")));
    let hostile = Message::default().message(1, point(0)).message(1, point(u64::MAX / 2));
    let body = request(&[("service.name", "api"), ("x", "1")], [metric("g", "", 5, hostile)]);
    assert!(floats(&translate(&body, &OtlpSettings::default()).0).len() < 100_010);
}

fn router(target: MemoryTarget) -> Router {
    let settings = WriteSettings { body_max: 4_000, ..WriteSettings::default() };
    let writer = Writer::new(Arc::new(target), Arc::new(ManualClock::new(NOW)), settings);
    otlp_router(Arc::new(writer), OtlpSettings::default(), &[Dialect::Prometheus, Dialect::Thanos])
}

async fn send(path: &str, content_type: &str, encoding: &str, body: Vec<u8>) -> (u16, String) {
    let request = Request::post(path).header("content-type", content_type).header("content-encoding", encoding);
    let response = router(MemoryTarget::default()).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn both_paths_take_both_encodings() {
    let gauge = Message::default().message(1, number_point(0.5));
    let body = request(&[("service.name", "api")], [metric("cpu.load", "1", 5, gauge)]);
    let json =
        br#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},
        "scopeMetrics":[{"metrics":[{"name":"cpu.load","unit":"1","description":"help","gauge":{"dataPoints":[{
        "startTimeUnixNano":"1699999940000000000","timeUnixNano":"1700000000000000000","asDouble":0.5,
        "attributes":[{"key":"http.method","value":{"stringValue":"GET"}}]}]}}]}]}]}"#;
    let settings = OtlpSettings::default();
    let from_json = json::to_protobuf(json).unwrap();
    assert_eq!(translate(&from_json, &settings).0.pushed, translate(&body, &settings).0.pushed);
    for path in ["/api/v1/otlp/v1/metrics", "/api/v1/otlp"] {
        assert_eq!(send(path, "application/x-protobuf", "", body.clone()).await, (200, String::new()));
        assert_eq!(send(path, "application/x-protobuf", "gzip", gzipped(&body)).await, (200, String::new()));
        assert_eq!(send(path, "application/json; charset=utf-8", "", json.to_vec()).await, (200, String::new()));
        assert_eq!(send(path, "text/plain", "", body.clone()).await.0, 415);
        assert_eq!(send(path, "application/x-protobuf", "br", body.clone()).await.0, 415);
        assert_eq!(send(path, "application/x-protobuf", "gzip", body.clone()).await.0, 400);
        assert_eq!(send(path, "application/x-protobuf", "gzip", gzipped(&[0; 5_000])).await.0, 413);
        assert_eq!(send(path, "application/x-protobuf", "", vec![0x0a, 9]).await.0, 400);
        assert_eq!(send(path, "application/json", "", b"{".to_vec()).await.0, 400);
        let large_json = [b"{}".as_slice(), &[b' '; 1_000]].concat();
        assert_eq!(send(path, "application/json", "", large_json).await.0, 413);
        let delta = Message::default().message(1, number_point(5.0)).varint(2, 1);
        let (status, text) = send(path, "application/x-protobuf", "", request(&[], [metric("d", "", 7, delta)])).await;
        let expected = "invalid temporality and type combination for metric \"d\"\n";
        assert_eq!((status, text.as_str()), (400, expected));
    }
}
