//! `QuantileExec`: the aggregation `quantile`.
//!
//! ```text
//! rows ─> collected, by group ─> step by step: a group's floats sorted, interpolated ─> one row a group
//! φ ──────────────────────────────────┘
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::context::QueryContext;
use crate::error::Result;
use crate::kernel::{ScalarArg, quantile_of_sorted, warn_invalid_quantile};
use crate::operator::{operator_plumbing, plan_properties};
use crate::removed_name::{is_marked, mark};
use crate::topk::{ParamAggregate, extremes, groups_of};
use crate::vector::{VectorBuilder, vector_schema};

/// A quantile of each group's floats, step by step. One partition in, one out.
#[derive(Debug)]
pub struct QuantileExec {
    input: Arc<dyn ExecutionPlan>,
    aggregate: ParamAggregate,
    steps: usize,
    context: QueryContext,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl QuantileExec {
    /// Aggregates `input`, which has `steps` steps; the parameter is the quantile.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, aggregate: ParamAggregate, steps: usize, context: QueryContext) -> Self {
        let properties = plan_properties(vector_schema(steps), 1);
        Self { input, aggregate, steps, context, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, aggregate) = self.aggregate.with_inputs(inputs)?;
        Ok(Self::new(input, aggregate, self.steps, self.context.clone()))
    }
}

impl DisplayAs for QuantileExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuantileExec: {:?}", self.aggregate.grouping)
    }
}

impl ExecutionPlan for QuantileExec {
    operator_plumbing!("QuantileExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input).chain(self.aggregate.param.child()).collect()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (input, aggregate, steps) = (Arc::clone(&self.input), self.aggregate.clone(), self.steps);
        let query = self.context.clone();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let rows = async move {
            let param = aggregate.param.resolve(&context).await?;
            let rows = CollectedRows::collect(&input, context, "QuantileExec").await?;
            let _timer = compute.timer();
            let groups = Groups::try_new(rows, &aggregate, param, steps, &query)?;
            Ok(row_batches(steps, groups.labels.len(), move |group, builder| {
                groups.write(group, builder);
                Ok(())
            }))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

/// The rows of each group.
struct Groups {
    rows: CollectedRows,
    param: ScalarArg,
    labels: Vec<String>,
    members: Vec<Vec<usize>>,
}

impl Groups {
    fn try_new(
        rows: CollectedRows,
        aggregate: &ParamAggregate,
        param: ScalarArg,
        steps: usize,
        query: &QueryContext,
    ) -> Result<Self> {
        let (groups, mut labels) = groups_of(&rows, &aggregate.grouping)?;
        let mut members = vec![Vec::new(); labels.len()];
        for (row, group) in groups.iter().enumerate() {
            members[*group].push(row);
            if is_marked(rows.labels(row)) && !is_marked(&labels[*group]) {
                let unmarked = std::mem::take(&mut labels[*group]);
                mark(&unmarked, &mut labels[*group]);
            }
        }
        let (min, max) = extremes(&param, steps);
        let position = query.position(aggregate.param_span.start);
        for (wrong, value) in [(min.is_nan(), f64::NAN), (max > 1.0, max), (min < 0.0, min)] {
            if wrong {
                warn_invalid_quantile(&query.annotations, value, &position);
            }
        }
        if (0..rows.len()).any(|row| !rows.row(row).histograms.is_empty()) {
            let position = query.position(aggregate.expr_span.start);
            query.annotations.info(format!("PromQL info: ignored histogram in quantile aggregation ({position})"));
        }
        Ok(Self { rows, param, labels, members })
    }

    fn write(&self, group: usize, builder: &mut VectorBuilder) {
        let mut out = builder.start_row();
        let mut values = Vec::with_capacity(self.members[group].len());
        for step in 0..out.steps() {
            values.clear();
            values.extend(self.members[group].iter().filter_map(|row| self.rows.row(*row).float(step)));
            if !values.is_empty() {
                out.set(step, quantile(self.param.at(step), &mut values));
            }
        }
        builder.finish_row(&self.labels[group]);
    }
}

/// The `q`-quantile of `values`, which are not empty, weighted between the two nearest; NaN counts as least.
fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    quantile_of_sorted(q, values)
}

#[cfg(test)]
mod tests {
    use promql::tree::{AggregateOp, Grouping, Span};

    use super::*;
    use crate::scalar::ScalarInput;
    use crate::testing::{check, check_faults, context, source};

    const ROWS: &str = "a{g=\"1\", x=\"1\"} 1 5\na{g=\"1\", x=\"2\"} 3 _\na{g=\"2\"} NaN _\na{g=\"2\", x=\"1\"} 9 _";

    fn over(input: Arc<dyn ExecutionPlan>, q: f64) -> Arc<dyn ExecutionPlan> {
        let aggregate = ParamAggregate {
            op: AggregateOp::Quantile,
            grouping: Grouping::By(vec!["g".to_owned()]),
            param: ScalarInput::Constant(q),
            expr_span: Span::default(),
            param_span: Span::default(),
            span: Span::default(),
        };
        Arc::new(QuantileExec::new(input, aggregate, 2, context()))
    }

    #[test]
    fn quantiles_of_groups() {
        check(over(source(2, ROWS), 0.25), "{g=\"1\"} 1.5 5\n{g=\"2\"} NaN _");
        check(over(source(2, ROWS), 1.0), "{g=\"1\"} 3 5\n{g=\"2\"} 9 _");
        check(over(source(2, ROWS), 2.0), "{g=\"1\"} inf inf\n{g=\"2\"} inf _");
    }

    #[test]
    fn faults_of_inputs() {
        check_faults(2, ROWS, |input| over(input, 0.5));
    }
}
