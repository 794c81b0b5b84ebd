//! `ConcatExec`: joins partitions in their order.
//!
//! ```text
//! partition 0 ─┐
//! partition 1 ─┼─> 0…, 1…, 2…       all inputs run at once, or the next few, each into a queue of its own
//! partition 2 ─┘
//! ```
//!
//! Partitions are label ranges in ascending order, so that joining them in order makes sums, ties and `limitk` come out
//! the same in every run. DataFusion's `CoalescePartitionsExec` joins them as they come.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::operator::{batch_stream, only_input, operator_plumbing, partition_count, plan_properties};

/// KiB that a partition may be ahead of the one that is being read. Most readers want the whole input before they begin; with
/// less room, all partitions but the first would wait for their turn.
const QUEUE_KIB_MAX: u32 = 32 << 10;
/// More batches than these KiB hold.
const QUEUE_BATCHES_MAX: usize = QUEUE_KIB_MAX as usize;

/// Joins the partitions of its input in order. Batches pass through untouched.
#[derive(Debug)]
pub struct ConcatExec {
    input: Arc<dyn ExecutionPlan>,
    /// Partitions that run at once, at least one.
    at_once: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ConcatExec {
    /// Joins the partitions of `input`.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = plan_properties(input.schema(), 1);
        Self { input, at_once: usize::MAX, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// The same, but that only so many partitions run at once: the one that is read, and those after it. There can then be many, each
    /// with some memory of its own.
    #[must_use]
    pub fn running(self, at_once: usize) -> Self {
        Self { at_once: at_once.max(1), ..self }
    }

    /// `input` itself where it has one partition, its join where it has more.
    #[must_use]
    pub fn wrap(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        if partition_count(&input) == 1 { input } else { Arc::new(Self::new(input)) }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?).running(self.at_once))
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
        let (plan, queued) = (Arc::clone(&self.input), Arc::clone(&schema));
        let begin = move |input| {
            let mut queue = RecordBatchReceiverStream::builder(Arc::clone(&queued), QUEUE_BATCHES_MAX);
            let held = Arc::new(Held::new(&context));
            let target = Target { batches: queue.tx(), held: Arc::clone(&held) };
            let (plan, context) = (Arc::clone(&plan), Arc::clone(&context));
            queue.spawn(async move { forward(plan, input, context, target).await });
            queue.build().inspect_ok(move |_| held.release())
        };
        let mut waiting = 0..partition_count(&self.input);
        let mut running: VecDeque<_> = waiting.by_ref().take(self.at_once - 1).map(&begin).collect();
        // the one before has ended when another one is asked for
        let queues = std::iter::from_fn(move || {
            running.extend(waiting.next().map(&begin));
            running.pop_front()
        });
        let batches = stream::iter(queues).flatten().map_err(Error::from);
        Ok(batch_stream(schema, BaselineMetrics::new(&self.metrics, partition), batches))
    }
}

/// Where a partition's batches go.
struct Target {
    batches: Sender<datafusion::error::Result<RecordBatch>>,
    held: Arc<Held>,
}

/// What the batches in a queue hold, in their order: room in the queue, and memory where there is some.
struct Held {
    room: Arc<Semaphore>,
    memory: MemoryReservation,
    batches: Mutex<VecDeque<(OwnedSemaphorePermit, Option<MemoryReservation>)>>,
}

impl Held {
    fn new(context: &TaskContext) -> Self {
        Self {
            room: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)),
            memory: MemoryConsumer::new("ConcatExec").register(context.memory_pool()),
            batches: Mutex::default(),
        }
    }

    /// Waits for room for a batch of `bytes`. Where memory is short, that is only there once the queue is empty. False where
    /// the queue is closed.
    async fn hold(&self, bytes: usize) -> bool {
        let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(1, QUEUE_KIB_MAX);
        let Ok(mut room) = Arc::clone(&self.room).acquire_many_owned(kib).await else { return false };
        let memory = self.memory.new_empty();
        let reserved = memory.try_grow(bytes).is_ok();
        if !reserved {
            let Ok(rest) = Arc::clone(&self.room).acquire_many_owned(QUEUE_KIB_MAX - kib).await else { return false };
            room.merge(rest);
        }
        self.batches.lock().push_back((room, reserved.then_some(memory)));
        true
    }

    /// Lets go of what the first batch in the queue held.
    fn release(&self) {
        self.batches.lock().pop_front();
    }
}

