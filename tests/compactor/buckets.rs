//! Whole buckets: the golden one beside what Thanos made of it, and small ones in which everything goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::ProcessPool;
use engine::compact::{JobSettings, OverlapMerge};
use engine::compactor::{BucketCompactor, CompactorSettings, RunOutcome};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use storage::block::BlockMeta;
use storage::compact::{Bucket, PlanSettings, Retention, ViewSettings};
use storage::generate::{Generator, Workload};
use storage::model::TimeRange;
use storage::shipper::{Retry, UploadSettings};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::{Clock, ManualClock};

use crate::aggregates;
use crate::bucket_samples::to_folder;

pub const HOUR_MS: i64 = 3_600_000;
/// 2026-03-01, long after the data.
pub const NOW_MS: i64 = 1_772_323_200_000;

pub fn compactor(
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    scratch: &std::path::Path,
    merge: Option<OverlapMerge>,
) -> BucketCompactor {
    compactor_with(store, clock, scratch, merge, |_| ())
}

/// As [`compactor`], with settings changed.
pub fn compactor_with(
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    scratch: &std::path::Path,
    merge: Option<OverlapMerge>,
    change: impl FnOnce(&mut CompactorSettings),
) -> BucketCompactor {
    let retry = Retry { attempts: 2, delay: Duration::ZERO, delay_max: Duration::ZERO };
    let mut view = ViewSettings { delete_delay_ms: 48 * HOUR_MS, ..ViewSettings::default() };
    if merge.is_some() {
        view.filters.replica_labels = vec!["replica".to_owned()];
    }
    let mut plan = PlanSettings::default();
    plan.vertical = merge.is_some();
    let mut settings = CompactorSettings {
        view,
        plan,
        merge: merge.unwrap_or_default(),
        retention: Retention::default(),
        downsamples: true,
        concurrency: 2,
        downsample_concurrency: 2,
        job: JobSettings {
            memory: ProcessPool::new(256 << 20),
            partitions: 2,
            upload: UploadSettings {
                store: Arc::clone(&store),
                prefix: Path::default(),
                retry,
                // several parts a file, however small blocks are here
                part_size: 1 << 10,
                scratch: scratch.to_owned(),
                whole_in_scratch: false,
            },
        },
        local_root: None,
    };
    change(&mut settings);
    let bucket = Bucket::new(store, Path::default(), 8, retry);
    let side_indexes = SideIndexCache::new(SideIndexSettings::default());
    BucketCompactor::new(bucket, settings, 8, side_indexes, clock, Arc::new(()))
}

/// The objects of a folder.
pub async fn load(folder: &std::path::Path) -> Arc<InMemory> {
    let objects = InMemory::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(folder).unwrap().display().to_string();
                objects.put(&key.into(), std::fs::read(path).unwrap().into()).await.unwrap();
            }
        }
    }
    Arc::new(objects)
}

/// What tells unmarked blocks apart: resolution, range, level, labels, sources.
pub async fn shape(objects: &InMemory) -> Vec<String> {
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    let names: Vec<String> = listed.into_iter().map(|object| object.location.to_string()).collect();
    let mut shapes = Vec::new();
    for name in names.iter().filter(|name| name.ends_with("/meta.json")) {
        let json = objects.get(&name.as_str().into()).await.unwrap().bytes().await.unwrap();
        let meta = BlockMeta::try_parse(&json, "shape").unwrap();
        let marked = names.contains(&name.replace("meta.json", "deletion-mark.json"));
        if !marked {
            shapes.push(shape_of(&meta));
        }
    }
    shapes.sort();
    shapes
}

/// What tells a block from others, whatever its name.
pub fn shape_of(meta: &BlockMeta) -> String {
    let (labels, compaction) = (meta.external_labels().to_labels(), &meta.compaction);
    let (ms, range) = (meta.resolution_ms(), meta.range());
    format!("{ms} ms {range:?} level {} {labels} {:?}", compaction.level, compaction.sources)
}

