//! How little of a large side-index a query reads, and that no damage passes for data.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;

use super::*;
use crate::block::BlockMeta;
use crate::model::{BlockId, Labels, Matcher, TimeInterval, TimeRange};
use crate::store::acceptance::blocks::{block_id, write_block};
use crate::store::acceptance::{Dataset, DatasetSeries, read};
use crate::store::{BlockFiles, BlockStore, LabelRequest, SeriesRequest, Store};

/// Counts the bytes that are read of each file.
#[derive(Debug, Default)]
struct CountingStore {
    inner: InMemory,
    read: Mutex<BTreeMap<String, u64>>,
}

impl CountingStore {
    fn bytes_of(&self, file: &str) -> u64 {
        self.read.lock().get(file).copied().unwrap_or(0)
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountingStore")
    }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        if !head {
            let file = location.filename().unwrap_or_default().to_owned();
            *self.read.lock().entry(file).or_default() += result.range.end - result.range.start;
        }
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Series of 500 metrics with 2,000 series each, six labels a series.
fn write_large(metrics: usize) -> (Vec<u8>, Vec<u64>) {
    let key = |key: &mut String, metric: usize, i: usize| {
        use crate::model::label_key::push_pair;
        use std::fmt::Write;
        key.clear();
        let mut value = String::new();
        let mut pair = |name: &str, prefix: &str, v: usize, width: usize| {
            value.clear();
            write!(value, "{prefix}{v:0width$}").unwrap();
            push_pair(key, name, &value);
        };
        pair("__name__", "metric_with_a_name_of_usual_length_", metric, 4);
        pair("instance", "10.0.0.", i / 20 % 50, 2);
        pair("job", "job-", i / 100 % 10, 1);
        pair("namespace", "namespace-", i / 50 % 20, 2);
        pair("path", "/api/v1/", i % 20, 2);
        pair("pod", "api-server-", i / 4 * 7_919 % 100_003, 6);
    };
    let mut counts = NameCounts::default();
    let mut labels = String::new();
    (0..1_000).for_each(|i| {
        key(&mut labels, 0, i);
        counts.observe(&labels);
    });
    let mut out = Vec::new();
    let mut writer = SideIndexWriter::try_new(&mut out, &counts).unwrap();
    // scrapes of different targets at different instants, chunks of different sizes
    let (mut random, mut chunk_ref, mut row) = (88_172_645_463_325_252_u64, 8, 0);
    for metric in 0..metrics {
        for i in 0..2_000 {
            key(&mut labels, metric, i);
            let mut chunk = |n: i64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let mint = 1_700_000_000_000 + n * 1_800_000 + i64::try_from(random % 15_000).unwrap();
                chunk_ref += 60 + random % 200;
                ChunkSpan { mint, maxt: mint + 1_785_000, chunk_ref, span: 0 }
            };
            writer.write(&labels, row * 4 + 100, &[chunk(0), chunk(1), chunk(2)]).unwrap();
            row += 1;
        }
    }
    let ends = writer.finish().unwrap();
    (out, ends)
}

fn block_in(store: Arc<dyn ObjectStore>) -> BlockStore {
    let meta = BlockMeta::new(block_id(0), TimeRange { mint: 0, maxt: i64::MAX });
    let files = BlockFiles::remote(block_id(0), store, Path::from(block_id(0).to_string()));
    BlockStore::new(files, Arc::new(meta), SideIndexCache::new(SideIndexSettings::default()))
}

