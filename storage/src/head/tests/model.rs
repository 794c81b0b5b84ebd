//! Random writes, cuts and truncations against a map.

use proptest::prelude::*;
use std::path::Path;

use super::read::{Samples, read_all, union};
use super::*;
use crate::model::{
    BlockId, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, Span, TimeRange, Timestamp, is_stale_nan, stale_nan,
};
use crate::side_index::{SideIndexCache, SideIndexSettings};
use crate::store::LocalDirStore;
use crate::wal::{RealDisk, SyncPolicy, Wal, WalSettings};

const BLOCK_MS: i64 = 1_000;
const WINDOW_MS: i64 = 3_000;

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// A sample of a series, so many milliseconds after the newest of all.
    Append { series: u8, after: i64 },
    /// All complete ranges go into blocks.
    Cut,
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let append = (0..3_u8, prop_oneof![4 => 0..40_i64, 1 => -3_500..0_i64, 1 => 100..900_i64])
        .prop_map(|(series, after)| Op::Append { series, after });
    prop::collection::vec(prop_oneof![60 => append, 1 => Just(Op::Cut)], 1..400)
}

/// What series `series` has at `t`: the same in every run, so that it does not matter which of two equal samples stays.
pub(super) fn sample(series: u8, t: Timestamp) -> (Option<f64>, Option<HistogramValue>) {
    let spans = vec![Span { offset: (t % 3) as i32, length: 2 }];
    match (series, t % 7) {
        (_, 3) => (Some(stale_nan()), None),
        (1, _) => {
            let histogram = Histogram {
                count: (t as u64 % 100) + 3,
                zero_count: 1,
                sum: t as f64,
                positive_deltas: vec![1, (t % 100)],
                positive_spans: spans,
                ..Histogram::default()
            };
            (None, Some(HistogramValue::Integer(histogram)))
        }
        (2, 1) => {
            let histogram = FloatHistogram {
                schema: CUSTOM_BUCKETS_SCHEMA,
                count: 2.5,
                sum: t as f64,
                positive_buckets: vec![1.0, 1.5],
                positive_spans: vec![Span { offset: 0, length: 2 }],
                custom_values: vec![1.0, 5.0],
                ..FloatHistogram::default()
            };
            (None, Some(HistogramValue::Float(histogram)))
        }
        _ => (Some(t as f64 / 3.0), None),
    }
}

fn expected(series: u8, t: Timestamp) -> String {
    match sample(series, t) {
        (Some(value), _) => format!("{:016x}", value.to_bits()),
        (_, Some(HistogramValue::Integer(histogram))) => histogram.to_float().to_string(),
        (_, Some(HistogramValue::Float(histogram))) => histogram.to_string(),
        _ => String::new(),
    }
}

/// Appends one sample; whether it was taken.
pub(super) fn append_one(head: &Head, series: u8, t: Timestamp) -> bool {
    let name = format!("s{series}");
    let labels = [("__name__", name.as_str()), ("z", "1")];
    let start = if t % 11 == 0 { t - 5 } else { 0 };
    let (float, histogram) = sample(series, t);
    let floats: Vec<_> = float.into_iter().map(|value| FloatSample { t, start, value }).collect();
    let histograms: Vec<_> = histogram.into_iter().map(|histogram| HistogramSample { t, start, histogram }).collect();
    let mut appender = head.appender("x");
    appender.push(&SeriesWrite {
        labels: &labels,
        floats: &floats,
        histograms: &histograms,
        exemplars: &[],
        metadata: None,
    });
    let outcome = appender.commit().unwrap().outcome;
    assert_eq!(outcome.floats + outcome.histograms + outcome.rejected_count(), 1);
    assert!(outcome.rejections.iter().all(|r| r.reason == Rejection::TooOld), "{outcome:?}");
    outcome.rejected_count() == 0
}

pub(super) fn settings() -> HeadSettings {
    HeadSettings {
        block_duration_ms: BLOCK_MS,
        out_of_order_window_ms: WINDOW_MS,
        shards: 2,
        ..HeadSettings::default()
    }
}

