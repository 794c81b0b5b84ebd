//! Syntax tree to query tree, in four passes: translate and fold constants; wrap what is the same at every step; work out which
//! labels each selector is asked for.
//!
//! Translation resolves `start()`, `end()`, `step()` and `range()` to the query's times, evaluates duration expressions, drops
//! parentheses and unary plus, fills in default arguments and subquery steps, and sorts label lists. Offsets and `@` stay with their
//! own node: a subquery's do not move the selectors inside it.

mod duration;
mod fold;
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
    Aggregate, AggregateOp, Binary, Call, Grouping, MatrixSelector, Node, Span, Subquery, ValueType, VectorMatching,
    VectorSelector,
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
        expr => Lowering { options }.expr(expr)?,
    };
    let mut node = invariant::wrap(node);
    projection::assign(&mut node);
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

impl Lowering<'_> {
    fn expr(&self, expr: &Expr) -> Result<Node, LowerError> {
        match expr.unparenthesized() {
            Expr::Number(e) => Ok(Node::Number(e.value)),
            Expr::String(e) => Self::text(e),
            Expr::Vector(e) => self.vector(e).map(Node::Vector),
            Expr::Matrix(e) => self.matrix(e),
            Expr::Subquery(e) => self.subquery(e),
            Expr::Call(e) => self.call(e),
            Expr::Aggregate(e) => self.aggregate(e),
            Expr::Binary(e) => self.binary(e),
            Expr::Unary(e) => Ok(if e.negative { fold::negate(self.expr(&e.expr)?) } else { self.expr(&e.expr)? }),
            Expr::Paren(e) => self.expr(&e.expr),
        }
    }

    fn text(text: &ast::StringLiteral) -> Result<Node, LowerError> {
        match &text.invalid_utf8 {
            None => Ok(Node::String(Arc::from(text.value.as_str()))),
            Some(bytes) => {
                let message = format!("text is not valid UTF-8: {}", quote_bytes(bytes));
                Err(LowerError { span: text.span, message })
            }
        }
    }

    fn vector(&self, selector: &ast::VectorSelector) -> Result<VectorSelector, LowerError> {
        Ok(VectorSelector {
            matchers: selector.matchers.clone(),
            offset_ms: self.offset(selector.offset.as_ref())?,
            at: self.at(selector.at),
            border: selector.border,
            projection: crate::tree::Projection::All,
            span: selector.span,
        })
    }

    fn matrix(&self, matrix: &ast::MatrixSelector) -> Result<Node, LowerError> {
        Ok(Node::Matrix(MatrixSelector {
            selector: self.vector(&matrix.selector)?,
            range_ms: self.positive(&matrix.range)?,
            border: matrix.selector.border,
            span: matrix.span,
        }))
    }

    fn subquery(&self, subquery: &ast::Subquery) -> Result<Node, LowerError> {
        let offset_ms = self.offset(subquery.offset.as_ref())?;
        let step_ms = match &subquery.step {
            Some(step) => self.positive(step)?,
            None => 0,
        };
        Ok(Node::Subquery(Subquery {
            range_ms: self.positive(&subquery.range)?,
            // A step below a millisecond counts as none, as in Prometheus.
            step_ms: if step_ms == 0 { self.options.default_subquery_step_ms } else { step_ms },
            offset_ms,
            at: self.at(subquery.at),
            span: subquery.span,
            expr: Box::new(self.expr(&subquery.expr)?),
        }))
    }

    fn call(&self, call: &ast::Call) -> Result<Node, LowerError> {
        if let Some(value) = self.query_constant(call.function) {
            return Ok(Node::Number(value));
        }
        let mut args = call.args.iter().map(|arg| self.expr(arg)).collect::<Result<Vec<_>, _>>()?;
        let mut arg_spans: Vec<Span> = call.args.iter().map(Expr::span).collect();
        if let Some(default) = default_arg(call, args.len()) {
            args.push(default);
            arg_spans.push(call.span);
        }
        Ok(Node::Call(Call { function: call.function, args, arg_spans, span: call.span }))
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

    fn aggregate(&self, aggregate: &ast::Aggregate) -> Result<Node, LowerError> {
        let param = aggregate.param.as_ref().map(|param| self.param(aggregate.op, param)).transpose()?;
        let labels = sorted(&aggregate.grouping);
        Ok(Node::Aggregate(Aggregate {
            op: aggregate.op,
            expr: Box::new(self.expr(&aggregate.expr)?),
            param: param.map(Box::new),
            grouping: if aggregate.without { Grouping::Without(labels) } else { Grouping::By(labels) },
            expr_span: aggregate.expr.span(),
            param_span: aggregate.param.as_ref().map_or_else(Span::default, Expr::span),
            span: aggregate.span,
        }))
    }

    fn param(&self, op: AggregateOp, param: &Expr) -> Result<Node, LowerError> {
        match param.unparenthesized() {
            Expr::String(ast::StringLiteral { invalid_utf8: Some(bytes), span, .. })
                if op == AggregateOp::CountValues =>
            {
                Err(LowerError { span: *span, message: format!("invalid label name {}", quote_bytes(bytes)) })
            }
            param => self.expr(param),
        }
    }

    fn binary(&self, binary: &ast::Binary) -> Result<Node, LowerError> {
        let lhs = self.expr(&binary.lhs)?;
        let rhs = self.expr(&binary.rhs)?;
        if let (Node::Number(lhs), Node::Number(rhs)) = (&lhs, &rhs)
            && let Some(value) = scalar_operation(binary.op, *lhs, *rhs)
        {
            return Ok(Node::Number(value));
        }
        Ok(Node::Binary(Binary {
            op: binary.op,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            return_bool: binary.return_bool,
            matching: binary.matching.as_ref().map(matching),
            span: binary.span,
        }))
    }

    fn at(&self, at: Option<At>) -> Option<Timestamp> {
        Some(match at? {
            At::Time(t) => t,
            At::Start => self.options.start,
            At::End => self.options.end,
        })
    }
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
