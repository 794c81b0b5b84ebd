use axum::Router;
use axum::http::Request;
use http_body_util::BodyExt;
use storage::ManualClock;
use storage::head::SeriesWrite;
use tower::ServiceExt;

use super::*;
use crate::remote::target::{Refusal, SeriesSink, WriteRequest};
use crate::remote::testing::{MemoryTarget, Message, v1_request, v1_series, v2_request};
use crate::remote::write_router;

const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn router(target: impl WriteTarget, settings: WriteSettings) -> Router {
    let writer = Writer::new(Arc::new(target), Arc::new(ManualClock::new(0)), settings);
    write_router(Arc::new(writer), &[Dialect::Prometheus, Dialect::Thanos])
}

async fn send(router: &Router, request: Request<Body>) -> (u16, String, HeaderMap) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status.as_u16(), text, parts.headers)
}

fn request(path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path)
        .header("content-type", content_type)
        .header("content-encoding", "snappy")
        .body(body.into())
        .unwrap()
}

fn compressed(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

fn written(headers: &HeaderMap) -> [&str; 3] {
    [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN].map(|name| headers[name].to_str().unwrap())
}

fn one_sample() -> Vec<u8> {
    v1_request([v1_series(&[("__name__", "up"), ("job", "a")], 1, 2.0)])
}

/// Takes nothing, for one reason.
struct Refusing(Refusal);

#[async_trait::async_trait]
impl WriteTarget for Refusing {
    async fn write(&self, request: &mut dyn WriteRequest) -> Result<(), WriteError> {
        struct Sink<'a>(&'a Refusal);
        impl SeriesSink for Sink<'_> {
            fn push(&mut self, _: &str, series: &SeriesWrite<'_>, tally: &mut Tally) {
                tally.refuse(self.0, series.labels, series.floats.len() as u64);
            }
        }
        Ok(request.visit(&mut Sink(&self.0))?)
    }
}

#[tokio::test]
async fn a_write_is_acknowledged_as_each_server_does() {
    let router = router(MemoryTarget::default(), WriteSettings::default());
    for (path, status) in [("/api/v1/write", 204), ("/api/v1/receive", 200)] {
        let body = compressed(&one_sample());
        let (got, text, headers) = send(&router, request(path, "application/x-protobuf", body)).await;
        assert_eq!((got, text.as_str(), written(&headers)), (status, "", ["1", "0", "0"]));
        let series = Message::default().packed(1, &[1, 2]).message(2, Message::default().varint(2, 1));
        let body = compressed(&v2_request(&["", "__name__", "up"], [series]));
        let (got, text, headers) = send(&router, request(path, V2, body)).await;
        assert_eq!((got, text.as_str(), written(&headers)), (status, "", ["1", "0", "0"]));
        let (got, ..) = send(&router, request(path, "", compressed(&[]))).await;
        assert_eq!(got, status);
    }
}

#[tokio::test]
async fn the_tenant_reaches_the_target() {
    let target = Arc::new(MemoryTarget::default());
    struct Shared(Arc<MemoryTarget>);
    #[async_trait::async_trait]
    impl WriteTarget for Shared {
        async fn write(&self, request: &mut dyn WriteRequest) -> Result<(), WriteError> {
            self.0.write(request).await
        }
    }
    let router = router(Shared(Arc::clone(&target)), WriteSettings::default());
    let mut named = request("/api/v1/receive", "application/x-protobuf", compressed(&one_sample()));
    named.headers_mut().insert("THANOS-TENANT", "red".parse().unwrap());
    assert_eq!(send(&router, named).await.0, 200);
    send(&router, request("/api/v1/receive", "application/x-protobuf", compressed(&one_sample()))).await;
    let tenants: Vec<_> = target.kept.lock().unwrap().pushed.iter().map(|pushed| pushed.tenant.clone()).collect();
    assert_eq!(tenants, ["red", "default-tenant"]);
    for bad in ["..", "a/b", "a b", "%2e%2e", "é"] {
        let mut named = request("/api/v1/receive", "application/x-protobuf", compressed(&one_sample()));
        named.headers_mut().insert("THANOS-TENANT", HeaderValue::from_bytes(bad.as_bytes()).unwrap());
        let (status, text, headers) = send(&router, named).await;
        assert_eq!((status, written(&headers)), (400, ["0", "0", "0"]));
        assert!(text.starts_with("tenant name not valid"), "{text}");
    }
}

