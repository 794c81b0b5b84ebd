//! From a query's text to its answer.
//!
//! ```text
//! text ──parse, lower──> tree ──Planner──> plan ──run on the compute runtime──> batches ──> Answer
//! ```
//!
//! A query owns a part of the process's memory pool, a deadline, and the tasks that it starts: dropping the future of
//! [`Engine::query`] stops all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use promql::tree::{Border, Grid, MatrixSelector, Node, ValueType};
use promql::{Expr, LowerOptions, ParseOptions};
use storage::Store;
use storage::model::{Budget, Labels, SampleBuffer, TimeInterval};
use storage::schema::SeriesColumns;
use storage::store::SeriesRequest;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::annotations::{AnnotationSink, TRUNCATED};
use crate::answer::{Answer, QueryRequest, QueryStats, QueryTime, Value};
use crate::context::{QueryContext, SampleLimit};
use crate::dedup::{Deduplication, ReplicaMerge};
use crate::error::{Error, Result};
use crate::kernel::{Windows, extended_samples};
use crate::memory::{PoolBudget, ProcessPool, QueryPool};
use crate::operator::{collect, reservation};
use crate::planner::{Planner, PlannerSettings, matrix_windows, resolve_info, subquery_grid};
use crate::removed_name::NameRemoval;
use crate::series_decoder::{Reading, SeriesDecoder};
use crate::vector::{VectorColumns, label_column};
use crate::window::to_samples;

/// How queries are run; each field is a flag.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// How far back an instant selector looks, in milliseconds: `--query.lookback-delta`.
    pub lookback_ms: i64,
    /// When a query is given up: `--query.timeout`.
    pub timeout: Duration,
    /// Most samples that a query may load; 0 is no limit: `--query.max-samples`.
    pub max_samples: usize,
    /// Memory of all queries together: `--query.max-memory`.
    pub memory: Arc<ProcessPool>,
    /// How many ranges a selector is cut into at the most; the number of cores.
    pub partitions: usize,
    /// Labels that tell replicas apart: `--query.replica-label`.
    pub replica_labels: Vec<String>,
    /// How replicas become one series: `--deduplication.func`.
    pub deduplication: Deduplication,
    /// Step of subqueries that name none: `--query.default-evaluation-interval`.
    pub default_subquery_step_ms: i64,
    /// Which syntax is on: `--enable-feature`.
    pub parse: ParseOptions,
    /// What else is on of Prometheus's experiments.
    pub features: EngineFeatures,
    /// Where plans run; none is where [`Engine::query`] is called.
    pub compute: Option<Handle>,
}

/// Experiments of Prometheus that change what a query means, each off unless chosen: `--enable-feature`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineFeatures {
    /// `rate`, `irate`, `increase` and `resets` mind start timestamps, and `start_timestamp` has them
    /// (`use-start-timestamps`).
    pub start_timestamps: bool,
    /// Metric names go at the end of a query (`promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// `rate` and `increase` take for counters what the label `__type__` says is one (`type-and-unit-labels`).
    pub type_and_unit_labels: bool,
}

/// Answers PromQL over one store.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Arc<dyn Store>,
    settings: Arc<EngineSettings>,
}

/// A query on its way from text to plan.
struct Prepared {
    root: Node,
    grid: Grid,
    range: bool,
    parse: Duration,
}

impl Engine {
    /// An engine over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: EngineSettings) -> Self {
        Self { store, settings: Arc::new(settings) }
    }

    /// How this engine runs queries.
    #[must_use]
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// Memory for one request that is no query, a lookup of labels or series: a part of the pool that queries share.
    #[must_use]
    pub fn budget(&self, consumer: &str) -> Arc<dyn Budget> {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&self.settings.memory)));
        Arc::new(PoolBudget::new(&pool, consumer))
    }

    /// Evaluates a query. Dropping the future cancels it.
    ///
    /// # Errors
    /// Each variant of [`Error`] but none for an empty result.
    pub async fn query(&self, request: QueryRequest) -> Result<Answer> {
        self.run(request, Run::answer).await
    }

    /// The plan of a query as text, one operator a line.
    ///
    /// # Errors
    /// As [`query`](Self::query), short of what only running it shows.
    pub async fn explain(&self, request: QueryRequest) -> Result<String> {
        self.run(request, Run::explain).await
    }

    /// How long a request that asks for `timeout` may take: no longer than the settings allow.
    #[must_use]
    pub fn time_allowed(&self, timeout: Option<Duration>) -> Duration {
        timeout.map_or(self.settings.timeout, |asked| asked.min(self.settings.timeout))
    }

    /// Does `work` where plans run, until its time is up.
    async fn run<T, F>(&self, request: QueryRequest, work: impl FnOnce(Run) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let deadline = Instant::now() + self.time_allowed(request.timeout);
        self.run_until(deadline, work(Run { engine: self.clone(), request, deadline })).await
    }

    /// Does `work` where plans run, until `deadline`.
    pub(crate) async fn run_until<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let work = async {
            match &self.settings.compute {
                Some(compute) => AbortOnDrop(compute.spawn(work)).join().await,
                None => work.await,
            }
        };
        let done = tokio::time::timeout_at(tokio::time::Instant::from_std(deadline), work).await;
        done.unwrap_or(Err(Error::Timeout("expression evaluation")))
    }

    /// What it answers over.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// Aborts its task when dropped, so that no query outlives whoever asked for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> AbortOnDrop<Result<T>> {
    async fn join(mut self) -> Result<T> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(Error::Canceled("expression evaluation")),
            Err(error) => Err(Error::Internal(format!("a query panicked: {error}"))),
        }
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One query being run.
struct Run {
    engine: Engine,
    request: QueryRequest,
    deadline: Instant,
}

