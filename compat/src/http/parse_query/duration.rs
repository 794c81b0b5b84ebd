//! Durations in a syntax tree: milliseconds where they are known, a tree of their own where they are arithmetic.

use promql::ast::{Duration, DurationExpr};
use serde_json::{Value, json};

use super::plain_float;

/// Milliseconds; 0 where there is none, or where it depends on the query's times.
pub fn millis(duration: Option<&Duration>) -> Value {
    json!(duration.and_then(Duration::millis).unwrap_or(0))
}

/// The tree of a duration that is arithmetic.
pub fn duration_expr(duration: Option<&Duration>) -> Value {
    match duration {
        Some(Duration::Expr(expr)) => node(expr, false),
        Some(Duration::Literal { .. }) | None => Value::Null,
    }
}

fn node(expr: &DurationExpr, wrapped: bool) -> Value {
    match expr {
        DurationExpr::Number(number) => {
            json!({"type": "numberLiteral", "val": plain_float(number.value), "duration": number.duration})
        }
        DurationExpr::Paren { expr, .. } => node(expr, true),
        DurationExpr::Step(_) => operation("step", Value::Null, Value::Null, wrapped),
        DurationExpr::Range(_) => operation("range", Value::Null, Value::Null, wrapped),
        DurationExpr::Negate { expr, .. } => operation("-", Value::Null, node(expr, false), wrapped),
        DurationExpr::MinOf { lhs, rhs, .. } => operation("min_of", node(lhs, false), node(rhs, false), wrapped),
        DurationExpr::MaxOf { lhs, rhs, .. } => operation("max_of", node(lhs, false), node(rhs, false), wrapped),
        DurationExpr::Binary { op, lhs, rhs, .. } => {
            operation(op.as_str(), node(lhs, false), node(rhs, false), wrapped)
        }
    }
}

fn operation(op: &str, lhs: Value, rhs: Value, wrapped: bool) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("type".to_owned(), json!("durationExpr"));
    object.insert("op".to_owned(), json!(op));
    object.insert("lhs".to_owned(), lhs);
    object.insert("rhs".to_owned(), rhs);
    object.insert("wrapped".to_owned(), json!(wrapped));
    Value::Object(object)
}
