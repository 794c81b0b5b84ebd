//! Buckets of long blocks: lower resolutions are made once, of everything, whatever fails, and before retention takes what they are
//! made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::compactor::RunOutcome;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use storage::block::meta::ThanosMeta;
use storage::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use storage::chunk::encode_series;
use storage::compact::{FIVE_MINUTES_MS, ONE_HOUR_MS, Retention};
use storage::generate::{Generator, Workload};
use storage::model::{BlockId, Labels, SampleBuffer, TimeRange, stale_nan};
use storage::{Clock, ManualClock};

use crate::aggregates::counted;
use crate::bucket_samples::{Samples, by_block, raw, to_folder};
use crate::buckets::{HOUR_MS, NOW_MS, compactor_with, copy, load, settle};
use crate::faulty::{Faults, FaultyBucket};

/// 2026-01-01, a multiple of 14 days.
const START_MS: i64 = 1_767_225_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// So many blocks of two days of few series.
async fn bucket(blocks: i64) -> Arc<InMemory> {
    let folder = tempfile::tempdir().unwrap();
    let workload = Workload {
        counters: 3,
        native_histograms: 1,
        pods: Some(1),
        external_labels: vec![("cluster".to_owned(), "x".to_owned())],
        scrape_interval_ms: 1_800_000,
        block_duration_ms: 2 * DAY_MS,
        range: TimeRange { mint: START_MS, maxt: START_MS + 2 * blocks * DAY_MS },
        ..Workload::default()
    };
    Generator::try_new(workload).unwrap().write_all(folder.path(), 1, &|_| ()).unwrap();
    load(folder.path()).await
}

/// How many samples each series has before `end`, without external labels.
fn samples_before(samples: &Samples, end: i64) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for (series, _, _) in samples.iter().filter(|(_, t, _)| *t < end) {
        *counted.entry(series.replace("\"cluster\": \"x\", ", "")).or_default() += 1;
    }
    counted
}

async fn run(objects: &Arc<InMemory>, retention: Retention) -> RunOutcome {
    let (scratch, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(NOW_MS)));
    let store = Arc::<InMemory>::clone(objects);
    compactor_with(store, clock, scratch.path(), None, |settings| settings.retention = retention).run().await.unwrap()
}

/// Unmarked blocks as resolution in milliseconds and days.
async fn unmarked(objects: &Arc<InMemory>) -> Vec<(i64, i64)> {
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    let names: Vec<String> = listed.into_iter().map(|object| object.location.to_string()).collect();
    let mut found = Vec::new();
    for name in names.iter().filter(|name| name.ends_with("/meta.json")) {
        if !names.contains(&name.replace("meta.json", "deletion-mark.json")) {
            let json = objects.get(&name.as_str().into()).await.unwrap().bytes().await.unwrap();
            let meta = BlockMeta::try_parse(&json, name.as_str()).unwrap();
            found.push((meta.resolution_ms(), (meta.max_time - meta.min_time + DAY_MS / 2) / DAY_MS));
        }
    }
    found.sort_unstable();
    found
}

#[tokio::test]
async fn a_merge_makes_all_resolutions_in_its_pass_and_blocks_that_stay_theirs_afterwards() {
    let objects = bucket(9).await;
    let samples = raw(&by_block(&objects, &[]).await, true);
    let outcome = run(&objects, Retention::default()).await;
    assert!(outcome.failed.is_empty() && outcome.halted.is_empty(), "{outcome:?}");
    // 14 days raw, 5 minutes and an hour, and 5 minutes of the two that are not merged
    assert_eq!(outcome.made.len(), 5);
    let expected =
        [(0, 2), (0, 2), (0, 14), (FIVE_MINUTES_MS, 2), (FIVE_MINUTES_MS, 2), (FIVE_MINUTES_MS, 14), (ONE_HOUR_MS, 14)];
    assert_eq!(unmarked(&objects).await, expected);
    let folder = to_folder(&objects).await;
    assert_eq!(counted(folder.path(), FIVE_MINUTES_MS), samples_before(&samples, i64::MAX));
    assert_eq!(counted(folder.path(), ONE_HOUR_MS), samples_before(&samples, START_MS + 14 * DAY_MS));
    assert!(run(&objects, Retention::default()).await.made.is_empty());
}

#[tokio::test]
async fn nothing_is_made_where_it_is_disabled_or_marked() {
    let objects = bucket(2).await;
    let (scratch, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(NOW_MS)));
    let store = Arc::<InMemory>::clone(&objects);
    let compactor = compactor_with(store, clock, scratch.path(), None, |settings| settings.downsamples = false);
    assert!(compactor.run().await.unwrap().made.is_empty());

    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    let block = listed[0].location.as_ref().split('/').next().unwrap().to_owned();
    let mark = format!(r#"{{"id":"{block}","version":1,"no_downsample_time":1,"reason":"manual"}}"#);
    objects.put(&Path::from(format!("{block}/no-downsample-mark.json")), mark.into_bytes().into()).await.unwrap();
    // what a tool asks for is made all the same
    assert_eq!(compactor.downsample().await.unwrap().made.len(), 1);
    assert_eq!(unmarked(&objects).await, [(0, 2), (0, 2), (FIVE_MINUTES_MS, 2)]);
}

