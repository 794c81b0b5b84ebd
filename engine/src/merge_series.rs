//! `MergeSeriesExec`: rows of one series become one row.
//!
//! ```text
//! a │ chunks of block 1 ┐                       carried over the end of a batch, since the next one may
//! a │ chunks of block 2 ┴─> a │ chunks 1, 2     go on with the same series
//! b │ chunks of block 1 ──> b │ chunks 1
//! ```
//!
//! The input is sorted by labels, so the rows of a series are neighbours and so are their chunk lists: joining them is
//! leaving out the offsets between them. No chunk is copied, let alone decoded: overlapping chunks are resolved where samples
//! are decoded, from their replica numbers.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{concat_batches, take};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use storage::schema::{SeriesColumns, chunk_item_field, series_schema};

use crate::error::{Error, Result};
use crate::operator::{
    Worker, batch_stream, only_input, operator_plumbing, partition_count, plan_properties, work_stream,
};

/// Joins neighbouring rows with equal labels; keeps partitions and order. In its output each series is one row, its
/// chunks sorted by their first sample.
#[derive(Debug)]
pub struct MergeSeriesExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MergeSeriesExec {
    /// Merges the series of `input`, whose partitions are sorted by labels.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = plan_properties(series_schema(), partition_count(&input));
        Self { input, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?))
    }
}

impl DisplayAs for MergeSeriesExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MergeSeriesExec")
    }
}

impl ExecutionPlan for MergeSeriesExec {
    operator_plumbing!("MergeSeriesExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let batches = work_stream(self.input.execute(partition, context)?, MergeWorker::default(), compute);
        Ok(batch_stream(series_schema(), metrics, batches))
    }
}

#[derive(Default)]
struct MergeWorker {
    /// What is left of the batch that was taken last.
    batch: Option<RecordBatch>,
    /// The rows of the last series so far, which may go on in the next batch.
    carried: Option<RecordBatch>,
}

impl Worker for MergeWorker {
    fn load(&mut self, batch: RecordBatch) -> Result<()> {
        self.batch = (batch.num_rows() > 0).then_some(batch);
        Ok(())
    }

    /// The carried series is put out as a batch of its own. Joined to the rows after it, it would hand them its
    /// buffers, those the next carried series, and no buffer would be free before the end of the input.
    fn advance(&mut self, ended: bool) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.batch.take() else {
            return if ended { self.carried.take().map(|last| merge_rows(&last)).transpose() } else { Ok(None) };
        };
        let labels = SeriesColumns::try_new(&batch)?.labels;
        if let Some(mut carried) = self.carried.take() {
            let key = SeriesColumns::try_new(&carried)?.labels;
            let more = (0..labels.len()).take_while(|&row| labels.value(row) == key.value(0)).count();
            if more > 0 {
                carried = concat_batches(&series_schema(), [&carried, &batch.slice(0, more)]).map_err(arrow_error)?;
            }
            if more == labels.len() {
                self.carried = Some(carried);
                return Ok(None);
            }
            self.batch = Some(batch.slice(more, labels.len() - more));
            return merge_rows(&carried).map(Some);
        }
        let last = labels.value(labels.len() - 1);
        let open = (0..labels.len()).rev().take_while(|&row| labels.value(row) == last).count();
        let complete = labels.len() - open;
        self.carried = Some(batch.slice(complete, open));
        if complete == 0 { Ok(None) } else { merge_rows(&batch.slice(0, complete)).map(Some) }
    }
}

/// Joins neighbouring rows with equal labels within one batch.
fn merge_rows(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = SeriesColumns::try_new(batch)?;
    let rows = columns.labels.len();
    let firsts: Vec<u32> = (0..rows)
        .filter(|&row| row == 0 || columns.labels.value(row) != columns.labels.value(row - 1))
        .map(|row| u32::try_from(row).unwrap_or(u32::MAX))
        .collect();
    let order = chunk_order(&columns, &firsts);
    if firsts.len() == rows && order.is_none() {
        return Ok(batch.clone());
    }
    let offsets = columns.chunks.value_offsets();
    let mut merged: Vec<i32> = firsts.iter().map(|&row| offsets[row as usize] - offsets[0]).collect();
    merged.push(offsets[rows] - offsets[0]);
    let slice = |offset: i32| usize::try_from(offset).unwrap_or(0);
    let mut chunks = columns.chunks.values().slice(slice(offsets[0]), slice(offsets[rows] - offsets[0]));
    if let Some(order) = order {
        chunks = take(&chunks, &UInt32Array::from(order), None).map_err(arrow_error)?;
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(merged));
    let chunks = ListArray::try_new(chunk_item_field(), offsets, chunks, None).map_err(arrow_error)?;
    let labels = take(&columns.labels, &UInt32Array::from(firsts), None).map_err(arrow_error)?;
    RecordBatch::try_new(series_schema(), vec![labels, Arc::new(chunks)]).map_err(arrow_error)
}

/// The chunk indices in the order that sorts each merged row by mint, counted from the batch's first chunk; `None`
/// where they are sorted, as they are unless replicas or unordered blocks overlap.
fn chunk_order(columns: &SeriesColumns, firsts: &[u32]) -> Option<Vec<u32>> {
    let base = columns.chunk_range(0).start;
    let end = columns.chunk_range(columns.labels.len() - 1).end;
    let mint = |chunk: usize| columns.mint.value(chunk);
    let bounds: Vec<usize> = firsts.iter().map(|&row| columns.chunk_range(row as usize).start).chain([end]).collect();
    let sorted = bounds.windows(2).all(|row| (row[0] + 1..row[1]).all(|chunk| mint(chunk - 1) <= mint(chunk)));
    if sorted {
        return None;
    }
    let mut order: Vec<u32> = (base..end).map(|chunk| u32::try_from(chunk - base).unwrap_or(u32::MAX)).collect();
    for row in bounds.windows(2) {
        order[row[0] - base..row[1] - base].sort_by_key(|&chunk| mint(base + chunk as usize));
    }
    Some(order)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn arrow_error(error: arrow::error::ArrowError) -> Error {
    Error::Internal(error.to_string())
}

#[cfg(test)]
mod tests;
