pub(crate) mod faulty;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::Value;

use self::faulty::FaultyStore;
use super::*;
use crate::ManualClock;
use crate::model::{Labels, TimeInterval};
use crate::side_index::{SideIndexCache, SideIndexSettings};
use crate::store::acceptance::blocks::{block_id, write_block};
use crate::store::acceptance::{Dataset, DatasetSeries, read};
use crate::store::{BucketSettings, BucketStore, SeriesRequest};

/// When the tests upload: 2026-11-24T00:00:00.007Z.
const NOW: Timestamp = 1_795_478_400_007;

fn external() -> ExternalLabels {
    ExternalLabels::from_pairs([("region", "eu"), ("tenant_id", "t1")])
}

/// No pauses, and parts so small that segments have several.
fn settings() -> ShipperSettings {
    let retry = Retry { attempts: 3, delay: Duration::ZERO, delay_max: Duration::ZERO };
    ShipperSettings { retry, part_size: 400, ..ShipperSettings::new(BlockSource::Receive) }
}

fn shipper(dir: &Path, store: Arc<dyn ObjectStore>, settings: ShipperSettings) -> Shipper {
    Shipper::try_new(dir, store, external(), settings).unwrap()
}

/// Writes block `number`, of two hours from `number`.
fn write(dir: &Path, number: u64, side_index: bool) -> BlockId {
    let start = i64::try_from(number).unwrap() * 7_200_000;
    let samples = |n: i64| (0..240).map(|i| (start + i * 30_000, f64::from(i as i32 * 37 % 101) * n as f64)).collect();
    let series =
        (1..4).map(|n| DatasetSeries { labels: Labels::from_pairs([("n", format!("{n}"))]), samples: samples(n) });
    let data = Dataset { series: series.collect(), external: vec![("region".into(), "own".into())] };
    write_block(dir, block_id(number), &data, side_index);
    block_id(number)
}

fn three_blocks() -> (tempfile::TempDir, Vec<BlockId>) {
    let dir = tempfile::tempdir().unwrap();
    let ids = (0..3).map(|n| write(dir.path(), n, n != 1)).collect();
    (dir, ids)
}

/// All objects, but for what tells one upload's `meta.json` from another's.
async fn objects(store: &InMemory) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for object in store.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
        found.insert(object.location.to_string(), bytes.to_vec());
    }
    found
}

/// What a sync without faults leaves in the bucket.
async fn expected(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let store = Arc::new(InMemory::new());
    let settings = ShipperSettings { file_name: "expected.json".into(), ..settings() };
    let outcome = shipper(dir, store.clone(), settings).sync(NOW).await;
    assert!(outcome.is_complete(), "{outcome:?}");
    objects(&store).await
}

fn edit_meta(dir: &Path, id: BlockId, edit: impl Fn(&mut BlockMeta)) {
    let path = dir.join(id.to_string()).join(META_FILE);
    let mut meta = BlockMeta::try_parse(&std::fs::read(&path).unwrap(), "x").unwrap();
    edit(&mut meta);
    std::fs::write(path, meta.to_json().unwrap()).unwrap();
}

