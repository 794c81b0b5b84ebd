use std::path::{Path, PathBuf};

use futures::TryStreamExt;

use super::*;
use crate::ManualClock;
use crate::model::Labels;
use crate::side_index::{SideIndexCache, SideIndexSettings};
use crate::store::acceptance::blocks::{block_id, write_block};
use crate::store::acceptance::resolutions::check_resolutions;
use crate::store::acceptance::tests::{upload, write_blocks};
use crate::store::acceptance::{Dataset, DatasetSeries, check_store, read};
use crate::store::{BucketSettings, BucketStore, KeyRange, LocalDirStore};

fn in_memory() -> Arc<SideIndexCache> {
    SideIndexCache::new(SideIndexSettings::default())
}

async fn local(folder: &Path) -> Arc<LocalDirStore> {
    Arc::new(LocalDirStore::open(folder, in_memory()).await.unwrap())
}

async fn bucket(folder: &Path) -> Arc<BucketStore> {
    let store = upload(folder, "").await;
    let bucket = BucketStore::new(store, BucketSettings::default(), in_memory(), Arc::new(ManualClock::new(0)));
    bucket.sync().await.unwrap();
    Arc::new(bucket)
}

/// Blocks in a folder of their own: number, first time and value of `n`, two samples each.
fn folder(root: &Path, name: &str, blocks: &[(u64, i64, &str)]) -> PathBuf {
    let folder = root.join(name);
    std::fs::create_dir(&folder).unwrap();
    for &(number, t, n) in blocks {
        let series =
            vec![DatasetSeries { labels: Labels::from_pairs([("n", n)]), samples: vec![(t, 1.0), (t + 1, 2.0)] }];
        let external = vec![("region".to_owned(), "eu".to_owned())];
        write_block(&folder, block_id(number), &Dataset { series, external }, true);
    }
    folder
}

fn everything() -> SeriesRequest {
    SeriesRequest::new(vec![], TimeInterval::ALL)
}

fn labels_request(limit: Option<usize>) -> LabelRequest {
    LabelRequest { limit, ..LabelRequest::all(vec![], TimeInterval::ALL) }
}

#[tokio::test]
async fn a_block_that_is_local_and_in_the_bucket() {
    let root = tempfile::tempdir().unwrap();
    check_store(|data| {
        let folder = tempfile::tempdir_in(root.path()).unwrap().keep();
        async move {
            let nothing = folder.join("nothing");
            let blocks = folder.join("blocks");
            std::fs::create_dir(&nothing).unwrap();
            write_block(&blocks, block_id(0), &data, true);
            let members: Vec<Arc<dyn Store>> = vec![local(&nothing).await, local(&blocks).await, bucket(&blocks).await];
            Arc::new(UnionStore::new(members)) as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn raw_blocks_in_a_folder_and_downsampled_ones_in_the_bucket() {
    let root = tempfile::tempdir().unwrap();
    check_resolutions(|blocks| {
        let folder = tempfile::tempdir_in(root.path()).unwrap().keep();
        async move {
            let (raw, coarse): (Vec<_>, Vec<_>) =
                blocks.into_iter().partition(|(resolution_ms, _)| *resolution_ms == 0);
            // the bucket has the first raw block too, under the same name
            let in_bucket: Vec<_> = raw[..1].iter().chain(&coarse).cloned().collect();
            write_blocks(&folder.join("local"), &raw);
            write_blocks(&folder.join("bucket"), &in_bucket);
            let members: Vec<Arc<dyn Store>> =
                vec![local(&folder.join("local")).await, bucket(&folder.join("bucket")).await];
            Arc::new(UnionStore::new(members)) as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn parts_come_by_time_and_a_block_once() {
    let root = tempfile::tempdir().unwrap();
    let new = folder(root.path(), "new", &[(3, 300, "c"), (2, 200, "b")]);
    let old = folder(root.path(), "old", &[(1, 100, "a"), (2, 200, "b"), (4, 150, "d")]);
    let local = local(&new).await;
    let union = UnionStore::new(vec![local.clone(), bucket(&old).await]);
    let set = union.series(everything()).await.unwrap();
    let names: Vec<String> = set.parts.iter().map(|part| part.name()).collect();
    assert_eq!(names, [1, 4, 2, 3].map(|n| block_id(n).to_string()));
    assert_eq!(read(&union, everything()).await.unwrap().len(), 4);
    let info = union.info();
    assert_eq!((info.interval, info.external_labels.len()), (TimeInterval::new(100, 301), 1));
    assert_eq!(union.label_names(labels_request(None)).await.unwrap().values, ["n", "region"]);
    assert_eq!(union.label_values("n", labels_request(None)).await.unwrap().values, ["a", "b", "c", "d"]);
    assert_eq!(union.label_values("n", labels_request(Some(3))).await.unwrap().values, ["a", "b", "c"]);
    assert_eq!(union.label_names(labels_request(Some(0))).await.unwrap().values, Vec::<String>::new());

    let nothing = UnionStore::new(Vec::new());
    assert!(nothing.series(everything()).await.unwrap().parts.is_empty());
    assert!(nothing.info().interval.mint > nothing.info().interval.maxt);
}

#[tokio::test]
async fn a_local_block_that_goes_is_read_from_the_bucket() {
    let root = tempfile::tempdir().unwrap();
    let blocks = folder(root.path(), "blocks", &[(1, 100, "a")]);
    let union = UnionStore::new(vec![local(&blocks).await, bucket(&blocks).await]);
    let set = union.series(everything()).await.unwrap();
    std::fs::remove_dir_all(blocks.join(block_id(1).to_string())).unwrap();
    match set.parts[0].stream(KeyRange::ALL).try_next().await {
        Err(Error::BlockGone(block)) => union.refresh(block).await.unwrap(),
        other => panic!("{other:?}"),
    }
    assert_eq!(read(&union, everything()).await.unwrap().len(), 1);

    // gone before it was ever opened
    let more = folder(root.path(), "more", &[(1, 100, "a")]);
    let union = UnionStore::new(vec![local(&more).await, bucket(&more).await]);
    std::fs::remove_dir_all(more.join(block_id(1).to_string())).unwrap();
    assert_eq!(union.label_values("n", labels_request(None)).await.unwrap().values, ["a"]);
    assert_eq!(read(&union, everything()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_member_that_fails_fails_the_request_and_warnings_are_passed_on() {
    let root = tempfile::tempdir().unwrap();
    let good = folder(root.path(), "good", &[(1, 100, "a")]);
    let bad = folder(root.path(), "bad", &[(2, 200, "b")]);
    let meta = bad.join(block_id(2).to_string()).join("meta.json");
    let whole = std::fs::read(&meta).unwrap();
    std::fs::write(&meta, "{").unwrap();
    let damaged = bucket(&bad).await;
    let union = UnionStore::new(vec![local(&good).await, damaged.clone(), damaged]);
    let set = union.series(everything()).await.unwrap();
    assert_eq!((set.parts.len(), set.warnings.len()), (1, 1), "{:?}", set.warnings);
    assert_eq!(union.label_names(labels_request(None)).await.unwrap().warnings, set.warnings);

    std::fs::write(&meta, whole).unwrap();
    let block = bad.join(block_id(2).to_string());
    for file in ["index", "series.parquet", "series.crc"] {
        std::fs::write(block.join(file), "damaged").unwrap();
    }
    let union = UnionStore::new(vec![local(&good).await, bucket(&bad).await]);
    assert!(matches!(union.series(everything()).await, Err(Error::Corrupt { .. })));
    assert!(matches!(union.label_names(labels_request(None)).await, Err(Error::Corrupt { .. })));
}
