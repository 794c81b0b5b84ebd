//! Appending to a head: samples a second with one thread and with two, and memory a series.
//!
//! A million series of 15 labels, in requests of 2,000 with one sample each, as remote write sends them.
//!
//! Run with `cargo bench -p quiver-storage --bench head_append -- [series] [rounds] [wal folder]`, or to replay a log that such a run
//! left with `-- replay [wal folder]`. It prints figures and exits; it is no criterion bench, because what it measures is one long run
//! and the memory after it.

use std::sync::Arc;
use std::time::Instant;

use storage::SystemClock;
use storage::head::{FloatSample, Head, HeadFiles, HeadSettings, ReplaySources, SeriesWrite};
use storage::wal::{RealDisk, SyncPolicy, Wal, WalSettings};

/// Series of a request.
const REQUEST: usize = 2_000;
/// Time between rounds, in milliseconds.
const STEP_MS: i64 = 15_000;

/// The labels of a series: a metric of an instance, and what its pod says of itself.
fn labels(i: usize) -> Vec<(String, String)> {
    let (metric, instance) = (i % 500, i / 500);
    let mut labels = vec![
        ("__name__".to_owned(), format!("node_some_metric_number_{metric}_total")),
        ("cluster".to_owned(), format!("eu-{}", instance % 3)),
        ("instance".to_owned(), format!("10.{}.{}.7:9100", instance / 250, instance % 250)),
        ("pod".to_owned(), format!("service-{}-6b7f4d{instance:04x}-x2x8z", instance % 40)),
        ("namespace".to_owned(), format!("namespace-{}", instance % 20)),
        ("mode".to_owned(), format!("mode-{}", metric % 8)),
    ];
    labels.extend((0..9).map(|n| (format!("label_{n}"), format!("some value {}", (instance + n) % (3 + n)))));
    labels.sort();
    labels
}

fn append(head: &Head, series: &[Vec<(String, String)>], first: usize, t: i64) {
    let mut appender = head.appender("default");
    let mut borrowed: Vec<(&str, &str)> = Vec::new();
    for (i, labels) in series.iter().enumerate() {
        borrowed.clear();
        borrowed.extend(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let n = (first + i) as f64;
        let value = if (first + i).is_multiple_of(3) { n } else { (t as f64 / 1_000.0).floor() * (1.0 + n % 7.0) };
        let floats = [FloatSample { t, start: 0, value }];
        appender.push(&SeriesWrite {
            labels: &borrowed,
            floats: &floats,
            histograms: &[],
            exemplars: &[],
            metadata: None,
        });
    }
    let commit = appender.commit().expect("the log takes it");
    assert_eq!(commit.outcome.floats as usize, series.len(), "{:?}", commit.outcome);
}

/// Resident memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}

fn round(head: &Head, series: &[Vec<(String, String)>], t: i64, threads: usize) -> f64 {
    let started = Instant::now();
    let share = series.len().div_ceil(threads);
    std::thread::scope(|scope| {
        for (n, part) in series.chunks(share).enumerate() {
            scope.spawn(move || {
                for (i, request) in part.chunks(REQUEST).enumerate() {
                    append(head, request, n * share + i * REQUEST, t);
                }
            });
        }
    });
    series.len() as f64 / started.elapsed().as_secs_f64()
}

#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    if arguments.next_if(|first| first == "replay").is_some() {
        return arguments.for_each(|folder| replay(&folder));
    }
    let count: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let rounds: i64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(20);
    let folder = arguments.next();
    let head = Head::new(HeadSettings::default(), Arc::new(SystemClock));
    if let Some(folder) = &folder {
        let settings = WalSettings { sync: SyncPolicy::Always, ..WalSettings::default() };
        let wal = Wal::open(folder.as_ref(), Arc::new(RealDisk), settings, 0).expect("a log");
        assert!(head.attach(Arc::new(wal)));
    }
    let series: Vec<_> = (0..count).map(labels).collect();
    let before = resident();
    println!("new series: {:.0} samples/s", round(&head, &series, STEP_MS, 1));
    for threads in [1, 2] {
        let rates: Vec<f64> =
            (1..=rounds).map(|n| round(&head, &series, (threads as i64 * 1_000 + n) * STEP_MS, threads)).collect();
        let mean = rates.len() as f64 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>();
        println!("{threads} threads: {mean:.0} samples/s");
    }
    let stats = head.stats();
    let of_series = |bytes: usize| bytes / count;
    println!(
        "{} bytes a series resident; {} of series, {} of closed chunks; {} chunks, {} label pairs",
        of_series(resident().saturating_sub(before)),
        of_series(stats.series_bytes as usize),
        of_series(stats.chunk_bytes as usize),
        stats.chunks,
        stats.label_pairs,
    );
    if let Some(folder) = folder {
        drop(head);
        replay(&folder);
    }
}

/// Fills a head from the log in `folder`.
#[expect(clippy::print_stdout, reason = "the figures are what this is for")]
fn replay(folder: &str) {
    let (files, snapshot) = HeadFiles::open(folder.as_ref()).expect("a folder");
    let head = Head::continuing(HeadSettings::default(), Arc::new(SystemClock), snapshot.as_ref());
    let sources = ReplaySources {
        wal: folder.as_ref(),
        snapshot: snapshot.as_ref(),
        chunks_head: None,
        wbl: None,
        tenant: "default",
        blocks_end: &|_| None,
        adopted: &[],
    };
    let started = Instant::now();
    let replay = head.replay(sources, &RealDisk).expect("a replay");
    let seconds = started.elapsed().as_secs_f64();
    if let Some(restored) = replay.restored {
        println!("restored {} chunks of {} series from a snapshot", restored.chunks, restored.series);
    }
    println!(
        "replay: {} samples of {} series in {seconds:.1} s, {:.0} samples/s",
        replay.samples,
        head.stats().series,
        replay.samples as f64 / seconds
    );
    files.begin(snapshot.as_ref().filter(|_| replay.restored.is_some()), replay.wal.bytes);
    let started = Instant::now();
    files.write_snapshot(&head, replay.wal.next_segment, 0).expect("a snapshot");
    println!("snapshot written in {:.2} s", started.elapsed().as_secs_f64());
}
