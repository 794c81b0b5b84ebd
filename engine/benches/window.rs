//! What a range function pays a sample, chunks to rows: `rate` over counters.
//!
//! `cargo bench -p quiver-engine --bench window`. Three hours at 15 s are 720 samples a series, evaluated at 241 steps of 45 s
//! with a range of 5 minutes. Throughput is in samples of the series, so its inverse is the time of one.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::{
    ArrayRef, BinaryViewArray, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray, UInt8Array,
    UInt32Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, collect};
use engine::kernel::{Margin, Windows, range_kernel};
use engine::{AnnotationSink, LabelOutput, QueryContext, SampleLimit, WindowExec, WindowFunction, WindowSpec};
use promql::Function;
use promql::tree::{Border, Grid, Projection, Span};
use storage::chunk::{EncodedChunk, SAMPLES_PER_CHUNK, encode_series};
use storage::model::{Labels, SampleBuffer};
use storage::schema::{chunk_fields, chunk_item_field, series_schema};

const SERIES: usize = 1000;
const SAMPLES: usize = 720;
const START_MS: i64 = 1_700_000_000_000;
const SCRAPE_MS: i64 = 15_000;

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

/// A counter with jittered scrapes that is reset about twice.
fn counter(random: &mut Random) -> Vec<EncodedChunk> {
    let mut samples = SampleBuffer::new();
    let mut value = 0.0;
    let mut t = START_MS;
    for _ in 0..SAMPLES {
        value = if random.below(360) == 0 { 0.0 } else { value + random.below(1000) as f64 };
        samples.push_float(t + i64::try_from(random.below(20)).expect("jitter is small"), value);
        t += SCRAPE_MS;
    }
    encode_series(&samples, SAMPLES_PER_CHUNK).expect("floats always encode")
}

/// A series batch with a series for each list of chunks.
fn batch(series: &[Vec<EncodedChunk>]) -> RecordBatch {
    let keys = (0..series.len())
        .map(|n| Labels::from_pairs([("__name__", "requests_total".to_owned()), ("n", format!("{n:06}"))]).into_key());
    let all: Vec<&EncodedChunk> = series.iter().flatten().collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(all.iter().map(|chunk| chunk.mint))),
        Arc::new(Int64Array::from_iter_values(all.iter().map(|chunk| chunk.maxt))),
        Arc::new(UInt8Array::from_iter_values(all.iter().map(|chunk| chunk.encoding as u8))),
        Arc::new(UInt32Array::from_iter_values(all.iter().map(|_| 0))),
        Arc::new(BinaryViewArray::from_iter_values(all.iter().map(|chunk| &chunk.data))),
    ];
    let entries = StructArray::try_new(chunk_fields(), columns, None).expect("columns of the schema");
    let offsets = OffsetBuffer::from_lengths(series.iter().map(Vec::len));
    let lists = ListArray::try_new(chunk_item_field(), offsets, Arc::new(entries), None).expect("lists of the schema");
    let columns: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from_iter_values(keys)), Arc::new(lists)];
    RecordBatch::try_new(series_schema(), columns).expect("columns of the schema")
}

fn rate() -> Arc<dyn ExecutionPlan> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let series: Vec<Vec<EncodedChunk>> = (0..SERIES).map(|_| counter(&mut random)).collect();
    let source = MemorySourceConfig::try_new_exec(&[vec![batch(&series)]], series_schema(), None);
    let grid = Grid { start: START_MS, end: START_MS + 240 * 45_000, step_ms: 45_000 };
    let kernel = range_kernel(Function::Rate, Border::Plain).expect("rate is a range function");
    let spec = WindowSpec {
        windows: Windows { grid, offset_ms: 0, at: None, range_ms: 300_000, margin: Margin::default() },
        function: WindowFunction::Range(Arc::from(kernel)),
        name: "rate",
        counter: true,
        downsampled: None,
        start_times: false,
        histogram_stats: false,
        args: Vec::new(),
        labels: LabelOutput { drop_name: true, projection: Projection::All },
        span: Span::default(),
    };
    let context = QueryContext {
        annotations: Arc::new(AnnotationSink::default()),
        samples: Arc::new(SampleLimit::new(0)),
        lookback_ms: 300_000,
        deduplication: engine::Deduplication::Penalty,
        name_removal: engine::NameRemoval::AtOnce,
        type_labels: false,
        text: "rate(requests_total[5m])".into(),
    };
    Arc::new(WindowExec::new(source.expect("batches of the schema"), spec, context))
}

fn windows(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime of one thread");
    let plan = rate();
    let mut group = criterion.benchmark_group("window");
    group.throughput(Throughput::Elements((SERIES * SAMPLES) as u64)).sample_size(20);
    group.bench_function("rate of counters", |bencher| {
        bencher.iter(|| {
            let result = runtime.block_on(collect(Arc::clone(&plan), Arc::new(TaskContext::default())));
            black_box(result.expect("a rate has an answer"))
        });
    });
    group.finish();
}

criterion_group!(benches, windows);
criterion_main!(benches);
