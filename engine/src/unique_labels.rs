//! `UniqueLabelsExec`: what an operator that drops or rewrites labels needs above it.
//!
//! ```text
//! rows ─> collected ─> labels all distinct? ─> the same rows
//!                                      └─no─> rows of equal labels joined, at steps that differ, or an error
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::common::HashMap;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use smallvec::{SmallVec, smallvec};

use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::error::{Error, Result};
use crate::operator::{only_input, operator_plumbing, plan_properties};
use crate::removed_name::unmarked;
use crate::vector::{Sample, VectorBuilder};

/// What becomes of two series with equal labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EqualLabels {
    /// They are joined where they have no step in common, as above functions of instant vectors, label functions and unary minus.
    Join,
    /// They are an error, as above functions of range vectors.
    Refuse,
}

/// Makes sure that no two series have the same labels at the same step. One partition in, one out; keeps the order of
/// rows.
#[derive(Debug)]
pub struct UniqueLabelsExec {
    input: Arc<dyn ExecutionPlan>,
    equal: EqualLabels,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl UniqueLabelsExec {
    /// Checks the rows of `input`, which has `steps` steps.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>, equal: EqualLabels, steps: usize) -> Self {
        let properties = plan_properties(input.schema(), 1);
        Self { input, equal, steps, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?, self.equal, self.steps))
    }
}

impl DisplayAs for UniqueLabelsExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueLabelsExec: {:?}", self.equal)
    }
}

impl ExecutionPlan for UniqueLabelsExec {
    operator_plumbing!("UniqueLabelsExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (input, equal, steps) = (Arc::clone(&self.input), self.equal, self.steps);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let rows = async move {
            let rows = CollectedRows::collect(&input, context, "UniqueLabelsExec").await?;
            let _timer = compute.timer();
            let sets = rows_by_labels(&rows, equal)?;
            Ok(row_batches(steps, sets.len(), move |set, builder| write_joined(&rows, &sets[set], builder)))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

type RowSet = SmallVec<[usize; 1]>;

/// The rows of each label set, in the order of their first rows.
fn rows_by_labels(rows: &CollectedRows, equal: EqualLabels) -> Result<Vec<RowSet>> {
    rows.memory.try_grow(rows.len() * (size_of::<RowSet>() + size_of::<(&str, usize)>()))?;
    let mut numbers: HashMap<&str, usize> = HashMap::with_capacity(rows.len());
    let mut sets: Vec<RowSet> = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        let number = *numbers.entry(unmarked(rows.labels(row))).or_insert(sets.len());
        match sets.get_mut(number) {
            None => sets.push(smallvec![row]),
            Some(_) if equal == EqualLabels::Refuse => return Err(Error::same_labelset()),
            Some(set) => set.push(row),
        }
    }
    Ok(sets)
}

fn write_joined(rows: &CollectedRows, set: &RowSet, builder: &mut VectorBuilder) -> Result<()> {
    let labels = rows.labels(set[0]);
    if set.len() == 1 {
        builder.push_copy(labels, &rows.row(set[0]));
        return Ok(());
    }
    let mut out = builder.start_row();
    for step in 0..out.steps() {
        let mut found: Option<Sample<'_>> = None;
        for sample in set.iter().filter_map(|row| rows.row(*row).sample(step)) {
            if found.replace(sample).is_some() {
                return Err(Error::same_labelset());
            }
        }
        if let Some(sample) = found {
            out.set_sample(step, sample);
        }
    }
    builder.finish_row(labels);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_error, check_faults, source};

    fn plan(rows: &str, equal: EqualLabels) -> Arc<dyn ExecutionPlan> {
        Arc::new(UniqueLabelsExec::new(source(3, rows), equal, 3))
    }

    #[test]
    fn equal_labels_at_different_steps() {
        let rows = "a 1 _ _\nb 1 1 1\n---\na _ 2 _\na _ _ h:1:1";
        check(plan(rows, EqualLabels::Join), "a 1 2 h:1:1\nb 1 1 1");
        check_error(plan(rows, EqualLabels::Refuse), "vector cannot contain metrics with the same labelset");
    }

    #[test]
    fn equal_labels_at_the_same_step() {
        let rows = "a 1 1 _\na _ 2 _";
        check_error(plan(rows, EqualLabels::Join), "vector cannot contain metrics with the same labelset");
    }

    #[test]
    fn faults_of_inputs() {
        check_faults(3, "a 1 2 3", |input| Arc::new(UniqueLabelsExec::new(input, EqualLabels::Join, 3)));
    }
}
