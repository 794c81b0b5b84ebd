//! What a query costs from its text to its answer, over the golden blocks: planning and dispatch of one series, and queries
//! as dashboards ask them.
//!
//! `cargo bench --bench query`. One partition and one thread; the JSON of the answer is not part of it.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use engine::{Deduplication, Engine, EngineFeatures, EngineSettings, ProcessPool, QueryRequest, QueryTime};
use object_store::local::LocalFileSystem;
use promql::ParseOptions;
use promql::tree::Grid;
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BucketSettings, BucketStore};
use storage::{ManualClock, Store};
use tokio::runtime::{Builder, Runtime};

/// The end of the golden blocks, 2026-01-01T12:00Z.
const END_MS: i64 = 1_767_268_800_000;
const HOUR_MS: i64 = 3_600_000;

const ONE_SERIES: &str = "up{instance=\"10.0.0.1:8080\"}";
const RATES: &str = "sum by (job) (rate(http_requests_total[5m]))";
const QUANTILES: &str = "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))";

fn engine(runtime: &Runtime) -> Engine {
    let bucket = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bucket");
    let store = BucketStore::new(
        Arc::new(LocalFileSystem::new_with_prefix(&bucket).expect("the golden bucket is a folder")),
        BucketSettings { local_root: Some(bucket), ..BucketSettings::default() },
        SideIndexCache::new(SideIndexSettings::default()),
        Arc::new(ManualClock::new(END_MS)),
    );
    runtime.block_on(store.sync()).expect("the golden bucket can be listed");
    let settings = EngineSettings {
        lookback_ms: 300_000,
        timeout: Duration::from_secs(120),
        max_samples: 0,
        memory: ProcessPool::new(1 << 30),
        partitions: 1,
        replica_labels: Vec::new(),
        deduplication: Deduplication::Penalty,
        default_subquery_step_ms: 60_000,
        parse: ParseOptions::default(),
        features: EngineFeatures::default(),
        compute: None,
    };
    Engine::new(Arc::new(store) as Arc<dyn Store>, settings)
}

fn queries(c: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let engine = engine(&runtime);
    let last_hour = QueryTime::Range(Grid { start: END_MS - HOUR_MS, end: END_MS, step_ms: 15_000 });
    let all_hours = QueryTime::Range(Grid { start: END_MS - 12 * HOUR_MS, end: END_MS, step_ms: 60_000 });
    let mut group = c.benchmark_group("query");
    for (name, text, time) in [
        ("one series, one step", ONE_SERIES, QueryTime::Instant(END_MS - HOUR_MS)),
        ("one series, 241 steps", ONE_SERIES, last_hour),
        ("sum of rates of 96 series, 721 steps", RATES, all_hours),
        ("quantiles of a histogram, 721 steps", QUANTILES, all_hours),
    ] {
        let request = QueryRequest::new(text, time);
        group.bench_function(name, |b| {
            b.iter(|| black_box(runtime.block_on(engine.query(request.clone())).expect("the query has an answer")));
        });
    }
    group.finish();
    let request = QueryRequest::new(ONE_SERIES, QueryTime::Instant(END_MS - HOUR_MS));
    c.bench_function("plan of one series", |b| {
        b.iter(|| black_box(runtime.block_on(engine.explain(request.clone())).expect("the query has a plan")));
    });
}

criterion_group!(benches, queries);
criterion_main!(benches);
