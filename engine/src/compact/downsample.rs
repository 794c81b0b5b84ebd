//! `DownsampleExec`: each batch of series, and what it comes to in lower resolutions, from one decoding.
//!
//! ```text
//!                       ┌─> a │ raw chunks          │ 0           where it is wanted too, untouched
//! a │ raw chunks ──────>┼─> a │ chunks of 5 minutes │ 300000
//!                       └─> a │ chunks of 1 hour    │ 3600000     made of those of 5 minutes
//! ```
//!
//! Rows of its output are series batches with a column more, `resolution_ms`, which is the same in all rows of a batch: by it, writers
//! find what is theirs. Batches of one resolution keep the order of the input. A series of which nothing is left at a resolution has
//! no row there.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use storage::chunk::EncodedChunk;
use storage::compact::{FIVE_MINUTES_MS, ONE_HOUR_MS};
use storage::model::TimeInterval;
use storage::schema::{SeriesColumns, series_schema};
use storage::store::BatchBuilder;

use super::merge_overlaps::undecodable;
use super::overlap::StoredChunk;
use crate::downsample::Downsampler;
use crate::error::{Error, Result};
use crate::operator::{
    Worker, batch_stream, only_input, operator_plumbing, partition_count, plan_properties, work_stream,
};

/// The column that tells batches apart.
const RESOLUTION: &str = "resolution_ms";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = series_schema().fields().to_vec();
    fields.push(Arc::new(Field::new(RESOLUTION, DataType::Int64, false)));
    Arc::new(Schema::new(fields))
});

/// Adds lower resolutions to its input; keeps partitions and order.
#[derive(Debug)]
pub struct DownsampleExec {
    input: Arc<dyn ExecutionPlan>,
    resolutions: Resolutions,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// Between which resolutions series are downsampled, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolutions {
    input_ms: i64,
    /// Ascending; the input's own may be among them.
    outputs_ms: Vec<i64>,
}

impl DownsampleExec {
    /// Puts `input`, whose rows are whole series with chunks that do not overlap, `input_ms` apart (0 are raw samples), out in each of
    /// the resolutions `outputs_ms`.
    ///
    /// # Errors
    /// [`Error::Internal`] for resolutions that there are not, or that are higher than the input's.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, input_ms: i64, mut outputs_ms: Vec<i64>) -> Result<Self> {
        outputs_ms.sort_unstable();
        outputs_ms.dedup();
        let known = |&ms: &i64| ms == input_ms || (ms > input_ms && [FIVE_MINUTES_MS, ONE_HOUR_MS].contains(&ms));
        if input_ms < 0 || !outputs_ms.iter().all(known) {
            return Err(Error::Internal(format!("samples {input_ms} ms apart cannot become {outputs_ms:?} ms apart")));
        }
        let properties = plan_properties(Arc::clone(&SCHEMA), partition_count(&input));
        let resolutions = Resolutions { input_ms, outputs_ms };
        Ok(Self { input, resolutions, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let Resolutions { input_ms, outputs_ms } = self.resolutions.clone();
        Ok(Self::try_new(only_input(inputs)?, input_ms, outputs_ms)?)
    }
}

/// The resolution of a batch that a [`DownsampleExec`] put out; none of any other batch.
pub(super) fn resolution_of(batch: &RecordBatch) -> Option<i64> {
    let column = batch.column_by_name(RESOLUTION)?.as_any().downcast_ref::<Int64Array>()?;
    (!column.is_empty()).then(|| column.value(0))
}

impl DisplayAs for DownsampleExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resolutions { input_ms, outputs_ms } = &self.resolutions;
        write!(f, "DownsampleExec: {input_ms} ms to {outputs_ms:?}")
    }
}

impl ExecutionPlan for DownsampleExec {
    operator_plumbing!("DownsampleExec");

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
        let worker = DownsampleWorker {
            resolutions: self.resolutions.clone(),
            downsampler: Downsampler::new(),
            batch: None,
            done: VecDeque::new(),
            memory: MemoryConsumer::new("DownsampleExec").register(context.memory_pool()),
            samples: MetricBuilder::new(&self.metrics).counter("samples_read", partition),
        };
        let batches = work_stream(self.input.execute(partition, context)?, worker, compute);
        Ok(batch_stream(Arc::clone(&SCHEMA), metrics, batches))
    }
}

struct DownsampleWorker {
    resolutions: Resolutions,
    downsampler: Downsampler,
    /// The batch at hand.
    batch: Option<RecordBatch>,
    /// What came of the last batch, by resolution.
    done: VecDeque<RecordBatch>,
    memory: MemoryReservation,
    samples: Count,
}

impl Worker for DownsampleWorker {
    fn load(&mut self, batch: RecordBatch) -> Result<()> {
        self.batch = (batch.num_rows() > 0).then_some(batch);
        Ok(())
    }

    fn advance(&mut self, ended: bool) -> Result<Option<RecordBatch>> {
        if let Some(batch) = self.batch.take() {
            self.downsample(&batch)?;
        }
        let next = self.done.pop_front();
        if next.is_none() && ended {
            self.memory.free();
        }
        Ok(next)
    }
}

impl DownsampleWorker {
    /// Makes the output's batches of one of the input.
    fn downsample(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = SeriesColumns::try_new(batch)?;
        let Resolutions { input_ms, outputs_ms } = self.resolutions.clone();
        if outputs_ms.contains(&input_ms) {
            self.put(batch, input_ms)?;
        }
        let mut built: Vec<(i64, BatchBuilder)> =
            outputs_ms.iter().filter(|&&ms| ms > input_ms).map(|&ms| (ms, BatchBuilder::copying())).collect();
        let (mut built_bytes, before) = (0, self.downsampler.samples_read());
        for row in 0..batch.num_rows() {
            let stored: Vec<StoredChunk<'_>> =
                columns.chunk_range(row).map(|chunk| StoredChunk::at(&columns, chunk)).collect();
            let levels = self
                .downsampler
                .levels(&stored, input_ms, built.last().map_or(input_ms, |(ms, _)| *ms))
                .map_err(|error| undecodable(&columns, row, &stored, &error))?;
            for (ms, builder) in &mut built {
                let made = levels.iter().find(|(level_ms, _)| level_ms == ms).map_or(&[][..], |(_, made)| made);
                for chunk in made {
                    let EncodedChunk { mint, maxt, encoding, data, .. } = chunk;
                    builder.push_copied(TimeInterval::new(*mint, *maxt), *encoding as u8, 0, data);
                    built_bytes += data.len();
                }
                builder.push_series(columns.labels.value(row), true);
            }
            self.memory.try_resize(self.downsampler.capacity_bytes() + built_bytes)?;
        }
        self.samples.add(self.downsampler.samples_read() - before);
        for (ms, builder) in built {
            let batch = builder.finish()?;
            if batch.num_rows() > 0 {
                self.put(&batch, ms)?;
            }
        }
        Ok(())
    }

    /// Puts a series batch out as one of `resolution_ms`.
    fn put(&mut self, batch: &RecordBatch, resolution_ms: i64) -> Result<()> {
        let resolutions = Arc::new(Int64Array::from_value(resolution_ms, batch.num_rows()));
        let columns = batch.columns().iter().cloned().chain([resolutions as _]).collect();
        let batch = RecordBatch::try_new(Arc::clone(&SCHEMA), columns);
        self.done.push_back(batch.map_err(|error| Error::Internal(error.to_string()))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
