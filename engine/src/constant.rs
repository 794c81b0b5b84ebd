//! `ConstantExec`: a number, or the time of each step. A leaf of one row without labels.

use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::tree::Grid;

use crate::collected::{computed_batches, row_batches};
use crate::operator::{operator_plumbing, plan_properties};
use crate::vector::vector_schema;

/// What the scalar is.
#[derive(Debug, Clone, Copy)]
enum Constant {
    Number(f64),
    /// The step's time in seconds.
    Time(Grid),
}

/// A scalar that nothing has to be read for.
#[derive(Debug)]
pub struct ConstantExec {
    constant: Constant,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ConstantExec {
    /// `number` at each of `steps` steps.
    #[must_use]
    pub fn number(number: f64, steps: usize) -> Self {
        Self::new(Constant::Number(number), steps)
    }

    /// The time of each step of `grid`, in seconds.
    #[must_use]
    pub fn time(grid: Grid) -> Self {
        Self::new(Constant::Time(grid), grid.steps())
    }

    fn new(constant: Constant, steps: usize) -> Self {
        let properties = plan_properties(vector_schema(steps), 1);
        Self { constant, steps, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the plumbing of operators wants it so")]
    fn with_inputs(&self, _inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(self.constant, self.steps))
    }
}

impl DisplayAs for ConstantExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.constant {
            Constant::Number(number) => write!(f, "ConstantExec: {number}"),
            Constant::Time(_) => f.write_str("ConstantExec: time()"),
        }
    }
}

impl ExecutionPlan for ConstantExec {
    operator_plumbing!("ConstantExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (constant, steps) = (self.constant, self.steps);
        let rows = async move {
            Ok(row_batches(steps, 1, move |_, builder| {
                builder.start_row().put_floats(None, |values| match constant {
                    Constant::Number(number) => values.fill(number),
                    Constant::Time(grid) => {
                        for (step, value) in values.iter_mut().enumerate() {
                            *value = seconds(grid.at(step));
                        }
                    }
                });
                builder.finish_row("");
                Ok(())
            }))
        };
        Ok(computed_batches(self.schema(), BaselineMetrics::new(&self.metrics, partition), rows))
    }
}

/// A time as PromQL gives it out.
#[expect(clippy::cast_precision_loss, reason = "Prometheus converts times the same way")]
pub(crate) fn seconds(time_ms: i64) -> f64 {
    time_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, grid};

    #[test]
    fn one_row_without_labels() {
        check(Arc::new(ConstantExec::number(f64::NAN, 2)), "{} NaN NaN");
        check(Arc::new(ConstantExec::time(grid(3))), "{} 0 60 120");
    }
}
