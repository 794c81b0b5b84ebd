mod adopt;
mod dropped;
mod idle;
mod promtool;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;

use super::*;
use crate::chunk::decode;
use crate::clock::ManualClock;
use crate::head::tests::golden::copy as copy_all;
use crate::head::{FloatSample, SeriesWrite};
use crate::model::{Labels, MatchOp, Matcher, SampleBuffer, TimeInterval};
use crate::schema::SeriesColumns;
use crate::side_index::SideIndexSettings;
use crate::store::KeyRange;
use crate::wal::RealDisk;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn settings() -> TsdbSettings {
    TsdbSettings {
        head: HeadSettings {
            external_labels: ExternalLabels::from_pairs([("cluster", "c")]),
            ..HeadSettings::default()
        },
        wal: WalSettings::default(),
        default_tenant: "default-tenant".to_owned(),
        retention_ms: 24 * HOUR,
        max_bytes: 0,
        snapshot_log_bytes: 128 << 20,
    }
}

async fn open(folder: &Path, clock: &Arc<ManualClock>) -> (Tsdb, HeadReplay) {
    let side_indexes = SideIndexCache::new(SideIndexSettings::default());
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Tsdb::open(folder, settings(), clock, Arc::new(RealDisk), side_indexes).await.unwrap()
}

/// Writes a sample a minute of `series` series in `[from, to)`, with the time as value.
async fn write(tsdb: &Tsdb, tenant: &str, series: usize, from: i64, to: i64) {
    for t in (from..to).step_by(MINUTE as usize) {
        write_at(tsdb, tenant, series, t).await;
    }
}

async fn write_at(tsdb: &Tsdb, tenant: &str, series: usize, t: i64) {
    let commit = {
        let mut appender = tsdb.head().appender(tenant);
        for n in 0..series {
            let n = n.to_string();
            let labels = [("__name__", "m"), ("n", n.as_str())];
            let floats = [FloatSample { t, start: 0, value: t as f64 }];
            let write =
                SeriesWrite { labels: &labels, floats: &floats, histograms: &[], exemplars: &[], metadata: None };
            appender.push(&write);
        }
        appender.commit().unwrap()
    };
    assert_eq!(commit.outcome.rejected_count(), 0);
    tsdb.head().durable(&commit).await.unwrap();
}

/// The times of the samples of each series; those that are in several chunks once.
async fn read(store: &dyn Store) -> BTreeMap<Labels, Vec<i64>> {
    let matchers = vec![Matcher::equal("__name__", "m")];
    let set = store.series(SeriesRequest::new(matchers, TimeInterval::ALL)).await.unwrap();
    assert!(set.warnings.is_empty());
    let mut found: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
    for part in &set.parts {
        let batches: Vec<_> = part.stream(KeyRange::ALL).try_collect().await.unwrap();
        for batch in &batches {
            let columns = SeriesColumns::try_new(batch).unwrap();
            for row in 0..batch.num_rows() {
                let times = found.entry(Labels::from_key(columns.labels.value(row))).or_default();
                for chunk in columns.chunk_range(row) {
                    let mut samples = SampleBuffer::new();
                    decode(columns.encoding.value(chunk), columns.data.value(chunk), TimeInterval::ALL, &mut samples)
                        .unwrap();
                    assert!(samples.timestamps.iter().zip(&samples.floats).all(|(t, value)| *t as f64 == *value));
                    times.extend(samples.timestamps);
                }
            }
        }
    }
    found.values_mut().for_each(|times| {
        times.sort_unstable();
        times.dedup();
    });
    found
}

fn expected(tenant: &str, series: usize, from: i64, to: i64) -> BTreeMap<Labels, Vec<i64>> {
    let times: Vec<i64> = (from..to).step_by(MINUTE as usize).collect();
    let labels = |n: usize| {
        let n = n.to_string();
        Labels::from_pairs([("__name__", "m"), ("n", n.as_str()), ("cluster", "c"), ("tenant_id", tenant)])
    };
    (0..series).map(|n| (labels(n), times.clone())).collect()
}

