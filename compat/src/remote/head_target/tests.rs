use std::collections::BTreeMap;
use std::path::Path;

use axum::body::Body;
use futures::TryStreamExt;
use http::Request;
use storage::ManualClock;
use storage::chunk;
use storage::head::{HeadSettings, HistogramValue};
use storage::model::{Labels, MatchOp, Matcher, SampleBuffer, TimeInterval};
use storage::schema::SeriesColumns;
use storage::store::{KeyRange, SeriesRequest, Store};
use tower::ServiceExt;

use super::*;
use crate::remote::testing::{MemoryTarget, v1_request, v1_series};
use crate::remote::{Dialect, WriteSettings, Writer, write_router};

/// The floats of each series by time, a histogram's sum among them, as bits.
type Samples = BTreeMap<Labels, BTreeMap<i64, (u64, Option<f64>)>>;

fn empty_head() -> Arc<Head> {
    let settings = HeadSettings { tenant_label: String::new(), ..HeadSettings::default() };
    Arc::new(Head::new(settings, Arc::new(ManualClock::new(i64::MAX / 2))))
}

async fn send(target: Arc<dyn WriteTarget>, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let settings = WriteSettings { ahead_max: None, ..WriteSettings::default() };
    let writer = Writer::new(target, Arc::new(ManualClock::new(0)), settings);
    let router = write_router(Arc::new(writer), &[Dialect::Prometheus, Dialect::Thanos]);
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(text.to_vec()).unwrap())
}

async fn held(head: &Head) -> Samples {
    let all = Matcher::try_new(MatchOp::NotEqual, "__name__", "").unwrap();
    let set = head.series(SeriesRequest::new(vec![all], TimeInterval::ALL)).await.unwrap();
    let mut samples = Samples::new();
    for part in set.parts {
        let batches: Vec<_> = part.stream(KeyRange::ALL).try_collect().await.unwrap();
        for batch in &batches {
            let columns = SeriesColumns::try_new(batch).unwrap();
            for row in 0..batch.num_rows() {
                let mut decoded = SampleBuffer::new();
                for at in columns.chunk_range(row) {
                    let (encoding, data) = (columns.encoding.value(at), columns.data.value(at));
                    chunk::decode(encoding, data, TimeInterval::ALL, &mut decoded).unwrap();
                }
                let series = samples.entry(Labels::from_key(columns.labels.value(row))).or_default();
                for (i, t) in decoded.timestamps.iter().enumerate() {
                    let count = decoded.histogram(i).map(|histogram| histogram.count);
                    series.insert(*t, (decoded.floats[i].to_bits(), count));
                }
            }
        }
    }
    samples
}

#[tokio::test]
async fn what_prometheus_sends_is_what_the_head_holds() {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    for (version, bodies) in [("v1", 4), ("v2", 4)] {
        let (kept, head) = (Arc::new(MemoryTarget::default()), empty_head());
        for body in 0..bodies {
            let folder = Path::new(&shared).join("golden/remote-write").join(version);
            let headers = std::fs::read(folder.join(format!("{body:03}.headers.json"))).unwrap();
            let headers: BTreeMap<String, String> = serde_json::from_slice(&headers).unwrap();
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let body = std::fs::read(folder.join(format!("{body:03}.body"))).unwrap();
            let target = Arc::new(HeadTarget(Arc::clone(&head)));
            let (status, text) =
                send(Arc::clone(&kept) as Arc<dyn WriteTarget>, "/api/v1/write", &headers, body.clone()).await;
            assert_eq!((status, text.as_str()), (204, ""));
            // a request that is sent again changes nothing
            for _ in 0..2 {
                let target = Arc::clone(&target) as Arc<dyn WriteTarget>;
                let (status, text) = send(target, "/api/v1/write", &headers, body.clone()).await;
                assert_eq!((status, text.as_str()), (204, ""));
            }
        }
        let mut expected = Samples::new();
        for pushed in &kept.kept.lock().unwrap().pushed {
            let series = expected.entry(pushed.labels.clone()).or_default();
            series.extend(pushed.floats.iter().map(|sample| (sample.t, (sample.value.to_bits(), None))));
            series.extend(pushed.histograms.iter().map(|sample| {
                let (sum, count) = match &sample.histogram {
                    HistogramValue::Integer(histogram) => (histogram.sum, histogram.to_float().count),
                    HistogramValue::Float(histogram) => (histogram.sum, histogram.count),
                };
                let stale = storage::model::is_stale_nan(sum);
                (sample.t, (sum.to_bits(), (!stale).then_some(count)))
            }));
        }
        assert!(expected.values().map(BTreeMap::len).sum::<usize>() > 2_000);
        assert_eq!(held(&head).await, expected);
    }
}

#[tokio::test]
async fn what_contradicts_earlier_samples_is_told() {
    let head = empty_head();
    let labels = [("__name__", "up"), ("job", "a")];
    let compressed = |t, value| {
        let body = v1_request([v1_series(&labels, t, value)]);
        snap::raw::Encoder::new().compress_vec(&body).unwrap()
    };
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    for (path, t, value, expected) in [
        ("/api/v1/write", 10_000, 1.0, 204),
        ("/api/v1/write", 10_000, 1.0, 204),
        ("/api/v1/write", 10_000, 2.0, 400),
        ("/api/v1/receive", 10_000, 2.0, 409),
        ("/api/v1/receive", 9_000, 2.0, 409),
        ("/api/v1/receive", 20_000, 2.0, 200),
    ] {
        let target = Arc::new(HeadTarget(Arc::clone(&head))) as Arc<dyn WriteTarget>;
        let (status, text) = send(target, path, &headers, compressed(t, value)).await;
        assert_eq!(status, expected, "{path} {t} {value}: {text}");
        if expected >= 400 {
            assert!(text.contains("for series {__name__=\"up\", job=\"a\"}"), "{text}");
        }
    }
}
