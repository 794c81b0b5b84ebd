use std::path::Path;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use super::blocks::{block_id, write_block, write_block_of};
use super::resolutions::{Block, check_resolutions};
use super::*;
use crate::ManualClock;
use crate::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use crate::model::{BlockId, SampleBuffer, TimeRange};
use crate::side_index::{SideIndexCache, SideIndexSettings};
use crate::store::{BlockFiles, BlockStore, BucketSettings, BucketStore, LocalDirStore};

fn in_memory() -> Arc<SideIndexCache> {
    SideIndexCache::new(SideIndexSettings::default())
}

/// Copies a folder into an object store.
pub(crate) async fn upload(folder: &Path, prefix: &str) -> Arc<dyn ObjectStore> {
    let store = InMemory::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let key = format!("{prefix}{}", path.strip_prefix(folder).unwrap().display());
            store.put(&key.into(), std::fs::read(path).unwrap().into()).await.unwrap();
        }
    }
    Arc::new(store)
}

/// Half of the series in each of two blocks, or all in one.
fn write(folder: &Path, data: &Dataset, blocks: usize, side_index: bool) -> Vec<BlockId> {
    let ids: Vec<BlockId> = (0..blocks as u64).map(block_id).collect();
    for (i, &id) in ids.iter().enumerate() {
        let series = data.series.iter().enumerate().filter(|(n, _)| n % blocks == i).map(|(_, s)| s.clone());
        write_block(folder, id, &Dataset { series: series.collect(), external: data.external.clone() }, side_index);
    }
    ids
}