#[tokio::test]
async fn what_was_written_is_there_in_the_head_in_blocks_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(7 * HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    write(&tsdb, "a", 3, 0, 7 * HOUR + MINUTE).await;
    write(&tsdb, "b", 2, 5 * HOUR, 6 * HOUR).await;
    let mut all = expected("a", 3, 0, 7 * HOUR + MINUTE);
    all.extend(expected("b", 2, 5 * HOUR, 6 * HOUR));
    assert_eq!(read(&tsdb).await, all);

    let cut = tsdb.cut(Cut::Due).await.unwrap();
    let ranges: Vec<_> =
        cut.iter().map(|block| (block.tenant.as_str(), block.meta.min_time, block.meta.max_time)).collect();
    assert_eq!(ranges, [("a", 0, 2 * HOUR), ("a", 2 * HOUR, 4 * HOUR), ("a", 4 * HOUR, 6 * HOUR)]);
    assert_eq!(read(&tsdb).await, all);
    assert!(tsdb.cut(Cut::Due).await.unwrap().is_empty(), "nothing more is due");
    tsdb.close().await.unwrap();
    drop(tsdb);

    let (tsdb, replay) = open(folder.path(), &clock).await;
    assert_eq!(replay.wal.damage, []);
    assert_eq!(read(&tsdb).await, all);
    assert_eq!(tsdb.tenants().len(), 1, "b has no block yet");
    // whoever stops writing is cut, too
    clock.set(11 * HOUR);
    let cut = tsdb.cut(Cut::Due).await.unwrap();
    assert_eq!(cut.len(), 2, "the last hour of a, and b");
    assert_eq!(read(&tsdb).await, all);
    assert_eq!(tsdb.head().stats().series, 0);
}

#[tokio::test]
async fn a_process_that_ends_without_a_word_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    write(&tsdb, "a", 2, 0, HOUR).await;
    // as the disk is now, without a close
    let copy = tempfile::tempdir().unwrap();
    copy_all(folder.path(), copy.path());
    let (second, _) = open(copy.path(), &clock).await;
    assert_eq!(read(&second).await, expected("a", 2, 0, HOUR));
}

#[tokio::test]
async fn a_start_goes_on_from_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(7 * HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    write(&tsdb, "a", 3, 0, 7 * HOUR).await;
    assert!(tsdb.write_snapshot(Arc::new(Arc::clone(&tsdb.cutting).lock_owned().await)).await);
    write(&tsdb, "a", 3, 7 * HOUR, 7 * HOUR + 5 * MINUTE).await;
    write(&tsdb, "b", 1, 7 * HOUR, 7 * HOUR + 5 * MINUTE).await;
    let mut all = expected("a", 3, 0, 7 * HOUR + 5 * MINUTE);
    all.extend(expected("b", 1, 7 * HOUR, 7 * HOUR + 5 * MINUTE));
    let crashed = tempfile::tempdir().unwrap();
    copy_all(folder.path(), crashed.path());
    let (second, replay) = open(crashed.path(), &clock).await;
    assert_eq!((replay.restored.map(|restored| restored.series), replay.samples), (Some(3), 4 * 5));
    assert_eq!(read(&second).await, all);

    // what is in blocks is not in the head again, whichever snapshot is there
    assert_eq!(second.cut(Cut::Due).await.unwrap().len(), 3);
    second.close().await.unwrap();
    drop(second);
    let (third, replay) = open(crashed.path(), &clock).await;
    assert_eq!((replay.restored.map(|restored| restored.series), replay.samples), (Some(4), 0));
    assert_eq!(read(&third).await, all);
    third.close().await.unwrap();
    std::fs::remove_dir_all(crashed.path().join(WAL_DIR)).unwrap();
    copy_all(&folder.path().join(WAL_DIR), &crashed.path().join(WAL_DIR));
    let (fourth, replay) = open(crashed.path(), &clock).await;
    assert!(replay.restored.is_some());
    assert_eq!(read(&fourth).await, all);
    let oldest = fourth.head().tenants().iter().map(|tenant| tenant.interval.mint).min();
    assert!(oldest >= Some(4 * HOUR), "chunks that end before the blocks do stay out: {oldest:?}");
}

