use std::time::Duration;

use async_trait::async_trait;
use datafusion::execution::memory_pool::MemoryLimit;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use storage::model::{BlockId, TimeInterval as Interval};
use storage::store::{KeyRange, LabelRequest, LabelSet, SeriesPart, SeriesSet, SeriesStream, StoreInfo};
use tokio::sync::oneshot;

use super::*;
use crate::testing::labels;
use crate::testing::series::{TestSeries, chunks, samples, series_batch};

/// Told when a stream is polled, and dropped with the stream.
#[derive(Debug)]
struct Watch {
    polled: oneshot::Sender<()>,
    held: oneshot::Sender<()>,
}

/// What every selector selects; where `hang` is set it never ends.
#[derive(Debug, Default, Clone)]
struct TestStore {
    series: Vec<TestSeries>,
    hang: bool,
    panic: bool,
    watch: Arc<Mutex<Option<Watch>>>,
    warnings: Vec<String>,
    /// How often the store has to be looked at again until its block is no longer gone.
    gone: Arc<Mutex<usize>>,
}

#[async_trait]
impl Store for TestStore {
    fn info(&self) -> StoreInfo {
        StoreInfo { external_labels: vec![], interval: Interval::ALL }
    }

    async fn series(&self, _request: SeriesRequest) -> storage::Result<SeriesSet> {
        Ok(SeriesSet { parts: vec![Arc::new(self.clone())], warnings: self.warnings.clone() })
    }

    async fn label_names(&self, _request: LabelRequest) -> storage::Result<LabelSet> {
        Ok(LabelSet::default())
    }

    async fn label_values(&self, _name: &str, _request: LabelRequest) -> storage::Result<LabelSet> {
        Ok(LabelSet::default())
    }

    async fn refresh(&self, block: BlockId) -> storage::Result<()> {
        assert_eq!(block, gone_block());
        *self.gone.lock() -= 1;
        Ok(())
    }
}

fn gone_block() -> BlockId {
    "01M84VG4H2WFVW1NK5TSWRT46C".parse().unwrap()
}

impl SeriesPart for TestStore {
    fn name(&self) -> String {
        "test".to_owned()
    }

    fn series_count(&self) -> usize {
        self.series.len()
    }

    fn split_points(&self, _n: usize) -> Vec<String> {
        vec![]
    }

    fn stream(&self, _range: KeyRange) -> SeriesStream {
        assert!(!self.panic, "the store panics");
        let batch = stream::iter([Ok(series_batch(&self.series))]);
        if *self.gone.lock() > 0 {
            return batch.chain(stream::iter([Err(storage::Error::BlockGone(gone_block()))])).boxed();
        }
        if !self.hang {
            return batch.boxed();
        }
        let watch = self.watch.lock().take();
        let never = stream::once(async move {
            let held = watch.map(|watch| {
                let _ = watch.polled.send(());
                watch.held
            });
            futures::future::pending::<()>().await;
            drop(held);
            Ok(RecordBatch::new_empty(storage::schema::series_schema()))
        });
        batch.chain(never).boxed()
    }
}

/// A store with a series a line.
fn store(text: &str) -> TestStore {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let series = lines.map(|line| {
        let (name, rest) = line.split_once(' ').unwrap();
        (labels(name).into_key(), chunks(&samples(rest), 120, 0))
    });
    TestStore { series: series.collect(), ..TestStore::default() }
}

fn settings() -> EngineSettings {
    EngineSettings {
        lookback_ms: 300_000,
        timeout: Duration::from_secs(60),
        max_samples: 0,
        memory: ProcessPool::new(64 << 20),
        partitions: 2,
        replica_labels: vec![],
        deduplication: Deduplication::Penalty,
        default_subquery_step_ms: 60_000,
        parse: ParseOptions::default(),
        features: EngineFeatures::default(),
        compute: None,
    }
}

