use std::path::PathBuf;

use axum::http::{HeaderMap, Request};
use engine::{Deduplication, EngineFeatures, EngineSettings, ProcessPool};
use http_body_util::BodyExt;
use promql::ParseOptions;
use storage::head::{HistogramValue, SeriesWrite};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::LocalDirStore;
use storage::{Clock, ManualClock};
use tower::ServiceExt;

use super::*;
use crate::remote::series::{Admission, Output};
use crate::remote::target::{SeriesSink, Tally};
use crate::remote::testing::Message;
use crate::remote::wire::{Fields, Value};
use crate::remote::{federate_router, read_router, v1};
use samples::SampleValue;

/// Blocks of Prometheus's, as one directory.
async fn reader(settings: ReadSettings) -> Arc<Reader> {
    let golden = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/bucket"));
    let cache = SideIndexCache::new(SideIndexSettings::default());
    let store: Arc<dyn Store> = Arc::new(LocalDirStore::open(golden, cache).await.unwrap());
    let settings_of_engine = EngineSettings {
        lookback_ms: 300_000,
        timeout: Duration::from_secs(60),
        max_samples: 0,
        memory: ProcessPool::new(1 << 30),
        partitions: 1,
        replica_labels: vec![],
        deduplication: Deduplication::Penalty,
        default_subquery_step_ms: 60_000,
        parse: ParseOptions::experimental(),
        features: EngineFeatures::default(),
        compute: None,
    };
    let engine = Engine::new(Arc::clone(&store), settings_of_engine);
    Arc::new(Reader::new(Arc::new(engine), store, settings))
}

fn request(matchers: &[(u64, &str, &str)], interval: TimeInterval, types: &[u64]) -> Vec<u8> {
    let query = Message::default().varint(1, interval.mint.cast_unsigned()).varint(2, interval.maxt.cast_unsigned());
    let query = matchers.iter().fold(query, |query, (op, name, value)| {
        query.message(3, Message::default().varint(1, *op).bytes(2, name.as_bytes()).bytes(3, value.as_bytes()))
    });
    Message::default().message(1, query).packed(2, types).0
}

