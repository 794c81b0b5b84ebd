//! Makes a query that goes wrong smaller: parts are replaced by what is inside them for as long as it still goes wrong.

use promql::tree::{Span, ValueType};
use promql::{Expr, ParseOptions, parse};

/// The smallest query found for which `goes_wrong` still holds, tried at most so many times.
pub fn shrunk(query: &str, attempts: usize, goes_wrong: impl Fn(&str) -> bool) -> String {
    let mut best = query.to_owned();
    let mut left = attempts;
    loop {
        let smaller = candidates(&best).into_iter().find(|candidate| {
            left = left.saturating_sub(1);
            left > 0 && goes_wrong(candidate)
        });
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

/// Queries with one part less, the smallest first.
fn candidates(query: &str) -> Vec<String> {
    let Ok(expr) = parse(query, &ParseOptions::experimental()) else { return Vec::new() };
    let mut candidates = Vec::new();
    let mut all = Vec::new();
    expr.walk(|part| all.push(part));
    for part in &all {
        candidates
            .extend(inner(part).into_iter().map(|below| replaced(query, part.span(), &query[range(below.span())])));
        if let Expr::Vector(selector) = part
            && !selector.name.is_empty()
        {
            candidates.push(replaced(query, selector.span, &selector.name));
        }
    }
    candidates
        .retain(|candidate| candidate.len() < query.len() && parse(candidate, &ParseOptions::experimental()).is_ok());
    candidates.sort_by_key(String::len);
    candidates.dedup();
    candidates
}

/// What lies below a part at any depth and is of the same type.
fn inner<'a>(part: &'a Expr) -> Vec<&'a Expr> {
    let mut below: Vec<&'a Expr> = Vec::new();
    for child in part.children() {
        child.walk(|expr| below.push(expr));
    }
    let of_type = |kind: ValueType| if kind == ValueType::String { None } else { Some(kind) };
    below.retain(|expr| of_type(expr.value_type()) == Some(part.value_type()));
    below
}

fn range(span: Span) -> std::ops::Range<usize> {
    span.start..span.end
}

fn replaced(query: &str, span: Span, by: &str) -> String {
    format!("{}{by}{}", &query[..span.start], &query[span.end..])
}
