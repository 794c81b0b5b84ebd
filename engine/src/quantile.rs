//! `QuantileExec`: the aggregation `quantile`.
//!
//! ```text
//! rows ─> collected, by group ─> step by step: the two of a group's floats around the quantile ─> one row a group
//! φ ──────────────────────────────────┘
//! ```
//!
//! Blocks of a few steps of a group are computed by several tasks, and joined in their order.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::kernel::{ScalarArg, quantile_of, warn_invalid_quantile};
use crate::operator::{operator_plumbing, plan_properties};
use crate::removed_name::{is_marked, mark};
use crate::topk::{ParamAggregate, extremes, groups_of};
use crate::vector::vector_schema;

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
        let partitions = context.session_config().target_partitions().max(1);
        let rows = async move {
            let param = aggregate.param.resolve(&context).await?;
            let rows = CollectedRows::collect(&input, context, "QuantileExec").await?;
            let _timer = compute.timer();
            let groups = Arc::new(Groups::try_new(rows, &aggregate, param, steps, &query)?);
            let quantiles = groups.quantiles(partitions).await?;
            Ok(row_batches(steps, groups.labels.len(), move |group, builder| {
                let mut row = builder.start_row();
                for (step, quantile) in quantiles[group * steps..][..steps].iter().enumerate() {
                    if let Some(quantile) = quantile {
                        row.set(step, *quantile);
                    }
                }
                builder.finish_row(&groups.labels[group]);
                Ok(())
            }))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

/// Steps that are gathered from the rows at once.
const BLOCK_STEPS: usize = 16;
/// Samples that are worth a task.
const TASK_SAMPLES_MIN: usize = 1 << 16;

/// The rows of each group.
struct Groups {
    rows: CollectedRows,
    steps: usize,
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
        rows.memory.try_grow(labels.len() * steps * size_of::<Option<f64>>())?;
        Ok(Self { rows, steps, param, labels, members })
    }

    /// The quantiles of all groups and steps, group by group.
    async fn quantiles(self: &Arc<Self>, partitions: usize) -> Result<Vec<Option<f64>>> {
        let blocks = self.labels.len() * self.steps.div_ceil(BLOCK_STEPS);
        let tasks = (self.rows.len() * self.steps / TASK_SAMPLES_MIN).clamp(1, 4 * partitions);
        if tasks == 1 {
            return Ok(self.of_blocks(0..blocks));
        }
        let tasks = (0..tasks).map(|task| {
            let (groups, blocks) = (Arc::clone(self), blocks * task / tasks..blocks * (task + 1) / tasks);
            async move { SpawnedTask::spawn(async move { groups.of_blocks(blocks) }).join_unwind().await }
        });
        let parts: Vec<Vec<_>> = stream::iter(tasks)
            .buffered(partitions)
            .try_collect()
            .await
            .map_err(|error| Error::Internal(format!("a task of QuantileExec did not end: {error}")))?;
        Ok(parts.concat())
    }

    /// The quantiles of consecutive blocks.
    fn of_blocks(&self, blocks: Range<usize>) -> Vec<Option<f64>> {
        let blocks_each = self.steps.div_ceil(BLOCK_STEPS);
        let mut values: [Vec<f64>; BLOCK_STEPS] = Default::default();
        let mut quantiles = Vec::with_capacity(blocks.len() * BLOCK_STEPS);
        for block in blocks {
            let first = block % blocks_each * BLOCK_STEPS;
            let steps = first..(first + BLOCK_STEPS).min(self.steps);
            values.iter_mut().for_each(Vec::clear);
            for row in &self.members[block / blocks_each] {
                let row = self.rows.row(*row);
                for (values, step) in values.iter_mut().zip(steps.clone()) {
                    values.extend(row.float(step));
                }
            }
            quantiles.extend(
                values
                    .iter_mut()
                    .zip(steps)
                    .map(|(values, step)| (!values.is_empty()).then(|| quantile_of(self.param.at(step), values))),
            );
        }
        quantiles
    }
}

#[cfg(test)]
mod tests {
    use promql::tree::{AggregateOp, Grouping, Span};

    use super::*;
    use crate::scalar::ScalarInput;
    use crate::testing::{check, check_faults, context, run, source};

    const ROWS: &str = "a{g=\"1\", x=\"1\"} 1 5\na{g=\"1\", x=\"2\"} 3 _\na{g=\"2\"} NaN _\na{g=\"2\", x=\"1\"} 9 _";

    fn over(input: Arc<dyn ExecutionPlan>, q: f64) -> Arc<dyn ExecutionPlan> {
        over_steps(2, input, q)
    }

    fn over_steps(steps: usize, input: Arc<dyn ExecutionPlan>, q: f64) -> Arc<dyn ExecutionPlan> {
        let aggregate = ParamAggregate {
            op: AggregateOp::Quantile,
            grouping: Grouping::By(vec!["g".to_owned()]),
            param: ScalarInput::Constant(q),
            expr_span: Span::default(),
            param_span: Span::default(),
            span: Span::default(),
        };
        Arc::new(QuantileExec::new(input, aggregate, steps, context()))
    }

    #[test]
    fn quantiles_of_groups() {
        check(over(source(2, ROWS), 0.25), "{g=\"1\"} 1.5 5\n{g=\"2\"} NaN _");
        check(over(source(2, ROWS), 1.0), "{g=\"1\"} 3 5\n{g=\"2\"} 9 _");
        check(over(source(2, ROWS), 2.0), "{g=\"1\"} inf inf\n{g=\"2\"} inf _");
    }

    #[test]
    fn several_tasks_do_what_one_does() {
        use std::fmt::Write;

        let (rows, steps) = (1_500, 150);
        assert!(rows * steps > 3 * TASK_SAMPLES_MIN);
        let value = |row: usize, step: usize| (row * 7_919 + step * 104_729) % 1_009;
        let mut text = String::new();
        for row in 0..rows {
            write!(text, "a{{g=\"{}\", x=\"{row}\"}}", row % 3).unwrap();
            (0..steps).for_each(|step| write!(text, " {}", value(row, step)).unwrap());
            text.push('\n');
        }
        let plan = over_steps(steps, source(steps, &text), 0.3);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let lines = runtime.block_on(run(&plan)).unwrap();
        let mut expected = Vec::new();
        for group in 0..3 {
            let mut line = format!("{{g=\"{group}\"}}");
            for step in 0..steps {
                let mut values: Vec<usize> = (group..rows).step_by(3).map(|row| value(row, step)).collect();
                values.sort_unstable();
                let rank = 0.3 * 499.0;
                let (lower, weight) = (149, rank - 149.0);
                let quantile = values[lower] as f64 * (1.0 - weight) + values[lower + 1] as f64 * weight;
                write!(line, " {quantile}").unwrap();
            }
            expected.push(line);
        }
        assert_eq!(lines, expected);
    }

    #[test]
    fn faults_of_inputs() {
        check_faults(2, ROWS, |input| over(input, 0.5));
    }
}