impl Run {
    /// Evaluates the query; where a block goes while it is read, for another one that has its samples, once more.
    async fn answer(self) -> Result<Answer> {
        match self.attempt().await {
            Err(Error::Storage(storage::Error::BlockGone(block))) => {
                self.engine.store.refresh(block).await?;
                self.attempt().await
            }
            answer => answer,
        }
    }

    async fn attempt(&self) -> Result<Answer> {
        let prepared = self.prepare()?;
        let started = Instant::now();
        let t = prepared.grid.start;
        if let Node::String(text) = &prepared.root {
            let value = Value::String { t, value: text.to_string() };
            return Ok(Answer { value, warnings: vec![], infos: vec![], stats: QueryStats::default() });
        }
        let (planner, context) = self.planner(&prepared).await?;
        let query = planner.context();
        planner.warnings().for_each(|missing| query.annotations.warn(missing));
        let evaluated = match matrix_root(&prepared.root) {
            Some(matrix) => {
                let plan = planner.series(&matrix.selector)?;
                let windows = matrix_windows(matrix, prepared.grid, query.lookback_ms);
                let reading = planner.reading(&matrix.selector);
                let value = self.series_value(plan, &context, (matrix.border, reading), &windows, &query).await;
                value.map(|value| (value, started.elapsed()))
            }
            None => self.plan_value(&planner, &prepared, &context).await,
        };
        let (value, plan_time) = evaluated.map_err(|error| planner.name_place(error))?;
        let exec = started.elapsed().saturating_sub(plan_time);
        let (value, truncated) = limited(value, self.request.limit);
        if truncated {
            query.annotations.warn(TRUNCATED);
        }
        let (warnings, infos) = query.annotations.take();
        let stats = QueryStats {
            samples_total: query.samples.total(),
            peak_samples: query.samples.peak(),
            parse: prepared.parse,
            plan: plan_time,
            exec,
        };
        Ok(Answer { value, warnings, infos, stats })
    }

    async fn explain(self) -> Result<String> {
        let prepared = self.prepare()?;
        let (planner, _context) = self.planner(&prepared).await?;
        let plan = match matrix_root(&prepared.root) {
            Some(matrix) => planner.series(&matrix.selector)?,
            None => planner.plan(&prepared.root, prepared.grid)?,
        };
        Ok(displayable(plan.as_ref()).indent(false).to_string())
    }

    /// Parses and lowers the text.
    fn prepare(&self) -> Result<Prepared> {
        let started = Instant::now();
        let settings = &self.engine.settings;
        let expr: Expr =
            promql::parse(&self.request.text, &settings.parse).map_err(|e| Error::BadQuery(e.to_string()))?;
        let (grid, range) = match self.request.time {
            QueryTime::Instant(t) => (Grid::instant(t), false),
            QueryTime::Range(grid) => (grid, true),
        };
        if range {
            promql::require_range_type(&expr).map_err(|e| Error::BadQuery(e.message))?;
        }
        let options = LowerOptions {
            start: grid.start,
            end: grid.end,
            step_ms: if range { grid.step_ms } else { 0 },
            default_subquery_step_ms: settings.default_subquery_step_ms,
        };
        let mut root = promql::lower(&expr, &options).map_err(|e| Error::BadQuery(e.message))?;
        resolve_info(&mut root)?;
        Ok(Prepared { root, grid, range, parse: started.elapsed() })
    }

