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