#[tokio::test]
async fn hostile_bodies_have_an_exact_status() {
    let settings = WriteSettings { body_max: 4_000, ..WriteSettings::default() };
    let router = router(MemoryTarget::default(), settings);
    let declares_4_gib = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let table: [(&str, &str, Vec<u8>, u16, &str); 9] = [
        ("/api/v1/write", "application/x-protobuf", vec![0xff; 3], 400, "snappy decode error: "),
        (
            "/api/v1/write",
            "application/x-protobuf",
            declares_4_gib,
            413,
            "the request has 4294967295 bytes when decompr",
        ),
        (
            "/api/v1/write",
            "application/x-protobuf",
            vec![1; 5_000],
            413,
            "write request too large: more than the limit",
        ),
        (
            "/api/v1/write",
            "application/x-protobuf",
            compressed(&[0; 4_001]),
            413,
            "the request has 4001 bytes when dec",
        ),
        ("/api/v1/write", "application/x-protobuf", compressed(&[0x0a, 9]), 400, "the message ends within a field"),
        ("/api/v1/write", V2, compressed(&[0x2a, 2, 0x10, 1]), 400, "wrong wire type for field samples"),
        (
            "/api/v1/write",
            V2,
            compressed(&[0x22, 0].repeat(1_025)),
            413,
            "the symbols table has more than 1024 entries",
        ),
        ("/api/v1/write", "text/plain", compressed(&one_sample()), 415, "expected application/x-protobuf as the first"),
        ("/api/v1/receive", "application/json", compressed(&one_sample()), 415, "expected application/x-protobuf as "),
    ];
    for (path, content_type, body, expected, begin) in table {
        let (status, text, headers) = send(&router, request(path, content_type, body)).await;
        assert_eq!((status, written(&headers)), (expected, ["0", "0", "0"]), "{text}");
        assert!(text.starts_with(begin), "{text}");
    }
    let mut gzip = request("/api/v1/write", "application/x-protobuf", compressed(&one_sample()));
    gzip.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(send(&router, gzip).await.0, 415);
    assert_eq!(send(&router, Request::get("/api/v1/write").body(Body::empty()).unwrap()).await.0, 405);
}

#[tokio::test]
async fn a_partial_write_tells_what_was_written() {
    let router = router(MemoryTarget::default(), WriteSettings::default());
    let body = v1_request([
        v1_series(&[("__name__", "up")], 1, 2.0),
        v1_series(&[("__name__", "up"), ("a", "1"), ("a", "2")], 1, 2.0),
        v1_series(&[("__name__", "ahead")], 600_001, 2.0),
    ]);
    for (path, expected) in [("/api/v1/write", 400), ("/api/v1/receive", 409)] {
        let (status, text, headers) = send(&router, request(path, "application/x-protobuf", compressed(&body))).await;
        assert_eq!((status, written(&headers)), (expected, ["1", "0", "0"]));
        assert_eq!(
            text,
            "invalid labels: a name occurs twice for series {__name__=\"up\", a=\"2\"}\n\
             out of bounds: timestamp is too far in the future for series {__name__=\"ahead\"}\n"
        );
    }
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let table = [
        (Refusal::OutOfOrder, 400, 409),
        (Refusal::Duplicate, 400, 409),
        (Refusal::TooOld, 400, 409),
        (Refusal::OutOfBounds, 400, 409),
        (Refusal::Histogram(storage::model::HistogramError::InvalidSchema(9)), 400, 400),
        (Refusal::ExemplarOutOfOrder, 204, 409),
        (Refusal::SeriesLimit, 429, 429),
    ];
    for (refusal, prometheus, thanos) in table {
        let router = router(Refusing(refusal.clone()), WriteSettings::default());
        for (path, expected) in [("/api/v1/write", prometheus), ("/api/v1/receive", thanos)] {
            let sent = request(path, "application/x-protobuf", compressed(&one_sample()));
            let (status, _, headers) = send(&router, sent).await;
            assert_eq!(status, expected, "{refusal:?}");
            assert_eq!(headers.contains_key("retry-after"), status == 429);
        }
    }
}

