//! The canonical form of a query: one line, as Prometheus prints it, which parses to the same tree.

use std::fmt::{self, Display, Write as _};

use storage::model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{
    Aggregate, At, Binary, Duration, DurationExpr, Expr, MatrixSelector, NumberLiteral, Subquery, VectorMatching,
    VectorSelector,
};
use crate::quote::{quote, quote_bytes};
use crate::tree::{Border, Cardinality};

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        write_expr(&mut out, self);
        f.write_str(&out)
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        write_duration_expr(&mut out, self);
        f.write_str(&out)
    }
}

pub(crate) fn write_expr(out: &mut String, expr: &Expr) {
    match expr {
        Expr::Number(e) => write_number(out, e),
        Expr::String(e) => out.push_str(&quote_bytes(e.invalid_utf8.as_deref().unwrap_or(e.value.as_bytes()))),
        Expr::Vector(e) => write_vector(out, e),
        Expr::Matrix(e) => write_matrix(out, e),
        Expr::Subquery(e) => {
            write_expr(out, &e.expr);
            write_subquery_suffix(out, e);
        }
        Expr::Call(e) => {
            out.push_str(e.function.name());
            out.push('(');
            for (index, arg) in e.args.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_expr(out, arg);
            }
            out.push(')');
        }
        Expr::Aggregate(e) => {
            write_aggregate_head(out, e);
            out.push('(');
            if let Some(param) = &e.param {
                write_expr(out, param);
                out.push_str(", ");
            }
            write_expr(out, &e.expr);
            out.push(')');
        }
        Expr::Binary(e) => {
            write_expr(out, &e.lhs);
            out.push(' ');
            write_operator(out, e);
            out.push(' ');
            write_expr(out, &e.rhs);
        }
        Expr::Unary(e) => {
            out.push(if e.negative { '-' } else { '+' });
            write_expr(out, &e.expr);
        }
        Expr::Paren(e) => {
            out.push('(');
            write_expr(out, &e.expr);
            out.push(')');
        }
    }
}

/// An aggregation up to its opening parenthesis.
pub(crate) fn write_aggregate_head(out: &mut String, aggregate: &Aggregate) {
    out.push_str(aggregate.op.as_str());
    if aggregate.without || !aggregate.grouping.is_empty() {
        out.push_str(if aggregate.without { " without (" } else { " by (" });
        write_labels(out, &aggregate.grouping);
        out.push_str(") ");
    }
}

/// An operator with its modifiers.
pub(crate) fn write_operator(out: &mut String, binary: &Binary) {
    out.push_str(binary.op.as_str());
    if binary.return_bool {
        out.push_str(" bool");
    }
    if let Some(matching) = &binary.matching {
        write_matching(out, matching);
    }
}

fn write_matching(out: &mut String, matching: &VectorMatching) {
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some(" group_left ("),
        Cardinality::OneToMany => Some(" group_right ("),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.on || group.is_some() {
        out.push_str(if matching.on { " on (" } else { " ignoring (" });
        write_labels(out, &matching.labels);
        out.push(')');
    }
    if let Some(group) = group {
        out.push_str(group);
        write_labels(out, &matching.include);
        out.push(')');
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write_fill(out, "fill", left),
        (left, right) => {
            for (name, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    write_fill(out, name, value);
                }
            }
        }
    }
}

fn write_fill(out: &mut String, name: &str, value: f64) {
    push(out, format_args!(" {name} ({})", general_number(value)));
}

/// A float as Go's `%v`: with an exponent where it is below 1e-4, or 1e21 and above.
fn general_number(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || value == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return plain_number(value);
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// A float as Go's `%f` with as many digits as it takes.
fn plain_number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_string(),
        f64::INFINITY => "+Inf".to_string(),
        f64::NEG_INFINITY => "-Inf".to_string(),
        _ => value.to_string(),
    }
}

fn write_number(out: &mut String, number: &NumberLiteral) {
    if !number.duration {
        out.push_str(&plain_number(number.value));
        return;
    }
    if number.value < 0.0 {
        out.push('-');
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "durations are below 2^63 nanoseconds, and the cast saturates"
    )]
    write_nanos(out, (number.value.abs() * 1e9) as i64);
}

/// A duration of nanoseconds as Prometheus writes it, to the millisecond: years and weeks only where nothing remains.
fn write_nanos(out: &mut String, nanos: i64) {
    const UNITS: [(&str, i64, bool); 7] = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1_000, false),
        ("ms", 1, false),
    ];
    let mut millis = nanos / 1_000_000;
    if millis == 0 {
        out.push_str("0s");
    }
    for (unit, length, exact) in UNITS {
        if millis >= length && !(exact && millis % length != 0) {
            push(out, format_args!("{}{unit}", millis / length));
            millis %= length;
        }
    }
}

