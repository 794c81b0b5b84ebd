//! Functions of instant vectors, and the aggregations that take a parameter.

use std::sync::Arc;

use promql::Function;
use promql::tree::{Aggregate, AggregateOp, Call, Grid, Node, ValueType};

use super::names::may_differ_in_name;
use super::{Plan, Planner};
use crate::concat::ConcatExec;
use crate::count_values::CountValuesExec;
use crate::error::{Error, Result};
use crate::histogram_quantile::{HistogramFunction, HistogramQuantileExec};
use crate::label_rewrite::LabelRewriteExec;
use crate::map::{ElementFunction, MapExec};
use crate::quantile::QuantileExec;
use crate::removed_name::NameRemoval;
use crate::sort_vector::{SortKey, SortVectorExec};
use crate::topk::{ParamAggregate, TopkExec};
use crate::unique_labels::{EqualLabels, UniqueLabelsExec};

impl Planner {
    /// A function of one sample at a time.
    pub(super) fn instant_function(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let unsupported = || Error::BadQuery(format!("function {} is not supported yet", call.function.name()));
        let function = ElementFunction::of(call.function, grid).ok_or_else(unsupported)?;
        let (vector, args) =
            call.args.split_first().ok_or_else(|| Error::Internal("a function without arguments".to_owned()))?;
        let args = args.iter().map(|arg| self.scalar(arg, grid)).collect::<Result<Vec<_>>>()?;
        let plan: Plan = Arc::new(MapExec::new(self.node(vector, grid)?, function, args, self.name_removal()));
        Ok(self.unique_labels(plan, may_differ_in_name(vector), EqualLabels::Join, grid))
    }

    /// `min_of` and `max_of`: clamping between scalars, which are vectors of one row without labels.
    pub(super) fn smaller_or_larger(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let clamp = if call.function == Function::MinOf { Function::ClampMax } else { Function::ClampMin };
        match (ElementFunction::of(clamp, grid), call.args.as_slice()) {
            (Some(function), [a, b]) => Ok(Arc::new(MapExec::new(
                self.node(a, grid)?,
                function,
                vec![self.scalar(b, grid)?],
                self.name_removal(),
            ))),
            _ => Err(Error::Internal(format!("{} without its arguments", call.function.name()))),
        }
    }

    /// `label_replace` and `label_join`.
    pub(super) fn relabel(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let [vector, texts @ ..] = call.args.as_slice() else {
            return Err(Error::Internal("a label function without arguments".to_owned()));
        };
        let texts = texts.iter().map(text).collect::<Result<Vec<_>>>()?;
        let input = self.node(vector, grid)?;
        let plan = match (call.function, texts.as_slice()) {
            (Function::LabelReplace, [target, template, source, pattern]) => {
                LabelRewriteExec::try_replace(input, target, template, source, pattern)?
            }
            (Function::LabelJoin, [target, separator, sources @ ..]) => {
                let sources = sources.iter().map(|&source| source.to_owned()).collect();
                LabelRewriteExec::try_join(input, target, separator, sources)?
            }
            _ => return Err(Error::Internal("a label function with other arguments than it takes".to_owned())),
        };
        Ok(Arc::new(UniqueLabelsExec::new(ConcatExec::wrap(Arc::new(plan)), EqualLabels::Join, grid.steps())))
    }

    /// `topk`, `quantile`, `count_values` and their like.
    pub(super) fn parameterised_aggregate(&self, aggregate: &Aggregate, grid: Grid) -> Result<Plan> {
        let param = aggregate
            .param
            .as_deref()
            .ok_or_else(|| Error::Internal(format!("{:?} without its parameter", aggregate.op)))?;
        let input = self.single(&aggregate.expr, grid)?;
        if aggregate.op == AggregateOp::CountValues {
            let label = text(param)?.to_owned();
            let plan = CountValuesExec::try_new(input, label, aggregate.grouping.clone(), grid.steps())?;
            return Ok(Arc::new(plan));
        }
        let spec = ParamAggregate {
            op: aggregate.op,
            grouping: aggregate.grouping.clone(),
            param: self.scalar(param, grid)?,
            expr_span: aggregate.expr_span,
            param_span: aggregate.param_span,
            span: aggregate.span,
        };
        match aggregate.op {
            AggregateOp::Quantile => Ok(Arc::new(QuantileExec::new(input, spec, grid.steps(), self.context()))),
            _ => Ok(Arc::new(TopkExec::try_new(input, spec, grid.steps(), self.context())?)),
        }
    }

