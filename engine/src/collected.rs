//! What the streams of operators over vector batches are made of: batches mapped one by one, or rows computed from
//! inputs that were collected first.

use std::future::{Future, ready};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::{StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::operator::{Reservation, batch_stream, collect, reservation};
use crate::vector::{RowView, VectorBuilder, VectorColumns, rows_per_batch};

/// An input that an operator needs as a whole: its rows, numbered in the order in which they came.
#[derive(Debug)]
pub(crate) struct CollectedRows {
    batches: Vec<VectorColumns>,
    /// Of each row, its batch and its place in there.
    rows: Vec<(u32, u32)>,
    /// Holds the memory of the batches, and of what the operator builds over them, until they are dropped.
    pub(crate) memory: Reservation,
}

impl CollectedRows {
    /// Runs `plan`, which has one partition, to its end. The memory is reserved for the operator `name`.
    ///
    /// # Errors
    /// What the plan fails with, and [`Error::Limit`] where the memory does not suffice.
    pub(crate) async fn collect(
        plan: &Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        name: &'static str,
    ) -> Result<Self> {
        let memory = reservation(name, &context);
        let batches = collect(plan, context, &memory).await?;
        let mut columns = Vec::with_capacity(batches.len());
        let mut rows = Vec::new();
        for (batch, index) in batches.iter().zip(0..) {
            let batch = VectorColumns::try_new(batch)?;
            rows.extend((0..batch.len()).zip(0_u32..).map(|(_, row)| (index, row)));
            memory.try_grow(histogram_bytes(&batch))?;
            columns.push(batch);
        }
        memory.try_grow(rows.capacity() * size_of::<(u32, u32)>())?;
        Ok(Self { batches: columns, rows, memory })
    }

    /// Runs both plans at once, as [`collect`](Self::collect) does one.
    ///
    /// # Errors
    /// What the first of them to fail fails with.
    pub(crate) async fn collect_both(
        (first, second): (&Arc<dyn ExecutionPlan>, &Arc<dyn ExecutionPlan>),
        context: Arc<TaskContext>,
        name: &'static str,
    ) -> Result<(Self, Self)> {
        futures::try_join!(Self::collect(first, Arc::clone(&context), name), Self::collect(second, context, name))
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The label key of a row.
    pub(crate) fn labels(&self, row: usize) -> &str {
        let (batch, row) = self.rows[row];
        self.batches[batch as usize].labels(row as usize)
    }

    /// The samples of a row.
    pub(crate) fn row(&self, row: usize) -> RowView<'_> {
        let (batch, row) = self.rows[row];
        self.batches[batch as usize].row(row as usize)
    }
}

/// What decoding the histograms of a batch took.
fn histogram_bytes(batch: &VectorColumns) -> usize {
    if !batch.has_histograms() {
        return 0;
    }
    (0..batch.len()).flat_map(|row| batch.row(row).histograms).map(|(_, histogram)| histogram.size_bytes() + 8).sum()
}

/// A stream that awaits `prepare` and then puts every batch of `input` through what that came to.
pub(crate) fn map_batches<F>(
    schema: SchemaRef,
    input: SendableRecordBatchStream,
    metrics: BaselineMetrics,
    prepare: impl Future<Output = Result<F>> + Send + 'static,
) -> SendableRecordBatchStream
where
    F: FnMut(&RecordBatch) -> Result<RecordBatch> + Send + 'static,
{
    let compute = metrics.elapsed_compute().clone();
    let batches = async move {
        let mut map = prepare.await?;
        let mapped = input.map_err(Error::from).map(move |batch| {
            let _timer = compute.timer();
            map(&batch?)
        });
        Ok::<_, Error>(mapped.try_filter(|batch| ready(batch.num_rows() > 0)))
    };
    let batches = stream::once(batches).try_flatten();
    batch_stream(schema, metrics, batches)
}

/// A stream that awaits `prepare`, which collects the inputs, and then puts out the batches that it came to.
pub(crate) fn computed_batches<I>(
    schema: SchemaRef,
    metrics: BaselineMetrics,
    prepare: impl Future<Output = Result<I>> + Send + 'static,
) -> SendableRecordBatchStream
where
    I: Iterator<Item = Result<RecordBatch>> + Send + 'static,
{
    let compute = metrics.elapsed_compute().clone();
    let batches = async move {
        let mut batches = prepare.await?;
        Ok::<_, Error>(stream::iter(std::iter::from_fn(move || {
            let _timer = compute.timer();
            batches.next()
        })))
    };
    let batches = stream::once(batches).try_flatten();
    batch_stream(schema, metrics, batches)
}

/// Batches of the rows that `write` adds for each of `items`, cut where a batch is full. Ends at the first error.
pub(crate) fn row_batches(
    steps: usize,
    items: usize,
    mut write: impl FnMut(usize, &mut VectorBuilder) -> Result<()>,
) -> impl Iterator<Item = Result<RecordBatch>> {
    let mut builder = VectorBuilder::new(steps);
    let rows_max = rows_per_batch(steps);
    let mut next = 0;
    std::iter::from_fn(move || {
        while next < items && builder.len() < rows_max {
            let item = next;
            next += 1;
            if let Err(error) = write(item, &mut builder) {
                next = items;
                builder = VectorBuilder::new(steps);
                return Some(Err(error));
            }
        }
        (!builder.is_empty()).then(|| builder.finish())
    })
}
