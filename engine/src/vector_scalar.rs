//! `VectorScalarExec`: an operation on a vector and a scalar, either way round.
//!
//! ```text
//! vector ─> row op scalar, step by step ─> vector
//! scalar ─────┘ resolved once
//! ```
//!
//! A scalar is a row without labels, so this is also the operation on two scalars.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::tree::{BinaryOp, Span};

use crate::binary::{Comparison, Operand, changes_metric, takes_floats, write_floats};
use crate::collected::map_batches;
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::kernel::ScalarArg;
use crate::operator::{operator_plumbing, partition_count, plan_properties};
use crate::scalar::{ScalarInput, with_scalars};
use crate::scalar_math::binary::{BinaryNote, Value, binary};
use crate::vector::{RowView, Sample, VectorBuilder, VectorColumns};

/// What a [`VectorScalarExec`] computes.
#[derive(Debug, Clone)]
pub struct VectorScalarSpec {
    /// The operator; no set operator.
    pub op: BinaryOp,
    /// The scalar is the left operand.
    pub scalar_on_left: bool,
    /// A comparison yields 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// Where the operation stands in the query text.
    pub span: Span,
}

/// An operation on a vector and a scalar. Keeps the partitions of its input.
#[derive(Debug)]
pub struct VectorScalarExec {
    input: Arc<dyn ExecutionPlan>,
    scalar: ScalarInput,
    spec: VectorScalarSpec,
    context: QueryContext,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl VectorScalarExec {
    /// Combines every row of `input` with `scalar`.
    ///
    /// # Errors
    /// [`Error::Internal`] where the operator is one on sets.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        scalar: ScalarInput,
        spec: VectorScalarSpec,
        context: QueryContext,
    ) -> Result<Self> {
        if spec.op.is_set() {
            return Err(Error::Internal(format!("{} is an operator on sets", spec.op.as_str())));
        }
        let properties = plan_properties(input.schema(), partition_count(&input));
        Ok(Self { input, scalar, spec, context, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, mut scalars) = with_scalars(inputs, std::slice::from_ref(&self.scalar))?;
        let scalar = scalars.pop().unwrap_or(ScalarInput::Constant(f64::NAN));
        Ok(Self::try_new(input, scalar, self.spec.clone(), self.context.clone())?)
    }
}

impl DisplayAs for VectorScalarExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.spec.op.as_str();
        if self.spec.scalar_on_left {
            write!(f, "VectorScalarExec: scalar {op} vector")
        } else {
            write!(f, "VectorScalarExec: vector {op} scalar")
        }
    }
}

impl ExecutionPlan for VectorScalarExec {
    operator_plumbing!("VectorScalarExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input).chain(self.scalar.child()).collect()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let (scalar, spec, query) = (self.scalar.clone(), self.spec.clone(), self.context.clone());
        let map = async move {
            let scalar = scalar.resolve(&context).await?;
            let operation = Operation { spec, scalar, query };
            Ok(move |batch: &RecordBatch| operation.map(batch))
        };
        Ok(map_batches(self.schema(), input, BaselineMetrics::new(&self.metrics, partition), map))
    }
}

struct Operation {
    spec: VectorScalarSpec,
    scalar: ScalarArg,
    query: QueryContext,
}

impl Operation {
    fn map(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = VectorColumns::try_new(batch)?;
        let mut builder = VectorBuilder::with_schema(columns.steps(), batch.schema());
        let mut notes = Vec::new();
        let on_floats = takes_floats(self.spec.op);
        let drops_name = self.spec.return_bool || changes_metric(self.spec.op);
        let mut key = String::new();
        for index in 0..columns.len() {
            let row = columns.row(index);
            if on_floats && row.histograms.is_empty() {
                self.write_floats(&row, &mut builder);
            } else {
                self.write_samples(&row, &mut builder, &mut notes);
            }
            if drops_name {
                self.query.name_removal.remove(columns.labels(index), &mut key);
                builder.finish_row(&key);
            } else {
                builder.finish_row(columns.labels(index));
            }
        }
        if !notes.is_empty() {
            let position = self.query.position(self.spec.span.start);
            for note in notes {
                note.report(self.spec.op, &position, &self.query.annotations);
            }
        }
        builder.finish()
    }

    fn write_floats(&self, row: &RowView<'_>, builder: &mut VectorBuilder) {
        let (vector, scalar) = (Operand::Steps(row.values), Operand::from(&self.scalar));
        let (left, right) = if self.spec.scalar_on_left { (scalar, vector) } else { (vector, scalar) };
        let comparison = match (self.spec.return_bool, self.spec.scalar_on_left) {
            (true, _) => Comparison::Bool,
            (false, true) => Comparison::KeepRight,
            (false, false) => Comparison::KeepLeft,
        };
        write_floats(self.spec.op, comparison, left, right, row.float_bits().as_ref(), &mut builder.start_row());
    }

    fn write_samples(&self, row: &RowView<'_>, builder: &mut VectorBuilder, notes: &mut Vec<BinaryNote>) {
        let mut out = builder.start_row();
        for step in row.present_steps() {
            let Some(vector) = row.sample(step) else {
                continue;
            };
            let scalar = Sample::Float(self.scalar.at(step));
            let (left, right) = if self.spec.scalar_on_left { (scalar, vector) } else { (vector, scalar) };
            let outcome = binary(self.spec.op, left, right);
            notes.extend(outcome.note.filter(|note| !notes.contains(note)));
            match outcome.value {
                None => {}
                Some(_) if self.spec.return_bool => out.set(step, f64::from(u8::from(outcome.keep))),
                Some(_) if !outcome.keep => {}
                Some(_) if self.spec.op.is_comparison() => out.set_sample(step, vector),
                Some(Value::Float(value)) => out.set(step, value),
                Some(Value::Histogram(histogram)) => out.set_histogram(step, histogram),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, context, source};

    fn plan(op: BinaryOp, scalar_on_left: bool, return_bool: bool, scalar: ScalarInput) -> Arc<dyn ExecutionPlan> {
        let rows = r#"
            a{x="1"} 1 2 _
            a{x="2"} 3 4 5
        "#;
        let spec = VectorScalarSpec { op, scalar_on_left, return_bool, span: Span::default() };
        Arc::new(VectorScalarExec::try_new(source(3, rows), scalar, spec, context()).unwrap())
    }

    #[test]
    fn constants_on_both_sides() {
        let expected = "{x=\"1\"} 9 8 _\n{x=\"2\"} 7 6 5";
        check(plan(BinaryOp::Sub, true, false, ScalarInput::Constant(10.0)), expected);
        let expected = "{x=\"1\"} -9 -8 _\n{x=\"2\"} -7 -6 -5";
        check(plan(BinaryOp::Sub, false, false, ScalarInput::Constant(10.0)), expected);
    }

    #[test]
    fn comparisons_keep_the_vector() {
        let expected = "a{x=\"1\"} _ 2 _\na{x=\"2\"} 3 4 5";
        check(plan(BinaryOp::Lss, true, false, ScalarInput::Constant(1.5)), expected);
        let expected = "{x=\"1\"} 1 0 _\n{x=\"2\"} 0 0 0";
        check(plan(BinaryOp::Lss, false, true, ScalarInput::Constant(1.5)), expected);
    }

    #[test]
    fn a_scalar_may_differ_a_step() {
        let scalar = ScalarInput::plan(source(3, "{} 1 10 100"));
        let expected = "{x=\"1\"} 1 20 _\n{x=\"2\"} 3 40 500";
        check(plan(BinaryOp::Mul, false, false, scalar), expected);
    }
}
