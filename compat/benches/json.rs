//! Range queries' answers as JSON, in bytes a second on one core: 2,000 series at 721 steps, and histograms.
//!
//! `cargo bench -p quiver-compat --bench json`. Writing is to reach 200 MB/s whatever the values are.

use std::hint::black_box;

use compat::http::AnswerJson;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::vector::{Sample, VectorBuilder};
use engine::{Answer, QueryStats, Value};
use promql::tree::Grid;
use storage::model::{FloatHistogram, Labels, Span};

const STEPS: usize = 721;
const START_MS: i64 = 1_767_225_600_000;

/// xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A whole number below `end`.
    fn below(&mut self, end: u32) -> f64 {
        f64::from((self.next() >> 32) as u32 % end)
    }
}

/// An answer of `series` series, whose samples `write` gives by step.
fn answer(series: usize, mut write: impl FnMut(usize, &mut dyn FnMut(Sample<'_>))) -> Answer {
    let mut builder = VectorBuilder::new(STEPS);
    for number in 0..series {
        let mut row = builder.start_row();
        for step in 0..STEPS {
            write(step, &mut |sample| row.set_sample(step, sample));
        }
        let instance = format!("10.0.{}.{}:9100", number / 256, number % 256);
        let labels = [("__name__", "requests_total"), ("instance", &instance), ("job", "api"), ("zone", "eu-1a")];
        builder.finish_row(Labels::from_pairs(labels).as_key());
    }
    let batches = vec![builder.finish().expect("a vector batch")];
    let order = (0..series).map(|row| (0, u32::try_from(row).expect("few rows"))).collect();
    let grid = Grid { start: START_MS, end: START_MS + 720 * 15_000, step_ms: 15_000 };
    let value = Value::Matrix { grid, batches, order };
    Answer { value, warnings: Vec::new(), infos: Vec::new(), stats: QueryStats::default() }
}

/// One float a step, from the number of the step and a source of chance.
fn floats(mut value: impl FnMut(usize, &mut Random) -> f64) -> Answer {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    answer(2000, |step, put| put(Sample::Float(value(step, &mut random))))
}

/// Rates of histograms: 24 buckets of counts that are no integers.
fn histograms() -> Answer {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    answer(100, |_, put| {
        let positive_buckets: Vec<f64> = (0..24).map(|_| random.below(500) / 285.0).collect();
        put(Sample::Histogram(&FloatHistogram {
            schema: 3,
            zero_threshold: 1e-128,
            count: positive_buckets.iter().sum(),
            sum: random.below(1_000_000) / 285.0,
            positive_spans: vec![Span { offset: -20, length: 12 }, Span { offset: 2, length: 12 }],
            positive_buckets,
            ..FloatHistogram::default()
        }));
    })
}

fn write(answer: Answer) -> usize {
    let json = AnswerJson::try_new(answer, false, false).expect("vector batches");
    json.map(|piece| black_box(piece).len()).sum()
}

fn json(criterion: &mut Criterion) {
    let mut counter = 0.0;
    let answers = [
        (
            "counters",
            floats(|step, random| {
                counter = if step == 0 { random.below(100_000_000) } else { counter + random.below(500) };
                counter
            }),
        ),
        ("gauges", floats(|_, random| random.below(10_000) / 100.0)),
        ("rates", floats(|_, random| random.below(5000) / 285.0)),
        ("histograms", histograms()),
    ];
    let mut group = criterion.benchmark_group("json");
    group.sample_size(10);
    for (name, answer) in answers {
        group.throughput(Throughput::Bytes(write(answer.clone()) as u64));
        group.bench_function(name, |bencher| bencher.iter_batched(|| answer.clone(), write, BatchSize::PerIteration));
    }
    group.finish();
}

criterion_group!(benches, json);
criterion_main!(benches);
