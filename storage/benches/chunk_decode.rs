//! What a query pays for bytes at rest: XOR chunks to columns, histogram chunks, and label sets to keys.
//!
//! `cargo bench -p quiver-storage --bench chunk_decode`. Throughput is in samples (or label sets), so its inverse
//! is the time of one. Gates: 4 ns a sample over golden blocks, 5 ns over counters with jitter. Golden blocks are taken from
//! $QUIVER_SHARED/golden/bucket, else from tests/golden/bucket, else that bench is left out.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::chunk::{Encoding, SAMPLES_PER_CHUNK, decode, encode_series, sample_count};
use storage::model::{Labels, SampleBuffer, TimeInterval};

/// Encoding and payload.
type Chunk = (u8, Vec<u8>);

/// A small generator with a fixed seed, so that runs compare (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// `series` series of four hours, a sample every 15 s. The function gives jitter and value, seeing the value before.
fn generated(series: usize, mut next: impl FnMut(&mut Random, f64) -> (i64, f64)) -> Vec<Chunk> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut chunks = Vec::new();
    for _ in 0..series {
        let (mut samples, mut value) = (SampleBuffer::new(), 0.0);
        for i in 0..960 {
            let (jitter, v) = next(&mut random, value);
            value = v;
            samples.push_float(1_700_000_000_000 + i * 15_000 + jitter, value);
        }
        let encoded = encode_series(&samples, SAMPLES_PER_CHUNK).expect("floats always encode");
        chunks.extend(encoded.into_iter().map(|chunk| (chunk.encoding as u8, chunk.data)));
    }
    chunks
}

/// The chunks of every block in the golden bucket.
fn golden() -> Option<Vec<Chunk>> {
    let shared = std::env::var_os("QUIVER_SHARED").map(|shared| PathBuf::from(shared).join("golden/bucket"));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bucket");
    let bucket = std::fs::read_dir(shared.unwrap_or(own)).ok()?;
    let mut chunks = Vec::new();
    for block in bucket.flatten() {
        let Ok(segment) = std::fs::read(block.path().join("chunks/000001")) else { continue };
        let mut rest = segment.get(8..)?;
        while !rest.is_empty() {
            let (mut length, mut bytes) = (0, 0);
            loop {
                length |= usize::from(rest[bytes] & 0x7f) << (7 * bytes);
                bytes += 1;
                if rest[bytes - 1] < 0x80 {
                    break;
                }
            }
            let (encoding, data) = (rest[bytes], &rest[bytes + 1..bytes + 1 + length]);
            chunks.push((encoding, data.to_vec()));
            rest = &rest[bytes + 1 + length + 4..];
        }
    }
    Some(chunks)
}

fn bench_decode(c: &mut Criterion, name: &str, chunks: &[Chunk]) {
    let samples: usize = chunks.iter().map(|(e, data)| sample_count(*e, data).expect("a chunk")).sum();
    if samples == 0 {
        return;
    }
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(samples as u64));
    group.bench_function(name, |b| {
        let mut out = SampleBuffer::new();
        b.iter(|| {
            for (encoding, data) in chunks {
                out.clear();
                decode(*encoding, black_box(data), TimeInterval::ALL, &mut out).expect("a chunk");
                black_box(&out);
            }
        });
    });
    group.finish();
}

fn decoding(c: &mut Criterion) {
    if let Some(chunks) = golden() {
        let of = |encoding: Encoding| -> Vec<Chunk> {
            chunks.iter().filter(|(e, _)| *e == encoding as u8).cloned().collect()
        };
        bench_decode(c, "golden_xor", &of(Encoding::Xor));
        bench_decode(c, "golden_histogram", &of(Encoding::Histogram));
        bench_decode(c, "golden_float_histogram", &of(Encoding::FloatHistogram));
    }
    let counters = generated(50, |random, v| (random.below(20) as i64 - 10, v + random.below(1000) as f64));
    bench_decode(c, "counters_with_jitter", &counters);
    let regular = generated(50, |random, v| (0, v + random.below(1000) as f64));
    bench_decode(c, "counters", &regular);
    let gauges = generated(50, |random, _| (0, random.next() as f64 * 1e-9));
    bench_decode(c, "random_floats", &gauges);
    bench_decode(c, "constant", &generated(50, |_, _| (0, 42.0)));
}

fn label_keys(c: &mut Criterion) {
    let sets: Vec<Vec<(&str, String)>> = (0..1000)
        .map(|i| {
            vec![
                ("__name__", "http_request_duration_seconds_bucket".to_owned()),
                ("cluster", "eu-1".to_owned()),
                ("code", ["200", "404", "500"][i % 3].to_owned()),
                ("handler", format!("/api/v1/resource/{}", i % 40)),
                ("instance", format!("10.0.{}.{}:9090", i % 16, i % 250)),
                ("job", "api".to_owned()),
                ("le", format!("{}", i % 12)),
                ("pod", format!("api-7d9c5b6f4-{i:05}")),
            ]
        })
        .collect();
    let mut group = c.benchmark_group("labels");
    group.throughput(Throughput::Elements(sets.len() as u64));
    group.bench_function("key_of_8_pairs", |b| {
        b.iter(|| {
            for set in &sets {
                black_box(Labels::from_pairs(black_box(set).iter().map(|(name, value)| (*name, value.as_str()))));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decoding, label_keys);
criterion_main!(benches);
