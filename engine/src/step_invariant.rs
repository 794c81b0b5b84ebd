//! `StepInvariantExec`: what has one value for all steps, evaluated once and repeated.
//!
//! ```text
//! one step ─> the same row over n steps
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::collected::row_batches;
use crate::error::{Error, Result};
use crate::operator::{batch_stream, only_input, operator_plumbing, partition_count, plan_properties};
use crate::vector::{Sample, VectorColumns, vector_schema};

/// Repeats the one step of its input. Keeps partitions.
#[derive(Debug)]
pub struct StepInvariantExec {
    input: Arc<dyn ExecutionPlan>,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl StepInvariantExec {
    /// Repeats `input`, whose batches have one step, over `steps` steps.
    ///
    /// # Errors
    /// [`Error::Internal`] where `input` has another number of steps.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, steps: usize) -> Result<Self> {
        if input.schema() != vector_schema(1) {
            return Err(Error::Internal("a step invariant has more than one step".to_owned()));
        }
        let properties = plan_properties(vector_schema(steps), partition_count(&input));
        Ok(Self { input, steps, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::try_new(only_input(inputs)?, self.steps)?)
    }
}

impl DisplayAs for StepInvariantExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepInvariantExec")
    }
}

impl ExecutionPlan for StepInvariantExec {
    operator_plumbing!("StepInvariantExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let steps = self.steps;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let input = self.input.execute(partition, context)?.map_err(Error::from);
        let batches = input.map(move |batch| Ok::<_, Error>(stream::iter(repeat(&batch?, steps)?))).try_flatten();
        Ok(batch_stream(self.schema(), metrics, batches))
    }
}

/// One batch of one step becomes several, for a batch of many steps holds fewer rows.
fn repeat(batch: &RecordBatch, steps: usize) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let columns = VectorColumns::try_new(batch)?;
    Ok(row_batches(steps, columns.len(), move |index, builder| {
        let mut row = builder.start_row();
        match columns.row(index).sample(0) {
            Some(Sample::Float(value)) => row.put_floats(None, |values| values.fill(value)),
            Some(Sample::Histogram(histogram)) => {
                (0..steps).for_each(|step| row.set_histogram(step, histogram.clone()))
            }
            None => {}
        }
        builder.finish_row(columns.labels(index));
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, source};

    #[test]
    fn every_step_is_the_first() {
        let input = source(1, "a 1\nb h:1:2\nc NaN");
        check(Arc::new(StepInvariantExec::try_new(input, 3).unwrap()), "a 1 1 1\nb h:1:2 h:1:2 h:1:2\nc NaN NaN NaN");
    }
}