    /// Asks the store for the query's series and makes the context in which its plan runs.
    async fn planner(&self, prepared: &Prepared) -> Result<(Planner, Arc<TaskContext>)> {
        let settings = &self.engine.settings;
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&settings.memory)));
        let samples = Arc::new(SampleLimit::new(settings.max_samples));
        let context = task_context(Arc::clone(&pool), Arc::clone(&samples))?;
        let request = SeriesRequest {
            tenant: self.request.tenant.clone(),
            max_resolution_ms: self.request.max_resolution_ms,
            drop_labels: self.replica_labels().into(),
            deadline: Some(self.deadline),
            budget: Arc::new(PoolBudget::new(&pool, "series selection")),
            ..SeriesRequest::new(Vec::new(), TimeInterval::ALL)
        };
        let context_of_query = QueryContext {
            annotations: Arc::new(AnnotationSink::default()),
            samples,
            lookback_ms: self.request.lookback_ms.unwrap_or(settings.lookback_ms),
            deduplication: settings.deduplication,
            name_removal: if settings.features.delayed_name_removal { NameRemoval::AtEnd } else { NameRemoval::AtOnce },
            type_labels: settings.features.type_and_unit_labels,
            text: self.request.text.as_str().into(),
        };
        let planner_settings = PlannerSettings {
            request,
            partitions: settings.partitions.max(1),
            features: settings.features,
            context: context_of_query,
        };
        let planner = Planner::try_new(&self.engine.store, &prepared.root, prepared.grid, planner_settings).await?;
        Ok((planner, context))
    }

    /// The labels that are dropped so that replicas join.
    fn replica_labels(&self) -> Vec<String> {
        if !self.request.dedup {
            return Vec::new();
        }
        self.request.replica_labels.clone().unwrap_or_else(|| self.engine.settings.replica_labels.clone())
    }

    /// Runs the plan of a root that is not a range selector.
    async fn plan_value(
        &self,
        planner: &Planner,
        prepared: &Prepared,
        context: &Arc<TaskContext>,
    ) -> Result<(Value, Duration)> {
        let started = Instant::now();
        let (grid, t) = (prepared.grid, prepared.grid.start);
        let memory = reservation("query result", context);
        if let Some(subquery) = subquery_root(&prepared.root) {
            let inner = subquery_grid(subquery, grid);
            if inner.steps() == 0 {
                return Ok((Value::Samples(Vec::new()), started.elapsed()));
            }
            let plan = planner.plan(&subquery.expr, inner)?;
            let planned = started.elapsed();
            let batches = collect(&plan, Arc::clone(context), &memory).await?;
            return Ok((Value::Samples(rows_as_series(&batches, &inner)?), planned));
        }
        let plan: Arc<dyn ExecutionPlan> = planner.plan(&prepared.root, grid)?;
        let planned = started.elapsed();
        let batches = collect(&plan, Arc::clone(context), &memory).await?;
        if prepared.range {
            let order = label_order(&batches)?;
            memory.try_grow(order.capacity() * size_of::<(u32, u32)>())?;
            return Ok((Value::Matrix { grid, batches, order }, planned));
        }
        if prepared.root.value_type() == ValueType::Scalar {
            let columns = VectorColumns::try_new(batches.first().ok_or_else(no_scalar)?)?;
            let value = columns.row(0).float(0).ok_or_else(no_scalar)?;
            return Ok((Value::Scalar { t, value }, planned));
        }
        Ok((Value::Vector { t, batches }, planned))
    }

    /// Runs the plan of a root that is a range selector.
    async fn series_value(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
        (border, reading): (Border, Option<Reading>),
        windows: &Windows,
        query: &QueryContext,
    ) -> Result<Value> {
        let memory = reservation("query result", context);
        let batches = collect(&plan, Arc::clone(context), &memory).await?;
        let merge = ReplicaMerge { deduplication: query.deduplication, counter: false };
        let mut decoder = SeriesDecoder::new(windows.read_interval(), merge, reading);
        let mut series = Vec::new();
        for batch in &batches {
            let columns = SeriesColumns::try_new(batch)?;
            for row in 0..batch.num_rows() {
                let samples = within_borders(without_stale(decoder.decode(&columns, row)?), border, windows)?;
                query.samples.add(samples.len())?;
                if !samples.is_empty() {
                    memory.try_grow(samples.capacity_bytes())?;
                    memory.hold_samples(samples.len());
                    series.push((Labels::from_key(columns.labels.value(row)), samples));
                }
            }
        }
        Ok(Value::Samples(series))
    }
}

fn no_scalar() -> Error {
    Error::Internal("a scalar query put out no row".to_owned())
}

