//! The form of a query for people: what is longer than a line is broken, as Prometheus's `/api/v1/format_query` does.
//!
//! An expression whose canonical form fits in 100 bytes stays on one line. A longer one puts its operands on lines of their own, two
//! spaces deeper: the arguments of calls and aggregations, the inside of parentheses, and both sides of an operator, which stands
//! between them on its own line. Selectors and literals are never broken.

use crate::ast::{Call, Expr};
use crate::print::{write_aggregate_head, write_operator, write_subquery_suffix};

/// Longest line before an expression is broken, in bytes and without its indentation.
const LINE_LENGTH_MAX: usize = 100;

/// The query over as many lines as it takes.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    pretty_at(expr, 0)
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn pretty_at(expr: &Expr, level: usize) -> String {
    let line = match expr {
        // Broken by what it is a sign of.
        Expr::Unary(_) => None,
        _ => Some(expr.to_string()).filter(|line| line.len() <= LINE_LENGTH_MAX),
    };
    match (expr, line) {
        // Prometheus does not indent these.
        (Expr::Subquery(_), Some(line)) => line,
        (_, Some(line)) => indent(level) + &line,
        (expr, None) => broken(expr, level),
    }
}

fn broken(expr: &Expr, level: usize) -> String {
    let margin = indent(level);
    let mut head = String::new();
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => format!("{margin}{expr}"),
        Expr::Subquery(e) => {
            write_subquery_suffix(&mut head, e);
            pretty_at(&e.expr, level) + &head
        }
        Expr::Call(e) => broken_call(e, level),
        Expr::Aggregate(e) => {
            write_aggregate_head(&mut head, e);
            let param = e.param.as_ref().map_or_else(String::new, |param| pretty_at(param, level + 1) + ",\n");
            format!("{margin}{head}(\n{param}{}\n{margin})", pretty_at(&e.expr, level + 1))
        }
        Expr::Binary(e) => {
            write_operator(&mut head, e);
            format!("{}\n{margin}{head}\n{}", pretty_at(&e.lhs, level + 1), pretty_at(&e.rhs, level + 1))
        }
        Expr::Unary(e) => {
            let sign = if e.negative { '-' } else { '+' };
            format!("{margin}{sign}{}", pretty_at(&e.expr, level).trim())
        }
        Expr::Paren(e) => format!("{margin}(\n{}\n{margin})", pretty_at(&e.expr, level + 1)),
    }
}

fn broken_call(call: &Call, level: usize) -> String {
    let args: Vec<String> = call.args.iter().map(|arg| pretty_at(arg, level + 1)).collect();
    let margin = indent(level);
    format!("{margin}{}(\n{}\n{margin})", call.function.name(), args.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ParseOptions, parse};

    fn check(query: &str, expected: &str) {
        let expr = parse(query, &ParseOptions::default()).unwrap();
        let found = pretty(&expr);
        assert_eq!(found, expected);
        assert_eq!(parse(&found, &ParseOptions::default()).unwrap().to_string(), expr.to_string());
    }

    #[test]
    fn short_queries_stay_on_a_line() {
        check("sum by(a)(rate( x[5m] ))/2", "sum by (a) (rate(x[5m])) / 2");
    }

    #[test]
    fn long_queries_are_broken() {
        let selector = format!("x{{a=\"{}\"}}", "b".repeat(60));
        check(
            &format!("sum by (job) (rate({selector}[5m])) / -topk(3, {selector} offset 5m + {selector})"),
            &format!(
                "  sum by (job) (rate({selector}[5m]))\n/\n  -topk(\n    3,\n      {selector} offset 5m\n    +\n      {selector}\n  )"
            ),
        );
        check(
            &format!("clamp(({selector} or {selector}), 1, 2)"),
            &format!("clamp(\n  (\n      {selector}\n    or\n      {selector}\n  ),\n  1,\n  2\n)"),
        );
        check(
            &format!("max_over_time(({selector} > {selector})[1h:])"),
            &format!("max_over_time(\n  (\n      {selector}\n    >\n      {selector}\n  )[1h:]\n)"),
        );
    }
}
