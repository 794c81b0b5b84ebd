//! `SetExec`: `and`, `or` and `unless`, decided step by step.
//!
//! ```text
//! and, unless   right ─> steps at which each signature is present ─┐
//!               left  ────────────────────────────────────────────┴─> left rows, masked
//! or            left ─> the same ─> left rows, each joined by the right row of the same labels, then the other right rows
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use datafusion::common::{HashMap, HashSet};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::tree::{BinaryOp, VectorMatching};

use crate::binary::two_inputs;
use crate::collected::{CollectedRows, computed_batches, map_batches, row_batches};
use crate::error::{Error, Result};
use crate::label_ops::LabelSubset;
use crate::operator::{operator_plumbing, partition_count, plan_properties};
use crate::removed_name::unmarked;
use crate::vector::{Row, RowView, VectorBuilder, VectorColumns, vector_schema};

/// A set operation on two vectors. One partition in on both sides, one out.
#[derive(Debug)]
pub struct SetExec {
    lhs: Arc<dyn ExecutionPlan>,
    rhs: Arc<dyn ExecutionPlan>,
    op: BinaryOp,
    matching: VectorMatching,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SetExec {
    /// Combines `lhs` with `rhs` over `steps` steps.
    ///
    /// # Errors
    /// [`Error::Internal`] where the operator is none on sets, or a side has more than one partition.
    pub fn try_new(
        lhs: Arc<dyn ExecutionPlan>,
        rhs: Arc<dyn ExecutionPlan>,
        op: BinaryOp,
        matching: VectorMatching,
        steps: usize,
    ) -> Result<Self> {
        if !op.is_set() {
            return Err(Error::Internal(format!("{} is no operator on sets", op.as_str())));
        }
        if partition_count(&lhs) != 1 || partition_count(&rhs) != 1 {
            return Err(Error::Internal("SetExec wants one partition on each side".to_owned()));
        }
        let properties = plan_properties(vector_schema(steps), 1);
        Ok(Self { lhs, rhs, op, matching, steps, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let [lhs, rhs] = two_inputs(inputs)?;
        Ok(Self::try_new(lhs, rhs, self.op, self.matching.clone(), self.steps)?)
    }
}

impl DisplayAs for SetExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.matching.on { "on" } else { "ignoring" };
        write!(f, "SetExec: {} {by}({})", self.op.as_str(), self.matching.labels.join(", "))
    }
}

impl ExecutionPlan for SetExec {
    operator_plumbing!("SetExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.lhs, &self.rhs]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (lhs, rhs) = (Arc::clone(&self.lhs), Arc::clone(&self.rhs));
        let (steps, signature) = (self.steps, LabelSubset::from(&self.matching));
        if self.op == BinaryOp::Or {
            let rows = async move {
                let (lhs, rhs) = CollectedRows::collect_both((&lhs, &rhs), context, "SetExec").await?;
                let union = Union::try_new(lhs, rhs, signature, steps)?;
                let items = union.lhs.len() + union.rhs.len();
                Ok(row_batches(steps, items, move |item, builder| {
                    union.write(item, builder);
                    Ok(())
                }))
            };
            return Ok(computed_batches(self.schema(), metrics, rows));
        }
        let left = lhs.execute(0, Arc::clone(&context))?;
        let keep_present = self.op == BinaryOp::And;
        let map = async move {
            let rhs = CollectedRows::collect(&rhs, context, "SetExec").await?;
            let present = Presence::try_new(&rhs, signature, steps)?;
            Ok(move |batch: &RecordBatch| mask(batch, &present, keep_present))
        };
        Ok(map_batches(self.schema(), left, metrics, map))
    }
}

/// The left rows at the steps at which their signature is present on the right, or is not.
fn mask(batch: &RecordBatch, present: &Presence, keep_present: bool) -> Result<RecordBatch> {
    let columns = VectorColumns::try_new(batch)?;
    let mut builder = VectorBuilder::with_schema(columns.steps(), batch.schema());
    let mut key = String::new();
    for index in 0..columns.len() {
        let labels = columns.labels(index);
        match (present.get(labels, &mut key), keep_present) {
            (None, true) => {}
            (None, false) => builder.push_copy(labels, &columns.row(index)),
            (Some(steps), _) => {
                let kept = if keep_present { steps.clone() } else { !steps };
                copy_masked(&columns.row(index), &kept, &mut builder.start_row());
                builder.finish_row(labels);
            }
        }
    }
    builder.finish()
}

/// Copies the samples at the steps of `kept` into a row that is still empty.
fn copy_masked(row: &RowView<'_>, kept: &BooleanBuffer, out: &mut Row<'_>) {
    let floats = row.float_bits().map_or_else(|| kept.clone(), |bits| &bits & kept);
    out.put_floats(Some(&floats), |values| values.copy_from_slice(row.values));
    for (step, histogram) in row.histograms {
        if kept.value(*step as usize) {
            out.set_histogram(*step as usize, histogram.clone());
        }
    }
}

/// At which steps each signature has a sample.
struct Presence {
    signature: LabelSubset,
    steps: HashMap<String, BooleanBuffer>,
}

impl Presence {
    fn try_new(rows: &CollectedRows, signature: LabelSubset, steps: usize) -> Result<Self> {
        let mut present: HashMap<String, BooleanBuffer> = HashMap::new();
        let mut key = String::new();
        for index in 0..rows.len() {
            signature.write(rows.labels(index), &mut key);
            let row = rows.row(index);
            let bits = if row.histograms.is_empty() {
                row.float_bits().unwrap_or_else(|| BooleanBuffer::new_set(steps))
            } else {
                BooleanBuffer::collect_bool(steps, |step| row.is_present(step))
            };
            match present.get_mut(key.as_str()) {
                Some(earlier) => *earlier = &*earlier | &bits,
                None => {
                    rows.memory.try_grow(key.len() + steps / 8 + 64)?;
                    present.insert(key.clone(), bits);
                }
            }
        }
        Ok(Self { signature, steps: present })
    }