/// The range selector that is the root of an instant query.
fn matrix_root(root: &Node) -> Option<&MatrixSelector> {
    match root {
        Node::Matrix(matrix) => Some(matrix),
        Node::StepInvariant(inner) => matrix_root(inner),
        _ => None,
    }
}

/// The subquery that is the root of an instant query.
fn subquery_root(root: &Node) -> Option<&promql::tree::Subquery> {
    match root {
        Node::Subquery(subquery) => Some(subquery),
        Node::StepInvariant(inner) => subquery_root(inner),
        _ => None,
    }
}

/// A context for one query: its own memory, no spilling, small batches. Operators count in `samples` what they hold.
fn task_context(pool: Arc<dyn MemoryPool>, samples: Arc<SampleLimit>) -> Result<Arc<TaskContext>> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).with_disk_manager_builder(disk).build_arc()?;
    // series batches are cut by bytes, not by rows: a merge may hand on as many rows as come together
    let config = SessionConfig::new()
        .with_batch_size(1024)
        .with_extension(samples)
        .set_usize("datafusion.execution.skip_partial_aggregation_probe_rows_threshold", usize::MAX);
    Ok(Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime)))
}

fn rows_as_series(batches: &[RecordBatch], grid: &Grid) -> Result<Vec<(Labels, SampleBuffer)>> {
    let mut series = Vec::new();
    for batch in batches {
        let columns = VectorColumns::try_new(batch)?;
        for row in 0..columns.len() {
            let mut samples = SampleBuffer::new();
            to_samples(&columns.row(row), grid, &mut samples);
            series.push((Labels::from_key(columns.labels(row)), samples));
        }
    }
    series.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(series)
}

/// A range selector's samples as its modifier has them.
fn within_borders(samples: SampleBuffer, border: Border, windows: &Windows) -> Result<SampleBuffer> {
    let modifier = match border {
        Border::Plain => return Ok(samples),
        Border::Anchored => "anchored",
        Border::Smoothed => "smoothed",
    };
    if !samples.histograms.is_empty() {
        return Err(Error::Execution(format!("{modifier} modifier is not supported with histograms")));
    }
    Ok(extended_samples(&samples, windows, border == Border::Smoothed))
}

/// A copy without staleness markers, which users never see.
fn without_stale(samples: &SampleBuffer) -> SampleBuffer {
    let mut kept = SampleBuffer::new();
    for (index, (&t, &value)) in samples.timestamps.iter().zip(&samples.floats).enumerate() {
        match samples.histogram(index) {
            Some(histogram) => kept.push_shared_histogram(t, histogram),
            None if storage::model::is_stale_nan(value) => {}
            None => kept.push_float(t, value),
        }
    }
    kept
}

/// Batch and row of every row, sorted by labels.
fn label_order(batches: &[RecordBatch]) -> Result<Vec<(u32, u32)>> {
    let labels = batches.iter().map(label_column).collect::<Result<Vec<_>>>()?;
    let rows =
        (0..).zip(batches).flat_map(|(batch, rows)| (0..rows.num_rows()).zip(0..).map(move |(_, row)| (batch, row)));
    let mut order: Vec<(u32, u32)> = rows.collect();
    let key = |&(batch, row): &(u32, u32)| labels[batch as usize].value(row as usize);
    if !order.is_sorted_by_key(key) {
        order.sort_by(|a, b| key(a).cmp(key(b)));
    }
    Ok(order)
}

/// The first `limit` series, and whether there were more.
fn limited(value: Value, limit: Option<usize>) -> (Value, bool) {
    let Some(limit) = limit.filter(|&limit| limit > 0) else { return (value, false) };
    match value {
        Value::Vector { t, batches } => {
            let (batches, truncated) = first_rows(batches, limit);
            (Value::Vector { t, batches }, truncated)
        }
        Value::Matrix { grid, batches, mut order } => {
            let truncated = order.len() > limit;
            order.truncate(limit);
            (Value::Matrix { grid, batches, order }, truncated)
        }
        Value::Samples(mut series) => {
            let truncated = series.len() > limit;
            series.truncate(limit);
            (Value::Samples(series), truncated)
        }
        other => (other, false),
    }
}

fn first_rows(batches: Vec<RecordBatch>, limit: usize) -> (Vec<RecordBatch>, bool) {
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut left = limit;
    let mut kept = Vec::new();
    for batch in batches {
        if left == 0 {
            break;
        }
        let rows = batch.num_rows().min(left);
        left -= rows;
        kept.push(batch.slice(0, rows));
    }
    (kept, total > limit)
}

#[cfg(test)]
mod tests;
