//! `MapExec`: a function of one sample at a time.
//!
//! ```text
//! rows ─> function, row by row ─> rows without the metric's name
//! scalar arguments ─┘ resolved once
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::Function;
use promql::tree::Grid;
use storage::model::FloatHistogram;

use crate::collected::map_batches;
use crate::constant::seconds;
use crate::error::Result;
use crate::kernel::ScalarArg;
use crate::operator::{operator_plumbing, partition_count, plan_properties};
use crate::removed_name::NameRemoval;
use crate::scalar::{ScalarInput, input_and_scalars, resolve_all, with_scalars};
use crate::scalar_math::{InstantFunction, histogram_avg, histogram_stddev, histogram_stdvar, instant_function};
use crate::vector::{Row, RowView, VectorBuilder, VectorColumns};

/// A function that a [`MapExec`] applies.
#[derive(Debug, Clone, Copy)]
pub enum ElementFunction {
    /// A function of floats; histograms have no value.
    Float(InstantFunction),
    /// A function of histograms; floats have no value.
    Histogram(fn(&FloatHistogram) -> f64),
    /// Unary minus, of floats and histograms.
    Negate,
    /// Floats as they are, with their names; histograms have no value. What sorting by value does beside sorting.
    KeepFloats,
    /// The time of the step in seconds, where there is a sample.
    StepTime(Grid),
    /// No value at all: `start_timestamp()` of anything but a selector.
    Nothing,
}

impl ElementFunction {
    /// The function named, if it takes one sample at a time; `grid` is the one that it is evaluated on. `timestamp` is so
    /// only where its argument is no selector, and `histogram_fraction` never, since it takes classic histograms too.
    #[must_use]
    pub fn of(function: Function, grid: Grid) -> Option<Self> {
        Some(match function {
            Function::HistogramCount => Self::Histogram(|h| h.count),
            Function::HistogramSum => Self::Histogram(|h| h.sum),
            Function::HistogramAvg => Self::Histogram(histogram_avg),
            Function::HistogramStddev => Self::Histogram(histogram_stddev),
            Function::HistogramStdvar => Self::Histogram(histogram_stdvar),
            Function::Timestamp => Self::StepTime(grid),
            other => Self::Float(instant_function(other)?),
        })
    }

    fn apply(&self, input: &RowView<'_>, args: &[ScalarArg], out: &mut Row<'_>) {
        match self {
            Self::Float(function) => function.evaluate(input, args, out),
            Self::Histogram(function) => {
                for (step, histogram) in input.histograms {
                    out.set(*step as usize, function(histogram));
                }
            }
            Self::Negate => {
                out.put_floats(input.float_bits().as_ref(), |values| {
                    for (out, value) in values.iter_mut().zip(input.values) {
                        *out = -value;
                    }
                });
                for (step, histogram) in input.histograms {
                    let mut negated = histogram.clone();
                    negated.mul(-1.0);
                    out.set_histogram(*step as usize, negated);
                }
            }
            Self::KeepFloats => {
                out.put_floats(input.float_bits().as_ref(), |values| values.copy_from_slice(input.values));
            }
            Self::Nothing => {}
            Self::StepTime(grid) => {
                for step in input.present_steps() {
                    out.set(step, seconds(grid.at(step)));
                }
            }
        }
    }
}

/// Applies a function to every sample and drops the metric's name, but for [`ElementFunction::KeepFloats`]. Keeps partitions. Labels
/// may become equal: see [`UniqueLabelsExec`](crate::UniqueLabelsExec).
#[derive(Debug)]
pub struct MapExec {
    input: Arc<dyn ExecutionPlan>,
    function: ElementFunction,
    args: Vec<ScalarInput>,
    name_removal: NameRemoval,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MapExec {
    /// Applies `function` to `input`; `args` are its scalar arguments in the order of its signature.
    #[must_use]
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        function: ElementFunction,
        args: Vec<ScalarInput>,
        name_removal: NameRemoval,
    ) -> Self {
        let properties = plan_properties(input.schema(), partition_count(&input));
        Self { input, function, args, name_removal, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, args) = with_scalars(inputs, &self.args)?;
        Ok(Self::new(input, self.function, args, self.name_removal))
    }
}

impl DisplayAs for MapExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapExec: {:?}", self.function)
    }
}

impl ExecutionPlan for MapExec {
    operator_plumbing!("MapExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        input_and_scalars(&self.input, &self.args)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let (function, inputs, removal) = (self.function, self.args.clone(), self.name_removal);
        let map = async move {
            let args = resolve_all(&inputs, &context).await?;
            Ok(move |batch: &RecordBatch| apply(function, &args, removal, batch))
        };
        Ok(map_batches(self.schema(), input, BaselineMetrics::new(&self.metrics, partition), map))
    }
}

fn apply(
    function: ElementFunction,
    args: &[ScalarArg],
    removal: NameRemoval,
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let columns = VectorColumns::try_new(batch)?;
    let mut builder = VectorBuilder::with_schema(columns.steps(), batch.schema());
    let mut key = String::new();
    for row in 0..columns.len() {
        function.apply(&columns.row(row), args, &mut builder.start_row());
        match function {
            ElementFunction::KeepFloats => {
                key.clear();
                key.push_str(columns.labels(row));
            }
            ElementFunction::Histogram(_) => removal.remove_only_name(columns.labels(row), &mut key),
            _ => removal.remove(columns.labels(row), &mut key),
        }
        builder.finish_row(&key);
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, grid, source};

    fn plan(function: ElementFunction, args: Vec<ScalarInput>) -> Arc<dyn ExecutionPlan> {
        Arc::new(MapExec::new(source(3, "a{x=\"1\"} -1 _ h:4:10\nb 2.5 2.5 2.5"), function, args, NameRemoval::AtOnce))
    }

    #[test]
    fn functions() {
        let of = |function| ElementFunction::of(function, grid(3)).unwrap();
        check(plan(of(Function::Abs), vec![]), "{x=\"1\"} 1 _ _\n{} 2.5 2.5 2.5");
        check(plan(of(Function::HistogramAvg), vec![]), "{x=\"1\"} _ _ 2.5");
        check(plan(of(Function::Timestamp), vec![]), "{x=\"1\"} 0 _ 120\n{} 0 60 120");
        check(plan(ElementFunction::Negate, vec![]), "{x=\"1\"} 1 _ h:-4:-10\n{} -2.5 -2.5 -2.5");
        check(plan(ElementFunction::KeepFloats, vec![]), "a{x=\"1\"} -1 _ _\nb 2.5 2.5 2.5");
        let limit = ScalarInput::plan(source(3, "{} 1 2 3"));
        check(plan(of(Function::ClampMax), vec![limit]), "{x=\"1\"} -1 _ _\n{} 1 2 2.5");
    }
}
