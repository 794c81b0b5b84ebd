//! `MetricScanExec`: the samples of a metric as rows, one partition a range of label keys.
//!
//! ```text
//! SeriesScanExec ─> … ─> MergeSeriesExec ─> condition on labels ─> decode ─> rows of (timestamp, value, labels)
//!   series batches ──────────────────────────── once a series ───── once a sample ─────────────────────┘
//! ```
//!
//! It runs the operators below it by itself and shows itself as a leaf: an optimizer that repartitioned the rows of series batches
//! would tear series apart. A series that the condition does not let through is never decoded, and where a limit is reached
//! nothing more is fetched.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::limit::LimitStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use storage::model::TimeInterval;
use storage::schema::SeriesColumns;

use super::sample_rows::{LabelColumns, RowBuilder, RowColumn};
use super::scope::SqlScope;
use crate::error::{Error, Result};
use crate::operator::{Worker, batch_stream, operator_plumbing, partition_count, plan_properties, work_stream};
use crate::planner::SelectedSeries;
use crate::series_decoder::SeriesDecoder;

/// Rows after which a batch is full: enough that what is done once a batch costs nothing, and half a megabyte of times and
/// values.
const BATCH_ROWS: usize = 32_768;

/// A predicate over labels, evaluated on batches of one row a series.
#[derive(Debug, Clone)]
pub(crate) struct SeriesCondition {
    /// Over the columns of `schema`.
    pub(crate) predicate: Arc<dyn PhysicalExpr>,
    /// Its labels.
    pub(crate) columns: Arc<[RowColumn]>,
    /// Of a batch of them.
    pub(crate) schema: SchemaRef,
}

/// What is scanned and what comes out.
#[derive(Debug)]
pub(crate) struct MetricScan {
    /// The metric, for EXPLAIN.
    pub(crate) metric: Arc<str>,
    pub(crate) selected: Arc<SelectedSeries>,
    pub(crate) scope: Arc<SqlScope>,
    /// Samples outside are no rows.
    pub(crate) interval: TimeInterval,
    /// What series have to fulfil.
    pub(crate) condition: Option<SeriesCondition>,
    pub(crate) columns: Arc<[RowColumn]>,
    pub(crate) schema: SchemaRef,
}

/// Streams the rows of a scan.
#[derive(Debug)]
pub(crate) struct MetricScanExec {
    scan: Arc<MetricScan>,
    series: Arc<dyn ExecutionPlan>,
    /// Most rows that are wanted of each partition.
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MetricScanExec {
    /// A scan that ends each partition after `fetch` rows.
    ///
    /// # Errors
    /// Where the selection makes no plan.
    pub(crate) fn try_new(scan: Arc<MetricScan>, fetch: Option<usize>) -> Result<Self> {
        let series = scan.selected.merged()?;
        let properties = plan_properties(Arc::clone(&scan.schema), partition_count(&series));
        // its stream yields by itself, and nothing need stand around it to make it
        let properties = PlanProperties::clone(&properties).with_scheduling_type(SchedulingType::Cooperative);
        let properties = Arc::new(properties);
        Ok(Self { scan, series, fetch, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, _inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::try_new(Arc::clone(&self.scan), self.fetch)?)
    }
}

impl DisplayAs for MetricScanExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scan = &self.scan;
        let columns: Vec<&str> = scan.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "MetricScanExec: {}, columns=[{}]", scan.metric, columns.join(", "))?;
        write!(f, ", selector={}", scan.selected.text())?;
        if scan.interval != TimeInterval::ALL {
            write!(f, ", time=[{}, {}]", bound(scan.interval.mint), bound(scan.interval.maxt))?;
        }
        if let Some(condition) = &scan.condition {
            write!(f, ", condition={}", condition.predicate)?;
        }
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        write!(f, ", partitions={}, parts={}", partition_count(&self.series), scan.selected.parts().len())
    }
}

/// A bound of an interval, in milliseconds; nothing where it is open.
fn bound(t: i64) -> String {
    if t == i64::MIN || t == i64::MAX { String::new() } else { t.to_string() }
}

