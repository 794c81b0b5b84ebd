//! Aggregations of series into groups, inside DataFusion's own `AggregateExec`.
//!
//! ```text
//! partition 0 ─> AggregateExec partial ─┐
//! partition 1 ─> AggregateExec partial ─┴─> ConcatExec ─> AggregateExec final ─> UnpackExec ─> vector batches
//! ```
//!
//! Grouping happens once a series: the group key is a subset of the label key. The state of a group is dense over the
//! steps, so that a row is added in one pass over contiguous floats. Partitions are joined in order, and groups come in the order
//! in which their first series comes, so that the same query gives the same bytes every time.

mod accumulator;
mod float_state;
mod function;
mod group_key;
mod histogram_state;
mod marked;
mod unpack;

use std::sync::Arc;

use datafusion::functions_aggregate::bool_and_or::bool_or_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use promql::tree::{AggregateOp, Grouping};

use crate::concat::ConcatExec;
use crate::context::QueryContext;
use crate::error::Result;
use crate::label_ops::LabelSubset;
use crate::operator::partition_count;
use crate::removed_name::NameRemoval;

use function::VectorAggregate;
use group_key::GroupKeyExpr;
use marked::MarkedExpr;
use unpack::UnpackExec;

/// The plan of `op` over the vector batches of `input`: one partition of vector batches, a row a group. `position` is
/// where the aggregated expression stands in the query text, for annotations.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) where `op` is none of sum, avg, count, min, max, group, stddev and stdvar.
pub fn aggregate_plan(
    input: Arc<dyn ExecutionPlan>,
    op: AggregateOp,
    grouping: &Grouping,
    steps: usize,
    context: &QueryContext,
    position: String,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let function = VectorAggregate::try_new(op, steps, Arc::clone(&context.annotations), position)?;
    let name = function.display_name();
    let arguments: Vec<Arc<dyn PhysicalExpr>> = vec![
        Arc::new(Column::new("values", 1)),
        Arc::new(Column::new("histograms", 2)),
        Arc::new(Column::new("labels", 0)),
    ];
    let aggregate = AggregateExprBuilder::new(Arc::new(AggregateUDF::from(function)), arguments)
        .schema(Arc::clone(&schema))
        .alias(name)
        .build()?;
    let mut aggregates = vec![Arc::new(aggregate)];
    if context.name_removal == NameRemoval::AtEnd {
        // a group of which any series loses its name at the end loses it too
        let marked: Arc<dyn PhysicalExpr> = Arc::new(MarkedExpr);
        let any = AggregateExprBuilder::new(bool_or_udaf(), vec![marked]).schema(Arc::clone(&schema)).alias("marked");
        aggregates.push(Arc::new(any.build()?));
    }
    let filters = vec![None; aggregates.len()];
    // without group columns DataFusion wants row accumulators, so `sum(x)` groups by a key that is empty
    let key: Arc<dyn PhysicalExpr> = Arc::new(GroupKeyExpr::new(LabelSubset::from(grouping)));
    let group_by = PhysicalGroupBy::new_single(vec![(key, "labels".to_owned())]);
    let grouped: Arc<dyn ExecutionPlan> = if partition_count(&input) == 1 {
        let single = AggregateExec::try_new(AggregateMode::Single, group_by, aggregates, filters, input, schema)?;
        Arc::new(single)
    } else {
        let final_by = group_by.as_final();
        let partial = AggregateExec::try_new(
            AggregateMode::Partial,
            group_by,
            aggregates.clone(),
            filters.clone(),
            input,
            Arc::clone(&schema),
        )?;
        let joined: Arc<dyn ExecutionPlan> = Arc::new(ConcatExec::new(Arc::new(partial)));
        Arc::new(AggregateExec::try_new(AggregateMode::Final, final_by, aggregates, filters, joined, schema)?)
    };
    Ok(Arc::new(UnpackExec::new(grouped, steps)))
}

#[cfg(test)]
mod tests;
