//! What an aggregation pays a sample: `sum` of 720 steps into few groups, many, and one a series.
//!
//! `cargo bench -p quiver-engine --bench aggregate`. Throughput is in samples, so its inverse is the time of one. One
//! partition is aggregated in a single stage, two in a partial and a final one on two threads.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::arrow::array::RecordBatch;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, collect};
use engine::vector::{VectorBuilder, rows_per_batch, vector_schema};
use engine::{AnnotationSink, QueryContext, SampleLimit, aggregate_plan};
use promql::tree::{AggregateOp, Grouping};
use storage::model::Labels;

const STEPS: usize = 720;
const SERIES: usize = 5000;

/// Series number `first..first + count`, in batches as a window puts them out. One step in 16 has no sample in every
/// fourth series.
fn batches(first: usize, count: usize, groups: usize) -> Vec<RecordBatch> {
    let mut builder = VectorBuilder::new(STEPS);
    let mut batches = Vec::new();
    for number in first..first + count {
        let mut row = builder.start_row();
        for step in 0..STEPS {
            if number % 4 != 0 || step % 16 != 0 {
                row.set(step, ((number * 31 + step * 17) % 1009) as f64 / 8.0);
            }
        }
        let labels =
            [("__name__", "m".to_owned()), ("group", (number % groups).to_string()), ("n", number.to_string())];
        builder.finish_row(Labels::from_pairs(labels).as_key());
        if builder.len() == rows_per_batch(STEPS) {
            batches.push(builder.finish().expect("rows of one schema make a batch"));
        }
    }
    batches.push(builder.finish().expect("rows of one schema make a batch"));
    batches
}

fn plan(partitions: usize, groups: usize) -> Arc<dyn ExecutionPlan> {
    let each = SERIES / partitions;
    let input: Vec<Vec<RecordBatch>> = (0..partitions).map(|p| batches(p * each, each, groups)).collect();
    let source = MemorySourceConfig::try_new_exec(&input, vector_schema(STEPS), None).expect("batches of the schema");
    let context = QueryContext {
        annotations: Arc::new(AnnotationSink::default()),
        samples: Arc::new(SampleLimit::new(0)),
        lookback_ms: 300_000,
        deduplication: engine::Deduplication::Penalty,
        name_removal: engine::NameRemoval::AtOnce,
        type_labels: false,
        text: "sum by (group) (m)".into(),
    };
    let grouping = Grouping::By(vec!["group".to_owned()]);
    aggregate_plan(source, AggregateOp::Sum, &grouping, STEPS, &context, "1:17".to_owned()).expect("sum is planned")
}

fn sums(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime of two threads");
    let mut group = criterion.benchmark_group("sum");
    group.throughput(Throughput::Elements((SERIES * STEPS) as u64)).sample_size(20);
    for partitions in [1, 2] {
        for groups in [5, 1000, SERIES] {
            let plan = plan(partitions, groups);
            let id = BenchmarkId::new(format!("{groups} groups"), format!("{partitions} partitions"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    let result = runtime.block_on(collect(Arc::clone(&plan), Arc::new(TaskContext::default())));
                    black_box(result.expect("a sum has an answer"))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, sums);
criterion_main!(benches);