#[test]
fn without_external_labels_nothing_starts() {
    for (source, text) in [
        (
            BlockSource::Receive,
            "no external labels configured for receive, uniquely identifying external labels must be configured (ideally with `receive_` prefix); see https://thanos.io/tip/thanos/storage.md#external-labels for details.",
        ),
        (
            BlockSource::Sidecar,
            "no external labels configured on Prometheus server, uniquely identifying external labels must be configured; see https://thanos.io/tip/thanos/storage.md#external-labels for details.",
        ),
    ] {
        let empty = ExternalLabels::from_pairs([("dropped", "")]);
        let error = Shipper::try_new("x", Arc::new(InMemory::new()), empty, ShipperSettings::new(source)).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn the_bucket_gets_what_thanos_would_give_it() {
    let (dir, ids) = three_blocks();
    let local: Vec<_> =
        ids.iter().map(|id| std::fs::read(dir.path().join(format!("{id}/meta.json"))).unwrap()).collect();
    let store = Arc::new(InMemory::new());
    let shipper = shipper(dir.path(), store.clone(), ShipperSettings { prefix: "some/where".into(), ..settings() });
    let outcome = shipper.sync(NOW).await;
    assert_eq!((&outcome.uploaded, outcome.already.len(), outcome.failed.len()), (&ids, 0, 0));
    let counts = ShipperCounts { dir_syncs_total: 1, uploads_total: 3, ..ShipperCounts::default() };
    assert_eq!(outcome.counts, counts);
    assert_eq!(shipper.uploaded(), ids.iter().copied().collect());

    let there = objects(&store).await;
    for (id, local) in ids.iter().zip(&local) {
        assert_eq!(&std::fs::read(dir.path().join(format!("{id}/meta.json"))).unwrap(), local, "the local one stays");
        let json: Value = serde_json::from_slice(&there[&format!("some/where/{id}/meta.json")]).unwrap();
        let thanos = &json["thanos"];
        assert_eq!(thanos["labels"], serde_json::json!({"region": "eu", "tenant_id": "t1"}));
        assert_eq!((&thanos["source"], &thanos["segment_files"]), (&"receive".into(), &serde_json::json!(["000001"])));
        assert_eq!(thanos["upload_time"], "2026-11-24T00:00:00.007Z");
        let names = ["chunks/000001", "index", "meta.json", "series.crc", "series.parquet"];
        let size = |name: &str| std::fs::metadata(dir.path().join(format!("{id}/{name}"))).unwrap().len();
        let files: Vec<Value> = names
            .iter()
            .map(|&name| match name {
                META_FILE => serde_json::json!({"rel_path": name}),
                name => serde_json::json!({"rel_path": name, "size_bytes": size(name)}),
            })
            .collect();
        assert_eq!(thanos["files"], Value::from(files));
        for name in names.iter().filter(|&&name| name != META_FILE) {
            let bytes = std::fs::read(dir.path().join(format!("{id}/{name}"))).unwrap();
            assert_eq!(there[&format!("some/where/{id}/{name}")], bytes, "{name}");
        }
    }
    assert_eq!(there.len(), 15);
    let list: Vec<String> = ids.iter().map(|id| format!("\t\t\"{id}\"")).collect();
    let record = format!("{{\n\t\"version\": 1,\n\t\"uploaded\": [\n{}\n\t]\n}}\n", list.join(",\n"));
    assert_eq!(std::fs::read_to_string(dir.path().join(SHIPPER_FILE)).unwrap(), record);

    let again = shipper.sync(NOW + 1).await;
    assert_eq!((again.uploaded.len(), &again.already, again.counts.uploads_total), (0, &ids, 0));
    assert_eq!(objects(&store).await, there, "nothing is written twice");
}

#[tokio::test]
async fn files_are_listed_with_hashes_where_they_are_wanted() {
    let (dir, ids) = three_blocks();
    let store = Arc::new(InMemory::new());
    let settings = ShipperSettings { hash: Some(HashFunction::Sha256), ..settings() };
    shipper(dir.path(), store.clone(), settings).sync(NOW).await;
    let there = objects(&store).await;
    for id in ids {
        let meta = BlockMeta::try_parse(&there[&format!("{id}/meta.json")], "x").unwrap();
        let files = meta.thanos.unwrap().files;
        assert_eq!(files.len(), 5);
        for file in files {
            let digest = ring::digest::digest(&ring::digest::SHA256, &there[&format!("{id}/{}", file.rel_path)]);
            let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let hash = file.hash.map(|hash| (hash.func, hash.value));
            let expected = (file.rel_path != META_FILE).then_some(("SHA256".to_owned(), hex));
            assert_eq!(hash, expected, "{}", file.rel_path);
        }
    }
}

#[tokio::test]
async fn what_was_uploaded_is_read_by_a_bucket_store() {
    let (dir, _) = three_blocks();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    shipper(dir.path(), Arc::clone(&store), settings()).sync(NOW).await;
    let cache = SideIndexCache::new(SideIndexSettings::default());
    let bucket = BucketStore::new(store, BucketSettings::default(), cache, Arc::new(ManualClock::new(NOW)));
    bucket.sync().await.unwrap();
    let found = read(&bucket, SeriesRequest::new(vec![], TimeInterval::ALL)).await.unwrap();
    assert_eq!(found.len(), 9);
    assert_eq!(found[0].0, Labels::from_pairs([("n", "1"), ("region", "eu"), ("tenant_id", "t1")]));
    assert_eq!(found.iter().flat_map(|(_, replicas)| &replicas[0].1).count(), 9 * 240);
}

#[tokio::test]
async fn faults_of_the_bucket_are_outlived() {
    let (dir, ids) = three_blocks();
    let expected = expected(dir.path()).await;
    let (mut hit, mut syncs) = (0, 0);
    for seed in 0..500 {
        let store = Arc::new(FaultyStore::new(seed, 20));
        let settings = ShipperSettings { file_name: format!("{seed}.json"), ..settings() };
        let shipper = shipper(dir.path(), store.clone(), settings);
        let mut uploaded = Vec::new();
        for round in 0.. {
            assert!(round < 200, "seed {seed} does not come to an end");
            let outcome = shipper.sync(NOW).await;
            syncs += 1;
            uploaded.extend(outcome.uploaded.iter().copied());
            assert_eq!(outcome.counts.upload_failures_total, outcome.failed.len() as u64);
            assert_eq!(outcome.counts.dir_sync_failures_total, u64::from(!outcome.is_complete()));
            if outcome.is_complete() {
                assert_eq!(outcome.uploaded.len() + outcome.already.len(), 3);
                break;
            }
        }
        assert!(uploaded.is_sorted_by(|a, b| a < b), "uploaded twice, or out of order: {uploaded:?}");
        assert_eq!(objects(&store.inner).await, expected, "seed {seed}");
        assert_eq!(shipper.uploaded(), ids.iter().copied().collect());
        hit += store.hit();
        std::fs::remove_file(dir.path().join(format!("{seed}.json"))).unwrap();
    }
    assert!(hit > 500 * 5 && syncs > 500, "{hit} faults, {syncs} syncs");
}

/// What `sync` did when it was polled so often, or nothing where it was dropped before its end.
async fn polled(polls: usize, sync: impl Future<Output = SyncOutcome>) -> Option<SyncOutcome> {
    let (mut sync, mut left) = (pin!(sync), polls);
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        sync.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_sync_may_be_dropped_anywhere() {
    let (dir, ids) = three_blocks();
    let expected = expected(dir.path()).await;
    for polls in 0.. {
        // as it was before any side-index was added
        for name in ["series.parquet", "series.crc"] {
            let _ = std::fs::remove_file(dir.path().join(format!("{}/{name}", ids[1])));
        }
        let store = Arc::new(FaultyStore::new(0, 0));
        let settings = ShipperSettings { file_name: format!("{polls}.json"), ..settings() };
        let shipper = shipper(dir.path(), store.clone(), settings);
        let whole = polled(polls, shipper.sync(NOW)).await;
        let outcome = shipper.sync(NOW).await;
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_eq!(objects(&store.inner).await, expected, "dropped after {polls} polls");
        assert_eq!(shipper.uploaded(), ids.iter().copied().collect());
        // one object may have been on its way
        assert!(store.writes.load(Ordering::Relaxed) <= expected.len() + 2);
        if whole.is_some() {
            assert!(polls > 30, "{polls}");
            break;
        }
    }
}

#[tokio::test]
async fn partial_uploads_go_on_where_they_stopped() {
    let (dir, ids) = three_blocks();
    let expected = expected(dir.path()).await;
    let store = Arc::new(FaultyStore::new(0, 0));
    for (name, bytes) in &expected {
        // one file is cut short, as an upload that is not atomic leaves it
        let bytes = if name.ends_with("index") { &bytes[..9] } else { bytes };
        if !name.ends_with(META_FILE) {
            store.inner.put(&name.as_str().into(), PutPayload::from(bytes.to_vec())).await.unwrap();
        }
    }
    let outcome = shipper(dir.path(), store.clone(), settings()).sync(NOW).await;
    assert_eq!(outcome.uploaded, ids);
    assert_eq!(store.writes.load(Ordering::Relaxed), 2 * ids.len(), "index and meta.json of each");
    assert_eq!(objects(&store.inner).await, expected);
}

#[tokio::test]
async fn a_damaged_record_is_made_again_from_the_bucket() {
    let (dir, ids) = three_blocks();
    let store = Arc::new(FaultyStore::new(0, 0));
    let shipper = shipper(dir.path(), store.clone(), settings());
    shipper.sync(NOW).await;
    let (record, writes) = (dir.path().join(SHIPPER_FILE), store.writes.load(Ordering::Relaxed));
    let before = std::fs::read(&record).unwrap();
    std::fs::write(&record, &before[..40]).unwrap();
    let outcome = shipper.sync(NOW).await;
    assert_eq!((outcome.uploaded.len(), outcome.already), (0, ids.clone()));
    assert_eq!((std::fs::read(&record).unwrap(), store.writes.load(Ordering::Relaxed)), (before, writes));

    // what a compactor took away is not uploaded again, and what is gone here is forgotten
    for object in store.inner.list(None).try_collect::<Vec<_>>().await.unwrap() {
        store.inner.delete(&object.location).await.unwrap();
    }
    std::fs::remove_dir_all(dir.path().join(ids[0].to_string())).unwrap();
    let outcome = shipper.sync(NOW).await;
    assert_eq!((outcome.uploaded.len(), outcome.already), (0, ids[1..].to_vec()));
    assert_eq!(shipper.uploaded(), ids[1..].iter().copied().collect());
}

#[tokio::test]
async fn only_whole_blocks_that_are_wanted_are_uploaded() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<BlockId> = (0..6).map(|n| write(dir.path(), n, true)).collect();
    let at = |id: BlockId, name: &str| dir.path().join(format!("{id}/{name}"));
    edit_meta(dir.path(), ids[0], |meta| meta.stats.num_samples = 0);
    edit_meta(dir.path(), ids[1], |meta| meta.compaction.level = 2);
    std::fs::write(at(ids[2], META_FILE), "{").unwrap();
    std::fs::write(at(ids[3], "index"), "short").unwrap();
    std::fs::remove_file(at(ids[4], "chunks/000001")).unwrap();
    std::fs::create_dir(dir.path().join(block_id(99).to_string())).unwrap();
    std::fs::write(dir.path().join(block_id(98).to_string()), "a file").unwrap();
    let store = Arc::new(InMemory::new());
    let outcome = shipper(dir.path(), store.clone(), settings()).sync(NOW).await;
    assert_eq!(outcome.uploaded, [ids[5]]);
    assert_eq!(outcome.failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids[2..5]);
    let counts =
        ShipperCounts { dir_syncs_total: 1, uploads_total: 1, corrupted_blocks_total: 3, ..Default::default() };
    assert_eq!(outcome.counts, counts);
    assert!(objects(&store).await.keys().all(|name| name.starts_with(&ids[5].to_string())));

    let missing = shipper(&dir.path().join("missing"), store, settings()).sync(NOW).await;
    assert!(matches!(missing.error, Some(Error::Io { .. })));
    assert_eq!(missing.counts, ShipperCounts { dir_sync_failures_total: 1, ..Default::default() });
}

#[tokio::test]
async fn compacted_blocks_go_where_nothing_overlaps() {
    let (dir, ids) = three_blocks();
    let store: Arc<InMemory> = Arc::new(InMemory::new());
    shipper(dir.path(), store.clone(), settings()).sync(NOW).await;
    let compacted = write(dir.path(), 7, true);
    edit_meta(dir.path(), compacted, |meta| meta.compaction.level = 2);
    let overlapping = block_id(1_000);
    std::fs::rename(dir.path().join(write(dir.path(), 8, true).to_string()), dir.path().join(overlapping.to_string()))
        .unwrap();
    edit_meta(dir.path(), overlapping, |meta| {
        meta.ulid = overlapping;
        meta.compaction.level = 3;
        meta.min_time = 0;
    });
    let with = |allow_out_of_order| ShipperSettings { upload_compacted: true, allow_out_of_order, ..settings() };
    let outcome = shipper(dir.path(), store.clone(), with(false)).sync(NOW).await;
    assert_eq!((outcome.uploaded.len(), outcome.failed.len()), (0, 1), "{outcome:?}");
    let said = outcome.failed[0].1.to_string();
    assert!(said.starts_with(&format!("compacted block {overlapping} overlaps ")), "{said}");
    assert_eq!((outcome.counts.upload_compacted_done, outcome.counts.dir_sync_failures_total), (0, 1));
    let outcome = shipper(dir.path(), store, with(true)).sync(NOW).await;
    assert_eq!((outcome.uploaded, outcome.already), (vec![overlapping, compacted], ids));
    assert_eq!(outcome.counts.upload_compacted_done, 1);
}

#[tokio::test]
async fn a_sync_stops_at_the_first_block_that_the_bucket_refuses() {
    let (dir, ids) = three_blocks();
    for (allow_out_of_order, expected) in [(false, &ids[..1]), (true, &ids[..])] {
        let store = Arc::new(FaultyStore::new(0, 100));
        let settings = ShipperSettings { allow_out_of_order, file_name: "x.json".into(), ..settings() };
        let outcome = shipper(dir.path(), store.clone(), settings).sync(NOW).await;
        assert_eq!(outcome.failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
        assert_eq!(store.hit(), 3 * expected.len(), "each is tried three times");
    }
}

#[tokio::test]
async fn a_sync_can_run_on_any_thread() {
    let (dir, _) = three_blocks();
    let shipper = Arc::new(shipper(dir.path(), Arc::new(InMemory::new()), settings()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let shipper = Arc::clone(&shipper);
        tasks.spawn(async move { shipper.sync(NOW).await.uploaded.len() });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<usize>(), 3, "one after the other");
}