/// The golden bucket becomes what Thanos made of it, but for so many counters in which Thanos sees resets that there were not.
async fn golden(folder: &str, merge: Option<OverlapMerge>, corrected_counters: usize) {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let golden = std::path::PathBuf::from(shared).join("golden");
    let theirs = golden.join("compacted").join(folder);
    let (objects, scratch) = (load(&golden.join("bucket")).await, tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let compactor = compactor(Arc::<InMemory>::clone(&objects), clock, scratch.path(), merge);
    let outcome = compactor.run().await.unwrap();
    assert!(outcome.failed.is_empty() && outcome.halted.is_empty(), "{outcome:?}");
    assert_eq!(shape(&objects).await, shape(&*load(&theirs).await).await);
    let compared = aggregates::compare(to_folder(&objects).await.path(), &theirs);
    let float_chunks = compared.chunks - compared.histogram_chunks;
    assert!(float_chunks > 3_000 && compared.same_bytes >= float_chunks, "{compared:?}");
    assert_eq!(compared.corrected_counters, corrected_counters, "{compared:?}");
    // a second run finds nothing to do
    assert!(compactor.run().await.unwrap().made.is_empty());
}

#[tokio::test]
async fn the_golden_bucket_becomes_the_blocks_of_thanos() {
    golden("plain", None, 8).await;
}

#[tokio::test]
async fn its_replicas_become_the_blocks_of_thanos() {
    golden("penalty", Some(OverlapMerge::Penalty), 2).await;
}

/// What is in [`small_bucket`].
pub fn small_workload() -> Workload {
    let start = 1_767_225_600_000;
    Workload {
        counters: 6,
        pods: Some(2),
        external_labels: vec![("cluster".to_owned(), "x".to_owned())],
        scrape_interval_ms: 300_000,
        range: TimeRange { mint: start, maxt: start + 12 * HOUR_MS },
        ..Workload::default()
    }
}

/// Six blocks of two hours of few series, with a gap in time so that there is something to do, and their samples.
pub async fn small_bucket() -> Arc<InMemory> {
    let folder = tempfile::tempdir().unwrap();
    Generator::try_new(small_workload()).unwrap().write_all(folder.path(), 1, &|_| ()).unwrap();
    load(folder.path()).await
}

pub async fn copy(objects: &InMemory) -> Arc<InMemory> {
    let copied = InMemory::new();
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    for object in listed {
        let bytes = objects.get(&object.location).await.unwrap().bytes().await.unwrap();
        copied.put(&object.location, bytes.into()).await.unwrap();
    }
    Arc::new(copied)
}

/// Runs until a run neither fails nor makes anything, days apart, so that marked blocks go, too.
pub async fn settle(store: Arc<dyn ObjectStore>, clock: &Arc<ManualClock>, scratch: &std::path::Path) -> RunOutcome {
    loop {
        let (store, ticking): (_, Arc<dyn Clock>) = (Arc::clone(&store), Arc::<ManualClock>::clone(clock));
        let outcome = compactor(store, ticking, scratch, None).run().await.unwrap();
        clock.set(clock.now() + 49 * HOUR_MS);
        if outcome.made.is_empty() && outcome.failed.is_empty() {
            return outcome;
        }
    }
}

#[tokio::test]
async fn a_damaged_block_stops_its_group_and_no_other() {
    let (one, two) = (small_bucket().await, small_bucket().await);
    let objects = Arc::new(InMemory::new());
    let (mut segments, mut number): (BTreeMap<String, Path>, u64) = (BTreeMap::new(), 0);
    for (group, source) in [("one", one), ("two", two)] {
        let listed: Vec<_> = source.list(None).try_collect().await.unwrap();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for object in listed {
            let (folder, file) = object.location.as_ref().split_once('/').unwrap();
            let name = names.entry(folder.to_owned()).or_insert_with(|| {
                number += 1;
                format!("{:026}", number)
            });
            let mut bytes = source.get(&object.location).await.unwrap().bytes().await.unwrap().to_vec();
            if file == "meta.json" {
                let text = String::from_utf8(bytes).unwrap();
                bytes = text
                    .replace(folder, name)
                    .replace("\"cluster\": \"x\"", &format!("\"cluster\": \"{group}\""))
                    .into_bytes();
            }
            let to = Path::from(format!("{name}/{file}"));
            if file.starts_with("chunks") {
                segments.insert(format!("{group} {name}"), to.clone());
            }
            objects.put(&to, bytes.into()).await.unwrap();
        }
    }
    // a bit in the chunks of the first block of group one
    let damaged = segments.iter().next().unwrap().1;
    let mut bytes = objects.get(damaged).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[100] ^= 1;
    objects.put(damaged, bytes.into()).await.unwrap();

    let (scratch, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(NOW_MS)));
    let compactor = compactor(Arc::<InMemory>::clone(&objects), clock, scratch.path(), None);
    let outcome = compactor.run().await.unwrap();
    assert_eq!((outcome.made.len(), outcome.halted.len()), (1, 1), "{outcome:?}");
    let folder = damaged.as_ref().split('/').next().unwrap();
    let reason = outcome.halted.values().next().unwrap();
    assert!(reason.contains(folder) && reason.contains("chunks/000001"), "{reason}");
    let mark = objects.get(&Path::from(format!("{folder}/no-compact-mark.json"))).await.unwrap().bytes().await.unwrap();
    assert!(String::from_utf8_lossy(&mark).contains("corrupt-block"));
    // the rest of the group goes on, and the group is still said to wait
    let outcome = compactor.run().await.unwrap();
    assert_eq!(outcome.halted.len(), 1);
}
