//! Real blocks, written by Prometheus and Thanos, through every store.

use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::local::LocalFileSystem;

use super::*;
use crate::ManualClock;
use crate::chunk::decode;
use crate::model::{Labels, Matcher, SampleBuffer, TimeInterval};
use crate::schema::SeriesColumns;
use crate::side_index::{SideIndexCache, SideIndexSettings};

/// The folder of golden data, unless it is not there.
pub(super) fn golden(folder: &str) -> Option<PathBuf> {
    let Ok(shared) = std::env::var("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return None;
    };
    Some(PathBuf::from(shared).join("golden").join(folder))
}

pub(super) fn cache() -> Arc<SideIndexCache> {
    SideIndexCache::new(SideIndexSettings::default())
}

/// One part's series: labels, chunks, samples.
pub(super) async fn read(part: &dyn SeriesPart) -> (Vec<Labels>, usize, usize) {
    let batches: Vec<_> = part.stream(KeyRange::ALL).try_collect().await.unwrap();
    let (mut labels, mut chunks, mut samples) = (Vec::new(), 0, SampleBuffer::new());
    for batch in &batches {
        let columns = SeriesColumns::try_new(batch).unwrap();
        labels.extend(columns.labels.iter().flatten().map(Labels::from_key));
        chunks += columns.mint.len();
        for i in 0..columns.mint.len() {
            decode(columns.encoding.value(i), columns.data.value(i), TimeInterval::ALL, &mut samples).unwrap();
        }
    }
    assert!(labels.is_sorted());
    (labels, chunks, samples.len())
}

#[tokio::test]
async fn a_bucket_of_golden_blocks_is_read_whole() {
    let Some(path) = golden("bucket") else { return };
    for local_root in [None, Some(path.clone())] {
        let store = Arc::new(LocalFileSystem::new_with_prefix(&path).unwrap());
        let settings = BucketSettings { local_root, ..BucketSettings::default() };
        let bucket = BucketStore::new(store, settings, cache(), Arc::new(ManualClock::new(i64::MAX / 2)));
        let report = bucket.sync().await.unwrap();
        assert_eq!(report.count(crate::bucket::BlockState::Loaded), 30);
        let request = SeriesRequest::new(vec![], TimeInterval::ALL);
        let set = bucket.series(request).await.unwrap();
        assert_eq!(set.parts.len(), 30);
        for part in &set.parts {
            let block = bucket.blocks();
            let stats = block.get(part.name().parse().unwrap()).unwrap().meta().stats;
            let (labels, chunks, samples) = read(part.as_ref()).await;
            assert_eq!(
                (labels.len() as u64, chunks as u64, samples as u64),
                (stats.num_series, stats.num_chunks, stats.num_samples)
            );
        }
    }
}

#[tokio::test]
async fn a_prometheus_directory_is_read() {
    let Some(path) = golden("prometheus") else { return };
    let store = LocalDirStore::open(path, cache()).await.unwrap();
    let mut request = SeriesRequest::new(vec![Matcher::equal("__name__", "up")], TimeInterval::ALL);
    let set = store.series(request.clone()).await.unwrap();
    assert_eq!(set.parts.len(), 6);
    let before = read(set.parts[0].as_ref()).await;
    request.with_external_labels = false;
    let set = store.series(request).await.unwrap();
    assert_eq!(read(set.parts[0].as_ref()).await, before);
    assert!(before.0.iter().all(|labels| labels.get("__name__").as_deref() == Some("up")));
}

#[tokio::test]
async fn split_ranges_make_up_the_whole() {
    let Some(path) = golden("prometheus") else { return };
    let store = LocalDirStore::open(path, cache()).await.unwrap();
    let set = store.series(SeriesRequest::new(vec![], TimeInterval::ALL)).await.unwrap();
    let part = &set.parts[0];
    let points = part.split_points(4);
    assert_eq!(points.len(), 3);
    let mut keys = Vec::new();
    for range in KeyRange::between(&points) {
        let batches: Vec<_> = part.stream(range).try_collect().await.unwrap();
        for batch in batches {
            keys.extend(SeriesColumns::try_new(&batch).unwrap().labels.iter().flatten().map(Labels::from_key));
        }
    }
    assert_eq!(keys, read(part.as_ref()).await.0);
}

