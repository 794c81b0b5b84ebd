//! `info()`: its second argument says which info series are meant, and may be left out.
//!
//! Before anything is asked of the store, [`resolve_info`] writes the selector of the info series into the tree, so
//! that they are selected like any others.

use std::sync::Arc;

use promql::Function;
use promql::tree::{Border, Call, Grid, Node, Projection, VectorSelector};
use storage::model::Matcher;

use super::{Plan, Planner};
use crate::concat::ConcatExec;
use crate::error::{Error, Result};
use crate::info::{InfoExec, InfoSelector, info_reference};
use crate::window::WindowFunction;

/// Completes every `info()` below `node`: its second argument selects the info series, at the time at which the first
/// one looks.
///
/// # Errors
/// As [`InfoSelector::try_new`].
pub(crate) fn resolve_info(node: &mut Node) -> Result<()> {
    match node {
        Node::Number(_) | Node::String(_) | Node::Vector(_) | Node::Matrix(_) => Ok(()),
        Node::Subquery(subquery) => resolve_info(&mut subquery.expr),
        Node::Call(call) => {
            call.args.iter_mut().try_for_each(resolve_info)?;
            if call.function == Function::Info { complete(call) } else { Ok(()) }
        }
        Node::Aggregate(aggregate) => {
            aggregate.param.as_deref_mut().map_or(Ok(()), resolve_info)?;
            resolve_info(&mut aggregate.expr)
        }
        Node::Binary(binary) => {
            resolve_info(&mut binary.lhs)?;
            resolve_info(&mut binary.rhs)
        }
        Node::Negate(inner) | Node::Plus(inner) | Node::StepInvariant(inner) => resolve_info(inner),
    }
}

fn complete(call: &mut Call) -> Result<()> {
    let written: Vec<Matcher> =
        call.args.get(1).map(selector_of).transpose()?.map_or_else(Vec::new, |s| s.matchers.clone());
    let base = call.args.first().ok_or_else(|| Error::Internal("info without arguments".to_owned()))?;
    let (at, offset_ms) = info_reference(base);
    let selector = VectorSelector {
        matchers: InfoSelector::try_new(&written)?.matchers(),
        offset_ms,
        at,
        border: Border::Plain,
        projection: Projection::All,
        histogram_stats: false,
        span: call.span,
    };
    call.args.truncate(1);
    call.args.push(Node::Vector(selector));
    Ok(())
}

fn selector_of(node: &Node) -> Result<&VectorSelector> {
    match node {
        Node::Vector(selector) => Ok(selector),
        Node::StepInvariant(inner) => selector_of(inner),
        _ => Err(Error::Internal("the second argument of info is no selector".to_owned())),
    }
}

impl Planner {
    /// A call of `info()` that [`resolve_info`] has completed.
    pub(super) fn info(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let [base, info] = call.args.as_slice() else {
            return Err(Error::Internal("info without a selector of info series".to_owned()));
        };
        let selector = selector_of(info)?;
        let times = self.select(selector, WindowFunction::SampleTimes, "sample times", false, grid)?;
        let wanted = Arc::new(InfoSelector::try_new(&selector.matchers)?);
        Ok(Arc::new(InfoExec::try_new(self.single(base, grid)?, ConcatExec::wrap(times), wanted, grid.steps())?))
    }
}