#[tokio::test]
async fn one_local_block() {
    let folder = tempfile::tempdir().unwrap();
    check_store(|data| {
        let folder = tempfile::tempdir_in(folder.path()).unwrap().keep();
        async move {
            let id = write(&folder, &data, 1, true)[0];
            let files = BlockFiles::local(id, folder.join(id.to_string()));
            Arc::new(BlockStore::open(files, in_memory()).await.unwrap()) as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn one_block_with_a_cache_folder() {
    let folder = tempfile::tempdir().unwrap();
    check_store(|data| {
        let folder = tempfile::tempdir_in(folder.path()).unwrap().keep();
        async move {
            let id = write(&folder, &data, 1, false)[0];
            let settings = SideIndexSettings { folder: Some(folder.join("cache")), ..SideIndexSettings::default() };
            let store = upload(&folder, "").await;
            let files = BlockFiles::remote(id, store, id.to_string().into());
            Arc::new(BlockStore::open(files, SideIndexCache::new(settings)).await.unwrap()) as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn a_local_directory() {
    let folder = tempfile::tempdir().unwrap();
    check_store(|data| {
        let folder = tempfile::tempdir_in(folder.path()).unwrap().keep();
        async move {
            write(&folder, &data, 1, false);
            Arc::new(LocalDirStore::open(folder, in_memory()).await.unwrap()) as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn a_bucket_under_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    check_store(|data| {
        let folder = tempfile::tempdir_in(folder.path()).unwrap().keep();
        async move {
            write(&folder, &data, 1, true);
            let store = upload(&folder, "some/prefix/").await;
            let settings = BucketSettings { prefix: "some/prefix".into(), ..BucketSettings::default() };
            let bucket = BucketStore::new(store, settings, in_memory(), Arc::new(ManualClock::new(0)));
            bucket.sync().await.unwrap();
            Arc::new(bucket) as Arc<dyn Store>
        }
    })
    .await;
}

/// Each dataset as a block, named by its resolution and its place among the others.
pub(crate) fn write_blocks(folder: &Path, blocks: &[Block]) {
    for (n, (resolution_ms, data)) in (0..).zip(blocks) {
        write_block_of(folder, block_id(n + resolution_ms.unsigned_abs()), data, *resolution_ms, true);
    }
}

#[tokio::test]
async fn resolutions_of_a_local_directory_and_of_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let make = |bucket: bool| {
        let folder = &folder;
        move |blocks: Vec<Block>| {
            let folder = tempfile::tempdir_in(folder.path()).unwrap().keep();
            async move {
                write_blocks(&folder, &blocks);
                if !bucket {
                    return Arc::new(LocalDirStore::open(folder, in_memory()).await.unwrap()) as Arc<dyn Store>;
                }
                let store = upload(&folder, "").await;
                let clock = Arc::new(ManualClock::new(0));
                let bucket = BucketStore::new(store, BucketSettings::default(), in_memory(), clock);
                bucket.sync().await.unwrap();
                Arc::new(bucket) as Arc<dyn Store>
            }
        }
    };
    check_resolutions(make(false)).await;
    check_resolutions(make(true)).await;
}

#[tokio::test]
async fn tombstones_are_applied() {
    let folder = tempfile::tempdir().unwrap();
    let samples = |n: i64| (0..n).map(|t| (t, t as f64)).collect();
    let one = |text: &str, n| DatasetSeries { labels: labels(text), samples: samples(n) };
    let series = vec![one("n=1", 300), one("n=2", 300), one("n=3", 5)];
    let path = write_block(folder.path(), block_id(0), &Dataset { series, ..Dataset::default() }, true);
    let index = crate::index::IndexReader::try_open(std::fs::read(path.join("index")).unwrap().into(), "b").unwrap();
    let refs = index.postings("", "").unwrap();
    let mut tombstones = crate::block::tombstones::Tombstones::default();
    tombstones.add(refs[1], TimeInterval::new(100, 250));
    tombstones.add(refs[2], TimeInterval::new(0, 2));
    tombstones.add(refs[2], TimeInterval::new(3, i64::MAX));
    std::fs::write(path.join("tombstones"), tombstones.encode()).unwrap();
    let store = LocalDirStore::open(folder.path(), in_memory()).await.unwrap();
    let found = read(&store, SeriesRequest::new(vec![], TimeInterval::ALL)).await.unwrap();
    assert_eq!(found.iter().map(|(l, _)| l.clone()).collect::<Vec<_>>(), [labels("n=1"), labels("n=2")]);
    assert_eq!(found[0].1[0].1.len(), 300);
    let times: Vec<_> = found[1].1[0].1.iter().map(|(t, _)| *t).collect();
    assert_eq!(times, (0..100).chain(251..300).collect::<Vec<_>>());
    let inside = SeriesRequest::new(vec![], TimeInterval::new(130, 200));
    let found = read(&store, inside).await.unwrap();
    assert_eq!(found.iter().map(|(l, _)| l.clone()).collect::<Vec<_>>(), [labels("n=1")]);
    std::fs::write(path.join("tombstones"), b"damaged tombstones").unwrap();
    let store = LocalDirStore::open(folder.path(), in_memory()).await.unwrap();
    match read(&store, SeriesRequest::new(vec![], TimeInterval::ALL)).await {
        Err(crate::Error::Corrupt { file, .. }) => assert_eq!(file, "tombstones"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_block_that_is_gone_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset("", &["n=1", "n=2"]);
    let ids = write(folder.path(), &data, 2, false);
    let store = upload(folder.path(), "").await;
    let bucket =
        BucketStore::new(Arc::clone(&store), BucketSettings::default(), in_memory(), Arc::new(ManualClock::new(0)));
    bucket.sync().await.unwrap();
    for file in ["meta.json", "index", "chunks/000001"] {
        store.delete(&format!("{}/{file}", ids[0]).into()).await.unwrap();
    }
    check_series(&bucket, SeriesRequest::new(vec![], TimeInterval::ALL), "after deletion", &["n=2"]).await;
    assert_eq!(bucket.blocks().len(), 1);
    // known and selected from, then gone: the stream says so, to be tried again
    let set = bucket.series(SeriesRequest::new(vec![], TimeInterval::ALL)).await.unwrap();
    for file in ["meta.json", "index", "chunks/000001"] {
        store.delete(&format!("{}/{file}", ids[1]).into()).await.unwrap();
    }
    match set.parts[0].stream(KeyRange::ALL).try_next().await {
        Err(error @ crate::Error::BlockGone(_)) => assert!(error.is_retryable()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_block_that_fails_fails_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let ids = write(folder.path(), &dataset("", &["n=1", "n=2"]), 2, true);
    let store = upload(folder.path(), "").await;
    store.put(&format!("{}/index", ids[0]).into(), vec![0; 100].into()).await.unwrap();
    let bucket =
        BucketStore::new(Arc::clone(&store), BucketSettings::default(), in_memory(), Arc::new(ManualClock::new(0)));
    bucket.sync().await.unwrap();
    match bucket.series(SeriesRequest::new(vec![], TimeInterval::ALL)).await {
        Err(crate::Error::Corrupt { place, file, .. }) => {
            assert_eq!((place, file), (ids[0].to_string(), "index".into()))
        }
        other => panic!("{other:?}"),
    }
}

/// Syncs, and gives the blocks that are served and those that could not be read, with the file.
async fn synced(bucket: &BucketStore) -> (usize, Vec<(BlockId, &'static str)>) {
    let report = bucket.sync().await.unwrap();
    (bucket.blocks().len(), report.unreadable.iter().map(|(&id, unreadable)| (id, unreadable.file)).collect())
}

#[tokio::test]
async fn a_block_that_cannot_be_looked_at_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let ids = write(folder.path(), &dataset("", &["n=1", "n=2"]), 2, false);
    let store = upload(folder.path(), "").await;
    let meta = std::fs::read(folder.path().join(format!("{}/meta.json", ids[0]))).unwrap();
    let meta_path = format!("{}/meta.json", ids[0]).into();
    store.put(&meta_path, b"{".as_slice().into()).await.unwrap();
    let bucket =
        BucketStore::new(Arc::clone(&store), BucketSettings::default(), in_memory(), Arc::new(ManualClock::new(0)));
    assert_eq!(synced(&bucket).await, (1, vec![(ids[0], "meta.json")]));
    let request = LabelRequest::all(vec![], TimeInterval::ALL);
    for warnings in [
        bucket.series(SeriesRequest::new(vec![], TimeInterval::ALL)).await.unwrap().warnings,
        bucket.label_names(request.clone()).await.unwrap().warnings,
        bucket.label_values("n", request).await.unwrap().warnings,
    ] {
        let expected = format!("block {} is left out: corrupt meta.json of {} at offset ", ids[0], ids[0]);
        assert!(warnings.len() == 1 && warnings[0].starts_with(&expected), "{warnings:?}");
    }
    // what is asked for is younger than the block can be
    let later = SeriesRequest::new(vec![], TimeInterval::new(i64::MAX - 1, i64::MAX));
    assert_eq!(bucket.series(later).await.unwrap().warnings, Vec::<String>::new());
    // mended, it is served
    store.put(&meta_path, meta.into()).await.unwrap();
    assert_eq!(synced(&bucket).await, (2, vec![]));
    check_series(&bucket, SeriesRequest::new(vec![], TimeInterval::ALL), "mended", &["n=1", "n=2"]).await;
}

#[tokio::test]
async fn a_known_block_is_served_as_known() {
    let folder = tempfile::tempdir().unwrap();
    let ids = write(folder.path(), &dataset("", &["n=1", "n=2"]), 2, false);
    let store = upload(folder.path(), "").await;
    let settings = BucketSettings {
        filters: crate::bucket::BlockFilters { deletion_mark_delay_ms: 1_000, ..Default::default() },
        ..BucketSettings::default()
    };
    let clock = Arc::new(ManualClock::new(0));
    let bucket =
        BucketStore::new(Arc::clone(&store), settings, in_memory(), Arc::clone(&clock) as Arc<dyn crate::Clock>);
    assert_eq!(synced(&bucket).await, (2, vec![]));
    let put = async |file: &str, contents: &str| {
        store.put(&format!("{}/{file}", ids[0]).into(), contents.to_owned().into()).await.unwrap();
    };
    put("meta.json", "damaged").await;
    for _ in 0..2 {
        assert_eq!(synced(&bucket).await, (2, vec![(ids[0], "meta.json")]), "also at the next look");
        let set = bucket.series(SeriesRequest::new(vec![], TimeInterval::ALL)).await.unwrap();
        assert_eq!((set.parts.len(), set.warnings), (2, vec![]), "nothing is missing");
    }
    let mark = |time_s: i64| format!(r#"{{"id":"{}","version":1,"deletion_time":{time_s}}}"#, ids[0]);
    put("deletion-mark.json", "damaged").await;
    assert_eq!(bucket.sync().await.unwrap().count(crate::bucket::BlockState::Loaded), 2, "no mark is known");
    put("deletion-mark.json", &mark(0)).await;
    bucket.sync().await.unwrap();
    put("deletion-mark.json", "damaged again").await;
    clock.set(2_000);
    let report = bucket.sync().await.unwrap();
    assert_eq!(report.count(crate::bucket::BlockState::MarkedForDeletion), 1, "the mark is known: {report:?}");
    assert_eq!(bucket.blocks().warnings(TimeInterval::ALL), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_there_holds_nothing() {
    let settings = BucketSettings { prefix: "no/such/folder".into(), ..BucketSettings::default() };
    let bucket = BucketStore::new(Arc::new(InMemory::new()), settings, in_memory(), Arc::new(ManualClock::new(0)));
    assert_eq!(bucket.sync().await.unwrap().count(crate::bucket::BlockState::Loaded), 0);
    let missing = tempfile::tempdir().unwrap().path().join("missing");
    assert!(matches!(LocalDirStore::open(missing, in_memory()).await, Err(crate::Error::Io { .. })));
}

/// A budget of so many bytes, and the most that was ever taken of it.
#[derive(Debug)]
struct Limit {
    all: usize,
    taken: parking_lot::Mutex<(usize, usize)>,
}

impl Limit {
    fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { all, taken: parking_lot::Mutex::default() })
    }
}

impl crate::model::Budget for Limit {
    fn try_grow(&self, bytes: usize) -> Result<(), crate::model::BudgetExceeded> {
        let mut taken = self.taken.lock();
        if bytes > self.all - taken.0 {
            return Err(crate::model::BudgetExceeded(format!("{bytes} bytes")));
        }
        taken.0 += bytes;
        taken.1 = taken.1.max(taken.0);
        Ok(())
    }

    fn shrink(&self, bytes: usize) {
        self.taken.lock().0 -= bytes;
    }
}

/// Reads all that `store` has with `bytes` to spend; gives them back whatever comes.
async fn read_within(store: &dyn Store, bytes: usize) -> (crate::Result<usize>, usize) {
    let limit = Limit::new(bytes);
    let mut request = SeriesRequest::new(vec![], TimeInterval::ALL);
    request.budget = Arc::clone(&limit) as Arc<dyn crate::model::Budget>;
    let found = read(store, request).await.map(|found| found.len());
    let (left, most) = *limit.taken.lock();
    assert_eq!(left, 0);
    (found, most)
}

#[tokio::test]
async fn memory_past_the_budget_is_refused_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &dataset("", &["n=1", "n=2"]), 1, true);
    let store = LocalDirStore::open(folder.path(), in_memory()).await.unwrap();
    for bytes in [0, 100, 1_000, 1 << 20] {
        match read_within(&store, bytes).await.0 {
            Ok(found) => assert_eq!((found, bytes), (2, 1 << 20)),
            Err(error) => assert!(matches!(error, crate::Error::Budget(_)) && bytes < 1 << 20, "{error}"),
        }
    }
}

/// The last chunk of a segment has no known length. One that is longer than the guess is read again.
#[tokio::test]
async fn a_chunk_longer_than_guessed_is_reserved_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let meta = BlockMeta::new(block_id(0), TimeRange { mint: 0, maxt: 100_000 });
    let mut samples = SampleBuffer::new();
    (0_i32..20_000).for_each(|t| samples.push_float(i64::from(t), f64::from(t).sin()));
    let chunks = crate::chunk::encode_series(&samples, usize::from(u16::MAX)).unwrap();
    let [chunk] = &chunks[..] else { panic!("{} chunks", chunks.len()) };
    let mut writer = BlockWriter::create(folder.path(), meta, BlockWriterSettings::default()).unwrap();
    writer.push(&labels("n=1"), [ChunkPayload::from(chunk)]).unwrap();
    writer.finish().unwrap();
    let store = LocalDirStore::open(folder.path(), in_memory()).await.unwrap();

    let (found, most) = read_within(&store, 1 << 30).await;
    assert_eq!(found.unwrap(), 1);
    assert!(most > chunk.data.len() + 16_000, "{most} bytes reserved for a chunk of {}", chunk.data.len());
    let (found, less) = read_within(&store, most - 1).await;
    assert!(matches!(found, Err(crate::Error::Budget(_))), "{found:?}");
    assert!(less < chunk.data.len(), "{less} bytes reserved before the chunk was");
}
