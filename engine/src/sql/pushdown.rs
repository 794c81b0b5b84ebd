//! Which predicates a scan takes over, and as what.
//!
//! | predicate | becomes | exactly? |
//! |---|---|---|
//! | `timestamp` compared with a constant, `BETWEEN` too | the interval that is read | yes |
//! | anything over labels alone | a [condition on series](SeriesCondition), evaluated by DataFusion itself on a row a series | yes |
//! | of these `=`, `<>`, `IN`, `LIKE`, `~`, `IS NULL` and their negations | matchers, too, with which the index selects | they let more through |
//! | all others | stay above the scan | |
//!
//! SQL and PromQL do not mean the same: a label that a series lacks is null in one and empty in the other, and `~` is not
//! anchored. So matchers only spare the scan series that cannot pass; what passes is decided by SQL's own evaluation, once a
//! series and not once a row.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, Like, Operator};
use storage::model::{MatchOp, Matcher, TimeInterval, Timestamp};

use super::sample_rows::TIMESTAMP;

/// How a scan deals with one predicate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pushed {
    /// Only samples in this interval pass, and all of them.
    Time(TimeInterval),
    /// It speaks of labels alone.
    Labels,
    /// Not at all.
    No,
}

/// The label that a column of the table stands for; none for the columns of a sample.
pub(crate) trait LabelOfColumn {
    /// Of the column `name`.
    fn label(&self, name: &str) -> Option<&str>;
}

/// How a scan deals with `expr`.
pub(crate) fn classify(expr: &Expr, labels: &impl LabelOfColumn) -> Pushed {
    if let Some(interval) = time_interval(expr) {
        return Pushed::Time(interval);
    }
    let columns = expr.column_refs();
    let only_labels = !columns.is_empty() && columns.iter().all(|column| labels.label(&column.name).is_some());
    if only_labels && !expr.is_volatile() && !has_subquery(expr) { Pushed::Labels } else { Pushed::No }
}

fn has_subquery(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let is_subquery = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::OuterReferenceColumn(..)
        ) || matches!(expr, Expr::SetComparison(_)))
    };
    // a walk that fails has found nothing out
    expr.exists(is_subquery).unwrap_or(true)
}

/// The interval of times that pass `expr`, where it compares `timestamp` with a constant.
fn time_interval(expr: &Expr) -> Option<TimeInterval> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (is_timestamp(left), is_timestamp(right)) {
            (true, false) => compared(*op, constant(right)?),
            (false, true) => compared(op.swap()?, constant(left)?),
            _ => None,
        },
        Expr::Between(Between { expr, negated: false, low, high }) if is_timestamp(expr) => {
            let from = compared(Operator::GtEq, constant(low)?)?;
            let to = compared(Operator::LtEq, constant(high)?)?;
            Some(TimeInterval::new(from.mint, to.maxt))
        }
        _ => None,
    }
}

/// Whether `expr` is the column of times, as it is or in a finer unit.
fn is_timestamp(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.name == TIMESTAMP,
        Expr::Cast(Cast { expr, field }) => {
            matches!(field.data_type(), DataType::Timestamp(unit, _) if *unit != TimeUnit::Second) && is_timestamp(expr)
        }
        _ => false,
    }
}

/// A constant time in nanoseconds.
fn constant(expr: &Expr) -> Option<i128> {
    let Expr::Literal(value, _) = expr else { return None };
    let (count, nanoseconds) = match value {
        ScalarValue::TimestampSecond(Some(count), _) => (*count, 1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(count), _) => (*count, 1_000_000),
        ScalarValue::TimestampMicrosecond(Some(count), _) => (*count, 1_000),
        ScalarValue::TimestampNanosecond(Some(count), _) => (*count, 1),
        _ => return None,
    };
    Some(i128::from(count) * nanoseconds)
}

/// The whole milliseconds that compare so with a time in nanoseconds.
fn compared(op: Operator, nanoseconds: i128) -> Option<TimeInterval> {
    const MS: i128 = 1_000_000;
    let clamp = |ms: i128| Timestamp::try_from(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX });
    let floor = clamp(nanoseconds.div_euclid(MS));
    let ceiling = clamp(-(-nanoseconds).div_euclid(MS));
    Some(match op {
        Operator::GtEq => TimeInterval::new(ceiling, Timestamp::MAX),
        Operator::Gt => TimeInterval::new(floor.saturating_add(1), Timestamp::MAX),
        Operator::LtEq => TimeInterval::new(Timestamp::MIN, floor),
        Operator::Lt => TimeInterval::new(Timestamp::MIN, ceiling.saturating_sub(1)),
        // of a time between two milliseconds there is none: ceiling and floor have changed places
        Operator::Eq => TimeInterval::new(ceiling, floor),
        _ => return None,
    })
}

/// What both let through.
pub(crate) fn intersection(a: TimeInterval, b: TimeInterval) -> TimeInterval {
    TimeInterval::new(a.mint.max(b.mint), a.maxt.min(b.maxt))
}

