//! Types, numbers of arguments, and the rules of vector matching.
//!
//! Runs after a parse without fault, in Prometheus's order, since only the first fault is told: operands before what they are
//! operands of, left to right. It also settles what depends on types: a binary operation keeps its matching only between two
//! vectors, and set operators match many to many.

use storage::model::METRIC_NAME;

use crate::ast::{Aggregate, Binary, Call, Expr, VectorSelector};
use crate::error::{Fault, Parsed};
use crate::function::Function;
use crate::quote::quote;
use crate::tree::{AggregateOp, BinaryOp, Cardinality, ValueType};

/// Checks a whole query.
pub(crate) fn check(expr: &mut Expr) -> Parsed<()> {
    check_expr(expr).map(|_| ())
}

fn check_expr(expr: &mut Expr) -> Parsed<ValueType> {
    match expr {
        Expr::Number(_) => Ok(ValueType::Scalar),
        Expr::String(_) => Ok(ValueType::String),
        Expr::Vector(e) => check_selector(e).map(|()| ValueType::Vector),
        Expr::Matrix(e) => check_selector(&e.selector).map(|()| ValueType::Matrix),
        Expr::Subquery(e) => match check_expr(&mut e.expr)? {
            ValueType::Vector => Ok(ValueType::Matrix),
            found => {
                let found = found.as_str();
                Fault::new(e.span, format!("subquery is only allowed on instant vector, got {found} instead"))
            }
        },
        Expr::Call(e) => check_call(e).map(|()| e.function.return_type()),
        Expr::Aggregate(e) => check_aggregate(e).map(|()| ValueType::Vector),
        Expr::Binary(e) => check_binary(e),
        Expr::Unary(e) => match check_expr(&mut e.expr)? {
            found @ (ValueType::Scalar | ValueType::Vector) => Ok(found),
            found => {
                let rule = "unary expression only allowed on expressions of type scalar or instant vector";
                Fault::new(e.span, format!("{rule}, got {}", quote(&found.to_string())))
            }
        },
        Expr::Paren(e) => check_expr(&mut e.expr),
    }
}

fn check_selector(selector: &VectorSelector) -> Parsed<()> {
    if selector.name.is_empty() {
        if selector.matchers.iter().all(|matcher| matcher.matches_empty()) {
            return Fault::new(selector.span, "vector selector must contain at least one non-empty matcher");
        }
        return Ok(());
    }
    let inside = &selector.matchers[..selector.matchers.len().saturating_sub(1)];
    match inside.iter().find(|matcher| matcher.name() == METRIC_NAME) {
        Some(matcher) => {
            let names = format!("{} or {}", quote(&selector.name), quote(matcher.value()));
            Fault::new(selector.span, format!("metric name must not be set twice: {names}"))
        }
        None => Ok(()),
    }
}

