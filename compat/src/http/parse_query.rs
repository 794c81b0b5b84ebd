//! `/api/v1/parse_query`: the syntax tree of a query, in the shape that Prometheus's own pages read.

mod duration;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use promql::Expr;
use promql::ast::{Aggregate, At, Binary, Call, MatrixSelector, Subquery, VectorSelector};
use promql::tree::{Border, Cardinality, ValueType};
use serde_json::{Map, Value, json};
use storage::model::{MatchOp, Matcher};

use super::Api;
use super::answer::success_json;
use super::error::ApiError;
use super::params::Params;
use duration::{duration_expr, millis};

/// Parses `query`.
pub async fn parse_query(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let expr =
        promql::parse(params.get("query"), &api.settings.parse).map_err(|error| ApiError::parameter("query", error))?;
    success_json(&node(&expr))
}

/// One node and all below it. As deep as the tree, which the parser bounds; the cases are functions of their own, so that
/// this one's frame stays small.
fn node(expr: &Expr) -> Value {
    match expr {
        Expr::Number(literal) => json!({"type": "numberLiteral", "val": plain_float(literal.value)}),
        Expr::String(literal) => json!({"type": "stringLiteral", "val": literal.value}),
        Expr::Vector(selector) => vector_selector(selector),
        Expr::Matrix(selector) => matrix_selector(selector),
        Expr::Subquery(subquery) => subquery_node(subquery),
        Expr::Call(call) => call_node(call),
        Expr::Aggregate(aggregate) => aggregation(aggregate),
        Expr::Binary(binary) => binary_node(binary),
        Expr::Unary(unary) => with_child(
            [("type", json!("unaryExpr")), ("op", json!(if unary.negative { "-" } else { "+" }))],
            node(&unary.expr),
        ),
        Expr::Paren(paren) => with_child([("type", json!("parenExpr"))], node(&paren.expr)),
    }
}

fn with_child<const N: usize>(fields: [(&str, Value); N], expr: Value) -> Value {
    let mut object: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    object.insert("expr".to_owned(), expr);
    Value::Object(object)
}

fn vector_selector(selector: &VectorSelector) -> Value {
    let mut object = selector_fields(selector);
    object.insert("type".to_owned(), json!("vectorSelector"));
    Value::Object(object)
}

fn matrix_selector(matrix: &MatrixSelector) -> Value {
    let mut object = selector_fields(&matrix.selector);
    object.insert("type".to_owned(), json!("matrixSelector"));
    object.insert("range".to_owned(), millis(Some(&matrix.range)));
    object.insert("rangeExpr".to_owned(), duration_expr(Some(&matrix.range)));
    Value::Object(object)
}

fn selector_fields(selector: &VectorSelector) -> Map<String, Value> {
    let name = selector.matchers.iter().filter(|m| m.name() == "__name__" && m.op() == MatchOp::Equal);
    let name = if selector.name.is_empty() { name.map(Matcher::value).next().unwrap_or("") } else { &selector.name };
    let (timestamp, start_or_end) = at(selector.at);
    let fields = [
        ("name", json!(name)),
        ("offset", millis(selector.offset.as_ref())),
        ("offsetExpr", duration_expr(selector.offset.as_ref())),
        ("matchers", Value::Array(selector.matchers.iter().map(matcher).collect())),
        ("timestamp", timestamp),
        ("startOrEnd", start_or_end),
        ("anchored", json!(selector.border == Border::Anchored)),
        ("smoothed", json!(selector.border == Border::Smoothed)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn matcher(matcher: &Matcher) -> Value {
    let op = match matcher.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    json!({"name": matcher.name(), "value": matcher.value(), "type": op})
}

fn subquery_node(subquery: &Subquery) -> Value {
    let (timestamp, start_or_end) = at(subquery.at);
    let fields = [
        ("type", json!("subquery")),
        ("range", millis(Some(&subquery.range))),
        ("rangeExpr", duration_expr(Some(&subquery.range))),
        ("offset", millis(subquery.offset.as_ref())),
        ("offsetExpr", duration_expr(subquery.offset.as_ref())),
        ("step", millis(subquery.step.as_ref())),
        ("stepExpr", duration_expr(subquery.step.as_ref())),
        ("timestamp", timestamp),
        ("startOrEnd", start_or_end),
    ];
    with_child(fields, node(&subquery.expr))
}

fn at(at: Option<At>) -> (Value, Value) {
    match at {
        None => (Value::Null, Value::Null),
        Some(At::Time(t)) => (json!(t), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
    }
}

fn call_node(call: &Call) -> Value {
    let signature = call.function.signature();
    let arg_types: Vec<&str> = signature.args.iter().copied().map(type_name).collect();
    let args: Vec<Value> = call.args.iter().map(node).collect();
    json!({
        "type": "call",
        "func": {
            "name": call.function.name(),
            "argTypes": arg_types,
            "variadic": signature.variadic,
            "returnType": type_name(signature.returns),
        },
        "args": args,
    })
}

fn aggregation(aggregate: &Aggregate) -> Value {
    let fields = [
        ("type", json!("aggregation")),
        ("op", json!(aggregate.op.as_str())),
        ("param", aggregate.param.as_ref().map_or(Value::Null, node)),
        ("grouping", json!(aggregate.grouping)),
        ("without", json!(aggregate.without)),
    ];
    with_child(fields, node(&aggregate.expr))
}

fn binary_node(binary: &Binary) -> Value {
    let matching = binary.matching.as_ref().map(|matching| {
        let card = match matching.cardinality {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        };
        json!({
            "card": card,
            "labels": matching.labels,
            "on": matching.on,
            "include": matching.include,
            "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
        })
    });
    let (lhs, rhs) = (node(&binary.lhs), node(&binary.rhs));
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": lhs,
        "rhs": rhs,
        "matching": matching,
        "bool": binary.return_bool,
    })
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}

/// Without an exponent, however long that gets.
fn plain_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use promql::ParseOptions;

    use super::*;

    fn parsed(query: &str) -> Value {
        node(&promql::parse(query, &ParseOptions::experimental()).unwrap())
    }

    #[test]
    fn trees_have_the_shape_of_prometheus() {
        assert_eq!(
            parsed("sum by (job) (rate(up{a!=\"b\"}[5m] offset 1m)) > bool 1.5"),
            json!({
                "type": "binaryExpr", "op": ">", "bool": true, "matching": null,
                "rhs": {"type": "numberLiteral", "val": "1.5"},
                "lhs": {
                    "type": "aggregation", "op": "sum", "grouping": ["job"], "without": false, "param": null,
                    "expr": {
                        "type": "call",
                        "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                        "args": [{
                            "type": "matrixSelector", "name": "up", "range": 300_000, "rangeExpr": null,
                            "offset": 60_000, "offsetExpr": null, "timestamp": null, "startOrEnd": null,
                            "anchored": false, "smoothed": false,
                            "matchers": [
                                {"name": "a", "value": "b", "type": "!="},
                                {"name": "__name__", "value": "up", "type": "="},
                            ],
                        }],
                    },
                },
            })
        );
        let joined = parsed("a * on (x) group_left (y) -(b @ start())");
        assert_eq!(joined["matching"]["card"], "many-to-one");
        assert_eq!(joined["rhs"]["expr"]["expr"]["startOrEnd"], "start");
        assert_eq!(parsed("x[1h:5m]")["step"], 300_000);
    }

    #[test]
    fn the_deepest_query_fits_the_stack() {
        let deep = format!("{}1{}", "(".repeat(200), ")".repeat(200));
        assert_eq!(parsed(&deep)["type"], "parenExpr");
    }
}