/// Runs a query on a runtime of its own.
fn query(store: TestStore, settings: EngineSettings, request: QueryRequest) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(Engine::new(Arc::new(store), settings).query(request))
}

/// An instant query at second 60.
fn instant(text: &str) -> QueryRequest {
    QueryRequest::new(text, QueryTime::Instant(60_000))
}

/// A value as text: what kind it is and its rows.
fn shown(value: &Value) -> String {
    let rows = |batches: &[RecordBatch]| {
        let mut rows = Vec::new();
        for batch in batches {
            let columns = VectorColumns::try_new(batch).unwrap();
            for row in 0..columns.len() {
                let floats: Vec<Option<f64>> = (0..columns.steps()).map(|step| columns.row(row).float(step)).collect();
                rows.push(format!("{} {floats:?}", Labels::from_key(columns.labels(row))));
            }
        }
        rows.join("; ")
    };
    match value {
        Value::Scalar { t, value } => format!("scalar at {t}: {value}"),
        Value::String { t, value } => format!("string at {t}: {value}"),
        Value::Vector { t, batches } => format!("vector at {t}: {}", rows(batches)),
        Value::Matrix { grid, batches, order } => {
            let order = order.iter().map(|&(batch, row)| batches[batch as usize].slice(row as usize, 1));
            format!("matrix of {}: {}", grid.steps(), rows(&order.collect::<Vec<_>>()))
        }
        Value::Samples(series) => {
            let series: Vec<String> = series
                .iter()
                .map(|(labels, samples)| format!("{labels} {:?} {:?}", samples.timestamps, samples.floats))
                .collect();
            format!("samples: {}", series.join("; "))
        }
    }
}