#[tokio::test]
async fn one_metric_of_a_million_series_reads_under_one_percent() {
    let store = Arc::new(CountingStore::default());
    let started = std::time::Instant::now();
    let (contents, ends) = write_large(500);
    eprintln!("wrote {} bytes in {:?}", contents.len(), started.elapsed());
    let size = contents.len() as u64;
    let identity = IndexIdentity { size: 5, toc_crc: 1 };
    let sums = checksums_of(&contents, ends, identity).unwrap();
    // an index that cannot be read: whoever tried would fail
    let files = [(SIDE_INDEX_FILE, contents), (CHECKSUM_FILE, sums.encode()), ("index", vec![0; 5])];
    for (file, bytes) in files {
        let key = Path::from(format!("{}/{file}", block_id(0)));
        store.put(&key, bytes.into()).await.unwrap();
    }
    let block = block_in(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let matchers = vec![Matcher::equal("__name__", "metric_with_a_name_of_usual_length_0321")];
    let set = block.series(SeriesRequest::new(matchers, TimeInterval::ALL)).await.unwrap();
    assert_eq!(set.parts[0].series_count(), 2_000);
    let read = store.bytes_of(SIDE_INDEX_FILE);
    eprintln!("read {read} of {size} bytes, of which {} to open it", sums.tail().end - sums.tail().start);
    assert!(read * 100 < size, "{read} of {size} bytes were read");
    assert_eq!(store.bytes_of("index"), 0);
}

/// One row group of series whose `pod` ascends with the rows, and which the first lacks; one whose series have `n` instead,
/// and every other one a `pod` of another name.
fn write_clustered() -> (Vec<Labels>, Vec<u8>, Vec<u64>) {
    let series = |i: usize| match i {
        0 => Labels::from_pairs([("__name__", "a"), ("job", "x")]),
        _ if i < schema::ROW_GROUP_ROWS => Labels::from_pairs([("__name__", "b"), ("pod", &format!("pod-{i:06}"))]),
        _ if i.is_multiple_of(2) => Labels::from_pairs([("__name__", "c"), ("n", &i.to_string())]),
        _ => Labels::from_pairs([("__name__", "c"), ("n", &i.to_string()), ("pod", &format!("web-{i}"))]),
    };
    let all: Vec<Labels> = (0..schema::ROW_GROUP_ROWS + 3_000).map(series).collect();
    let mut counts = NameCounts::default();
    all.iter().for_each(|labels| counts.observe(labels.as_key()));
    let mut out = Vec::new();
    let mut writer = SideIndexWriter::try_new(&mut out, &counts).unwrap();
    for (row, labels) in (0..).zip(&all) {
        let chunk = ChunkSpan { mint: 1, maxt: 2, chunk_ref: 8 + row * 10, span: 0 };
        writer.write(labels.as_key(), row, &[chunk]).unwrap();
    }
    let ends = writer.finish().unwrap();
    (all, out, ends)
}

#[tokio::test]
async fn row_groups_are_ruled_out_by_the_bounds_of_every_label() {
    let (all, contents, ends) = write_clustered();
    let sums = checksums_of(&contents, ends, IndexIdentity { size: 5, toc_crc: 1 }).unwrap();
    let files = vec![(SIDE_INDEX_FILE.to_owned(), contents.into()), (CHECKSUM_FILE.to_owned(), sums.encode().into())];
    let source = VerifiedSource::open(BlockFiles::memory(block_id(0), files)).await.unwrap().unwrap();
    let index = SideIndex::open(source).await.unwrap();
    assert!(index.has_column("pod") && !index.has_column("job"));
    // what the matcher selects of all, and the bytes that it took
    let scan = async |op, name: &str, value: &str| {
        let matcher = Matcher::try_new(op, name, value).unwrap();
        let before = index.bytes_read();
        let mut found = Vec::new();
        let visit = |batch: &arrow::array::RecordBatch| {
            let keys = column(batch, schema::LABELS)?;
            let keys = arrow::array::AsArray::as_string::<i32>(keys);
            found.extend(keys.iter().flatten().map(str::to_owned));
            Ok(())
        };
        index.scan(std::slice::from_ref(&matcher), None, &[schema::LABELS], visit).await.unwrap();
        let passes = |labels: &&Labels| matcher.matches(&labels.get(name).unwrap_or_default());
        let expected: Vec<&str> = all.iter().filter(passes).map(Labels::as_key).collect();
        assert!(found == expected, "{matcher:?}: {} series, {} expected", found.len(), expected.len());
        index.bytes_read() - before
    };
    use crate::model::MatchOp::{Equal, NotEqual, NotRegex, Regex};
    // no bounds speak against this: both row groups are looked into
    let both = scan(Regex, "pod", ".*-000077").await;
    let one = scan(Equal, "pod", "pod-000077").await;
    assert!(0 < one && one < both, "{one} of {both} bytes");
    assert_eq!(scan(Regex, "pod", "pod-000077|q").await, one);
    for (op, value) in [(Equal, "q"), (Equal, "pod-"), (Regex, "q.*"), (Regex, "a|z")] {
        assert_eq!(scan(op, "pod", value).await, 0, "{value}");
    }
    // series without the label: one of the first row group, half of the second
    let values = [(Equal, ""), (Regex, "a|q|"), (NotEqual, ""), (NotEqual, "pod-000077"), (NotRegex, "pod-.*")];
    for (op, value) in values {
        assert!(scan(op, "pod", value).await >= both, "{op:?} {value}");
    }
    // none of the first row group has it
    let last = scan(NotEqual, "n", "").await;
    assert!(last < scan(Equal, "n", "").await, "{last} bytes");
    // no column says what is absent
    assert!(scan(Equal, "job", "").await > 0 && scan(Equal, "job", "x").await > 0);
}

#[tokio::test]
async fn a_block_is_read_by_the_side_index_that_it_was_written_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_block(folder.path());
    let expected = everything(&path).await.unwrap();
    let store = Arc::new(CountingStore::default());
    for file in ["meta.json", "index", "chunks/000001", SIDE_INDEX_FILE, CHECKSUM_FILE] {
        let bytes = std::fs::read(path.join(file)).unwrap();
        store.put(&Path::from(format!("{}/{file}", block_id(1))), bytes.into()).await.unwrap();
    }
    let remote = Arc::clone(&store) as Arc<dyn ObjectStore>;
    let files = BlockFiles::remote(block_id(1), remote, Path::from(block_id(1).to_string()));
    assert_eq!(all_answers(files).await.unwrap(), expected);
    assert_eq!(store.bytes_of("index"), 0);
    assert!(store.bytes_of(SIDE_INDEX_FILE) > 0);
}

