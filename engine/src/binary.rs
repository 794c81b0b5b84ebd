//! `BinaryExec`: an operation on two vectors, arithmetic or comparing.
//!
//! ```text
//! left  ─┐ collected        rows of both sides by signature
//!        ├──────────> match ─────────────────────────────────> combine row with row ─> result in the left's order
//! right ─┘ collected        checked for uniqueness step by step
//! ```
//!
//! Both sides are collected, since series that come and go share result rows: any two rows may meet in one.

mod float_rows;
mod join;
mod matching;
mod notes;

use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::tree::{BinaryOp, Cardinality, Span, VectorMatching};

pub(crate) use float_rows::{Comparison, Operand, write as write_floats};

use self::join::Join;
use self::matching::RemovedName;
use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::operator::{operator_plumbing, partition_count, plan_properties};
use crate::removed_name::NameRemoval;
use crate::vector::vector_schema;

/// What a [`BinaryExec`] computes.
#[derive(Debug, Clone)]
pub struct BinarySpec {
    /// The operator; no set operator.
    pub op: BinaryOp,
    /// A comparison yields 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// How the two sides find each other.
    pub matching: VectorMatching,
    /// Where the operation stands in the query text.
    pub span: Span,
}

impl BinarySpec {
    /// What becomes of the name of a result that is no longer the metric that went in. Arithmetic always removes it at once, as in
    /// Prometheus; only what a comparison with `bool` yields keeps it to the end.
    fn removed_name(&self, removal: NameRemoval) -> RemovedName {
        match removal {
            _ if changes_metric(self.op) => RemovedName::AtOnce,
            _ if !self.return_bool => RemovedName::Never,
            NameRemoval::AtOnce => RemovedName::AtOnce,
            NameRemoval::AtEnd => RemovedName::AtEnd,
        }
    }
}

/// Whether `op` makes something else of a metric than it was.
pub(crate) fn changes_metric(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Div | Mul | Pow | Mod | Atan2)
}

/// An operation on two vectors. One partition in on both sides, one out.
#[derive(Debug)]
pub struct BinaryExec {
    lhs: Arc<dyn ExecutionPlan>,
    rhs: Arc<dyn ExecutionPlan>,
    spec: BinarySpec,
    steps: usize,
    context: QueryContext,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl BinaryExec {
    /// Combines `lhs` with `rhs` over `steps` steps.
    ///
    /// # Errors
    /// [`Error::Internal`] where the operator is one on sets, or a side has more than one partition.
    pub fn try_new(
        lhs: Arc<dyn ExecutionPlan>,
        rhs: Arc<dyn ExecutionPlan>,
        spec: BinarySpec,
        steps: usize,
        context: QueryContext,
    ) -> Result<Self> {
        if spec.op.is_set() || spec.matching.cardinality == Cardinality::ManyToMany {
            return Err(Error::Internal(format!("{} is an operator on sets", spec.op.as_str())));
        }
        if partition_count(&lhs) != 1 || partition_count(&rhs) != 1 {
            return Err(Error::Internal("BinaryExec wants one partition on each side".to_owned()));
        }
        let properties = plan_properties(vector_schema(steps), 1);
        Ok(Self { lhs, rhs, spec, steps, context, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let [lhs, rhs] = two_inputs(inputs)?;
        Ok(Self::try_new(lhs, rhs, self.spec.clone(), self.steps, self.context.clone())?)
    }
}

/// Whether `op` has a result for two floats.
pub(crate) fn takes_floats(op: BinaryOp) -> bool {
    !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) && !op.is_set()
}

/// Takes the two inputs that an operator has.
pub(crate) fn two_inputs(inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<[Arc<dyn ExecutionPlan>; 2]> {
    inputs.try_into().map_err(|_| Error::Internal("an operator of two inputs was given another number".to_owned()))
}

impl DisplayAs for BinaryExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VectorMatching { cardinality, on, labels, .. } = &self.spec.matching;
        let by = if *on { "on" } else { "ignoring" };
        write!(f, "BinaryExec: {} {by}({}) {cardinality:?}", self.spec.op.as_str(), labels.join(", "))
    }
}

impl ExecutionPlan for BinaryExec {
    operator_plumbing!("BinaryExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.lhs, &self.rhs]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (lhs, rhs) = (Arc::clone(&self.lhs), Arc::clone(&self.rhs));
        let (spec, steps, query) = (self.spec.clone(), self.steps, self.context.clone());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let rows = async move {
            let (lhs, rhs) = CollectedRows::collect_both((&lhs, &rhs), context, "BinaryExec").await?;
            let _timer = compute.timer();
            let mut join = Join::try_new(lhs, rhs, spec, steps, &query)?;
            Ok(row_batches(steps, join.len(), move |row, builder| join.write(row, builder)))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

#[cfg(test)]
mod tests;
