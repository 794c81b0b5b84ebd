//! Cuts windows from the samples of row after row: the work that stored series and subqueries have in common.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::{TryStreamExt, stream};
use storage::model::SampleBuffer;

use super::WindowSpec;
use super::evaluate::Evaluator;
use crate::context::{HeldSamples, QueryContext};
use crate::error::{Error, Result};
use crate::operator::{Worker, batch_stream, work_stream};
use crate::scalar::resolve_all;
use crate::vector::{VectorBuilder, rows_per_batch, vector_schema};

/// Where the samples of a row come from. What it decodes them into is reused from row to row.
pub(super) trait SampleSource: Send + 'static {
    /// The columns of a batch.
    type Batch: Send;

    /// The columns and the number of rows of `batch`.
    fn open(batch: &RecordBatch) -> Result<(Self::Batch, usize)>;

    /// Label key and samples of a row.
    fn samples<'a>(&'a mut self, batch: &'a Self::Batch, row: usize) -> Result<(&'a str, &'a SampleBuffer)>;
}

/// The rows that `spec` makes of those of `input`. Its scalar arguments are resolved before the first row.
pub(super) fn window_stream(
    source: impl SampleSource,
    input: SendableRecordBatchStream,
    spec: WindowSpec,
    query: QueryContext,
    context: Arc<TaskContext>,
    metrics: BaselineMetrics,
) -> SendableRecordBatchStream {
    let (steps, compute) = (spec.windows.steps(), metrics.elapsed_compute().clone());
    let batches = stream::once(async move {
        let args = resolve_all(&spec.args, &context).await?;
        let held = HeldSamples::new(Some(Arc::clone(&query.samples)));
        let (builder, evaluator) = (VectorBuilder::new(steps), Evaluator::new(spec, args, query));
        Ok::<_, Error>(work_stream(input, WindowWorker { source, rows: None, evaluator, builder, held }, compute))
    });
    batch_stream(vector_schema(steps), metrics, batches.try_flatten())
}

struct WindowWorker<S: SampleSource> {
    source: S,
    /// The batch being worked on, and the rows of it that are left.
    rows: Option<(S::Batch, Range<usize>)>,
    evaluator: Evaluator,
    builder: VectorBuilder,
    /// The samples of the longest series so far, which `source` keeps room for.
    held: HeldSamples,
}

impl<S: SampleSource> Worker for WindowWorker<S> {
    fn load(&mut self, batch: RecordBatch) -> Result<()> {
        let (batch, rows) = S::open(&batch)?;
        self.rows = Some((batch, 0..rows));
        Ok(())
    }

    /// Works until a batch is full or the rows at hand are done; at the end of the input puts out what is left.
    fn advance(&mut self, ended: bool) -> Result<Option<RecordBatch>> {
        let batch_rows = rows_per_batch(self.evaluator.steps());
        if let Some((batch, rows)) = &mut self.rows {
            for row in rows {
                let (labels, samples) = self.source.samples(batch, row)?;
                self.held.raise_to(samples.len());
                self.evaluator.evaluate(labels, samples, &mut self.builder)?;
                if self.builder.len() >= batch_rows {
                    return self.builder.finish().map(Some);
                }
            }
            self.rows = None;
        }
        if ended && !self.builder.is_empty() { self.builder.finish().map(Some) } else { Ok(None) }
    }
}
