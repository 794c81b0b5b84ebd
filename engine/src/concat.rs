//! `ConcatExec`: joins partitions in their order.
//!
//! ```text
//! partition 0 ─┐
//! partition 1 ─┼─> 0…, 1…, 2…       all inputs run at once, each into a short queue
//! partition 2 ─┘
//! ```
//!
//! Partitions are label ranges in ascending order, so that joining them in order makes sums, ties and `limitk` come out
//! the same in every run. DataFusion's `CoalescePartitionsExec` joins them as they come.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::Sender;

use crate::error::Error;
use crate::operator::{batch_stream, only_input, operator_plumbing, partition_count, plan_properties};

/// Batches that a partition may be ahead of the one that is being read.
const QUEUE_BATCHES_MAX: usize = 4;

/// Joins the partitions of its input in order. Batches pass through untouched.
#[derive(Debug)]
pub struct ConcatExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ConcatExec {
    /// Joins the partitions of `input`.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = plan_properties(input.schema(), 1);
        Self { input, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// `input` itself where it has one partition, its join where it has more.
    #[must_use]
    pub fn wrap(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        if partition_count(&input) == 1 { input } else { Arc::new(Self::new(input)) }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?))
    }
}

impl DisplayAs for ConcatExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConcatExec")
    }
}

impl ExecutionPlan for ConcatExec {
    operator_plumbing!("ConcatExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let queues: Vec<SendableRecordBatchStream> = (0..partition_count(&self.input))
            .map(|input| {
                let mut queue = RecordBatchReceiverStream::builder(Arc::clone(&schema), QUEUE_BATCHES_MAX);
                let (target, plan, context) = (queue.tx(), Arc::clone(&self.input), Arc::clone(&context));
                queue.spawn(async move { forward(plan, input, context, target).await });
                queue.build()
            })
            .collect();
        let batches = stream::iter(queues).flatten().map_err(Error::from);
        Ok(batch_stream(schema, BaselineMetrics::new(&self.metrics, partition), batches))
    }
}

/// Runs one partition into its queue, until it ends, fails, or nobody listens.
async fn forward(
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    context: Arc<TaskContext>,
    target: Sender<datafusion::error::Result<RecordBatch>>,
) -> datafusion::error::Result<()> {
    let mut input = plan.execute(partition, context)?;
    while let Some(batch) = input.next().await {
        let failed = batch.is_err();
        if target.send(batch).await.is_err() || failed {
            break;
        }
    }
    Ok(())
}