fn write_duration(out: &mut String, duration: &Duration) {
    match duration {
        Duration::Literal { nanos, .. } => {
            if *nanos < 0 {
                out.push('-');
            }
            write_nanos(out, nanos.saturating_abs());
        }
        Duration::Expr(expr) => write_duration_expr(out, expr),
    }
}

fn write_duration_expr(out: &mut String, expr: &DurationExpr) {
    match expr {
        DurationExpr::Number(number) => write_number(out, number),
        DurationExpr::Step(_) => out.push_str("step()"),
        DurationExpr::Range(_) => out.push_str("range()"),
        DurationExpr::MinOf { lhs, rhs, .. } => write_duration_call(out, "min_of(", lhs, rhs),
        DurationExpr::MaxOf { lhs, rhs, .. } => write_duration_call(out, "max_of(", lhs, rhs),
        DurationExpr::Negate { expr, .. } => {
            out.push('-');
            write_duration_expr(out, expr);
        }
        DurationExpr::Binary { op, lhs, rhs, .. } => {
            write_duration_expr(out, lhs);
            push(out, format_args!(" {} ", op.as_str()));
            write_duration_expr(out, rhs);
        }
        DurationExpr::Paren { expr, .. } => {
            out.push('(');
            write_duration_expr(out, expr);
            out.push(')');
        }
    }
}

fn write_duration_call(out: &mut String, open: &str, lhs: &DurationExpr, rhs: &DurationExpr) {
    out.push_str(open);
    write_duration_expr(out, lhs);
    out.push_str(", ");
    write_duration_expr(out, rhs);
    out.push(')');
}

fn write_vector(out: &mut String, selector: &VectorSelector) {
    write_series(out, selector);
    write_at(out, selector.at);
    write_border(out, selector.border);
    write_offset(out, selector.offset.as_ref());
}

fn write_matrix(out: &mut String, matrix: &MatrixSelector) {
    write_series(out, &matrix.selector);
    out.push('[');
    write_duration(out, &matrix.range);
    out.push(']');
    write_border(out, matrix.selector.border);
    write_at(out, matrix.selector.at);
    write_offset(out, matrix.selector.offset.as_ref());
}

/// A subquery without its operand.
pub(crate) fn write_subquery_suffix(out: &mut String, subquery: &Subquery) {
    out.push('[');
    write_duration(out, &subquery.range);
    out.push(':');
    if let Some(step) = &subquery.step {
        write_duration(out, step);
    }
    out.push(']');
    write_at(out, subquery.at);
    write_offset(out, subquery.offset.as_ref());
}

/// Name and matchers, the latter sorted by their text.
fn write_series(out: &mut String, selector: &VectorSelector) {
    out.push_str(&selector.name);
    let is_name = |matcher: &Matcher| {
        let equal = matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
        equal && matcher.value() == selector.name && !selector.name.is_empty()
    };
    let mut matchers: Vec<String> = selector.matchers.iter().filter(|m| !is_name(m)).map(matcher_text).collect();
    matchers.sort_unstable();
    if !matchers.is_empty() {
        push(out, format_args!("{{{}}}", matchers.join(",")));
    }
}

fn matcher_text(matcher: &Matcher) -> String {
    let op = match matcher.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    let mut out = String::new();
    write_label(&mut out, matcher.name());
    out.push_str(op);
    out.push_str(&quote(matcher.value()));
    out
}

fn write_at(out: &mut String, at: Option<At>) {
    match at {
        None => {}
        #[expect(clippy::cast_precision_loss, reason = "as Prometheus prints it")]
        Some(At::Time(millis)) => push(out, format_args!(" @ {:.3}", millis as f64 / 1000.0)),
        Some(At::Start) => out.push_str(" @ start()"),
        Some(At::End) => out.push_str(" @ end()"),
    }
}

fn write_border(out: &mut String, border: Border) {
    out.push_str(match border {
        Border::Plain => "",
        Border::Anchored => " anchored",
        Border::Smoothed => " smoothed",
    });
}

fn write_offset(out: &mut String, offset: Option<&Duration>) {
    if let Some(offset) = offset {
        out.push_str(" offset ");
        write_duration(out, offset);
    }
}

fn write_labels(out: &mut String, labels: &[String]) {
    for (index, label) in labels.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        write_label(out, label);
    }
}

/// A label's name, in quotes where it needs them.
fn write_label(out: &mut String, name: &str) {
    let plain =
        |(at, byte): (usize, u8)| byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit());
    if !name.is_empty() && name.bytes().enumerate().all(plain) {
        out.push_str(name);
    } else {
        out.push_str(&quote(name));
    }
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("invariant: writing to a String does not fail");
}

#[cfg(test)]
mod tests;
