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
