//! What downsampling pays a raw sample, chunks to chunks: counters and histograms, to 5 minutes, and to 5 minutes and an hour.
//!
//! `cargo bench -p quiver-engine --bench downsample`. A series is two days of samples, as in the block from which on raw samples are
//! downsampled. Throughput is in raw samples, so its inverse is the time of one.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::compact::StoredChunk;
use engine::downsample::Downsampler;
use storage::chunk::{EncodedChunk, SAMPLES_PER_CHUNK, encode_series};
use storage::compact::{FIVE_MINUTES_MS, ONE_HOUR_MS, RAW};
use storage::model::{FloatHistogram, SampleBuffer, Span};

const SERIES: usize = 100;
const SPAN_MS: i64 = 2 * 86_400_000;
const START_MS: i64 = 1_700_006_400_000;

/// A small generator with a fixed seed, so that runs compare (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % n
    }
}

/// A counter with jittered scrapes that is reset now and then.
fn counter(random: &mut Random, scrape_ms: i64) -> Vec<EncodedChunk> {
    let mut samples = SampleBuffer::new();
    let mut value = 0.0;
    for t in (START_MS..START_MS + SPAN_MS).step_by(usize::try_from(scrape_ms).expect("intervals are short")) {
        value = if random.below(3_600) == 0 { 0.0 } else { value + random.below(1_000) as f64 };
        samples.push_float(t + i64::try_from(random.below(20)).expect("jitter is small"), value);
    }
    encode_series(&samples, SAMPLES_PER_CHUNK).expect("floats always encode")
}

/// A histogram of 20 buckets.
fn histogram(random: &mut Random, scrape_ms: i64) -> Vec<EncodedChunk> {
    let mut samples = SampleBuffer::new();
    let mut buckets = vec![0.0; 20];
    for t in (START_MS..START_MS + SPAN_MS).step_by(usize::try_from(scrape_ms).expect("intervals are short")) {
        for bucket in &mut buckets {
            *bucket += random.below(5) as f64;
        }
        let count = buckets.iter().sum();
        let histogram = FloatHistogram {
            schema: 3,
            count,
            sum: count / 3.0,
            positive_spans: vec![Span { offset: -4, length: 20 }],
            positive_buckets: buckets.clone(),
            ..FloatHistogram::default()
        };
        samples.push_histogram(t, histogram);
    }
    encode_series(&samples, SAMPLES_PER_CHUNK).expect("the layout is right")
}

fn downsample(criterion: &mut Criterion) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut group = criterion.benchmark_group("downsample");
    let mut bench = |name: &str, series: &[Vec<EncodedChunk>], output_ms: i64| {
        let samples: usize = series.iter().flatten().map(|chunk| chunk.samples).sum();
        group.throughput(Throughput::Elements(samples as u64));
        let mut downsampler = Downsampler::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for chunks in series {
                    let stored: Vec<StoredChunk<'_>> = chunks.iter().map(StoredChunk::of).collect();
                    let levels = downsampler.levels(black_box(&stored), RAW, output_ms);
                    black_box(levels.expect("the chunks are whole"));
                }
            });
        });
    };
    for (name, scrape_ms) in [("15 s", 15_000), ("60 s", 60_000)] {
        let series: Vec<_> = (0..SERIES).map(|_| counter(&mut random, scrape_ms)).collect();
        bench(&format!("counters every {name} to 5m"), &series, FIVE_MINUTES_MS);
        bench(&format!("counters every {name} to 5m and 1h"), &series, ONE_HOUR_MS);
    }
    let series: Vec<_> = (0..SERIES / 10).map(|_| histogram(&mut random, 15_000)).collect();
    bench("histograms every 15 s to 5m and 1h", &series, ONE_HOUR_MS);
    group.finish();
}

criterion_group!(benches, downsample);
criterion_main!(benches);
