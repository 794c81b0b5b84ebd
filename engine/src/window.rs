//! `WindowExec`: decodes series and evaluates each at the query's steps: a selector's instant value, or a range function.
//!
//! ```text
//! labels │ chunks ──decode──> t, value ──window (end - range, end] of each step──> labels │ values
//! ```
//!
//! 1. A series is decoded into memory that is reused for all series ([`SeriesDecoder`]); raw samples never become Arrow.
//! 2. Selection takes the last sample of the window, unless it is a staleness marker. A range function is a
//!    [`RangeKernel`] over the samples without staleness markers.
//! 3. The labels that the rest of the query needs are written with the row.
//!
//! Partitions and order are the input's; rows without any sample are left out.

mod evaluate;
mod histogram_stats;
mod label_output;
mod subquery;
mod worker;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::tree::Span;
use storage::model::SampleBuffer;
use storage::schema::SeriesColumns;

use crate::context::QueryContext;
use crate::dedup::ReplicaMerge;
use crate::error::Result;
use crate::kernel::{Margin, RangeKernel, Windows};
use crate::operator::{operator_plumbing, partition_count, plan_properties};
use crate::scalar::{ScalarInput, input_and_scalars, with_scalars};
use crate::series_decoder::{Reading, SeriesDecoder};
use crate::vector::vector_schema;

pub use label_output::LabelOutput;
pub use subquery::SubqueryExec;
pub(crate) use subquery::to_samples;
use worker::{SampleSource, window_stream};

/// What is computed of each window.
#[derive(Debug, Clone)]
pub enum WindowFunction {
    /// The last sample.
    Select,
    /// The time of the last sample in seconds: `timestamp()` of a selector.
    Timestamp,
    /// The start timestamp of the last sample in seconds: `start_timestamp()` of a selector.
    StartTime,
    /// Of a float the time in seconds, of a histogram the histogram: what [`InfoExec`](crate::InfoExec) looks at.
    SampleTimes,
    /// A range function.
    Range(Arc<dyn RangeKernel>),
}

/// What [`WindowExec`] and [`SubqueryExec`] evaluate.
#[derive(Debug, Clone)]
pub struct WindowSpec {
    /// Where the windows lie.
    pub windows: Windows,
    /// What is computed of each.
    pub function: WindowFunction,
    /// The function's name, for EXPLAIN.
    pub name: &'static str,
    /// Whether a change of replica must not look like a counter reset. A subquery has no replicas.
    pub counter: bool,
    /// What is read of downsampled chunks; none where all are raw, and for a subquery.
    pub downsampled: Option<Reading>,
    /// Whether the function minds start timestamps.
    pub start_times: bool,
    /// Whether only counts and sums of histograms are wanted.
    pub histogram_stats: bool,
    /// Its scalar arguments.
    pub args: Vec<ScalarInput>,
    /// The labels of the result.
    pub labels: LabelOutput,
    /// Where the windowed expression stands in the query text.
    pub span: Span,
}

/// Evaluates series at the query's steps.
#[derive(Debug)]
pub struct WindowExec {
    input: Arc<dyn ExecutionPlan>,
    spec: WindowSpec,
    context: QueryContext,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl WindowExec {
    /// Evaluates `spec` over the series of `input`, each of which is one row.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: WindowSpec, context: QueryContext) -> Self {
        let properties = plan_properties(vector_schema(spec.windows.steps()), partition_count(&input));
        Self { input, spec, context, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, args) = with_scalars(inputs, &self.spec.args)?;
        Ok(Self::new(input, WindowSpec { args, ..self.spec.clone() }, self.context.clone()))
    }
}

impl WindowSpec {
    /// As EXPLAIN shows it.
    fn fmt_into(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = &self.windows;
        write!(f, "{}, range={}ms, steps={}", self.name, windows.range_ms, windows.steps())?;
        if windows.steps() > 1 {
            write!(f, ", step={}ms", windows.grid.step_ms)?;
        }
        if windows.offset_ms != 0 {
            write!(f, ", offset={}ms", windows.offset_ms)?;
        }
        if let Some(at) = windows.at {
            write!(f, ", at={at}ms")?;
        }
        let margin = windows.margin;
        if margin != Margin::default() {
            write!(f, ", margin={}ms..{}ms", margin.before_ms, margin.after_ms)?;
        }
        if let Some(reading) = self.downsampled {
            write!(f, ", reads={reading}")?;
        }
        if self.histogram_stats {
            f.write_str(", histograms=count and sum")?;
        }
        write!(f, "{}", self.labels)
    }
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowExec: ")?;
        self.spec.fmt_into(f)
    }
}

impl ExecutionPlan for WindowExec {
    operator_plumbing!("WindowExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        input_and_scalars(&self.input, &self.spec.args)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let merge = ReplicaMerge { deduplication: self.context.deduplication, counter: self.spec.counter };
        let source = SeriesSource(SeriesDecoder::for_windows(&self.spec.windows, merge, self.spec.downsampled));
        Ok(window_stream(source, input, self.spec.clone(), self.context.clone(), context, metrics))
    }
}

/// The samples of stored series.
struct SeriesSource(SeriesDecoder);

impl SampleSource for SeriesSource {
    type Batch = SeriesColumns;

    fn open(batch: &RecordBatch) -> Result<(SeriesColumns, usize)> {
        Ok((SeriesColumns::try_new(batch)?, batch.num_rows()))
    }

    fn samples<'a>(&'a mut self, columns: &'a SeriesColumns, row: usize) -> Result<(&'a str, &'a SampleBuffer)> {
        Ok((columns.labels.value(row), self.0.decode(columns, row)?))
    }
}

#[cfg(test)]
mod tests;