async fn ask(reader: &Arc<Reader>, request: &[u8]) -> (u16, HeaderMap, Vec<u8>) {
    let body = snap::raw::Encoder::new().compress_vec(request).unwrap();
    let request = Request::post("/api/v1/read").body(Body::from(body)).unwrap();
    let response = read_router(Arc::clone(reader)).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

type Row = (Labels, i64, String);

/// Collects what it gets as text, sample by sample.
#[derive(Default)]
struct Rows(Vec<Row>);

impl SeriesSink for Rows {
    fn push(&mut self, _tenant: &str, series: &SeriesWrite<'_>, _tally: &mut Tally) {
        let labels = Labels::from_pairs(series.labels.iter().copied());
        let text = |h: &HistogramValue| match h {
            HistogramValue::Integer(h) => format!("{h:?}"),
            HistogramValue::Float(h) => format!("{h:?}"),
        };
        self.0.extend(series.floats.iter().map(|s| (labels.clone(), s.t, format!("{:x}", s.value.to_bits()))));
        self.0.extend(series.histograms.iter().map(|h| (labels.clone(), h.t, text(&h.histogram))));
    }
}

/// The samples of a `ReadResponse`, whose results have the layout of a write request.
fn rows_of_samples(body: &[u8]) -> Vec<Row> {
    let message = decompress(body, 1 << 30).unwrap();
    let admission =
        Admission { tenant: "t".to_owned(), split_label: None, latest: i64::MAX, name_required: true, relabel: None };
    let (mut rows, mut tally) = (Rows::default(), Tally::default());
    let mut fields = Fields::new(&message);
    while let Some((number, value)) = fields.next().unwrap() {
        assert_eq!(number, 1);
        let mut out = Output { admission: &admission, sink: &mut rows, tally: &mut tally };
        v1::visit(value.bytes("results").unwrap(), &mut out).unwrap();
    }
    assert_eq!(tally.reasons(), "");
    rows.0.sort();
    rows.0
}

/// The samples of a stream of chunks, checked frame by frame.
fn rows_of_stream(mut body: &[u8], interval: TimeInterval) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut last_labels = Labels::default();
    while !body.is_empty() {
        let framed: Vec<u8> = [&[0x0a][..], &body[..body.len().min(10)]].concat();
        let (len, width) = framed[1..].iter().take(10).enumerate().fold((0_u64, 0), |(len, width), (i, byte)| {
            if width > 0 {
                return (len, width);
            }
            (len | u64::from(byte & 0x7f) << (7 * i), if *byte < 0x80 { i + 1 } else { 0 })
        });
        let (head, rest) = body.split_at(width + 4);
        let (message, rest) = rest.split_at(usize::try_from(len).unwrap());
        body = rest;
        assert_eq!(head[width..], crc32c::crc32c(message).to_be_bytes());
        let mut fields = Fields::new(message);
        let Some((1, Value::Bytes(series))) = fields.next().unwrap() else { panic!("chunked_series") };
        let (mut pairs, mut fields) = (Vec::new(), Fields::new(series));
        let mut ends = i64::MIN;
        while let Some((number, value)) = fields.next().unwrap() {
            let parts: Vec<_> = {
                let (mut inner, mut parts) = (Fields::new(value.bytes("x").unwrap()), Vec::new());
                while let Some(part) = inner.next().unwrap() {
                    parts.push(part);
                }
                parts
            };
            let bytes = |field: u32| parts.iter().find(|(n, _)| *n == field).map(|(_, v)| v.bytes("x").unwrap());
            let int = |field: u32| parts.iter().find(|(n, _)| *n == field).map_or(0, |(_, v)| v.int("x").unwrap());
            if number == 1 {
                let text = |field| String::from_utf8(bytes(field).unwrap().to_vec()).unwrap();
                pairs.push((text(1), text(2)));
                continue;
            }
            let labels = Labels::from_pairs(pairs.iter().map(|(name, value)| (name, value)));
            assert!(labels >= last_labels, "series are sorted");
            last_labels = labels.clone();
            assert!(int(1) > ends, "chunks do not overlap");
            ends = int(2);
            let encoding = u8::try_from(int(3)).unwrap();
            for (t, value) in samples::decode_payload(encoding, bytes(4).unwrap(), interval).unwrap() {
                let text = match value {
                    SampleValue::Float(value) => format!("{:x}", value.to_bits()),
                    SampleValue::Integer(h) => format!("{h:?}"),
                    SampleValue::FloatHistogram(h) => format!("{h:?}"),
                };
                rows.push((labels.clone(), t, text));
            }
        }
    }
    rows.sort();
    rows
}

#[tokio::test]
async fn both_types_of_response_hold_the_same_samples() {
    let reader = reader(ReadSettings::default()).await;
    let all = [(2, "__name__", "up|.*_seconds")];
    let (status, headers, body) = ask(&reader, &request(&all, TimeInterval::ALL, &[])).await;
    assert_eq!(
        (status, &headers["content-type"], &headers["content-encoding"]),
        (200, &HeaderValue::from_static("application/x-protobuf"), &HeaderValue::from_static("snappy"))
    );
    let samples = rows_of_samples(&body);
    assert!(samples.len() > 1_000 && samples.iter().any(|(_, _, text)| text.starts_with("Histogram")));
    let (status, headers, body) = ask(&reader, &request(&all, TimeInterval::ALL, &[7, 1, 0])).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (200, &HeaderValue::from_static("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"))
    );
    assert!(samples == rows_of_stream(&body, TimeInterval::ALL));

    let middle = samples[samples.len() / 2].1;
    let some = TimeInterval::new(middle - 60_000, middle);
    let (_, _, body) = ask(&reader, &request(&all, some, &[0])).await;
    let within: Vec<_> = samples.into_iter().filter(|(_, t, _)| some.contains(*t)).collect();
    assert!(within == rows_of_samples(&body) && !within.is_empty());
    let (_, _, body) = ask(&reader, &request(&all, some, &[1])).await;
    assert!(within == rows_of_stream(&body, some));
}

