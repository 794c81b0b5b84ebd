//! The aggregate function as DataFusion sees it: the columns of vector batches in, one struct out, groups only.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result as DataFusionResult, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use promql::tree::AggregateOp;

use super::accumulator::VectorAccumulator;
use super::float_state::FloatOp;
use crate::annotations::AnnotationSink;
use crate::error::{Error, Result};
use crate::vector::{histograms_type, values_type};

/// One of sum, avg, count, min, max, group, stddev and stdvar over rows of `steps` steps.
#[derive(Debug, Clone)]
pub(super) struct VectorAggregate {
    op: FloatOp,
    steps: usize,
    annotations: Arc<AnnotationSink>,
    position: String,
    signature: Signature,
}

impl VectorAggregate {
    pub(super) fn try_new(
        op: AggregateOp,
        steps: usize,
        annotations: Arc<AnnotationSink>,
        position: String,
    ) -> Result<Self> {
        let op = FloatOp::from_tree(op)
            .ok_or_else(|| Error::Internal(format!("{op:?} is not computed by an accumulator")))?;
        let signature = Signature::any(3, Volatility::Immutable);
        Ok(Self { op, steps, annotations, position, signature })
    }

    pub(super) fn display_name(&self) -> &'static str {
        self.op.name()
    }
}

/// The fields of the result: the columns of a vector batch but for its labels.
pub(super) fn result_fields(steps: usize) -> Fields {
    Fields::from(vec![
        Field::new("values", values_type(steps), false),
        Field::new("histograms", histograms_type(), true),
    ])
}

// Two are the same where they compute the same; where their annotations go belongs to the query.
impl PartialEq for VectorAggregate {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.steps == other.steps && self.position == other.position
    }
}

impl Eq for VectorAggregate {}

impl Hash for VectorAggregate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.op, self.steps, &self.position).hash(state);
    }
}

impl AggregateUDFImpl for VectorAggregate {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Struct(result_fields(self.steps)))
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn Accumulator>> {
        not_impl_err!("{} without groups", self.name())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DataFusionResult<Vec<FieldRef>> {
        let mut fields: Vec<FieldRef> = (0..self.op.planes())
            .map(|plane| Arc::new(Field::new(format!("{}[{plane}]", args.name), values_type(self.steps), false)))
            .collect();
        fields.push(Arc::new(Field::new(format!("{}[histograms]", args.name), histograms_type(), true)));
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs<'_>) -> DataFusionResult<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(VectorAccumulator::new(self.op, self.steps, Arc::clone(&self.annotations), self.position.clone())))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
