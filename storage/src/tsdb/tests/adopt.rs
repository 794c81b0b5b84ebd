//! The data directory of a Thanos receive, taken over as it stands.

use std::io::Read;

use super::*;
use crate::head::tests::golden::{compare, copy, count as count_samples, dump, golden, like_dump};
use crate::head::tests::read::{Samples, read_all};

/// A receive's folder: `a` has all that a Prometheus can leave, `b` a log alone.
fn receive_folder() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    copy(&golden("data-dir")?, &folder.path().join("a"));
    copy(&golden("wal")?, &folder.path().join("b").join(WAL_DIR));
    // what Thanos leaves beside them
    std::fs::write(folder.path().join("a/lock"), "").unwrap();
    std::fs::write(folder.path().join("a").join(crate::shipper::SHIPPER_FILE), r#"{"version":1,"uploaded":[]}"#)
        .unwrap();
    Some(folder)
}

/// What Prometheus says is in them.
fn dumps() -> [(&'static str, Samples); 2] {
    let mut text = String::new();
    let file = std::fs::File::open(golden("data-dir.dump.txt.gz").unwrap()).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let wal = std::fs::read_to_string(golden("wal.dump.txt").unwrap()).unwrap();
    [("a", dump(&text)), ("b", dump(&wal))]
}

async fn open(folder: &Path, clock: &Arc<ManualClock>, window_ms: i64) -> (Tsdb, HeadReplay) {
    let mut settings = settings();
    settings.head.external_labels = ExternalLabels::default();
    settings.head.out_of_order_window_ms = window_ms;
    let side_indexes = SideIndexCache::new(SideIndexSettings::default());
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Tsdb::open(folder, settings, clock, Arc::new(RealDisk), side_indexes).await.unwrap()
}

/// The series of a tenant, without the label that says so.
fn of_tenant(all: &Samples, tenant: &str) -> Samples {
    let label = format!("tenant_id=\"{tenant}\"");
    let own = all.iter().filter(|(series, _)| series.contains(&label));
    let bare = |series: &str| series.replace(&format!(", {label}"), "").replace(&format!("{label}, "), "");
    own.map(|(series, samples)| (bare(series), samples.clone())).collect()
}

async fn check(tsdb: &Tsdb, expected: &[(&str, Samples)]) {
    let all = like_dump(read_all(tsdb).await);
    for (tenant, samples) in expected {
        compare(&of_tenant(&all, tenant), samples);
    }
    let tenants: usize = expected.iter().map(|(_, samples)| samples.len()).sum();
    assert_eq!(all.len(), tenants, "series of nobody");
}

fn leftovers(folder: &Path) -> Vec<String> {
    let names = ["a", "b"]
        .into_iter()
        .flat_map(|tenant| [WAL_DIR, CHUNKS_HEAD_DIR, WBL_DIR].map(|name| format!("{tenant}/{name}")));
    names.filter(|name| folder.join(name).exists()).collect()
}

#[tokio::test]
async fn each_tenant_has_what_was_its_own_until_it_is_in_blocks() {
    let Some(folder) = receive_folder() else { return };
    let clock = Arc::new(ManualClock::new(0));
    let expected = dumps();
    assert_eq!(count_samples(&expected[0].1), 47_160);
    for start in 0..3 {
        let (tsdb, replay) = open(folder.path(), &clock, 0).await;
        assert_eq!((replay.invalid, replay.unknown_series, replay.adopted.len()), (0, 0, 2), "{replay:?}");
        check(&tsdb, &expected).await;
        assert_eq!(tsdb.cut(Cut::Due).await.unwrap().len(), 0, "start {start}");
        // killed, or stopped
        if start == 1 {
            tsdb.close().await.unwrap();
        }
    }
    assert_eq!(leftovers(folder.path()), ["a/wal", "a/chunks_head", "a/wbl", "b/wal"]);

    let (tsdb, _) = open(folder.path(), &clock, 0).await;
    assert!(tsdb.cut(Cut::Everything).await.unwrap().len() >= 2);
    check(&tsdb, &expected).await;
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    assert_eq!(tsdb.head().stats().series, 0);
    drop(tsdb);
    let (tsdb, replay) = open(folder.path(), &clock, 0).await;
    assert_eq!((replay.samples, replay.adopted.len()), (0, 0), "{replay:?}");
    check(&tsdb, &expected).await;
}

#[tokio::test]
async fn a_crash_before_the_files_are_gone_changes_nothing() {
    let Some(folder) = receive_folder() else { return };
    let clock = Arc::new(ManualClock::new(0));
    let expected = dumps();
    let (tsdb, _) = open(folder.path(), &clock, 0).await;
    tsdb.cut(Cut::Everything).await.unwrap();
    drop(tsdb);
    // as if the process had ended before it removed them, and while it did
    copy(&golden("wal").unwrap(), &folder.path().join("b").join(WAL_DIR));
    copy(&golden("data-dir/wal").unwrap(), &folder.path().join("a/wal.tmp-for-deletion"));
    for name in [CHUNKS_HEAD_DIR, WBL_DIR] {
        copy(&golden("data-dir").unwrap().join(name), &folder.path().join("a").join(name));
    }
    let (tsdb, replay) = open(folder.path(), &clock, 0).await;
    assert_eq!(replay.samples, 0, "all of it is in blocks: {replay:?}");
    check(&tsdb, &expected).await;
    assert!(tsdb.cut(Cut::Due).await.unwrap().is_empty());
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    assert!(!folder.path().join("a/wal.tmp-for-deletion").exists());
}

#[tokio::test]
async fn what_comes_after_is_there_beside_it() {
    let Some(folder) = receive_folder() else { return };
    let (mut expected, clock) = (dumps(), Arc::new(ManualClock::new(0)));
    let newest =
        |samples: &Samples| samples.values().filter_map(|samples| samples.keys().max()).max().copied().unwrap();
    let (series, _) = expected[1].1.iter().next().map(|(series, samples)| (series.clone(), samples.len())).unwrap();
    let t = newest(&expected[1].1) + 1;
    {
        let (tsdb, _) = open(folder.path(), &clock, HOUR).await;
        append(&tsdb, "b", &series, &[t, t + 2]).await;
        // late
        append(&tsdb, "b", &series, &[t + 1]).await;
    }
    for t in [t, t + 1, t + 2] {
        expected[1].1.get_mut(&series).unwrap().insert(t, format!("{:016x}", (t as f64).to_bits()));
    }
    for _ in 0..2 {
        let (tsdb, replay) = open(folder.path(), &clock, HOUR).await;
        assert_eq!(replay.unknown_series, 0, "{replay:?}");
        check(&tsdb, &expected).await;
    }
    let (tsdb, _) = open(folder.path(), &clock, HOUR).await;
    tsdb.cut(Cut::Everything).await.unwrap();
    check(&tsdb, &expected).await;
    // what follows a cut in the middle of a block is taken, and its block begins where the other ended
    append(&tsdb, "b", &series, &[t + 3]).await;
    let cut = tsdb.cut(Cut::Everything).await.unwrap();
    assert_eq!(
        cut.iter().map(|block| (block.meta.min_time, block.meta.max_time)).collect::<Vec<_>>(),
        [(t + 3, t + 4)]
    );
    expected[1].1.get_mut(&series).unwrap().insert(t + 3, format!("{:016x}", ((t + 3) as f64).to_bits()));
    check(&tsdb, &expected).await;
}

/// Appends to the series that a dump calls so; a value is its time.
async fn append(tsdb: &Tsdb, tenant: &str, series: &str, times: &[i64]) {
    let pairs: Vec<(&str, &str)> = series
        .trim_matches(['{', '}'])
        .split("\", ")
        .map(|pair| pair.trim_end_matches('"').split_once("=\"").unwrap())
        .collect();
    let floats: Vec<FloatSample> = times.iter().map(|&t| FloatSample { t, start: 0, value: t as f64 }).collect();
    let write = SeriesWrite { labels: &pairs, floats: &floats, histograms: &[], exemplars: &[], metadata: None };
    let commit = {
        let mut appender = tsdb.head().appender(tenant);
        appender.push(&write);
        appender.commit().unwrap()
    };
    assert_eq!(commit.outcome.rejected_count(), 0, "{:?}", commit.outcome);
    tsdb.head().durable(&commit).await.unwrap();
}

#[tokio::test]
async fn late_blocks_do_not_say_where_the_log_goes_on() {
    let Some(folder) = receive_folder() else { return };
    let clock = Arc::new(ManualClock::new(0));
    let expected = dumps();
    // a block as of late samples compacted early, whose time reaches past all that is in the log
    let block = folder.path().join("a/01M84ZXT22AME8BYVCHF98PGTA/meta.json");
    let mut meta: serde_json::Value = serde_json::from_slice(&std::fs::read(&block).unwrap()).unwrap();
    meta["maxTime"] = (4_000_000_000_000_i64).into();
    meta["compaction"]["hints"] = vec!["from-out-of-order"].into();
    std::fs::write(&block, serde_json::to_vec(&meta).unwrap()).unwrap();
    let (tsdb, _) = open(folder.path(), &clock, 0).await;
    check(&tsdb, &expected).await;
}
