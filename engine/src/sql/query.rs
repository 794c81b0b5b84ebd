//! A planned statement, and the stream of its answer.
//!
//! ```text
//! compute runtime                      whoever serves the answer
//! plan ─> batches ─> channel of two ─> SqlStream
//! ```
//!
//! The channel is what holds a scan back where a client reads slowly. Dropping the stream stops the task, and with it the
//! scan.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::sql_error;
use super::metric_scan::MetricScanExec;
use super::scope::SqlScope;
use crate::error::{Error, Result};

/// Batches that may wait for who reads them: one being sent, one ready.
const BATCHES_AHEAD: usize = 2;

/// A statement whose series are selected. Holds its part of the memory until it and its streams are dropped.
#[derive(Debug, Clone)]
pub struct SqlQuery {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    scope: Arc<SqlScope>,
    deadline: Instant,
    compute: Option<Handle>,
}

impl SqlQuery {
    pub(super) fn new(
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        scope: Arc<SqlScope>,
        deadline: Instant,
        compute: Option<Handle>,
    ) -> Self {
        Self { plan, context, scope, deadline, compute }
    }

    /// The columns of the answer.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// What the answer may lack, as far as it is known before it is read, sorted.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.scope.annotations.take().0
    }

    /// In how many streams the answer can be read side by side: more than one only where each is a scan of its own, so that none has to
    /// wait for another.
    #[must_use]
    pub fn partitions(&self) -> usize {
        if is_scan(&self.plan) { self.plan.output_partitioning().partition_count() } else { 1 }
    }

    /// The whole answer.
    ///
    /// # Errors
    /// Where the plan does not start.
    pub fn stream(&self) -> Result<SqlStream> {
        let plan = match self.plan.output_partitioning().partition_count() {
            1 => Arc::clone(&self.plan),
            _ => Arc::new(CoalescePartitionsExec::new(Arc::clone(&self.plan))),
        };
        self.start(&plan, 0)
    }

    /// Part `partition` of the answer, of [`partitions`](Self::partitions).
    ///
    /// # Errors
    /// [`Error::Internal`] where there is no such part, and where the plan does not start.
    pub fn stream_partition(&self, partition: usize) -> Result<SqlStream> {
        match self.partitions() {
            1 if partition == 0 => self.stream(),
            partitions if partition < partitions => self.start(&self.plan, partition),
            partitions => Err(Error::Internal(format!("an answer of {partitions} parts has no part {partition}"))),
        }
    }

    fn start(&self, plan: &Arc<dyn ExecutionPlan>, partition: usize) -> Result<SqlStream> {
        let (plan, query) = (Arc::clone(plan), self.clone());
        let schema = plan.schema();
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let work = async move {
            let deadline = tokio::time::Instant::from_std(query.deadline);
            let sent = send_all(&plan, partition, &query, &sender);
            if tokio::time::timeout_at(deadline, sent).await.is_err() {
                // whoever reads has gone where it fails
                let _ = sender.send(Err(Error::Timeout("SQL evaluation"))).await;
            }
        };
        let runtime = match &self.compute {
            Some(compute) => compute.clone(),
            None => Handle::try_current().map_err(|error| Error::Internal(error.to_string()))?,
        };
        Ok(SqlStream { schema, batches, task: runtime.spawn(work), ended: false, first: None })
    }
}

async fn send_all(
    plan: &Arc<dyn ExecutionPlan>,
    partition: usize,
    query: &SqlQuery,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) {
    let named = |error| query.scope.name_place(sql_error(error));
    let mut stream = match plan.execute(partition, Arc::clone(&query.context)) {
        Ok(stream) => stream,
        Err(error) => {
            let _ = sender.send(Err(named(error))).await;
            return;
        }
    };
    while let Some(batch) = stream.next().await {
        let failed = batch.is_err();
        if sender.send(batch.map_err(named)).await.is_err() || failed {
            return;
        }
    }
}

/// Whether nothing but filters and projections stands between a scan and the answer.
fn is_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.is::<MetricScanExec>() {
        return true;
    }
    let passes = plan.is::<FilterExec>() || plan.is::<ProjectionExec>();
    passes && plan.fetch().is_none() && plan.children().into_iter().all(is_scan)
}

/// The batches of an answer. Dropping it stops the work.
#[derive(Debug)]
pub struct SqlStream {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch>>,
    task: JoinHandle<()>,
    ended: bool,
    /// A batch that was read ahead.
    first: Option<RecordBatch>,
}

impl SqlStream {
    /// Reads the first batch, which comes out first still.
    ///
    /// # Errors
    /// Where the answer begins with one.
    pub(super) async fn begin(&mut self) -> Result<()> {
        self.first = self.try_next().await?;
        Ok(())
    }

    /// The columns of every batch.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Stream for SqlStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.batches.poll_recv(context) {
            Poll::Ready(None) => {
                // the task is through, or it panicked: an answer that ends early must not look like a whole one
                match Pin::new(&mut self.task).poll(context) {
                    Poll::Ready(ended) => {
                        self.ended = true;
                        Poll::Ready(
                            ended.err().map(|error| Err(Error::Internal(format!("a statement panicked: {error}")))),
                        )
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
            other => other,
        }
    }
}

impl Drop for SqlStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
