//! Syntax tree to query tree, in four passes: translate and fold constants; wrap what is the same at every step; work out which
//! labels each selector is asked for, and which are asked only for counts and sums of histograms.
//!
//! Translation resolves `start()`, `end()`, `step()` and `range()` to the query's times, evaluates duration expressions, drops
//! parentheses and unary plus, fills in default arguments and subquery steps, and sorts label lists. Offsets and `@` stay with their
//! own node: a subquery's do not move the selectors inside it.

mod duration;
mod fold;
mod histogram_stats;
mod invariant;
mod projection;

use std::sync::Arc;

pub use fold::scalar_operation;

use storage::model::Timestamp;

use crate::ast::{self, At, Expr};
use crate::error::LowerError;
use crate::function::Function;
use crate::quote::quote_bytes;
use crate::tree::{
    Aggregate, AggregateOp, Binary, Call, Grouping, MatrixSelector, Node, Projection, Span, Subquery, ValueType,
    VectorMatching, VectorSelector,
};

/// The times a query is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowerOptions {
    /// First instant.
    pub start: Timestamp,
    /// Last instant; `start` for an instant query.
    pub end: Timestamp,
    /// Milliseconds between instants; 0 for an instant query, where `step()` is 0.
    pub step_ms: i64,
    /// Step of subqueries that name none; Prometheus's default evaluation interval, one minute unless configured.
    pub default_subquery_step_ms: i64,
}

/// Lowers a checked query for the given times.
///
/// # Errors
/// A duration expression that comes to nothing usable at these times, or a text that is not UTF-8 where one is needed.
pub fn lower(expr: &Expr, options: &LowerOptions) -> Result<Node, LowerError> {
    let node = match expr.unparenthesized() {
        Expr::String(text) => Node::String(text.value.as_str().into()),
        expr => *Lowering { options }.expr(expr).map_err(|e| *e)?,
    };
    let mut node = invariant::wrap(node);
    projection::assign(&mut node);
    histogram_stats::assign(&mut node);
    Ok(node)
}

/// Refuses what a range query cannot return: texts and range vectors.
///
/// # Errors
/// As Prometheus words it.
pub fn require_range_type(expr: &Expr) -> Result<(), LowerError> {
    match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => Ok(()),
        found => Err(LowerError {
            span: expr.span(),
            message: format!("invalid expression type \"{found}\" for range query, must be Scalar or instant Vector"),
        }),
    }
}

struct Lowering<'a> {
    options: &'a LowerOptions,
}

/// Boxed on both sides to keep the frames of the recursion small.
type Lowered = Result<Box<Node>, Box<LowerError>>;

impl Lowering<'_> {
    fn expr(&self, expr: &Expr) -> Lowered {
        match expr.unparenthesized() {
            Expr::Subquery(e) => self.subquery(e, self.expr(&e.expr)?),
            Expr::Call(e) => self.call(e),
            Expr::Aggregate(e) => self.aggregate(e),
            Expr::Binary(e) => Ok(binary(e, self.expr(&e.lhs)?, self.expr(&e.rhs)?)),
            Expr::Unary(e) if e.negative => Ok(fold::negate(self.expr(&e.expr)?)),
            Expr::Unary(e) => Ok(fold::plus(self.expr(&e.expr)?)),
            Expr::Paren(e) => self.expr(&e.expr),
            expr => self.leaf(expr),
        }
    }

    /// Literals and selectors.
    fn leaf(&self, expr: &Expr) -> Lowered {
        let node = match expr {
            Expr::Number(e) => Node::Number(e.value),
            Expr::String(e) => text(e)?,
            Expr::Vector(e) => Node::Vector(self.vector(e)?),
            Expr::Matrix(e) => Node::Matrix(MatrixSelector {
                selector: self.vector(&e.selector)?,
                range_ms: self.positive(&e.range)?,
                border: e.selector.border,
                span: e.span,
            }),
            _ => return self.expr(expr),
        };
        Ok(Box::new(node))
    }

    fn vector(&self, selector: &ast::VectorSelector) -> Result<VectorSelector, Box<LowerError>> {
        Ok(VectorSelector {
            matchers: selector.matchers.clone(),
            offset_ms: self.offset(selector.offset.as_ref())?,
            at: self.at(selector.at),
            border: selector.border,
            projection: Projection::All,
            histogram_stats: false,
            span: selector.span,
        })
    }

    fn subquery(&self, subquery: &ast::Subquery, expr: Box<Node>) -> Lowered {
        let offset_ms = self.offset(subquery.offset.as_ref())?;
        let step_ms = subquery.step.as_ref().map_or(Ok(0), |step| self.positive(step))?;
        Ok(Box::new(Node::Subquery(Subquery {
            range_ms: self.positive(&subquery.range)?,
            // A step below a millisecond counts as none, as in Prometheus.
            step_ms: if step_ms == 0 { self.options.default_subquery_step_ms } else { step_ms },
            offset_ms,
            at: self.at(subquery.at),
            span: subquery.span,
            expr,
        })))
    }

    fn call(&self, call: &ast::Call) -> Lowered {
        if let Some(value) = self.query_constant(call.function) {
            return Ok(Box::new(Node::Number(value)));
        }
        let mut args = Vec::with_capacity(call.args.len() + 1);
        for arg in &call.args {
            args.push(*self.expr(arg)?);
        }
        Ok(finished_call(call, args))
    }

    fn aggregate(&self, aggregate: &ast::Aggregate) -> Lowered {
        let param = match &aggregate.param {
            Some(param) => Some(self.param(aggregate.op, param)?),
            None => None,
        };
        Ok(finished_aggregate(aggregate, self.expr(&aggregate.expr)?, param))
    }

    fn param(&self, op: AggregateOp, param: &Expr) -> Lowered {
        match param.unparenthesized() {
            Expr::String(text) if op == AggregateOp::CountValues => match &text.invalid_utf8 {
                Some(bytes) => fault(text.span, format!("invalid label name {}", quote_bytes(bytes))),
                None => self.leaf(param.unparenthesized()),
            },
            param => self.expr(param),
        }
    }

    fn at(&self, at: Option<At>) -> Option<Timestamp> {
        Some(match at? {
            At::Time(t) => t,
            At::Start => self.options.start,
            At::End => self.options.end,
        })
    }

    /// Functions that tell about the query itself, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "PromQL's times are floats")]
    fn query_constant(&self, function: Function) -> Option<f64> {
        let LowerOptions { start, end, step_ms, .. } = *self.options;
        match function {
            Function::Pi => Some(std::f64::consts::PI),
            Function::Start => Some(start as f64 / 1000.0),
            Function::End => Some(end as f64 / 1000.0),
            Function::Range => Some(end.saturating_sub(start) as f64 / 1000.0),
            Function::Step => Some(if start == end { 0.0 } else { step_ms as f64 / 1000.0 }),
            _ => None,
        }
    }
}