impl ExecutionPlan for MetricScanExec {
    operator_plumbing!("MetricScanExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Self::try_new(Arc::clone(&self.scan), limit).ok().map(|scan| Arc::new(scan) as Arc<dyn ExecutionPlan>)
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let memory = MemoryConsumer::new("MetricScanExec").register(context.memory_pool());
        let worker = RowWorker {
            decoder: SeriesDecoder::new(self.scan.interval, self.scan.scope.merge, None),
            builder: RowBuilder::new(Arc::clone(&self.scan.schema), Arc::clone(&self.scan.columns)),
            scan: Arc::clone(&self.scan),
            batch: None,
            taken: 0,
            batch_rows: self.fetch.map_or(BATCH_ROWS, |fetch| fetch.clamp(1, BATCH_ROWS)),
            memory,
        };
        let compute = metrics.elapsed_compute().clone();
        let series = self.series.execute(partition, context)?;
        let rows = batch_stream(Arc::clone(&self.scan.schema), metrics, work_stream(series, worker, compute));
        let limited: SendableRecordBatchStream = match self.fetch {
            Some(fetch) => {
                let metrics = BaselineMetrics::new(&ExecutionPlanMetricsSet::new(), partition);
                Box::pin(LimitStream::new(rows, 0, Some(fetch), metrics))
            }
            None => rows,
        };
        Ok(make_cooperative(limited))
    }
}

/// Decodes series after series into batches of rows.
struct RowWorker {
    scan: Arc<MetricScan>,
    decoder: SeriesDecoder,
    builder: RowBuilder,
    /// The series batch at hand, the row to read next, and which rows the condition lets through.
    batch: Option<(SeriesColumns, usize, Option<BooleanArray>)>,
    /// How many samples of the decoded series were taken; a series can have more than fit in a batch.
    taken: usize,
    batch_rows: usize,
    memory: MemoryReservation,
}

impl Worker for RowWorker {
    fn load(&mut self, batch: RecordBatch) -> Result<()> {
        let columns = SeriesColumns::try_new(&batch)?;
        let passing = self.scan.condition.as_ref().map(|condition| condition.evaluate(&columns)).transpose()?;
        self.batch = (batch.num_rows() > 0).then_some((columns, 0, passing));
        Ok(())
    }

    fn advance(&mut self, ended: bool) -> Result<Option<RecordBatch>> {
        while let Some((columns, row, passing)) = &mut self.batch {
            if let Some(left) = self.decoder.samples().len().checked_sub(self.taken).filter(|left| *left > 0) {
                let take = left.min(self.batch_rows - self.builder.rows());
                self.builder.push(
                    columns.labels.value(*row - 1),
                    self.decoder.samples(),
                    self.taken..self.taken + take,
                );
                self.taken += take;
                if self.builder.rows() >= self.batch_rows {
                    return self.finish().map(Some);
                }
                continue;
            }
            if *row == columns.chunks.offsets().len() - 1 {
                self.batch = None;
                break;
            }
            *row += 1;
            self.taken = 0;
            if passing.as_ref().is_some_and(|passing| !passing.value(*row - 1)) {
                self.decoder.clear();
                continue;
            }
            self.decoder.decode(columns, *row - 1).map_err(|error| self.scan.scope.name_place(error))?;
            let held = self.decoder.samples().capacity_bytes() + self.builder.size_bytes();
            if held > self.memory.size() {
                self.memory.try_resize(held)?;
            }
        }
        if ended && self.builder.rows() > 0 { self.finish().map(Some) } else { Ok(None) }
    }
}

impl RowWorker {
    fn finish(&mut self) -> Result<RecordBatch> {
        self.memory.try_resize(self.decoder.samples().capacity_bytes() + self.builder.size_bytes())?;
        self.builder.finish()
    }
}

impl SeriesCondition {
    /// Which series of a batch pass; what is neither true nor false does not.
    fn evaluate(&self, series: &SeriesColumns) -> Result<BooleanArray> {
        let rows = series.chunks.offsets().len() - 1;
        let mut labels = LabelColumns::new(&self.columns);
        (0..rows).for_each(|row| labels.push(series.labels.value(row), 1));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), labels.finish()?, &options);
        let batch = batch.map_err(|error| Error::Internal(error.to_string()))?;
        let passing = self.predicate.evaluate(&batch).and_then(|value| value.into_array(rows));
        let passing = passing.map_err(super::error::sql_error)?;
        let passing = passing
            .as_boolean_opt()
            .ok_or_else(|| Error::Internal(format!("the condition {} is neither true nor false", self.predicate)))?;
        // which wants nulls to be there
        Ok(if passing.null_count() == 0 { passing.clone() } else { prep_null_mask_filter(passing) })
    }
}
