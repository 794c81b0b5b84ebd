//! How fast a log is replayed, and how many requests and samples a second become durable.
//!
//! `cargo bench -p quiver-storage --bench wal`; the log stands in the folder for temporary files, so `TMPDIR` chooses the disk.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first error")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::wal::record::{Record, SampleEntry, SamplesEncoder, decode};
use storage::wal::{Compression, RealDisk, SyncPolicy, Wal, WalSettings, replay};

/// Samples of one record: a request of remote write brings about as many.
const REQUEST: u64 = 2_000;

/// One scrape of so many series, in requests.
fn scrape(series: u64, t: i64) -> Vec<Vec<u8>> {
    let requests = (0..series).step_by(REQUEST as usize).map(|first| {
        let mut record = Vec::new();
        let mut encoder = SamplesEncoder::new(&mut record);
        for series in first..(first + REQUEST).min(series) {
            let value = ((series * 37 + t as u64 / 15_000) % 100_000) as f64 * 0.25;
            encoder.push(SampleEntry { series, t: t + (series % 700) as i64, start: 0, value });
        }
        record
    });
    requests.collect()
}

fn write_log(folder: &Path, compression: Compression) {
    let settings = WalSettings { compression, sync: SyncPolicy::Never, ..WalSettings::default() };
    let wal = Wal::open(folder, Arc::new(RealDisk), settings, 0).unwrap();
    for step in 0..40 {
        for record in scrape(1_000_000, 1_767_225_600_000 + step * 15_000) {
            let lsn = wal.append(&[&record]).unwrap();
            if wal.totals().unsynced_bytes > 64 << 20 {
                futures::executor::block_on(wal.durable(lsn)).unwrap();
            }
        }
    }
    wal.close().unwrap();
}

/// 40 M samples: framing alone, and with every sample decoded.
fn replaying(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay");
    group.sample_size(10);
    for compression in [Compression::None, Compression::Snappy] {
        let folder = tempfile::tempdir().unwrap();
        write_log(folder.path(), compression);
        let bytes = replay(folder.path(), None, &RealDisk, &mut |_, _| Ok(())).unwrap().bytes;
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(format!("{compression:?}, records"), |b| {
            b.iter(|| replay(folder.path(), None, &RealDisk, &mut |_, _| Ok(())).unwrap());
        });
        group.throughput(Throughput::Elements(40_000_000));
        group.bench_function(format!("{compression:?}, samples"), |b| {
            b.iter(|| {
                let mut sum = 0_u64;
                let visit = &mut |_, record: &[u8]| {
                    if let Ok(Record::Samples(samples)) = decode(record) {
                        samples
                            .flatten()
                            .for_each(|s| sum = sum.wrapping_add(s.series ^ s.t as u64 ^ s.value.to_bits()));
                    }
                    Ok(())
                };
                replay(folder.path(), None, &RealDisk, visit).unwrap();
                black_box(sum)
            });
        });
    }
}

/// Rounds in which so many senders append 2,000 samples each and wait until they are durable.
fn committing(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let record = scrape(REQUEST, 1_767_225_600_000).remove(0);
    for senders in [1_u64, 16, 128] {
        let folder = tempfile::tempdir().unwrap();
        let wal = Wal::open(folder.path(), Arc::new(RealDisk), WalSettings::default(), 0).unwrap();
        group.throughput(Throughput::Elements(senders));
        group.bench_function(format!("{senders} senders"), |b| {
            b.iter(|| {
                let sent = (0..senders).map(|_| wal.durable(wal.append(&[&record]).unwrap()));
                futures::executor::block_on(futures::future::try_join_all(sent)).unwrap();
            });
        });
        wal.close().unwrap();
    }
}

criterion_group!(benches, replaying, committing);
criterion_main!(benches);