#[tokio::test]
async fn what_may_succeed_later_says_when() {
    let failing = |error| MemoryTarget { error: Some(error), ..MemoryTarget::default() };
    let hanging = MemoryTarget { hangs: true, ..MemoryTarget::default() };
    let table = [
        (failing(WriteError::Unavailable("no space left on device".to_owned())), 503, Some("5")),
        (failing(WriteError::Limit("tenant is above active series limit".to_owned())), 429, Some("5")),
        (failing(WriteError::Internal("x".to_owned())), 500, None),
        (hanging, 503, Some("5")),
    ];
    for (target, expected, retry_after) in table {
        let settings = WriteSettings { timeout: Duration::from_millis(1), ..WriteSettings::default() };
        let settings = if target.hangs { settings } else { WriteSettings::default() };
        let router = router(target, settings);
        let sent = request("/api/v1/write", "application/x-protobuf", compressed(&one_sample()));
        let (status, text, headers) = send(&router, sent).await;
        assert_eq!((status, written(&headers)), (expected, ["0", "0", "0"]), "{text}");
        assert_eq!(headers.get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
    }
}

fn limited(yaml: &str) -> Router {
    let writer =
        Writer::new(Arc::new(MemoryTarget::default()), Arc::new(ManualClock::new(0)), WriteSettings::default());
    writer.set_limits(WriteLimits::from_yaml(yaml, "limits.yaml").unwrap());
    write_router(Arc::new(writer), &[Dialect::Prometheus, Dialect::Thanos])
}

#[tokio::test]
async fn requests_past_a_limit_get_what_thanos_answers() {
    let limits = "write:\n  default:\n    request: {series_limit: 2, samples_limit: 3, size_bytes_limit: 200}\n  tenants:\n    \
                  big: {request: {series_limit: 0, samples_limit: 0, size_bytes_limit: 0}}\n";
    let router = limited(limits);
    let series = |name: &str| v1_series(&[("__name__", name)], 1, 2.0);
    let many: Vec<_> = (0..3).map(|n| series(&n.to_string())).collect();
    // four samples of one series
    let long = ["a"; 2].map(|name| {
        let two = series(name);
        let sample = Message::default().double(1, 1.0).varint(2, 5);
        two.message(2, sample)
    });
    let wide = v1_request([v1_series(&[("__name__", "up"), ("job", &"x".repeat(300))], 1, 2.0)]);
    let table = [
        (v1_request([series("a"), series("b")]), 200, ""),
        (v1_request(many), 413, "too many timeseries\n"),
        (v1_request(long), 413, "too many samples\n"),
        (wide, 413, "write request too large\n"),
    ];
    for (body, expected, said) in table {
        let sent = |tenant: &'static str| {
            let mut sent = request("/api/v1/receive", "application/x-protobuf", compressed(&body));
            sent.headers_mut().insert("thanos-tenant", tenant.parse().unwrap());
            sent
        };
        let (status, text, headers) = send(&router, sent("a")).await;
        assert_eq!((status, text.as_str()), (expected, said));
        assert!(status == 200 || written(&headers) == ["0", "0", "0"]);
        assert_eq!(send(&router, sent("big")).await.0, 200, "{said}");
    }
    // a size that is only declared
    let mut sent = request("/api/v1/receive", "application/x-protobuf", compressed(&one_sample()));
    sent.headers_mut().insert("content-length", "201".parse().unwrap());
    assert_eq!(send(&router, sent).await.0, 413);
    // and one that a block declares, which is not unpacked to see
    let block = [&[0xac, 0x02][..], &[0xff; 20]].concat();
    let (status, text, _) = send(&router, request("/api/v1/receive", "application/x-protobuf", block.clone())).await;
    assert_eq!((status, text.as_str()), (413, "write request too large\n"));
    let mut sent = request("/api/v1/receive", "application/x-protobuf", block);
    sent.headers_mut().insert("thanos-tenant", "big".parse().unwrap());
    assert_eq!(send(&router, sent).await.0, 400);
}

#[tokio::test]
async fn samples_of_version_2_are_counted_too() {
    let router = limited("write: {default: {request: {series_limit: 1, samples_limit: 1}}}");
    let series = || Message::default().bytes(1, &[1, 2]).message(2, Message::default().double(1, 1.0).varint(2, 5));
    for (count, expected) in [(1, 200), (2, 413)] {
        let body = (0..count).fold(v2_symbols(), |body, _| body.message(5, series()));
        assert_eq!(send(&router, request("/api/v1/receive", V2, compressed(&body.0))).await.0, expected);
    }
}

fn v2_symbols() -> Message {
    ["", "__name__", "up"].into_iter().fold(Message::default(), |body, symbol| body.bytes(4, symbol.as_bytes()))
}

#[tokio::test]
async fn labels_are_changed_before_anything_is_asked_of_them() {
    let rules = "- {source_labels: [team], target_label: tenant}\n- {action: labeldrop, regex: team}\n\
                 - {source_labels: [job], regex: noise, action: drop}\n\
                 - {source_labels: [job], regex: nameless, target_label: __name__, replacement: made}\n";
    let relabel = Some(Arc::new(Relabel::from_yaml(rules, "rules.yaml", None).unwrap()));
    let settings = WriteSettings { relabel, split_label: Some("tenant".to_owned()), ..WriteSettings::default() };
    let target = Arc::new(MemoryTarget::default());
    let writer = Writer::new(Arc::clone(&target) as Arc<dyn WriteTarget>, Arc::new(ManualClock::new(0)), settings);
    let router = write_router(Arc::new(writer), &[Dialect::Prometheus]);
    let body = v1_request([
        v1_series(&[("__name__", "up"), ("team", "red")], 1, 2.0),
        v1_series(&[("__name__", "up"), ("job", "noise")], 1, 2.0),
        v1_series(&[("job", "nameless")], 1, 2.0),
    ]);
    let sent = request("/api/v1/write", "application/x-protobuf", compressed(&body));
    let (status, text, headers) = send(&router, sent).await;
    assert_eq!((status, written(&headers)), (204, ["3", "0", "0"]), "{text}");
    let pushed = std::mem::take(&mut target.kept.lock().unwrap().pushed);
    let pushed: Vec<_> = pushed.iter().map(|one| (one.tenant.as_str(), one.labels.to_string())).collect();
    let expected = [("red", "{__name__=\"up\"}"), ("default-tenant", "{__name__=\"made\", job=\"nameless\"}")];
    assert_eq!(pushed, expected.map(|(tenant, labels)| (tenant, labels.to_owned())));
    // a tenant that cannot be, however it came about
    let body = v1_request([v1_series(&[("__name__", "up"), ("team", "../red")], 1, 2.0)]);
    let sent = request("/api/v1/write", "application/x-protobuf", compressed(&body));
    assert_eq!(send(&router, sent).await.0, 400);
}