/// A small block in a folder, with its side-index beside it.
fn small_block(folder: &std::path::Path) -> std::path::PathBuf {
    let labels = |n: &str, i: i32| Labels::from_pairs([("__name__", n), ("i", &i.to_string())]);
    let series =
        |n: &str, i: i32| DatasetSeries { labels: labels(n, i), samples: vec![(i64::from(i), 1.0), (90, 2.0)] };
    let series = (0..3).flat_map(|i| [series("up", i), series("down", i)]).collect();
    write_block(folder, block_id(1), &Dataset { external: vec![("c".to_owned(), "x".to_owned())], series }, true)
}

/// Everything that a block answers, in one string.
async fn everything(path: &std::path::Path) -> crate::Result<String> {
    all_answers(BlockFiles::local(block_id(1), path.to_owned())).await
}

async fn all_answers(files: BlockFiles) -> crate::Result<String> {
    let cache = SideIndexCache::new(SideIndexSettings::default());
    let block = BlockStore::open(files, cache).await?;
    let all = read(&block, SeriesRequest::new(vec![], TimeInterval::ALL)).await?;
    let some = read(&block, SeriesRequest::new(vec![Matcher::equal("i", "1")], TimeInterval::new(0, 5))).await?;
    let request = LabelRequest::all(vec![Matcher::equal("__name__", "up")], TimeInterval::ALL);
    let names = block.label_names(request.clone()).await?;
    let values = block.label_values("i", request).await?;
    Ok(format!("{all:?} {some:?} {names:?} {values:?}"))
}

#[tokio::test]
async fn a_flipped_byte_of_the_side_index_is_noticed_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_block(folder.path());
    let expected = everything(&path).await.unwrap();
    for file in [SIDE_INDEX_FILE, CHECKSUM_FILE] {
        let whole = std::fs::read(path.join(file)).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x15;
            std::fs::write(path.join(file), &damaged).unwrap();
            assert_eq!(everything(&path).await.unwrap(), expected, "byte {at} of {file}");
        }
        for len in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(path.join(file), &whole[..len]).unwrap();
            assert_eq!(everything(&path).await.unwrap(), expected, "{len} bytes of {file}");
        }
        std::fs::write(path.join(file), &whole).unwrap();
    }
    std::fs::remove_file(path.join(CHECKSUM_FILE)).unwrap();
    assert_eq!(everything(&path).await.unwrap(), expected, "without checksums");
}

#[tokio::test]
async fn a_side_index_of_another_index_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_block(folder.path());
    let (contents, _) = {
        let index = crate::index::IndexReader::try_open(
            Bytes::from(std::fs::read(path.join("index")).unwrap()),
            block_id(1).to_string(),
        );
        let mut out = Vec::new();
        let ends = cache::write_side_index(&index.unwrap(), &mut out).unwrap();
        let size = std::fs::metadata(path.join("index")).unwrap().len();
        let stale = checksums_of(&out, ends, IndexIdentity { size, toc_crc: 0xdead_beef }).unwrap();
        (stale.encode(), out)
    };
    let expected = everything(&path).await.unwrap();
    std::fs::write(path.join(CHECKSUM_FILE), contents).unwrap();
    let cache = SideIndexCache::new(SideIndexSettings::default());
    let files = BlockFiles::local(block_id(1), path.clone());
    assert_ne!(cache.open(&files).await.unwrap().identity().toc_crc, 0xdead_beef);
    assert_eq!(everything(&path).await.unwrap(), expected);
}