fn check_aggregate(aggregate: &mut Aggregate) -> Parsed<()> {
    let expect = |expr: &mut Expr, wanted: ValueType, context: &str| {
        let found = check_expr(expr)?;
        if found == wanted {
            return Ok(());
        }
        Fault::new(expr.span(), format!("expected type {wanted} in {context}, got {found}"))
    };
    expect(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
    let Some(param) = &mut aggregate.param else { return Ok(()) };
    let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
    expect(param, wanted, "aggregation parameter")
}

fn check_call(call: &mut Call) -> Parsed<()> {
    check_argument_count(call)?;
    if call.function == Function::Info
        && let Some(labels) = call.args.get(1)
    {
        check_info_labels(call, labels)?;
    }
    let signature = call.function.signature();
    for (index, arg) in call.args.iter_mut().enumerate() {
        let Some(&wanted) = signature.args.get(index).or(signature.args.last()) else { break };
        // The second argument of info() may select all info series.
        let labels_only = call.function == Function::Info && index == 1;
        let found = if labels_only { arg.value_type() } else { check_expr(arg)? };
        if found != wanted {
            let name = quote(call.function.name());
            return Fault::new(arg.span(), format!("expected type {wanted} in call to function {name}, got {found}"));
        }
    }
    Ok(())
}

fn check_argument_count(call: &Call) -> Parsed<()> {
    let signature = call.function.signature();
    let (declared, given) = (signature.args.len(), call.args.len());
    let (bound, wanted) = match usize::try_from(signature.variadic) {
        Ok(0) if given != declared => ("", declared),
        Ok(0) => return Ok(()),
        _ if given + 1 < declared => ("at least ", declared - 1),
        Ok(most) if given + 1 > declared + most => ("at most ", declared - 1 + most),
        _ => return Ok(()),
    };
    let name = quote(call.function.name());
    Fault::new(call.span, format!("expected {bound}{wanted} argument(s) in call to {name}, got {given}"))
}

/// The second argument of `info()` is written as a selector but only names labels.
fn check_info_labels(call: &Call, labels: &Expr) -> Parsed<()> {
    let found = labels.value_type();
    if found != ValueType::Vector {
        let wanted = ValueType::Vector;
        return Fault::new(call.span, format!("expected type {wanted} in call to function \"info\", got {found}"));
    }
    match labels {
        Expr::Vector(selector) if selector.name.is_empty() => Ok(()),
        Expr::Vector(_) => Fault::new(labels.span(), "expected label selectors only, got vector selector instead"),
        _ => Fault::new(labels.span(), "expected label selectors only"),
    }
}

fn check_binary(binary: &mut Binary) -> Parsed<ValueType> {
    let lhs = check_expr(&mut binary.lhs)?;
    let rhs = check_expr(&mut binary.rhs)?;
    let op = binary.op;
    let scalars = lhs == ValueType::Scalar && rhs == ValueType::Scalar;
    if binary.return_bool && !op.is_comparison() {
        return Fault::new(binary.op_span, "bool modifier can only be used on comparison operators");
    }
    if op.is_comparison() && !binary.return_bool && scalars {
        return Fault::new(binary.op_span, "comparisons between scalars must use BOOL modifier");
    }
    check_grouping(binary)?;
    for (operand, found) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let rule = "binary expression must contain only scalar and instant vector types";
            return Fault::new(operand.span(), rule);
        }
    }
    if lhs == ValueType::Vector && rhs == ValueType::Vector {
        check_matching(binary)?;
        return Ok(ValueType::Vector);
    }
    if let Some(matching) = binary.matching.take() {
        if !matching.labels.is_empty() {
            return Fault::new(binary.span, "vector matching only allowed between instant vectors");
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return Fault::new(binary.span, "filling in missing series only allowed between instant vectors");
        }
    }
    if op.is_set() {
        let op = quote(op.as_str());
        return Fault::new(binary.span, format!("set operator {op} not allowed in binary scalar expression"));
    }
    if scalars && matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
        let op = quote(op.as_str());
        return Fault::new(binary.op_span, format!("operator {op} not allowed for Scalar operations"));
    }
    Ok(if scalars { ValueType::Scalar } else { ValueType::Vector })
}

/// A label matched on is on both sides already.
fn check_grouping(binary: &Binary) -> Parsed<()> {
    let Some(matching) = &binary.matching else { return Ok(()) };
    match matching.labels.iter().find(|label| matching.on && matching.include.contains(label)) {
        Some(label) => {
            let label = quote(label);
            Fault::new(binary.op_span, format!("label {label} must not occur in ON and GROUP clause at once"))
        }
        None => Ok(()),
    }
}

/// The rules between two vectors.
fn check_matching(binary: &mut Binary) -> Parsed<()> {
    let Some(matching) = binary.matching.as_mut().filter(|_| binary.op.is_set()) else { return Ok(()) };
    match matching.cardinality {
        Cardinality::OneToOne | Cardinality::ManyToMany => matching.cardinality = Cardinality::ManyToMany,
        Cardinality::ManyToOne | Cardinality::OneToMany => {
            let op = quote(binary.op.as_str());
            return Fault::new(binary.span, format!("no grouping allowed for {op} operation"));
        }
    }
    if matching.fill_left.is_some() || matching.fill_right.is_some() {
        return Fault::new(binary.span, "filling in missing series not allowed for set operators");
    }
    Ok(())
}
