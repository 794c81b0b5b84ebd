//! `MergeOverlapsExec`: chunks of a series that overlap become chunks that do not.
//!
//! A batch in which none overlap, as nearly all are where no replicas are merged, passes through untouched.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use storage::chunk::ChunkError;
use storage::model::{Labels, TimeInterval};
use storage::schema::{SeriesColumns, series_schema};
use storage::store::BatchBuilder;

use super::overlap::{OverlapMerge, StoredChunk, merge, overlaps};
use crate::error::{Error, Result};
use crate::operator::{
    Worker, batch_stream, only_input, operator_plumbing, partition_count, plan_properties, work_stream,
};

/// Merges the chunks of each row that overlap; keeps rows, partitions and order.
#[derive(Debug)]
pub struct MergeOverlapsExec {
    input: Arc<dyn ExecutionPlan>,
    how: OverlapMerge,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MergeOverlapsExec {
    /// Merges the chunks of `input`, whose rows are whole series.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, how: OverlapMerge) -> Self {
        let properties = plan_properties(series_schema(), partition_count(&input));
        Self { input, how, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?, self.how))
    }
}

impl DisplayAs for MergeOverlapsExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeOverlapsExec: {:?}", self.how)
    }
}

impl ExecutionPlan for MergeOverlapsExec {
    operator_plumbing!("MergeOverlapsExec");

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
        let worker = OverlapWorker { how: self.how, batch: None };
        let batches = work_stream(self.input.execute(partition, context)?, worker, compute);
        Ok(batch_stream(series_schema(), metrics, batches))
    }
}

struct OverlapWorker {
    how: OverlapMerge,
    batch: Option<RecordBatch>,
}

impl Worker for OverlapWorker {
    fn load(&mut self, batch: RecordBatch) -> Result<()> {
        self.batch = (batch.num_rows() > 0).then_some(batch);
        Ok(())
    }

    fn advance(&mut self, _ended: bool) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.batch.take() else { return Ok(None) };
        let columns = SeriesColumns::try_new(&batch)?;
        if (0..batch.num_rows()).all(|row| is_in_order(&columns, row)) {
            return Ok(Some(batch));
        }
        let mut merged = BatchBuilder::copying();
        for row in 0..columns.labels.len() {
            merge_row(&columns, row, self.how, &mut merged)?;
        }
        Ok(Some(merged.finish()?))
    }
}

fn is_in_order(columns: &SeriesColumns, row: usize) -> bool {
    let range = columns.chunk_range(row);
    let (mint, maxt) = (columns.mint.values(), columns.maxt.values());
    (range.start + 1..range.end).all(|chunk| maxt[chunk - 1] < mint[chunk])
}

fn merge_row(columns: &SeriesColumns, row: usize, how: OverlapMerge, out: &mut BatchBuilder) -> Result<()> {
    let mut chunks: Vec<StoredChunk<'_>> =
        columns.chunk_range(row).map(|chunk| StoredChunk::at(columns, chunk)).collect();
    chunks.sort_by_key(|chunk| (chunk.interval.mint, chunk.interval.maxt));
    for overlap in overlaps(&chunks) {
        match merge(overlap, how).map_err(|error| undecodable(columns, row, overlap, &error))? {
            None => out.push_copied(overlap[0].interval, overlap[0].encoding, 0, overlap[0].data),
            Some(merged) => {
                for chunk in merged {
                    let interval = TimeInterval::new(chunk.mint, chunk.maxt);
                    out.push_copied(interval, chunk.encoding as u8, 0, &chunk.data);
                }
            }
        }
    }
    out.push_series(columns.labels.value(row), !chunks.is_empty());
    Ok(())
}

/// The error of a series of which some chunks do not decode.
pub(super) fn undecodable(
    columns: &SeriesColumns,
    row: usize,
    overlap: &[StoredChunk<'_>],
    error: &ChunkError,
) -> Error {
    let maxt = overlap.iter().map(|chunk| chunk.interval.maxt).max().unwrap_or(i64::MAX);
    Error::Chunk {
        labels: Labels::from_key(columns.labels.value(row)),
        interval: TimeInterval::new(overlap.first().map_or(i64::MIN, |chunk| chunk.interval.mint), maxt),
        reason: error.to_string(),
    }
}