#[tokio::test]
async fn a_damaged_block_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = small_block(folder.path());
    let segment = path.join("chunks/000001");
    let whole = std::fs::read(&segment).unwrap();
    for at in 8..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        std::fs::write(&segment, &damaged).unwrap();
        match everything(&path).await {
            Err(crate::Error::Corrupt { place, file, offset, .. }) => {
                assert_eq!((place, file.as_str()), (block_id(1).to_string(), "chunks/000001"));
                assert!(offset <= at as u64, "byte {at} reported at {offset}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
    std::fs::remove_file(&segment).unwrap();
    match everything(&path).await {
        Err(crate::Error::NotFound { place, file }) => {
            assert_eq!((place, file.as_str()), (block_id(1).to_string(), "chunks/000001"));
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(path.join("meta.json"), "not JSON").unwrap();
    match everything(&path).await {
        Err(crate::Error::Corrupt { file, .. }) => assert_eq!(file, "meta.json"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_cache_folder_keeps_its_limit_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let blocks: Vec<BlockFiles> = (0..3)
        .map(|n| {
            let series = vec![DatasetSeries { labels: Labels::from_pairs([("a", "1")]), samples: vec![(1, 1.0)] }];
            let path = write_block(folder.path(), block_id(n), &Dataset { external: vec![], series }, false);
            BlockFiles::local(block_id(n), path)
        })
        .collect();
    let at = |bytes_max| SideIndexSettings {
        folder: Some(folder.path().join("cache")),
        folder_bytes_max: bytes_max,
        memory_bytes_max: 1 << 20,
    };
    let cached = |id: BlockId| folder.path().join("cache").join(id.to_string()).exists();
    let cache = SideIndexCache::new(at(1 << 30));
    cache.open(&blocks[0]).await.unwrap();
    let one = cache.sizes().1;
    assert!(one > 0 && cached(block_id(0)));
    drop(cache);
    std::fs::create_dir(folder.path().join("cache/01ABC.tmp")).unwrap();
    let cache = SideIndexCache::new(at(one * 2));
    assert_eq!(cache.sizes().1, one);
    assert!(!folder.path().join("cache/01ABC.tmp").exists());
    for block in [&blocks[1], &blocks[0], &blocks[2]] {
        cache.open(block).await.unwrap();
    }
    assert_eq!([0, 1, 2].map(|n| cached(block_id(n))), [true, false, true]);
    assert!(cache.sizes().1 <= one * 2);
    cache.remove(block_id(0));
    assert!(!cached(block_id(0)));
    assert_eq!(cache.open(&blocks[0]).await.unwrap().rows(), 1);
}

#[tokio::test]
async fn after_a_restart_the_cache_gives_up_what_was_used_first() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    // enough blocks that no order comes about by chance, used in an order of their own
    let order: Vec<u64> = (0..16).map(|n| n * 7 % 16).collect();
    let at = |n: u64| root.join(block_id(n).to_string());
    for (used, &n) in (0..).zip(&order) {
        std::fs::create_dir_all(at(n)).unwrap();
        for name in [SIDE_INDEX_FILE, CHECKSUM_FILE] {
            let file = std::fs::File::create(at(n).join(name)).unwrap();
            std::io::Write::write_all(&mut &file, &[0; 500]).unwrap();
            let day = |days: u64| std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400 * days);
            // all written at once, then read one after the other
            file.set_times(std::fs::FileTimes::new().set_modified(day(1)).set_accessed(day(2 + used))).unwrap();
        }
    }
    let settings = |bytes| SideIndexSettings {
        folder: Some(root.clone()),
        folder_bytes_max: bytes,
        ..SideIndexSettings::default()
    };
    let series = vec![DatasetSeries { labels: Labels::from_pairs([("a", "1")]), samples: vec![(1, 1.0)] }];
    let path = write_block(folder.path(), block_id(99), &Dataset { external: vec![], series }, false);
    let cache = SideIndexCache::new(settings(16_000));
    assert_eq!(cache.sizes().1, 16_000);
    cache.open(&BlockFiles::local(block_id(99), path)).await.unwrap();
    let (gone, kept): (Vec<u64>, Vec<u64>) = order.iter().partition(|&&n| !at(n).exists());
    assert!(!gone.is_empty() && !kept.is_empty());
    assert_eq!(gone, order[..gone.len()]);
    assert!(root.join(block_id(99).to_string()).exists());
}