#[tokio::test]
async fn retention_takes_raw_blocks_once_they_are_downsampled() {
    let objects = bucket(2).await;
    let samples = raw(&by_block(&objects, &[]).await, true);
    let retention = Retention { raw_ms: 10 * DAY_MS, ..Retention::default() };
    assert_eq!(run(&objects, retention).await.made.len(), 2);
    assert_eq!(unmarked(&objects).await, [(FIVE_MINUTES_MS, 2), (FIVE_MINUTES_MS, 2)]);
    let folder = to_folder(&objects).await;
    assert_eq!(counted(folder.path(), FIVE_MINUTES_MS), samples_before(&samples, i64::MAX));
}

#[tokio::test]
async fn a_block_of_which_nothing_is_left_is_marked_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let id: BlockId = "01M84VG5MK3SAK0FDHZW7NX9QE".parse().unwrap();
    let range = TimeRange { mint: START_MS, maxt: START_MS + 2 * DAY_MS };
    let mut meta = BlockMeta::new(id, range);
    meta.compaction.sources = vec![id];
    let labels = [("cluster".to_owned(), "x".to_owned())].into();
    meta.thanos = Some(ThanosMeta { version: 1, labels, source: "test".to_owned(), ..ThanosMeta::default() });
    let mut samples = SampleBuffer::new();
    samples.push_float(START_MS, f64::NAN);
    samples.push_float(START_MS + 60_000, stale_nan());
    let mut writer = BlockWriter::create(folder.path(), meta, BlockWriterSettings::default()).unwrap();
    let chunks = encode_series(&samples, 120).unwrap();
    writer.push(&Labels::from_pairs([("__name__", "up")]), chunks.iter().map(ChunkPayload::from)).unwrap();
    writer.finish().unwrap();
    let objects = load(folder.path()).await;
    assert!(run(&objects, Retention::default()).await.made.is_empty());
    let mark = objects.get(&Path::from(format!("{id}/no-downsample-mark.json"))).await.unwrap().bytes().await.unwrap();
    assert!(String::from_utf8_lossy(&mark).contains("no series has a sample"));
    run(&objects, Retention { raw_ms: 10 * DAY_MS, ..Retention::default() }).await;
    assert_eq!(unmarked(&objects).await, []);
}

#[tokio::test]
async fn a_block_that_cannot_be_downsampled_stops_no_other_and_stays() {
    let objects = bucket(2).await;
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    let damaged = &listed.iter().find(|object| object.location.as_ref().contains("/chunks/")).unwrap().location;
    let mut bytes = objects.get(damaged).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[40] ^= 1;
    objects.put(damaged, bytes.into()).await.unwrap();
    let outcome = run(&objects, Retention { raw_ms: 10 * DAY_MS, ..Retention::default() }).await;
    assert_eq!((outcome.made.len(), outcome.halted.len()), (1, 1), "{outcome:?}");
    let block = damaged.as_ref().split('/').next().unwrap();
    let (waiting, reason) = outcome.halted.iter().next().unwrap();
    assert!(waiting.contains(block) && reason.contains(block), "{waiting}: {reason}");
    assert_eq!(unmarked(&objects).await, [(0, 2), (FIVE_MINUTES_MS, 2)]);
}

#[tokio::test]
async fn every_sample_is_in_each_resolution_once_whatever_fails() {
    let seeds: u64 = std::env::var("QUIVER_COMPACT_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let original = bucket(9).await;
    let expected = raw(&by_block(&original, &[]).await, true);
    let mut died = 0;
    for seed in 0..seeds {
        let (objects, scratch) = (copy(&original).await, tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let faults = Faults {
            seed,
            percent: [0, 5, 15][usize::try_from(seed % 3).unwrap()],
            stale_percent: [0, 30][usize::try_from(seed % 2).unwrap()],
            dies_after: (seed % 3 != 1).then_some(60 + seed * 11 % 200),
        };
        let faulty = FaultyBucket::new(Arc::clone(&objects), faults, Arc::default());
        for _ in 0..2 {
            let ticking: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
            let compactor = compactor_with(Arc::new(faulty.clone()), ticking, scratch.path(), None, |_| ());
            let run = compactor.run();
            tokio::select! {
                biased;
                _ = run => {}
                () = faulty.dead() => died += 1,
            }
            assert!(raw(&by_block(&objects, &[]).await, true) == expected, "seed {seed}");
            clock.set(clock.now() + 49 * HOUR_MS);
        }
        let outcome = settle(faulty.restarted(), &clock, scratch.path()).await;
        assert!(outcome.halted.is_empty(), "seed {seed}: {outcome:?}");
        assert!(raw(&by_block(&objects, &[]).await, true) == expected, "seed {seed}");
        let folder = to_folder(&objects).await;
        assert_eq!(counted(folder.path(), FIVE_MINUTES_MS), samples_before(&expected, i64::MAX), "seed {seed}");
        let merged = samples_before(&expected, START_MS + 14 * DAY_MS);
        assert_eq!(counted(folder.path(), ONE_HOUR_MS), merged, "seed {seed}");
    }
    assert!(died > 0, "no run died");
}