#[tokio::test]
async fn a_tenant_whose_blocks_cannot_be_written_holds_no_other_up() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(4 * HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    for tenant in ["a", "b"] {
        write(&tsdb, tenant, 1, 0, 4 * HOUR).await;
    }
    std::fs::write(folder.path().join("a"), "no folder").unwrap();
    let error = tsdb.cut(Cut::Due).await.unwrap_err().to_string();
    assert!(error.contains("/a"), "{error}");
    let oldest = |tenant: &str| {
        let tenants = tsdb.head().tenants();
        tenants.iter().find(|known| &*known.name == tenant).map(|known| known.interval.mint)
    };
    assert_eq!((oldest("a"), oldest("b")), (Some(0), Some(2 * HOUR)));
    std::fs::remove_file(folder.path().join("a")).unwrap();
    let cut = tsdb.cut(Cut::Due).await.unwrap();
    assert_eq!(cut.iter().map(|block| block.tenant.as_str()).collect::<Vec<_>>(), ["a"]);
    let mut all = expected("a", 1, 0, 4 * HOUR);
    all.extend(expected("b", 1, 0, 4 * HOUR));
    assert_eq!(read(&tsdb).await, all);
}

#[tokio::test]
async fn blocks_go_after_the_retention_unless_something_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(6 * HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    write(&tsdb, "a", 1, 0, 6 * HOUR).await;
    assert_eq!(tsdb.cut(Cut::Everything).await.unwrap().len(), 3);
    assert!(tsdb.delete_expired(|_, _| true).await.unwrap().is_empty());
    clock.set(28 * HOUR);
    assert!(tsdb.delete_expired(|_, _| false).await.unwrap().is_empty());
    assert_eq!(tsdb.delete_expired(|tenant, _| tenant == "a").await.unwrap().len(), 2);
    assert_eq!(read(&tsdb).await, expected("a", 1, 4 * HOUR, 6 * HOUR));
}

#[tokio::test]
async fn the_oldest_blocks_go_where_there_are_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(6 * HOUR));
    let side_indexes = || SideIndexCache::new(SideIndexSettings::default());
    let shared = || Arc::clone(&clock) as Arc<dyn Clock>;
    let (tsdb, _) = open(folder.path(), &clock).await;
    write(&tsdb, "a", 1, 0, 6 * HOUR).await;
    write(&tsdb, "b", 1, 4 * HOUR, 6 * HOUR).await;
    assert_eq!(tsdb.cut(Cut::Everything).await.unwrap().len(), 4);
    tsdb.close().await.unwrap();
    drop(tsdb);
    let with = |max_bytes| TsdbSettings { max_bytes, ..settings() };
    let (tsdb, _) =
        Tsdb::open(folder.path(), with(1 << 40), shared(), Arc::new(RealDisk), side_indexes()).await.unwrap();
    assert!(tsdb.delete_expired(|_, _| true).await.unwrap().is_empty());
    drop(tsdb);
    // a byte: none but the newest of each tenant stays
    let (tsdb, _) = Tsdb::open(folder.path(), with(1), shared(), Arc::new(RealDisk), side_indexes()).await.unwrap();
    assert!(tsdb.delete_expired(|_, _| false).await.unwrap().is_empty());
    assert_eq!(tsdb.delete_expired(|_, _| true).await.unwrap().len(), 2);
    let mut left = expected("a", 1, 4 * HOUR, 6 * HOUR);
    left.extend(expected("b", 1, 4 * HOUR, 6 * HOUR));
    assert_eq!(read(&tsdb).await, left);
}