const TWO: &str = "
    m{n=\"1\"} 0:1 30:2 45:stale 60:3
    m{n=\"2\"} 0:10 60:30
";

#[track_caller]
fn check(request: QueryRequest, expected: &str) {
    assert_eq!(shown(&query(store(TWO), settings(), request).unwrap().value), expected);
}

#[test]
fn roots_of_instant_queries() {
    check(instant("1 + time()"), "scalar at 60000: 61");
    check(instant("'text'"), "string at 60000: text");
    check(instant("m"), r#"vector at 60000: {__name__="m", n="1"} [Some(3.0)]; {__name__="m", n="2"} [Some(30.0)]"#);
    check(instant("sum(m)"), "vector at 60000: {} [Some(33.0)]");
    check(instant("scalar(m)"), "scalar at 60000: NaN");
    check(
        instant("m[1m]"),
        r#"samples: {__name__="m", n="1"} [30000, 60000] [2.0, 3.0]; {__name__="m", n="2"} [60000] [30.0]"#,
    );
    check(
        instant("m[1m] @ 30"),
        r#"samples: {__name__="m", n="1"} [0, 30000] [1.0, 2.0]; {__name__="m", n="2"} [0] [10.0]"#,
    );
    check(instant("sum(m)[1m:30s]"), "samples: {} [30000, 60000] [12.0, 33.0]");
    check(instant("m[1m] offset 1h"), "samples: ");
}

#[test]
fn range_queries() {
    let grid = Grid { start: 0, end: 60_000, step_ms: 30_000 };
    let range = |text: &str| QueryRequest::new(text, QueryTime::Range(grid));
    check(range("sum(m)"), "matrix of 3: {} [Some(11.0), Some(12.0), Some(33.0)]");
    check(range("time()"), "matrix of 3: {} [Some(0.0), Some(30.0), Some(60.0)]");
    let error = query(store(TWO), settings(), range("m[1m]")).unwrap_err();
    assert!(matches!(error, Error::BadQuery(_)), "{error:?}");
}

#[test]
fn series_are_limited_with_a_warning() {
    let limited = |text: &str, limit: usize| {
        let request = QueryRequest { limit: Some(limit), ..instant(text) };
        let answer = query(store(TWO), settings(), request).unwrap();
        (shown(&answer.value), answer.warnings)
    };
    let truncated = vec![TRUNCATED.to_owned()];
    assert_eq!(
        limited("m", 1),
        (r#"vector at 60000: {__name__="m", n="1"} [Some(3.0)]"#.to_owned(), truncated.clone())
    );
    assert_eq!(limited("m[30s]", 1), (r#"samples: {__name__="m", n="1"} [60000] [3.0]"#.to_owned(), truncated));
    assert_eq!(limited("m", 2).1, Vec::<String>::new());
    assert_eq!(limited("m", 0).1, Vec::<String>::new());
    assert_eq!(limited("1", 1), ("scalar at 60000: 1".to_owned(), vec![]));
}

#[test]
fn of_a_range_query_the_first_series_by_labels_stay() {
    let stored = "
        m{a=\"1\",n=\"9\"} 0:1
        m{a=\"2\",n=\"1\"} 0:2
        m{a=\"3\",n=\"5\"} 0:3
    ";
    let range = QueryTime::Range(Grid { start: 0, end: 0, step_ms: 1 });
    for (limit, expected) in [
        (Some(2), r#"matrix of 1: {n="1"} [Some(2.0)]; {n="5"} [Some(3.0)]"#),
        (None, r#"matrix of 1: {n="1"} [Some(2.0)]; {n="5"} [Some(3.0)]; {n="9"} [Some(1.0)]"#),
    ] {
        let request = QueryRequest { limit, ..QueryRequest::new("sum by (n) (m)", range) };
        let answer = query(store(stored), settings(), request).unwrap();
        assert_eq!((shown(&answer.value).as_str(), answer.warnings.len()), (expected, usize::from(limit.is_some())));
    }
}

#[test]
fn what_the_store_cannot_answer_is_a_warning() {
    let warnings = vec!["b is gone".to_owned(), "a is gone".to_owned()];
    let store = TestStore { warnings, ..store(TWO) };
    let request = QueryRequest { limit: Some(1), ..instant("m or m offset 1s or quantile(2, m)") };
    let invalid = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:30)";
    assert_eq!(query(store, settings(), request).unwrap().warnings, [invalid, "a is gone", "b is gone", TRUNCATED]);
}

#[test]
fn a_query_begins_again_once_when_a_block_goes() {
    for text in ["sum(m)", "m[1m]"] {
        let gone = Arc::new(Mutex::new(1));
        let store_of_one = TestStore { gone: Arc::clone(&gone), ..store(TWO) };
        let answer = query(store_of_one, settings(), instant(text)).unwrap();
        let calm = query(store(TWO), settings(), instant(text)).unwrap();
        assert_eq!((*gone.lock(), shown(&answer.value)), (0, shown(&calm.value)));
        assert_eq!(answer.stats.samples_total, calm.stats.samples_total, "what was read in vain does not count");
        *gone.lock() = 2;
        let error = query(TestStore { gone: Arc::clone(&gone), ..store(TWO) }, settings(), instant(text)).unwrap_err();
        assert!(matches!(error, Error::Storage(storage::Error::BlockGone(_))), "{error:?}");
        assert_eq!(*gone.lock(), 1, "looked again once");
    }
}

#[test]
fn a_query_times_out() {
    let store = TestStore { hang: true, ..store(TWO) };
    let request = QueryRequest { timeout: Some(Duration::ZERO), ..instant("m") };
    let error = query(store, settings(), request).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    assert_eq!(error.to_string(), "query timed out in expression evaluation");
}

#[test]
fn samples_are_limited() {
    let text = "query processing would load too many samples into memory in query execution";
    let limited = EngineSettings { max_samples: 1, ..settings() };
    for query_text in ["m", "sum(m)", "m[1m]"] {
        let error = query(store(TWO), limited.clone(), instant(query_text)).unwrap_err();
        assert!(matches!(error, Error::Limit(_)), "{error:?}");
        assert_eq!(error.to_string(), text);
    }
    let enough = query(store(TWO), EngineSettings { max_samples: 2, ..settings() }, instant("m")).unwrap();
    assert_eq!(enough.stats.samples_total, 2);
}

#[test]
fn samples_held_at_once_are_counted() {
    let stored = "
        m{n=\"1\"} 0:1 10:1 20:1 30:1 40:1 50:1 60:1
        m{n=\"2\"} 0:1 60:1
        m{n=\"3\"} 0:1 60:1
    ";
    for (text, total, peak) in [
        // the longest series; its buffer is gone when the sum is put out
        ("sum(sum_over_time(m[1h]))", 3, 7),
        // and the result beside it
        ("sum_over_time(m[1h])", 3, 10),
        ("quantile(1, m)", 3, 10),
        ("m[1h]", 11, 11),
    ] {
        let stats = query(store(stored), settings(), instant(text)).unwrap().stats;
        assert_eq!((stats.samples_total, stats.peak_samples), (total, peak), "{text}");
    }
}

#[test]
fn memory_is_limited_and_given_back() {
    let memory = ProcessPool::new(1000);
    let tight = EngineSettings { memory: Arc::clone(&memory), ..settings() };
    for text in ["m", "sum by (n) (m)", "m[1m]"] {
        let error = query(store(TWO), tight.clone(), instant(text)).unwrap_err();
        assert!(matches!(error, Error::Limit(_)), "{text}: {error:?}");
        assert_eq!(memory.used_bytes(), 0);
    }
    let pool = QueryPool::new(memory);
    assert!(matches!(pool.memory_limit(), MemoryLimit::Finite(750)), "a query is still counted");
}

#[test]
fn a_bad_query() {
    for text in ["", "m[", "rate(m)", "sum("] {
        let error = query(store(TWO), settings(), instant(text)).unwrap_err();
        assert!(matches!(error, Error::BadQuery(_)), "{text}: {error:?}");
    }
}

/// A multi-threaded runtime that is not the caller's, as servers have one for plans.
fn compute() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[test]
fn dropping_the_future_stops_the_task() {
    let (polled, was_polled) = oneshot::channel();
    let (held, was_dropped) = oneshot::channel();
    let watch = Arc::new(Mutex::new(Some(Watch { polled, held })));
    let store = TestStore { hang: true, watch, ..store(TWO) };
    let compute = compute();
    let settings = EngineSettings { compute: Some(compute.handle().clone()), ..settings() };
    let engine = Engine::new(Arc::new(store), settings);
    let caller = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    caller.block_on(async {
        let mut query = Box::pin(engine.query(instant("sum(m)")));
        tokio::select! {
            answer = &mut query => panic!("the store never ends, but {answer:?}"),
            polled = was_polled => polled.unwrap(),
        }
        drop(query);
        // the sender goes when the stream that holds it does
        assert!(was_dropped.await.is_err());
    });
}

#[test]
fn a_panic_is_an_internal_error() {
    let compute = compute();
    let settings = EngineSettings { compute: Some(compute.handle().clone()), ..settings() };
    let error = query(TestStore { panic: true, ..store(TWO) }, settings, instant("m")).unwrap_err();
    assert!(matches!(error, Error::Internal(_)), "{error:?}");
}

#[test]
fn explain() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let engine = Engine::new(Arc::new(store(TWO)), settings());
    let plan = runtime.block_on(engine.explain(instant("sum by (n) (m)"))).unwrap();
    let expected = "\
UnpackExec
  AggregateExec: mode=Single, gby=[by (n) as labels], aggr=[sum]
    WindowExec: select, range=300000ms, steps=1, labels=[__name__, n]
      SeriesScanExec: {__name__=\"m\"}, range=1/1, parts=1
";
    assert_eq!(plan, expected);
}
