//! How the tests of operators speak: inputs and expected rows as text, and a source that can fail or hang.
//!
//! A line is a series: `name{label="value"} 1 2 _ NaN`, one token a step. `_` is no sample and `h:4:10` a histogram of 4
//! observations with sum 10.

pub(crate) mod series;

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Poll;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};
use promql::tree::Grid;
use storage::model::{FloatHistogram, Labels, Span};

use crate::annotations::AnnotationSink;
use crate::context::{QueryContext, SampleLimit};
use crate::dedup::Deduplication;
use crate::error::{Error, Result};
use crate::operator::{batch_stream, operator_plumbing, partition_count, plan_properties};
use crate::removed_name::NameRemoval;
use crate::vector::{Sample, VectorBuilder, VectorColumns, vector_schema};

/// The query text of [`context`]; spans of tests point into it.
pub(crate) const QUERY: &str = "some query text of a test that is long enough";

/// A query context without limits.
pub(crate) fn context() -> QueryContext {
    QueryContext {
        annotations: Arc::new(AnnotationSink::default()),
        samples: Arc::new(SampleLimit::new(0)),
        lookback_ms: 300_000,
        deduplication: Deduplication::Penalty,
        name_removal: NameRemoval::AtOnce,
        type_labels: false,
        text: QUERY.into(),
    }
}

/// A grid of `steps` steps, a minute apart, from 0.
pub(crate) fn grid(steps: usize) -> Grid {
    Grid { start: 0, end: (i64::try_from(steps).unwrap() - 1) * 60_000, step_ms: 60_000 }
}

/// A histogram with one bucket.
pub(crate) fn histogram(count: f64, sum: f64) -> FloatHistogram {
    FloatHistogram {
        count,
        sum,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![count],
        ..FloatHistogram::default()
    }
}

/// `name{a="1", b="2"}`.
pub(crate) fn labels(text: &str) -> Labels {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let mut pairs = vec![("__name__".to_owned(), name.to_owned())];
    let mut rest = rest.trim_end_matches('}');
    while let Some((label, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap();
        pairs.push((label.trim_matches([',', ' ']).to_owned(), value.to_owned()));
        rest = after;
    }
    Labels::from_pairs(pairs)
}

/// The series of a text as one batch each line `---` ends.
pub(crate) fn batches(steps: usize, text: &str) -> Vec<RecordBatch> {
    let mut builder = VectorBuilder::new(steps);
    let mut batches = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line == "---" {
            batches.push(builder.finish().unwrap());
            continue;
        }
        let end = line.rfind("} ").map_or_else(|| line.find(' ').unwrap(), |brace| brace + 1);
        let samples: Vec<&str> = line[end..].split_whitespace().collect();
        assert_eq!(samples.len(), steps, "{line}");
        let mut row = builder.start_row();
        for (step, sample) in samples.iter().enumerate() {
            if let Some(parts) = sample.strip_prefix("h:") {
                let (count, sum) = parts.split_once(':').unwrap();
                row.set_histogram(step, histogram(count.parse().unwrap(), sum.parse().unwrap()));
            } else if *sample != "_" {
                row.set(step, sample.parse().unwrap());
            }
        }
        builder.finish_row(labels(&line[..end]).as_key());
    }
    batches.push(builder.finish().unwrap());
    batches
}

/// How a source ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As sources do.
    Done,
    /// With "the input failed".
    Error,
    /// It waits for ever.
    Never,
}