pub(super) fn cut(head: &Head, newest: Timestamp, folder: &Path, blocks: &mut u64) {
    for range in head.ranges("x") {
        if range.maxt + BLOCK_MS / 2 > newest {
            continue;
        }
        *blocks += 1;
        let id = BlockId::new(ulid::Ulid::from_parts(*blocks, 1));
        let meta = head.cut_block("x", range, folder, id).unwrap().unwrap();
        assert_eq!(meta.range(), TimeRange { mint: range.mint, maxt: range.maxt });
        head.truncate(&[("x", range.maxt)]);
    }
}

/// A head with a log in `folder`, filled from what is there.
fn with_log(folder: &Path) -> (Head, HeadReplay) {
    let head = Head::new(settings(), Arc::new(ManualClock::new(0)));
    let sources = ReplaySources {
        snapshot: None,
        wal: folder,
        chunks_head: None,
        wbl: None,
        tenant: "none",
        blocks_end: &|_| None,
        adopted: &[],
    };
    let replay = head.replay(sources, &RealDisk).unwrap();
    attach_log(&head, folder, &replay);
    (head, replay)
}

/// Has the head write to the log in `folder` after a replay of it.
pub(super) fn attach_log(head: &Head, folder: &Path, replay: &HeadReplay) {
    let sync = SyncPolicy::Never;
    let settings = WalSettings { segment_bytes: 32 << 10, sync, ..WalSettings::default() };
    let wal = Wal::open(folder, Arc::new(RealDisk), settings, replay.wal.next_segment).unwrap();
    assert!(head.attach(Arc::new(wal)));
}

pub(super) async fn blocks(folder: &Path) -> Samples {
    let cache = SideIndexCache::new(SideIndexSettings::default());
    read_all(&LocalDirStore::open(folder, cache).await.unwrap()).await
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 6 }))]

    #[test]
    fn what_was_taken_is_read_back(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let head = Head::new(settings(), Arc::new(ManualClock::new(0)));
        let (mut model, mut newest, mut written) = (Samples::new(), 10_000, 0);
        for op in ops {
            match op {
                Op::Append { series, after } => {
                    let t = newest + after;
                    if append_one(&head, series, t) {
                        newest = newest.max(t);
                        let name = format!(r#"{{__name__="s{series}", tenant_id="x", z="1"}}"#);
                        model.entry(name).or_default().insert(t, expected(series, t));
                    }
                }
                Op::Cut => {
                    cut(&head, newest, folder.path(), &mut written);
                    let in_head = runtime.block_on(read_all(&head));
                    let whole = union(in_head, runtime.block_on(blocks(folder.path())));
                    prop_assert_eq!(&whole, &model);
                    let complete = head.ranges("x").iter().filter(|range| range.maxt + BLOCK_MS / 2 <= newest).count();
                    prop_assert_eq!(complete, 0, "everything that is complete was cut");
                }
            }
        }
        prop_assert_eq!(&union(runtime.block_on(read_all(&head)), runtime.block_on(blocks(folder.path()))), &model);
        // at a graceful stop everything goes into blocks
        cut(&head, i64::MAX, folder.path(), &mut written);
        prop_assert_eq!(&runtime.block_on(blocks(folder.path())), &model);
        prop_assert_eq!(head.stats().series, 0);
        prop_assert_eq!(head.stats().chunks, 0);
        prop_assert!(is_stale_nan(sample(0, 10).0.unwrap()));
    }

    #[test]
    fn a_replay_comes_to_the_same(ops in ops(), restarts in prop::collection::vec(0..400_usize, 0..3)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (folder, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut head, _) = with_log(log.path());
        let (mut newest, mut written) = (10_000, 0);
        for (i, op) in ops.into_iter().enumerate() {
            match op {
                Op::Append { series, after } => {
                    if append_one(&head, series, newest + after) {
                        newest = newest.max(newest + after);
                    }
                }
                Op::Cut => {
                    cut(&head, newest, folder.path(), &mut written);
                    head.checkpoint(log.path(), &RealDisk).unwrap();
                }
            }
            if restarts.contains(&i) {
                let before = runtime.block_on(read_all(&head));
                head.journal.wal().unwrap().close().unwrap();
                let (next, replay) = with_log(log.path());
                prop_assert_eq!((replay.invalid, &replay.wal.damage[..]), (0, &[][..]));
                let in_blocks = runtime.block_on(blocks(folder.path()));
                let after = runtime.block_on(read_all(&next));
                prop_assert_eq!(union(after, in_blocks.clone()), union(before, in_blocks));
                head = next;
            }
        }
    }
}