/// The fields of a protobuf message: number, and varint or bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if *byte < 0x80 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let (value, bytes) = match tag & 7 {
            0 => (varint(&mut message), &[][..]),
            2 => {
                let len = usize::try_from(varint(&mut message)).unwrap();
                let (bytes, rest) = message.split_at(len);
                message = rest;
                (0, bytes)
            }
            1 => {
                message = &message[8..];
                (0, &[][..])
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, value, bytes));
    }
    found
}

fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|b| *b != b'=') {
        bits = bits << 6 | u32::try_from(alphabet.iter().position(|a| *a == byte).unwrap()).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn request_of(message: &[u8]) -> SeriesRequest {
    use crate::model::MatchOp;
    let mut matchers = Vec::new();
    let (mut mint, mut maxt, mut drop, mut skip) = (0, 0, Vec::new(), false);
    for (field, value, bytes) in fields(message) {
        match field {
            1 => mint = value.cast_signed(),
            2 => maxt = value.cast_signed(),
            3 => {
                let (mut op, mut name, mut pattern) = (MatchOp::Equal, String::new(), String::new());
                for (field, value, bytes) in fields(bytes) {
                    match field {
                        1 => {
                            op = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]
                                [usize::try_from(value).unwrap()];
                        }
                        2 => name = text(bytes),
                        _ => pattern = text(bytes),
                    }
                }
                matchers.push(Matcher::try_new(op, name, pattern).unwrap());
            }
            8 => skip = value != 0,
            14 => drop.push(text(bytes)),
            _ => {}
        }
    }
    let mut request = SeriesRequest::new(matchers, TimeInterval::new(mint, maxt));
    request.drop_labels = drop.into();
    request.skip_chunks = skip;
    request
}

#[tokio::test]
async fn series_come_in_the_order_in_which_thanos_sends_them() {
    let Some(path) = golden("order") else { return };
    let packed = std::fs::File::open(path.join("storeapi.jsonl.gz")).unwrap();
    let calls = std::io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap();
    let store = Arc::new(LocalFileSystem::new_with_prefix(path.join("bucket")).unwrap());
    let clock = Arc::new(ManualClock::new(i64::MAX / 2));
    let bucket = BucketStore::new(store, BucketSettings::default(), cache(), clock);
    bucket.sync().await.unwrap();
    let mut compared = 0;
    for call in calls.lines() {
        let call: serde_json::Value = serde_json::from_str(call).unwrap();
        if call["method"] != "/thanos.Store/Series" || call["server"] != "store" {
            continue;
        }
        let mut expected: Vec<Labels> = Vec::new();
        for frame in call["frames"].as_array().unwrap() {
            for (_, _, series) in fields(&base64(frame.as_str().unwrap())).iter().filter(|field| field.0 == 1) {
                let pairs = fields(series).into_iter().filter(|field| field.0 == 1).map(|(_, _, label)| {
                    let label = fields(label);
                    let get = |n: u64| label.iter().find(|field| field.0 == n).map(|field| text(field.2));
                    (get(1).unwrap_or_default(), get(2).unwrap_or_default())
                });
                expected.push(Labels::from_pairs(pairs));
            }
        }
        expected.dedup();
        let request = request_of(&base64(call["request"].as_str().unwrap()));
        let found = acceptance::read(&bucket, request).await.unwrap();
        let mut found: Vec<Labels> = found.into_iter().map(|(labels, _)| labels).collect();
        found.dedup();
        assert_eq!(found, expected, "{}", call["name"]);
        compared += usize::from(!expected.is_empty());
    }
    assert!(compared > 3, "{compared} calls were compared");
}