    /// `sort` and its like: the order of an instant query's answer. A range query's is by labels whatever is asked; but those
    /// that sort by value drop histograms there too.
    pub(super) fn sort(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let [vector, labels @ ..] = call.args.as_slice() else {
            return Err(Error::Internal("a sort without arguments".to_owned()));
        };
        if grid.start != grid.end {
            let position = self.settings.context.position(call.span.start);
            self.settings.context.annotations.warn(format!(
                "PromQL warning: sort is ineffective for range queries since results are always ordered by labels ({position})"
            ));
        }
        if grid.steps() > 1 {
            let input = self.node(vector, grid)?;
            return Ok(match call.function {
                Function::Sort | Function::SortDesc => {
                    Arc::new(MapExec::new(input, ElementFunction::KeepFloats, Vec::new(), self.name_removal()))
                }
                _ => input,
            });
        }
        let names = labels.iter().map(|label| Ok(text(label)?.to_owned())).collect::<Result<Vec<_>>>()?;
        let (key, descending) = match call.function {
            Function::SortDesc => (SortKey::Value, true),
            Function::SortByLabel => (SortKey::Labels(names), false),
            Function::SortByLabelDesc => (SortKey::Labels(names), true),
            _ => (SortKey::Value, false),
        };
        Ok(Arc::new(SortVectorExec::try_new(self.single(vector, grid)?, key, descending)?))
    }

    /// Functions of classic and native histograms.
    pub(super) fn histogram(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let span = |index: usize| call.arg_spans.get(index).copied().unwrap_or(call.span);
        let wrong = || Error::Internal(format!("{} with other arguments than it takes", call.function.name()));
        let (function, vector, scalars) = match (call.function, call.args.as_slice()) {
            (Function::HistogramQuantile, [_, _]) => (HistogramFunction::Quantile(span(0)), 1, 0..1),
            (Function::HistogramQuantiles, [_, label, quantiles @ ..]) => {
                let spans = (2..2 + quantiles.len()).map(span).collect();
                (HistogramFunction::Quantiles(text(label)?.to_owned(), spans), 0, 2..2 + quantiles.len())
            }
            (Function::HistogramFraction, [_, _, _]) => (HistogramFunction::Fraction, 2, 0..2),
            _ => return Err(wrong()),
        };
        // the label with the quantile may be one that told series apart
        let overwrites = matches!(function, HistogramFunction::Quantiles(..));
        let check = overwrites || may_differ_in_name(&call.args[vector]);
        let args = call.args[scalars].iter().map(|arg| self.scalar(arg, grid)).collect::<Result<Vec<_>>>()?;
        let input = self.single(&call.args[vector], grid)?;
        let plan = Arc::new(HistogramQuantileExec::new(input, function, args, span(vector), grid, self.context()));
        // Prometheus looks at each step of a range query for labels that are equal although names stay, and only there
        if overwrites && self.name_removal() == NameRemoval::AtEnd && grid.start != grid.end {
            return Ok(Arc::new(UniqueLabelsExec::new(plan, EqualLabels::Join, grid.steps())));
        }
        Ok(self.unique_labels(plan, check, EqualLabels::Join, grid))
    }
}

/// A text argument.
fn text(node: &Node) -> Result<&str> {
    match node {
        Node::String(text) => Ok(text),
        Node::StepInvariant(inner) if inner.value_type() == ValueType::String => text(inner),
        _ => Err(Error::Internal("an argument that is no text where one is needed".to_owned())),
    }
}