#[tokio::test]
async fn small_frames_hold_the_same_chunks() {
    let all = [(0, "__name__", "up")];
    let settings = ReadSettings { frame_bytes: 1, ..ReadSettings::default() };
    let (_, _, small) = ask(&reader(settings).await, &request(&all, TimeInterval::ALL, &[1])).await;
    let (_, _, large) = ask(&reader(ReadSettings::default()).await, &request(&all, TimeInterval::ALL, &[1])).await;
    assert!(small.len() > large.len());
    assert!(rows_of_stream(&small, TimeInterval::ALL) == rows_of_stream(&large, TimeInterval::ALL));
}

#[tokio::test]
async fn what_cannot_be_answered_has_a_status() {
    let limited = reader(ReadSettings { sample_limit: 10, ..ReadSettings::default() }).await;
    let all = request(&[(3, "__name__", "")], TimeInterval::ALL, &[]);
    let (status, _, body) = ask(&limited, &all).await;
    assert_eq!((status, body.as_slice()), (400, b"exceeded sample limit (10)\n".as_slice()));
    let reader = reader(ReadSettings::default()).await;
    for bad in [
        request(&[(2, "a", "(")], TimeInterval::ALL, &[]),
        request(&[(9, "a", "b")], TimeInterval::ALL, &[]),
        request(&[], TimeInterval::ALL, &[7]),
        vec![0x0a, 9],
        vec![0x08, 1],
    ] {
        assert_eq!(ask(&reader, &bad).await.0, 400);
    }
    let nothing = request(&[(0, "__name__", "no such")], TimeInterval::ALL, &[]);
    let (status, _, body) = ask(&reader, &nothing).await;
    assert_eq!((status, decompress(&body, 100)), (200, Ok(vec![0x0a, 0])));
}

#[tokio::test]
async fn overlapping_chunks_are_merged() {
    let reader = reader(ReadSettings::default()).await;
    let matcher = Matcher::equal("__name__", "up");
    let set = reader.select(&TenantScope::All, vec![matcher.clone()], TimeInterval::ALL).await.unwrap();
    let mut once = SeriesMerge::new(&set.parts);
    let twice: Vec<_> = set.parts.iter().chain(&set.parts).cloned().collect();
    let mut twice = SeriesMerge::new(&twice);
    let mut count = 0;
    while let Some(series) = once.next().await.unwrap() {
        let same = twice.next().await.unwrap().unwrap();
        assert_eq!((&same.key, same.chunks.len()), (&series.key, series.chunks.len()));
        let doubled: Vec<_> = series.chunks.iter().flat_map(|chunk| [chunk.clone(), chunk.clone()]).collect();
        let samples = decode(&series.chunks, TimeInterval::ALL).unwrap();
        assert_eq!(decode(&doubled, TimeInterval::ALL).unwrap(), samples);
        let merged = frames_of(&Series { key: series.key, chunks: doubled }, TimeInterval::ALL, 0, 1 << 20).unwrap();
        assert_eq!(rows_of_stream(&merged.concat(), TimeInterval::ALL).len(), samples.len());
        count += 1;
    }
    assert!(count > 0 && twice.next().await.unwrap().is_none());
}

#[tokio::test]
async fn federation_shows_the_newest_samples() {
    let reader = reader(ReadSettings::default()).await;
    let mut merge = SeriesMerge::new(&reader.select(&TenantScope::All, vec![], TimeInterval::ALL).await.unwrap().parts);
    let chunks = merge.next().await.unwrap().unwrap().chunks;
    let now = chunks.last().unwrap().interval().maxt;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(now));
    let router = federate_router(reader, clock, 300_000, ParseOptions::experimental());
    let ask = async |uri: &str| {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    };
    let (status, text) = ask("/federate?match[]=up&match[]=%7B__name__%3D%22up%22%7D").await;
    assert_eq!(status, 200);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("# TYPE up untyped"));
    let samples: Vec<_> = lines.collect();
    assert!(!samples.is_empty() && samples.iter().all(|line| line.starts_with("up{")), "{text}");
    assert_eq!(ask("/federate").await, (200, String::new()));
    assert_eq!(ask("/federate?match[]=up%7B").await.0, 400);
}
