//! `ScalarExec` and `AbsentExec`: a whole vector becomes one row.
//!
//! ```text
//! rows ─> how many samples has each step, and which float ─> the float where it is the only one, else NaN   (scalar)
//!                                                       └─> 1 where there is none, else nothing          (absent)
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::{TryStreamExt, stream};
use storage::model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::error::{Error, Result};
use crate::operator::{batch_stream, only_input, operator_plumbing, plan_properties};
use crate::removed_name::unmarked;
use crate::vector::{VectorBuilder, VectorColumns, vector_schema};

/// `scalar()`: the one float of a vector, step by step, or NaN. One partition in, one row out.
#[derive(Debug)]
pub struct ScalarExec {
    input: Arc<dyn ExecutionPlan>,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// `absent()` and `absent_over_time()`: 1 at the steps at which a vector is empty. One partition in, at most one row out.
#[derive(Debug)]
pub struct AbsentExec {
    input: Arc<dyn ExecutionPlan>,
    labels: String,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ScalarExec {
    /// The scalar of `input`, which has `steps` steps.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, steps: usize) -> Self {
        let properties = plan_properties(vector_schema(steps), 1);
        Self { input, steps, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?, self.steps))
    }
}

impl AbsentExec {
    /// Where `input`, which has `steps` steps, has no sample; `labels` is the key of those that [`absent_labels`] makes.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, labels: String, steps: usize) -> Self {
        let properties = plan_properties(vector_schema(steps), 1);
        Self { input, labels, steps, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?, self.labels.clone(), self.steps))
    }
}

/// The labels of what `absent` puts out above a selector: those that its matchers fix. A label with a second matcher is
/// left out.
#[must_use]
pub fn absent_labels(matchers: &[Matcher]) -> Labels {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            pairs.push((matcher.name(), matcher.value()));
            seen.push(matcher.name());
        } else {
            pairs.retain(|(name, _)| *name != matcher.name());
        }
    }
    Labels::from_pairs(pairs)
}

impl DisplayAs for ScalarExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScalarExec")
    }
}

impl DisplayAs for AbsentExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AbsentExec: {}", Labels::from_key(unmarked(&self.labels)))
    }
}

impl ExecutionPlan for ScalarExec {
    operator_plumbing!("ScalarExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let steps = self.steps;
        let row = async move {
            let mut floats = vec![Count::default(); steps];
            fold(input, |columns| count_floats(columns, &mut floats)).await?;
            one_row(steps, "", |step| {
                let Count { samples, last } = floats[step];
                Some(if samples == 1 { last } else { f64::NAN })
            })
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        Ok(batch_stream(self.schema(), metrics, stream::once(row)))
    }
}

impl ExecutionPlan for AbsentExec {
    operator_plumbing!("AbsentExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (steps, labels) = (self.steps, self.labels.clone());
        let row = async move {
            let mut present = vec![false; steps];
            fold(input, |columns| {
                for row in 0..columns.len() {
                    columns.row(row).present_steps().for_each(|step| present[step] = true);
                }
            })
            .await?;
            one_row(steps, &labels, |step| (!present[step]).then_some(1.0))
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        Ok(batch_stream(self.schema(), metrics, stream::once(row)))
    }
}

/// The floats of one step.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    samples: u32,
    last: f64,
}

fn count_floats(columns: &VectorColumns, floats: &mut [Count]) {
    for row in 0..columns.len() {
        let row = columns.row(row);
        for (step, count) in floats.iter_mut().enumerate() {
            if let Some(value) = row.float(step) {
                *count = Count { samples: count.samples.saturating_add(1), last: value };
            }
        }
    }
}

async fn fold(mut input: SendableRecordBatchStream, mut add: impl FnMut(&VectorColumns)) -> Result<()> {
    while let Some(batch) = input.try_next().await.map_err(Error::from)? {
        add(&VectorColumns::try_new(&batch)?);
    }
    Ok(())
}

fn one_row(steps: usize, labels: &str, value: impl Fn(usize) -> Option<f64>) -> Result<RecordBatch> {
    let mut builder = VectorBuilder::new(steps);
    let mut row = builder.start_row();
    for step in 0..steps {
        if let Some(value) = value(step) {
            row.set(step, value);
        }
    }
    builder.finish_row(labels);
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, source};

    #[test]
    fn scalar_wants_exactly_one_float() {
        let rows = "a 1 1 _ h:1:1\n---\nb 2 _ _ 5";
        check(Arc::new(ScalarExec::new(source(4, rows), 4)), "{} NaN 1 NaN 5");
        check(Arc::new(ScalarExec::new(source(2, ""), 2)), "{} NaN NaN");
    }

    #[test]
    fn absent_has_what_equality_fixes() {
        let equal = Matcher::equal;
        let matchers = [equal("__name__", "up"), equal("job", "a"), equal("env", "x"), equal("env", "y")];
        let labels = absent_labels(&matchers);
        assert_eq!(labels, Labels::from_pairs([("job", "a")]));
        let rows = "a 1 _ _ _\nb _ _ h:1:1 _";
        check(Arc::new(AbsentExec::new(source(4, rows), labels.into_key(), 4)), "{job=\"a\"} _ 1 _ 1");
        check(Arc::new(AbsentExec::new(source(1, "a 1"), String::new(), 1)), "");
    }
}
