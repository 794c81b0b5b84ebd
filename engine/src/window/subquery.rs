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
use promql::tree::Grid;
use storage::model::{CounterResetHint, FloatHistogram, SampleBuffer};

use super::WindowSpec;
use super::worker::{SampleSource, window_stream};
use crate::context::QueryContext;
use crate::error::Result;
use crate::operator::{operator_plumbing, partition_count, plan_properties};
use crate::scalar::{input_and_scalars, with_scalars};
use crate::vector::{RowView, VectorColumns, vector_schema};

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
        input_and_scalars(&self.input, &self.spec.args)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let source = StepSource { inner: self.inner, samples: SampleBuffer::new() };
        Ok(window_stream(source, input, self.spec.clone(), self.context.clone(), context, metrics))
    }
}

/// The steps of an inner query as samples.
struct StepSource {
    inner: Grid,
    samples: SampleBuffer,
}

impl SampleSource for StepSource {
    type Batch = VectorColumns;

    fn open(batch: &RecordBatch) -> Result<(VectorColumns, usize)> {
        Ok((VectorColumns::try_new(batch)?, batch.num_rows()))
    }

    fn samples<'a>(&'a mut self, columns: &'a VectorColumns, row: usize) -> Result<(&'a str, &'a SampleBuffer)> {
        to_samples(&columns.row(row), &self.inner, &mut self.samples);
        Ok((columns.labels(row), &self.samples))
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
