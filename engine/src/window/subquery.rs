//! `SubqueryExec`: a range function over the steps of an inner query instead of the samples of a series.
//!
//! ```text
//! labels │ values on the inner grid ──> t, value ──window of each outer step──> labels │ values on the outer grid
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{TryStreamExt, stream};
use promql::tree::Grid;
use storage::model::{CounterResetHint, FloatHistogram, SampleBuffer};

use super::WindowSpec;
use super::evaluate::Evaluator;
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::operator::{Worker, batch_stream, operator_plumbing, partition_count, plan_properties, work_stream};
use crate::scalar::{ScalarInput, with_scalars};
use crate::vector::{RowView, VectorBuilder, VectorColumns, rows_per_batch, vector_schema};

/// Evaluates a range function over vector batches.
#[derive(Debug)]
pub struct SubqueryExec {
    input: Arc<dyn ExecutionPlan>,
    inner: Grid,
    spec: WindowSpec,
    context: QueryContext,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SubqueryExec {
    /// Evaluates `spec` over the rows of `input`, whose steps are those of `inner`.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, inner: Grid, spec: WindowSpec, context: QueryContext) -> Self {
        let properties = plan_properties(vector_schema(spec.windows.steps()), partition_count(&input));
        Self { input, inner, spec, context, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, args) = with_scalars(inputs, &self.spec.args)?;
        Ok(Self::new(input, self.inner, WindowSpec { args, ..self.spec.clone() }, self.context.clone()))
    }
}

impl DisplayAs for SubqueryExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubqueryExec: inner steps={}, inner step={}ms, ", self.inner.steps(), self.inner.step_ms)?;
        self.spec.fmt_into(f)
    }
}

impl ExecutionPlan for SubqueryExec {
    operator_plumbing!("SubqueryExec");

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
        let (spec, query, inner) = (self.spec.clone(), self.context.clone(), self.inner);
        let compute = metrics.elapsed_compute().clone();
        let batches = stream::once(async move {
            let args = spec.resolve_args(&context).await?;
            let steps = spec.windows.steps();
            let worker = SubqueryWorker {
                rows: None,
                inner,
                samples: SampleBuffer::new(),
                builder: VectorBuilder::new(steps),
                evaluator: Evaluator::new(spec, args, query),
            };
            Ok::<_, Error>(work_stream(input, worker, compute))
        });
        Ok(batch_stream(self.schema(), metrics, batches.try_flatten()))
    }
}

struct SubqueryWorker {
    rows: Option<(VectorColumns, usize)>,
    inner: Grid,
    samples: SampleBuffer,
    evaluator: Evaluator,
    builder: VectorBuilder,
}

impl Worker for SubqueryWorker {
    fn load(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows = Some((VectorColumns::try_new(&batch)?, 0));
        Ok(())
    }

    fn advance(&mut self, ended: bool) -> Result<Option<RecordBatch>> {
        let batch_rows = rows_per_batch(self.evaluator.steps());
        if let Some((columns, next)) = &mut self.rows {
            while *next < columns.len() {
                let row = *next;
                *next += 1;
                to_samples(&columns.row(row), &self.inner, &mut self.samples);
                self.evaluator.evaluate(columns.labels(row), &self.samples, &mut self.builder)?;
                if self.builder.len() >= batch_rows {
                    return self.builder.finish().map(Some);
                }
            }
            self.rows = None;
        }
        if ended && !self.builder.is_empty() { self.builder.finish().map(Some) } else { Ok(None) }
    }
}

/// A row's steps as the samples of a series.
pub(crate) fn to_samples(row: &RowView<'_>, grid: &Grid, samples: &mut SampleBuffer) {
    samples.clear();
    for step in row.present_steps() {
        match row.float(step) {
            Some(value) => samples.push_float(grid.at(step), value),
            None => {
                if let Some(histogram) = row.histogram(step) {
                    samples.push_histogram(grid.at(step), without_reset_hint(histogram));
                }
            }
        }
    }
}

/// A hint speaks of the sample before, which is not the step before.
fn without_reset_hint(histogram: &FloatHistogram) -> FloatHistogram {
    let counter_reset_hint = match histogram.counter_reset_hint {
        CounterResetHint::CounterReset | CounterResetHint::NotCounterReset => CounterResetHint::Unknown,
        other => other,
    };
    FloatHistogram { counter_reset_hint, ..histogram.clone() }
}