/// A plan that puts out given batches.
#[derive(Debug)]
pub(crate) struct SourceExec {
    /// The batches of each partition.
    partitions: Vec<Vec<RecordBatch>>,
    end: End,
    /// Counted up for as long as a stream of this source lives.
    alive: Arc<()>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SourceExec {
    pub(crate) fn new(steps: usize, text: &str, end: End) -> Self {
        Self::of(vector_schema(steps), vec![batches(steps, text)], end)
    }

    /// A source of these batches in each partition; all partitions end alike.
    pub(crate) fn of(schema: SchemaRef, partitions: Vec<Vec<RecordBatch>>, end: End) -> Self {
        let properties = plan_properties(schema, partitions.len());
        Self { partitions, end, alive: Arc::new(()), properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// Counts the source and its streams that have not ended.
    pub(crate) fn alive(&self) -> Weak<()> {
        Arc::downgrade(&self.alive)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the plumbing of operators wants a result")]
    fn with_inputs(&self, _inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self {
            partitions: self.partitions.clone(),
            end: self.end,
            alive: Arc::clone(&self.alive),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceExec")
    }
}

impl ExecutionPlan for SourceExec {
    operator_plumbing!("SourceExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let alive = Arc::clone(&self.alive);
        let batches = stream::iter(self.partitions[partition].clone()).map(Ok);
        let end = self.end;
        let tail = stream::iter((end != End::Done).then_some(alive)).then(move |alive| async move {
            let _alive = alive;
            if end == End::Never {
                futures::future::pending::<()>().await;
            }
            Err(Error::Execution("the input failed".to_owned()))
        });
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        Ok(batch_stream(self.schema(), metrics, batches.chain(tail)))
    }
}

/// A source of the series in `text`.
pub(crate) fn source(steps: usize, text: &str) -> Arc<dyn ExecutionPlan> {
    Arc::new(SourceExec::new(steps, text, End::Done))
}

/// Runs a plan of one partition.
pub(crate) async fn run(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<String>> {
    run_in(plan, Arc::new(TaskContext::default())).await
}

/// As [`run`], in a context of its own.
pub(crate) async fn run_in(plan: &Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<Vec<String>> {
    assert_eq!(partition_count(plan), 1);
    let batches: Vec<RecordBatch> = plan.execute(0, context)?.try_collect().await?;
    let mut lines = Vec::new();
    for batch in &batches {
        let columns = VectorColumns::try_new(batch)?;
        for row in 0..columns.len() {
            lines.push(line(columns.labels(row), &columns, row));
        }
    }
    Ok(lines)
}

fn line(key: &str, columns: &VectorColumns, row: usize) -> String {
    let labels = Labels::from_key(key);
    let name = labels.get("__name__").map_or_else(String::new, std::borrow::Cow::into_owned);
    let rest: Vec<String> =
        labels.iter().filter(|(n, _)| n != "__name__").map(|(n, v)| format!("{n}=\"{v}\"")).collect();
    let braces = if rest.is_empty() && !name.is_empty() { String::new() } else { format!("{{{}}}", rest.join(", ")) };
    let samples: Vec<String> = (0..columns.steps())
        .map(|step| match columns.row(row).sample(step) {
            None => "_".to_owned(),
            Some(Sample::Float(value)) => value.to_string(),
            Some(Sample::Histogram(histogram)) => format!("h:{}:{}", histogram.count, histogram.sum),
        })
        .collect();
    format!("{name}{braces} {}", samples.join(" "))
}

/// Runs a plan and compares the rows in their order.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "tests build the plan in the call")]
pub(crate) fn check(plan: Arc<dyn ExecutionPlan>, expected: &str) {
    let lines = futures::executor::block_on(run(&plan)).unwrap();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, expected);
}

/// Runs a plan that must fail, and compares the error's text.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "tests build the plan in the call")]
pub(crate) fn check_error(plan: Arc<dyn ExecutionPlan>, expected: &str) {
    let error = futures::executor::block_on(run(&plan)).unwrap_err();
    assert!(matches!(error, Error::Execution(_)), "{error:?}");
    assert_eq!(error.to_string(), expected);
}

/// Checks an operator that collects its input: it passes on an error that comes midway, keeps to its memory limit, and
/// lets go of its input when it is dropped while it waits.
#[track_caller]
pub(crate) fn check_faults(
    steps: usize,
    text: &str,
    operator: impl Fn(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>,
) {
    check_error(operator(Arc::new(SourceExec::new(steps, text, End::Error))), "the input failed");

    let runtime = RuntimeEnvBuilder::new().with_memory_limit(64, 1.0).build_arc().unwrap();
    let tight = Arc::new(TaskContext::default().with_runtime(runtime));
    let error = futures::executor::block_on(run_in(&operator(source(steps, text)), tight)).unwrap_err();
    assert!(matches!(error, Error::Limit(_)), "{error:?}");

    check_cancel(SourceExec::new(steps, text, End::Never), operator);
}

/// Checks that an operator lets go of an input that never ends when it is dropped while it waits. Before, it puts out
/// what it can.
#[track_caller]
pub(crate) fn check_cancel(hanging: SourceExec, operator: impl Fn(Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan>) {
    let alive = hanging.alive();
    let plan = operator(Arc::new(hanging));
    let held = alive.strong_count();
    let mut stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
    let waker = futures::task::noop_waker();
    let mut poll = std::task::Context::from_waker(&waker);
    while let Poll::Ready(batch) = stream.poll_next_unpin(&mut poll) {
        assert!(batch.is_some_and(|batch| batch.is_ok()), "the operator ends before its input");
    }
    assert!(alive.strong_count() > held, "the input does not run");
    drop(stream);
    assert_eq!(alive.strong_count(), held, "the input outlives its reader");
}