/// Matchers that every series passes that passes `expr`: none where no matcher says something of it.
pub(crate) fn matchers(expr: &Expr, labels: &impl LabelOfColumn) -> Vec<Matcher> {
    let label_of = |expr: &Expr| label_of(expr, labels);
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            match op {
                Operator::And => return [matchers(left, labels), matchers(right, labels)].concat(),
                // what IN with a few values becomes
                Operator::Or => return one_of(expr, labels).unwrap_or_default(),
                _ => {}
            }
            let (label, text, op) = match (label_of(left), text_of(right), label_of(right), text_of(left)) {
                (Some(label), Some(text), ..) => (label, text, *op),
                (_, _, Some(label), Some(text)) if matches!(op, Operator::Eq | Operator::NotEq) => (label, text, *op),
                _ => return Vec::new(),
            };
            compare_matchers(label, op, text)
        }
        Expr::InList(InList { expr, list, negated }) => {
            let (Some(label), Some(texts)) = (label_of(expr), list.iter().map(text_of).collect::<Option<Vec<_>>>())
            else {
                return Vec::new();
            };
            let any = texts.into_iter().map(quoted).collect::<Vec<_>>().join("|");
            regex_matchers(label, *negated, &any)
        }
        Expr::Like(Like { negated, expr, pattern, escape_char: None, case_insensitive: false }) => {
            match (label_of(expr), text_of(pattern)) {
                (Some(label), Some(_)) if *negated => vec![present(label)],
                (Some(label), Some(pattern)) if !pattern.contains('\\') => {
                    let regex: String = pattern.chars().map(like_part).collect();
                    regex_matchers(label, false, &regex)
                }
                _ => Vec::new(),
            }
        }
        Expr::IsNotNull(expr) => label_of(expr).map(present).into_iter().collect(),
        Expr::IsNull(expr) => label_of(expr).map(|label| Matcher::equal(label, "")).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Of alternatives that compare one label with a value each.
fn one_of(expr: &Expr, labels: &impl LabelOfColumn) -> Option<Vec<Matcher>> {
    let mut alternatives = vec![expr];
    let (mut label, mut texts) = (None, Vec::new());
    while let Some(next) = alternatives.pop() {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = next else { return None };
        match op {
            Operator::Or => alternatives.extend([&**right, &**left]),
            Operator::Eq => {
                let this = label_of(left, labels)?;
                if *label.get_or_insert(this) != this {
                    return None;
                }
                texts.push(quoted(text_of(right)?));
            }
            _ => return None,
        }
    }
    Some(regex_matchers(label?, false, &texts.join("|")))
}

fn compare_matchers(label: &str, op: Operator, text: &str) -> Vec<Matcher> {
    match op {
        // no label has an empty value, and an empty matcher passes those without the label, which the condition then drops
        Operator::Eq => vec![Matcher::equal(label, text)],
        Operator::NotEq => {
            Matcher::try_new(MatchOp::NotEqual, label, text).into_iter().chain([present(label)]).collect()
        }
        Operator::RegexMatch if is_common_regex(text) => regex_matchers(label, false, &format!(".*(?:{text}).*")),
        // PromQL's dot matches the end of a line, too: turned round, it would keep more away than it may
        Operator::RegexNotMatch => vec![present(label)],
        _ => Vec::new(),
    }
}

/// Of a regular expression that is the same in SQL and PromQL, and anchored; what compares must be there.
fn regex_matchers(label: &str, negated: bool, regex: &str) -> Vec<Matcher> {
    let op = if negated { MatchOp::NotRegex } else { MatchOp::Regex };
    // one that is too large is no matcher, and the condition decides alone
    Matcher::try_new(op, label, regex).into_iter().chain([present(label)]).collect()
}

/// The label is there.
fn present(label: &str) -> Matcher {
    Matcher::try_new(MatchOp::NotEqual, label, "").unwrap_or_else(|_| Matcher::equal(label, ""))
}

/// Whether a regular expression means the same in both syntaxes and never passes less in PromQL's. Escapes and flags are where
/// they differ: `\d` has all of Unicode's digits in one and ten in the other.
fn is_common_regex(text: &str) -> bool {
    let common = |c: char| c.is_alphanumeric() || "_-/:@ .*+?|()^$".contains(c);
    text.chars().all(common) && !text.contains("(?")
}

fn quoted(text: &str) -> String {
    text.chars().map(quoted_char).collect()
}

fn quoted_char(c: char) -> String {
    if r"\.+*?()|[]{}^$".contains(c) { format!("\\{c}") } else { c.to_string() }
}

fn like_part(c: char) -> String {
    match c {
        '%' => "(?s:.*)".to_owned(),
        '_' => "(?s:.)".to_owned(),
        c => quoted_char(c),
    }
}

/// The label that `expr` is, as it is or as another kind of text.
fn label_of<'a>(expr: &Expr, labels: &'a impl LabelOfColumn) -> Option<&'a str> {
    match expr {
        Expr::Column(column) => labels.label(&column.name),
        Expr::Cast(Cast { expr, field }) if is_text(field.data_type()) => label_of(expr, labels),
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn text_of(expr: &Expr) -> Option<&str> {
    let Expr::Literal(value, _) = expr else { return None };
    value.try_as_str().flatten()
}

#[cfg(test)]
mod tests;
