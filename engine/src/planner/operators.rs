//! Aggregations, binary operations and what is the same at every step.

use std::sync::Arc;

use datafusion::physical_plan::empty::EmptyExec;
use promql::tree::{Aggregate, AggregateOp, Binary, Cardinality, Grid, Node, ValueType, VectorMatching};
use storage::model::Matcher;

use super::names::may_differ_in_name;
use super::selectors::first_step;
use super::{Plan, Planner};
use crate::aggregate::aggregate_plan;
use crate::binary::{BinaryExec, BinarySpec, changes_metric};
use crate::concat::ConcatExec;
use crate::constant::ConstantExec;
use crate::error::{Error, Result};
use crate::map::{ElementFunction, MapExec};
use crate::one_row::{AbsentExec, ScalarExec, absent_labels};
use crate::removed_name::{NameRemoval, mark};
use crate::set::SetExec;
use crate::step_invariant::StepInvariantExec;
use crate::unique_labels::{EqualLabels, UniqueLabelsExec};
use crate::vector::vector_schema;
use crate::vector_scalar::{VectorScalarExec, VectorScalarSpec};

/// A number at every step.
pub(super) fn constant(value: f64, grid: Grid) -> Plan {
    Arc::new(ConstantExec::number(value, grid.steps()))
}

/// The time of every step in seconds.
pub(super) fn time(grid: Grid) -> Plan {
    Arc::new(ConstantExec::time(grid))
}

/// No series at all.
pub(super) fn empty(grid: Grid) -> Plan {
    Arc::new(EmptyExec::new(vector_schema(grid.steps())))
}

/// `scalar()` of a vector of one partition.
pub(super) fn scalar(input: Plan, grid: Grid) -> Plan {
    Arc::new(ScalarExec::new(input, grid.steps()))
}

/// `absent()` of a vector of one partition. `name_removed`: the labels lose the metric's type and unit at the end of the query.
pub(super) fn absent(input: Plan, matchers: &[Matcher], name_removed: bool, grid: Grid) -> Plan {
    let labels = absent_labels(matchers);
    let mut key = String::new();
    match name_removed {
        true => mark(labels.as_key(), &mut key),
        false => key.push_str(labels.as_key()),
    }
    Arc::new(AbsentExec::new(input, key, grid.steps()))
}

/// What has one step, at every step of `grid`.
pub(super) fn repeat(input: Plan, grid: Grid) -> Result<Plan> {
    Ok(Arc::new(StepInvariantExec::try_new(input, grid.steps())?))
}

impl Planner {
    /// When the plan's operators remove names.
    pub(super) fn name_removal(&self) -> NameRemoval {
        self.settings.context.name_removal
    }

    /// The same at every step: evaluated at the first one.
    pub(super) fn step_invariant(&self, inner: &Node, grid: Grid) -> Result<Plan> {
        if grid.steps() == 1 {
            return self.node(inner, grid);
        }
        repeat(self.node(inner, first_step(grid))?, grid)
    }

    /// Refuses series that the loss of their names has made equal, where there may be any. Where names stay to the end of the
    /// query, it is there that they are refused.
    pub(super) fn unique_labels(&self, plan: Plan, needed: bool, equal: EqualLabels, grid: Grid) -> Plan {
        if needed && self.settings.context.name_removal == NameRemoval::AtOnce {
            Arc::new(UniqueLabelsExec::new(ConcatExec::wrap(plan), equal, grid.steps()))
        } else {
            plan
        }
    }

    /// Unary minus.
    pub(super) fn negate(&self, inner: &Node, grid: Grid) -> Result<Plan> {
        let plan: Plan =
            Arc::new(MapExec::new(self.node(inner, grid)?, ElementFunction::Negate, Vec::new(), self.name_removal()));
        Ok(self.unique_labels(plan, may_differ_in_name(inner), EqualLabels::Join, grid))
    }

    /// An aggregation.
    pub(super) fn aggregate(&self, aggregate: &Aggregate, grid: Grid) -> Result<Plan> {
        use AggregateOp::{Avg, Count, Group, Max, Min, Stddev, Stdvar, Sum};
        match aggregate.op {
            Sum | Avg | Count | Min | Max | Group | Stddev | Stdvar => {
                let input = self.node(&aggregate.expr, grid)?;
                let context = &self.settings.context;
                let position = context.position(aggregate.expr_span.start);
                aggregate_plan(input, aggregate.op, &aggregate.grouping, grid.steps(), context, position)
            }
            _ => self.parameterised_aggregate(aggregate, grid),
        }
    }

    /// A binary operation.
    pub(super) fn binary(&self, binary: &Binary, grid: Grid) -> Result<Plan> {
        let (lhs, rhs) = (binary.lhs.value_type(), binary.rhs.value_type());
        match (lhs, rhs, &binary.matching) {
            (ValueType::Vector, ValueType::Vector, Some(matching)) => self.vectors(binary, matching, grid),
            (ValueType::Vector, ValueType::Vector, None) => {
                Err(Error::Internal("an operation on two vectors without a matching".to_owned()))
            }
            (ValueType::Scalar, ValueType::Vector, _) => {
                self.vector_scalar(binary, &binary.rhs, &binary.lhs, true, grid)
            }
            // a scalar is a vector of one row, so two scalars are a vector and a scalar
            _ => self.vector_scalar(binary, &binary.lhs, &binary.rhs, false, grid),
        }
    }

    fn vectors(&self, binary: &Binary, matching: &VectorMatching, grid: Grid) -> Result<Plan> {
        let (lhs, rhs) = (self.single(&binary.lhs, grid)?, self.single(&binary.rhs, grid)?);
        if binary.op.is_set() {
            return Ok(Arc::new(SetExec::try_new(lhs, rhs, binary.op, matching.clone(), grid.steps())?));
        }
        if matching.cardinality == Cardinality::ManyToMany {
            return Err(Error::Internal("many-to-many matching outside a set operation".to_owned()));
        }
        let spec = BinarySpec {
            op: binary.op,
            return_bool: binary.return_bool,
            matching: matching.clone(),
            span: binary.span,
        };
        Ok(Arc::new(BinaryExec::try_new(lhs, rhs, spec, grid.steps(), self.context())?))
    }

    fn vector_scalar(
        &self,
        binary: &Binary,
        vector: &Node,
        scalar: &Node,
        scalar_on_left: bool,
        grid: Grid,
    ) -> Result<Plan> {
        let spec =
            VectorScalarSpec { op: binary.op, scalar_on_left, return_bool: binary.return_bool, span: binary.span };
        let (input, scalar) = (self.node(vector, grid)?, self.scalar(scalar, grid)?);
        let keeps_name = !binary.return_bool && !changes_metric(binary.op);
        let plan: Plan = Arc::new(VectorScalarExec::try_new(input, scalar, spec, self.context())?);
        Ok(self.unique_labels(plan, !keeps_name && may_differ_in_name(vector), EqualLabels::Join, grid))
    }
}
