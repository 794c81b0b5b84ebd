//! How often each function, operator and modifier was asked.

use std::collections::BTreeMap;
use std::fmt::Write;

use promql::Expr;
use promql::ast::{At, Duration, VectorMatching, VectorSelector};
use promql::tree::{Border, Cardinality, ValueType};

use super::grammar::Feature;

/// Queries by name, each name with its kind before it.
#[derive(Debug, Default)]
pub struct Coverage(BTreeMap<String, Asked>);

/// How many queries had something.
#[derive(Debug, Default, Clone, Copy)]
struct Asked {
    times: usize,
    /// Of them those that were answered alike, and with something.
    answered: usize,
}

impl Coverage {
    /// Counts everything in a query; `answered` where the answers are the same and not empty.
    pub fn add(&mut self, expr: &Expr, answered: bool) {
        let mut of_query = Self::default();
        of_query.add_all(expr);
        for (name, mut asked) in of_query.0 {
            asked.answered = if answered { asked.times } else { 0 };
            self.add_asked(name, asked);
        }
    }

    fn add_all(&mut self, expr: &Expr) {
        let root = expr.unparenthesized();
        match root.value_type() {
            ValueType::Matrix => self.count("modifier", "range vector result"),
            ValueType::String => self.count("modifier", "string result"),
            _ => {}
        }
        let mut open = vec![(expr, 0)];
        while let Some((expr, depth)) = open.pop() {
            self.add_one(expr, depth);
            let below = depth + usize::from(matches!(expr, Expr::Subquery(_)));
            open.extend(expr.children().into_iter().map(|child| (child, below)));
        }
    }

    fn add_one(&mut self, expr: &Expr, subqueries: usize) {
        match expr {
            Expr::Call(call) => self.count("function", call.function.name()),
            Expr::Aggregate(aggregate) => {
                self.count("aggregation", aggregate.op.as_str());
                if aggregate.without || !aggregate.grouping.is_empty() {
                    self.count("modifier", if aggregate.without { "without" } else { "by" });
                }
                if aggregate.param.as_ref().is_some_and(moves) {
                    self.count("modifier", "moving parameter");
                }
            }
            Expr::Binary(binary) => {
                self.count("operator", binary.op.as_str());
                if binary.return_bool {
                    self.count("modifier", "bool");
                }
                if let Some(matching) = &binary.matching {
                    self.add_matching(matching);
                }
            }
            Expr::Unary(unary) => self.count("modifier", if unary.negative { "unary minus" } else { "unary plus" }),
            Expr::Vector(selector) => self.add_selector(selector),
            Expr::Matrix(matrix) => {
                self.add_selector(&matrix.selector);
                self.add_durations(&[Some(&matrix.range)]);
            }
            Expr::Subquery(subquery) => {
                let names = [
                    ("subquery", true),
                    ("subquery default step", subquery.step.is_none()),
                    ("subquery offset", subquery.offset.is_some()),
                    ("subquery @", subquery.at.is_some()),
                    ("nested subquery", subqueries > 0),
                ];
                names.iter().filter(|(_, has)| *has).for_each(|(name, _)| self.count("modifier", name));
                self.add_durations(&[Some(&subquery.range), subquery.step.as_ref(), subquery.offset.as_ref()]);
            }
            _ => {}
        }
    }

    fn add_selector(&mut self, selector: &VectorSelector) {
        if let Some(offset) = &selector.offset {
            let negative = offset.millis().is_some_and(|millis| millis < 0);
            self.count("modifier", if negative { "negative offset" } else { "offset" });
        }
        self.add_durations(&[selector.offset.as_ref()]);
        match selector.border {
            Border::Plain => {}
            Border::Anchored => self.count("modifier", "anchored"),
            Border::Smoothed => self.count("modifier", "smoothed"),
        }
        match selector.at {
            Some(At::Time(_)) => self.count("modifier", "@ time"),
            Some(At::Start) => self.count("modifier", "@ start()"),
            Some(At::End) => self.count("modifier", "@ end()"),
            None => {}
        }
    }

    fn add_durations(&mut self, durations: &[Option<&Duration>]) {
        if durations.iter().flatten().any(|duration| matches!(duration, Duration::Expr(_))) {
            self.count("modifier", "duration expression");
        }
    }

    fn add_matching(&mut self, matching: &VectorMatching) {
        if matching.on || !matching.labels.is_empty() {
            self.count("modifier", if matching.on { "on" } else { "ignoring" });
        }
        match matching.cardinality {
            Cardinality::ManyToOne => self.count("modifier", "group_left"),
            Cardinality::OneToMany => self.count("modifier", "group_right"),
            _ => {}
        }
        match (matching.fill_left, matching.fill_right) {
            (Some(_), Some(_)) => self.count("modifier", "fill"),
            (Some(_), None) => self.count("modifier", "fill_left"),
            (None, Some(_)) => self.count("modifier", "fill_right"),
            (None, None) => {}
        }
    }

    fn count(&mut self, kind: &str, name: &str) {
        self.0.entry(format!("{kind} {name}")).or_default().times += 1;
    }

    fn add_asked(&mut self, name: String, asked: Asked) {
        let sum = self.0.entry(name).or_default();
        sum.times += asked.times;
        sum.answered += asked.answered;
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(name, asked)| self.add_asked(name, asked));
    }

    /// What was never asked, or never answered with anything.
    pub fn missing(&self, features: &[Feature]) -> Vec<String> {
        let names = features.iter().map(|feature| match feature {
            Feature::Function(function) => format!("function {}", function.name()),
            Feature::Aggregate(op) => format!("aggregation {}", op.as_str()),
            Feature::Binary(op) => format!("operator {op}"),
            Feature::Modifier(modifier) => format!("modifier {modifier}"),
        });
        names.filter(|name| self.0.get(name).is_none_or(|asked| asked.answered == 0)).collect()
    }

    /// A line a kind: how often each was asked, and how often answered with something.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for kind in ["function", "aggregation", "operator", "modifier"] {
            let of_kind = self.0.iter().filter_map(|(name, asked)| Some((name.strip_prefix(kind)?.trim(), asked)));
            let counts: Vec<String> =
                of_kind.map(|(name, asked)| format!("{name} {}/{}", asked.answered, asked.times)).collect();
            let _ = writeln!(table, "{kind}s: {}", counts.join(", "));
        }
        table
    }
}

/// Whether a parameter is more than a constant.
fn moves(param: &Expr) -> bool {
    let mut moves = false;
    param.walk(|expr| moves |= matches!(expr, Expr::Call(_) | Expr::Vector(_) | Expr::Matrix(_)));
    moves
}
