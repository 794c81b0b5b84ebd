//! What every operator's file would otherwise repeat: plan properties, the plumbing of `ExecutionPlan`, streams and
//! collected inputs.
//!
//! An operator is a struct with the fields `properties: Arc<PlanProperties>` and `metrics:
//! ExecutionPlanMetricsSet`, a method `with_inputs`, and an `impl ExecutionPlan` that opens with
//! [`operator_plumbing!`] and then writes `children` and `execute` itself.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, Time};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::context::HeldSamples;
use crate::error::{Error, Result};
use crate::vector::sample_count;

/// The parts of `impl ExecutionPlan` that are the same for every operator. Needs `self.properties`, `self.metrics`
/// and `fn with_inputs(&self, Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self>`.
macro_rules! operator_plumbing {
    ($name:literal) => {
        fn name(&self) -> &'static str {
            $name
        }

        fn properties(&self) -> &std::sync::Arc<datafusion::physical_plan::PlanProperties> {
            &self.properties
        }

        fn apply_expressions(
            &self,
            _f: &mut dyn FnMut(
                &std::sync::Arc<dyn datafusion::physical_plan::PhysicalExpr>,
            ) -> datafusion::error::Result<datafusion::common::tree_node::TreeNodeRecursion>,
        ) -> datafusion::error::Result<datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: std::sync::Arc<Self>,
            children: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
            _options: datafusion::physical_plan::ReplaceChildrenOptions,
        ) -> datafusion::error::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Ok(std::sync::Arc::new(self.with_inputs(children)?))
        }

        fn with_new_children(
            self: std::sync::Arc<Self>,
            children: Vec<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        ) -> datafusion::error::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
            Ok(std::sync::Arc::new(self.with_inputs(children)?))
        }

        fn metrics(&self) -> Option<datafusion::physical_plan::metrics::MetricsSet> {
            Some(self.metrics.clone_inner())
        }
    };
}
pub(crate) use operator_plumbing;

/// The properties of an operator that puts out batches of `schema` in `partitions` partitions, in no order that
/// DataFusion knows of.
pub(crate) fn plan_properties(schema: SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// How many partitions `plan` puts out.
pub(crate) fn partition_count(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}

/// Takes the one input that an operator has.
pub(crate) fn only_input(mut inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
    match (inputs.pop(), inputs.is_empty()) {
        (Some(input), true) => Ok(input),
        _ => Err(Error::Internal("an operator of one input was given another number".to_owned()).into()),
    }
}

/// A stream of `batches` as DataFusion wants it, counting rows into `metrics`. The batches are not held back and
/// nothing runs before the first poll; dropping the stream drops `batches`.
pub(crate) fn batch_stream(
    schema: SchemaRef,
    metrics: BaselineMetrics,
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    let counted = batches.map(move |batch| {
        if let Ok(batch) = &batch {
            metrics.record_output(batch.num_rows());
        }
        batch.map_err(datafusion::error::DataFusionError::from)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, counted))
}

/// What an operator of one input does with batches, apart from waiting for them.
pub(crate) trait Worker: Send + 'static {
    /// Takes the next batch of the input. The one before has been worked off.
    fn load(&mut self, batch: RecordBatch) -> Result<()>;

    /// The next batch of the output that is complete; none asks for more input, or ends the output where the input
    /// has `ended`.
    fn advance(&mut self, ended: bool) -> Result<Option<RecordBatch>>;
}

/// Feeds `worker` from `input`. Only work is timed in `compute`, waiting is not; the input is dropped as soon as it
/// is exhausted, so that what is upstream gives its memory back.
pub(crate) fn work_stream<W: Worker>(
    input: SendableRecordBatchStream,
    worker: W,
    compute: Time,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    stream::try_unfold((Some(input), worker, compute), |(mut input, mut worker, compute)| async move {
        loop {
            let advanced = {
                let _timer = compute.timer();
                worker.advance(input.is_none())?
            };
            if let Some(batch) = advanced {
                return Ok(Some((batch, (input, worker, compute))));
            }
            let Some(source) = &mut input else { return Ok(None) };
            match source.try_next().await? {
                Some(batch) => worker.load(batch)?,
                None => input = None,
            }
        }
    })
}

/// What a part of a query holds of its memory, until it is dropped: bytes, which are limited, and samples, which are counted.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: MemoryReservation,
    samples: HeldSamples,
}

impl Reservation {
    /// Holds `bytes` more.
    ///
    /// # Errors
    /// Where the query's memory does not suffice.
    pub(crate) fn try_grow(&self, bytes: usize) -> datafusion::error::Result<()> {
        self.bytes.try_grow(bytes)
    }

    /// Holds `samples` more, whose bytes are reserved apart from that.
    pub(crate) fn hold_samples(&self, samples: usize) {
        self.samples.add(samples);
    }
}

/// A reservation in the query's memory pool for the operator `name`.
pub(crate) fn reservation(name: &str, context: &TaskContext) -> Reservation {
    Reservation {
        bytes: MemoryConsumer::new(name.to_owned()).register(context.memory_pool()),
        samples: HeldSamples::new(context.session_config().get_extension()),
    }
}

/// Runs `plan`, which has one partition, to its end, reserving what it puts out in `memory`.
pub(crate) async fn collect(
    plan: &Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    memory: &Reservation,
) -> Result<Vec<RecordBatch>> {
    if partition_count(plan) != 1 {
        return Err(Error::Internal(format!(
            "{} must be joined into one partition before it is collected",
            plan.name()
        )));
    }
    let mut stream = plan.execute(0, context)?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            memory.try_grow(batch.get_array_memory_size())?;
            memory.hold_samples(sample_count(&batch));
            batches.push(batch);
        }
    }
    Ok(batches)
}