    fn get(&self, labels: &str, key: &mut String) -> Option<&BooleanBuffer> {
        self.signature.write(labels, key);
        self.steps.get(key.as_str())
    }
}

/// Both sides of an `or`.
struct Union {
    lhs: CollectedRows,
    rhs: CollectedRows,
    /// Where the left has samples.
    present: Presence,
    /// The right row with the same labels as a left one.
    twins: HashMap<usize, usize>,
    /// The right rows that are some left row's twin.
    joined: HashSet<usize>,
}

impl Union {
    fn try_new(lhs: CollectedRows, rhs: CollectedRows, signature: LabelSubset, steps: usize) -> Result<Self> {
        let present = Presence::try_new(&lhs, signature, steps)?;
        let (mut twins, mut joined) = (HashMap::new(), HashSet::new());
        let by_labels: HashMap<&str, usize> = (0..lhs.len()).map(|row| (unmarked(lhs.labels(row)), row)).collect();
        for row in 0..rhs.len() {
            if let Some(twin) = by_labels.get(unmarked(rhs.labels(row))) {
                twins.insert(*twin, row);
                joined.insert(row);
            }
        }
        drop(by_labels);
        Ok(Self { lhs, rhs, present, twins, joined })
    }

    /// Writes the left rows, then those right rows that were not joined to one.
    fn write(&self, item: usize, builder: &mut VectorBuilder) {
        if let Some(row) = item.checked_sub(self.lhs.len()) {
            if !self.joined.contains(&row) {
                self.write_right(row, builder);
            }
            return;
        }
        let (labels, left) = (self.lhs.labels(item), self.lhs.row(item));
        let Some(twin) = self.twins.get(&item) else {
            return builder.push_copy(labels, &left);
        };
        let right = self.rhs.row(*twin);
        let mut key = String::new();
        let taken = self.present.get(labels, &mut key);
        let mut out = builder.start_row();
        // the first sample says whether the name goes at the end of the query
        let mut first = None;
        for step in 0..left.values.len() {
            let free = taken.is_none_or(|taken| !taken.value(step));
            let sample = if free { right.sample(step) } else { left.sample(step) };
            if let Some(sample) = sample {
                first.get_or_insert(free);
                out.set_sample(step, sample);
            }
        }
        builder.finish_row(if first == Some(true) { self.rhs.labels(*twin) } else { labels });
    }

    fn write_right(&self, row: usize, builder: &mut VectorBuilder) {
        let mut key = String::new();
        let labels = self.rhs.labels(row);
        match self.present.get(labels, &mut key) {
            None => builder.push_copy(labels, &self.rhs.row(row)),
            Some(taken) => {
                copy_masked(&self.rhs.row(row), &!taken, &mut builder.start_row());
                builder.finish_row(labels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use promql::tree::Cardinality;

    use super::*;
    use crate::testing::{check, check_faults, source};

    const LEFT: &str = r#"
        a{x="1"} 1 h:2:3 _
        a{x="2"} 1 1 1
    "#;
    const RIGHT: &str = r#"
        b{x="1"} 7 _ 7
        b{x="3"} 8 8 8
        a{x="1"} 9 9 9
    "#;

    fn on(labels: &[&str]) -> VectorMatching {
        VectorMatching {
            cardinality: Cardinality::ManyToMany,
            on: true,
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            include: vec![],
            fill_left: None,
            fill_right: None,
        }
    }

    fn plan(op: BinaryOp, labels: &[&str], right: &str) -> Arc<dyn ExecutionPlan> {
        Arc::new(SetExec::try_new(source(3, LEFT), source(3, right), op, on(labels), 3).unwrap())
    }

    #[test]
    fn presence_decides_step_by_step() {
        let some = r#"b{x="1"} _ 7 7"#;
        check(plan(BinaryOp::And, &["x"], some), r#"a{x="1"} _ h:2:3 _"#);
        check(plan(BinaryOp::Unless, &["x"], some), "a{x=\"1\"} 1 _ _\na{x=\"2\"} 1 1 1");
        check(plan(BinaryOp::And, &[], r#"b{x="9"} 1 _ _"#), "a{x=\"1\"} 1 _ _\na{x=\"2\"} 1 _ _");
    }

    #[test]
    fn or_joins_rows_of_equal_labels() {
        let expected = r#"
            a{x="1"} 1 h:2:3 9
            a{x="2"} 1 1 1
            b{x="1"} _ _ 7
            b{x="3"} 8 8 8
        "#;
        check(plan(BinaryOp::Or, &["x"], RIGHT), expected);
    }

    #[test]
    fn faults_of_inputs() {
        for op in [BinaryOp::And, BinaryOp::Or, BinaryOp::Unless] {
            check_faults(3, RIGHT, |input| {
                Arc::new(SetExec::try_new(source(3, LEFT), input, op, on(&["x"]), 3).unwrap())
            });
        }
    }
}
