//! `WindowExec`: decodes series and evaluates each at the query's steps: a selector's instant value, or a range function.
//!
//! ```text
//! labels │ chunks ──decode──> t, value ──window (end - range, end] of each step──> labels │ values
//! ```
//!
//! 1. A series is decoded into memory that is reused for all series ([`SeriesDecoder`]); raw samples never become Arrow.
//! 2. Selection takes the last sample of the window, unless it is a staleness marker. A range function is a
//!    [`RangeKernel`] over the samples without staleness markers.
//! 3. The labels that the rest of the query needs are written with the row.
//!
//! Partitions and order are the input's; rows without any sample are left out.

mod evaluate;
mod label_output;
mod subquery;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{TryStreamExt, stream};
use promql::tree::Span;
use storage::schema::SeriesColumns;

use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::kernel::{RangeKernel, ScalarArg, Windows};
use crate::operator::{Worker, batch_stream, operator_plumbing, partition_count, plan_properties, work_stream};
use crate::scalar::{ScalarInput, with_scalars};
use crate::series_decoder::SeriesDecoder;
use crate::vector::{VectorBuilder, rows_per_batch, vector_schema};

use evaluate::Evaluator;
pub use label_output::LabelOutput;
pub use subquery::SubqueryExec;
pub(crate) use subquery::to_samples;

/// What is computed of each window.
#[derive(Debug, Clone)]
pub enum WindowFunction {
    /// The last sample.
    Select,
    /// The time of the last sample in seconds: `timestamp()` of a selector.
    Timestamp,
    /// Of a float the time in seconds, of a histogram the histogram: what [`InfoExec`](crate::InfoExec) looks at.
    SampleTimes,
    /// A range function.
    Range(Arc<dyn RangeKernel>),
}

/// What [`WindowExec`] and [`SubqueryExec`] evaluate.
#[derive(Debug, Clone)]
pub struct WindowSpec {
    /// Where the windows lie.
    pub windows: Windows,
    /// What is computed of each.
    pub function: WindowFunction,
    /// The function's name, for EXPLAIN.
    pub name: &'static str,
    /// Its scalar arguments.
    pub args: Vec<ScalarInput>,
    /// The labels of the result.
    pub labels: LabelOutput,
    /// Where the windowed expression stands in the query text.
    pub span: Span,
}

/// Evaluates series at the query's steps.
#[derive(Debug)]
pub struct WindowExec {
    input: Arc<dyn ExecutionPlan>,
    spec: WindowSpec,
    context: QueryContext,
    /// Whether a change of replica must not look like a counter reset.
    counter: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl WindowExec {
    /// Evaluates `spec` over the series of `input`, each of which is one row.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: WindowSpec, context: QueryContext) -> Self {
        let properties = plan_properties(vector_schema(spec.windows.steps()), partition_count(&input));
        // the functions for which Thanos corrects counters where it changes from one replica to another
        let counter = matches!(spec.name, "rate" | "irate" | "increase" | "resets");
        Self { input, spec, context, counter, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, args) = with_scalars(inputs, &self.spec.args)?;
        Ok(Self::new(input, WindowSpec { args, ..self.spec.clone() }, self.context.clone()))
    }
}

impl WindowSpec {
    /// As EXPLAIN shows it.
    fn fmt_into(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = &self.windows;
        write!(f, "{}, range={}ms, steps={}", self.name, windows.range_ms, windows.steps())?;
        if windows.steps() > 1 {
            write!(f, ", step={}ms", windows.grid.step_ms)?;
        }
        if windows.offset_ms != 0 {
            write!(f, ", offset={}ms", windows.offset_ms)?;
        }
        if let Some(at) = windows.at {
            write!(f, ", at={at}ms")?;
        }
        write!(f, "{}", self.labels)
    }

    /// The scalar arguments at every step.
    async fn resolve_args(&self, context: &Arc<TaskContext>) -> Result<Vec<ScalarArg>> {
        let mut args = Vec::with_capacity(self.args.len());
        for arg in &self.args {
            args.push(arg.resolve(context).await?);
        }
        Ok(args)
    }
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowExec: ")?;
        self.spec.fmt_into(f)
    }
}

impl ExecutionPlan for WindowExec {
    operator_plumbing!("WindowExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input).chain(self.spec.args.iter().filter_map(ScalarInput::child)).collect()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let (spec, query, counter) = (self.spec.clone(), self.context.clone(), self.counter);
        let compute = metrics.elapsed_compute().clone();
        let batches = stream::once(async move {
            let args = spec.resolve_args(&context).await?;
            let worker = WindowWorker {
                rows: None,
                decoder: SeriesDecoder::for_windows(&spec.windows, counter),
                builder: VectorBuilder::new(spec.windows.steps()),
                evaluator: Evaluator::new(spec, args, query),
            };
            Ok::<_, Error>(work_stream(input, worker, compute))
        });
        Ok(batch_stream(self.schema(), metrics, batches.try_flatten()))
    }
}

struct WindowWorker {
    /// The batch being worked on, and its next row.
    rows: Option<(SeriesColumns, usize)>,
    decoder: SeriesDecoder,
    evaluator: Evaluator,
    builder: VectorBuilder,
}

impl Worker for WindowWorker {
    fn load(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows = Some((SeriesColumns::try_new(&batch)?, 0));
        Ok(())
    }

    /// Works until a batch is full or the rows at hand are done; at the end of the input puts out what is left.
    fn advance(&mut self, ended: bool) -> Result<Option<RecordBatch>> {
        let batch_rows = rows_per_batch(self.evaluator.steps());
        if let Some((columns, next)) = &mut self.rows {
            while *next < columns.labels.len() {
                let row = *next;
                *next += 1;
                let samples = self.decoder.decode(columns, row)?;
                self.evaluator.evaluate(columns.labels.value(row), samples, &mut self.builder)?;
                if self.builder.len() >= batch_rows {
                    return self.builder.finish().map(Some);
                }
            }
            self.rows = None;
        }
        if ended && !self.builder.is_empty() { self.builder.finish().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests;