/// Runs one partition into its queue, until it ends, fails, or nobody listens.
async fn forward(
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    context: Arc<TaskContext>,
    target: Target,
) -> datafusion::error::Result<()> {
    let mut input = plan.execute(partition, context)?;
    while let Some(batch) = input.next().await {
        let failed = batch.is_err();
        if let Ok(batch) = &batch
            && !target.held.hold(batch.get_array_memory_size()).await
        {
            break;
        }
        if target.batches.send(batch).await.is_err() || failed {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::testing::{End, SourceExec, batches, run, source};
    use crate::vector::vector_schema;

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    /// Three partitions of `batches_each` batches of one row, the rows numbered through.
    fn partitions(batches_each: usize) -> Vec<Vec<RecordBatch>> {
        let row = |number: usize| batches(1, &format!("m{{n=\"{number}\"}} {number}")).remove(0);
        (0..3).map(|p| (0..batches_each).map(|b| row(p * batches_each + b)).collect()).collect()
    }

    fn joined(source: SourceExec) -> Arc<dyn ExecutionPlan> {
        ConcatExec::wrap(Arc::new(source))
    }

    #[test]
    fn partitions_come_in_their_order() {
        for batches_each in [0, 1, 12] {
            let plan = joined(SourceExec::of(vector_schema(1), partitions(batches_each), End::Done));
            let expected: Vec<String> = (0..3 * batches_each).map(|n| format!("m{{n=\"{n}\"}} {n}")).collect();
            assert_eq!(runtime().block_on(run(&plan)).unwrap(), expected);
        }
    }

    #[test]
    fn few_run_at_once_where_that_is_wanted() {
        let hanging = SourceExec::of(vector_schema(1), partitions(1), End::Never);
        let alive = hanging.alive();
        let plan: Arc<dyn ExecutionPlan> = Arc::new(ConcatExec::new(Arc::new(hanging)).running(2));
        let held = alive.strong_count();
        runtime().block_on(async {
            let mut stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
            assert!(stream.next().await.unwrap().is_ok());
            // whatever else would run now gets its turn
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(alive.strong_count(), held + 2);
        });
        for at_once in 1..=4 {
            let input = SourceExec::of(vector_schema(1), partitions(5), End::Done);
            let plan: Arc<dyn ExecutionPlan> = Arc::new(ConcatExec::new(Arc::new(input)).running(at_once));
            let expected: Vec<String> = (0..15).map(|n| format!("m{{n=\"{n}\"}} {n}")).collect();
            assert_eq!(runtime().block_on(run(&plan)).unwrap(), expected);
        }
    }

    #[test]
    fn one_partition_is_not_wrapped() {
        assert_eq!(ConcatExec::wrap(source(1, "m 1")).name(), "SourceExec");
        assert_eq!(joined(SourceExec::of(vector_schema(1), partitions(1), End::Done)).name(), "ConcatExec");
    }

    #[test]
    fn an_error_comes_after_the_batches_before_it() {
        let plan = joined(SourceExec::of(vector_schema(1), partitions(2), End::Error));
        runtime().block_on(async {
            let mut stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
            assert!(stream.next().await.unwrap().is_ok());
            assert!(stream.next().await.unwrap().is_ok());
            let error = Error::from(stream.next().await.unwrap().unwrap_err());
            assert!(matches!(&error, Error::Execution(text) if text == "the input failed"), "{error:?}");
        });
    }

    #[test]
    fn a_drop_cancels_all_partitions() {
        let hanging = SourceExec::of(vector_schema(1), partitions(1), End::Never);
        let alive = hanging.alive();
        let plan = joined(hanging);
        let held = alive.strong_count();
        runtime().block_on(async {
            let mut stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
            assert!(stream.next().await.unwrap().is_ok());
            while alive.strong_count() < held + 3 {
                tokio::task::yield_now().await;
            }
            drop(stream);
            while alive.strong_count() > held {
                tokio::task::yield_now().await;
            }
        });
    }
}