fn fault<T>(span: Span, message: impl Into<String>) -> Result<T, Box<LowerError>> {
    Err(Box::new(LowerError { span, message: message.into() }))
}

fn text(text: &ast::StringLiteral) -> Result<Node, Box<LowerError>> {
    match &text.invalid_utf8 {
        None => Ok(Node::String(Arc::from(text.value.as_str()))),
        Some(bytes) => fault(text.span, format!("text is not valid UTF-8: {}", quote_bytes(bytes))),
    }
}

fn binary(binary: &ast::Binary, lhs: Box<Node>, rhs: Box<Node>) -> Box<Node> {
    if let (Node::Number(lhs), Node::Number(rhs)) = (&*lhs, &*rhs)
        && let Some(value) = scalar_operation(binary.op, *lhs, *rhs)
    {
        return Box::new(Node::Number(value));
    }
    let matching = binary.matching.as_ref().map(matching);
    let (op, return_bool, span) = (binary.op, binary.return_bool, binary.span);
    Box::new(Node::Binary(Binary { op, lhs, rhs, return_bool, matching, span }))
}

fn finished_call(call: &ast::Call, mut args: Vec<Node>) -> Box<Node> {
    let mut arg_spans: Vec<Span> = call.args.iter().map(Expr::span).collect();
    if let Some(default) = default_arg(call, args.len()) {
        args.push(default);
        arg_spans.push(call.span);
    }
    Box::new(Node::Call(Call { function: call.function, args, arg_spans, span: call.span }))
}

fn finished_aggregate(aggregate: &ast::Aggregate, expr: Box<Node>, param: Option<Box<Node>>) -> Box<Node> {
    let labels = sorted(&aggregate.grouping);
    Box::new(Node::Aggregate(Aggregate {
        op: aggregate.op,
        expr,
        param,
        grouping: if aggregate.without { Grouping::Without(labels) } else { Grouping::By(labels) },
        expr_span: aggregate.expr.span(),
        param_span: aggregate.param.as_ref().map_or_else(Span::default, Expr::span),
        span: aggregate.span,
    }))
}

/// The argument a call leaves out, where that has a value.
fn default_arg(call: &ast::Call, given: usize) -> Option<Node> {
    let synthetic = |function, args: Vec<Node>| {
        let arg_spans = vec![call.span; args.len()];
        Node::Call(Call { function, args, arg_spans, span: call.span })
    };
    match (call.function, given) {
        (
            Function::DayOfMonth
            | Function::DayOfWeek
            | Function::DayOfYear
            | Function::DaysInMonth
            | Function::Hour
            | Function::Minute
            | Function::Month
            | Function::Year,
            0,
        ) => Some(synthetic(Function::Vector, vec![synthetic(Function::Time, Vec::new())])),
        (Function::Round, 1) => Some(Node::Number(1.0)),
        _ => None,
    }
}

fn matching(matching: &ast::VectorMatching) -> VectorMatching {
    VectorMatching {
        cardinality: matching.cardinality,
        on: matching.on,
        labels: sorted(&matching.labels),
        include: matching.include.clone(),
        fill_left: matching.fill_left,
        fill_right: matching.fill_right,
    }
}

fn sorted(labels: &[String]) -> Vec<String> {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    labels.dedup();
    labels
}

#[cfg(test)]
mod tests;