/// One sample at an end of time is no reason not to cut the blocks of others.
#[tokio::test]
async fn the_ends_of_time_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(4 * HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    // the very first moment is what a series without samples has for its newest
    let first = i64::MIN + 1;
    let ends = [("first", vec![first]), ("last", vec![i64::MAX]), ("both", vec![first, i64::MAX])];
    for (tenant, times) in &ends {
        for t in times {
            write_at(&tsdb, tenant, 1, *t).await;
        }
    }
    write(&tsdb, "z", 2, 0, 4 * HOUR).await;
    let mut all = expected("z", 2, 0, 4 * HOUR);
    for (tenant, times) in &ends {
        let [labels] = <[_; 1]>::try_from(expected(tenant, 1, 0, 1).into_keys().collect::<Vec<_>>()).unwrap();
        all.insert(labels, times.clone());
    }
    assert_eq!(read(&tsdb).await, all);
    let cut = tsdb.cut(Cut::Due).await.unwrap();
    assert!(cut.iter().any(|block| block.tenant == "z"), "{cut:?}");
    assert_eq!(read(&tsdb).await, all);
    tsdb.cut(Cut::Everything).await.unwrap();
    assert_eq!(read(&tsdb).await, all);
    drop(tsdb);
    let (tsdb, _) = open(folder.path(), &clock).await;
    assert_eq!(read(&tsdb).await, all);
    clock.set(1_000 * HOUR);
    tsdb.cut(Cut::Due).await.unwrap();
    tsdb.delete_expired(|_, _| true).await.unwrap();
    tsdb.remove_idle(|_, _| true).await.unwrap();
}

#[tokio::test]
async fn a_folder_of_prometheus_is_taken_as_it_stands() {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let golden = Path::new(&shared).join("golden/data-dir");
    let folder = tempfile::tempdir().unwrap();
    copy_all(&golden, folder.path());
    let clock = Arc::new(ManualClock::new(0));
    let (tsdb, replay) = open(folder.path(), &clock).await;
    assert!(replay.samples > 0, "{replay:?}");
    let info = tsdb.info();
    assert!(info.external_labels.iter().all(|labels| labels.get("tenant_id") == Some("default-tenant")));
    // all of it into blocks, then the files of the old head are gone and its block stands
    let mut before = count(&tsdb).await;
    let cut = tsdb.cut(Cut::Everything).await.unwrap();
    assert!(!cut.is_empty());
    let mut after = count(&tsdb).await;
    before.dedup();
    after.dedup();
    assert_eq!(before.len(), after.len());
    assert!(before == after, "series and samples before and after the cut differ");
    assert!(!folder.path().join(CHUNKS_HEAD_DIR).exists() && !folder.path().join(WBL_DIR).exists());
    // its block is not ours to delete, however old it is
    clock.set(i64::MAX / 2);
    assert_eq!(tsdb.delete_expired(|_, _| true).await.unwrap().len(), cut.len() - 1, "the newest stays");
    assert!(tsdb.remove_idle(|_, _| true).await.unwrap().is_empty());
    assert!(folder.path().join("01M84ZXT22AME8BYVCHF98PGTA/meta.json").exists());
}

/// Series, time and value bits of all samples, in order.
async fn count(tsdb: &Tsdb) -> Vec<(String, i64, u64)> {
    let matchers = vec![Matcher::try_new(MatchOp::NotEqual, "__name__", "").unwrap()];
    let set = tsdb.series(SeriesRequest::new(matchers, TimeInterval::ALL)).await.unwrap();
    let mut all = Vec::new();
    for part in &set.parts {
        let batches: Vec<_> = part.stream(KeyRange::ALL).try_collect().await.unwrap();
        for batch in &batches {
            let columns = SeriesColumns::try_new(batch).unwrap();
            for row in 0..batch.num_rows() {
                for chunk in columns.chunk_range(row) {
                    let mut samples = SampleBuffer::new();
                    decode(columns.encoding.value(chunk), columns.data.value(chunk), TimeInterval::ALL, &mut samples)
                        .unwrap();
                    let key = columns.labels.value(row);
                    let sample = |(t, value): (&i64, &f64)| (key.to_owned(), *t, value.to_bits());
                    all.extend(samples.timestamps.iter().zip(&samples.floats).map(sample));
                }
            }
        }
    }
    all.sort_unstable();
    all
}
