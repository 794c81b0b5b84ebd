//! Draws queries: well typed, mostly answerable, and together everything that PromQL has.

mod calls;
mod choices;
mod operators;
mod selectors;

use promql::Function;
use promql::tree::{AggregateOp, ValueType};

use super::naive::When;
use super::random::Random;
use choices::{AGGREGATES, BINARIES, MODIFIERS};

/// A production that a query must have somewhere, so that all of them come in turn.
#[derive(Debug, Clone, Copy)]
pub enum Feature {
    /// A call.
    Function(Function),
    /// An aggregation.
    Aggregate(AggregateOp),
    /// A binary operator between vectors, or one of them and a scalar.
    Binary(&'static str),
    /// Something beside an expression.
    Modifier(&'static str),
}

/// All of them.
pub fn features() -> Vec<Feature> {
    let functions = Function::ALL.iter().copied().map(Feature::Function);
    let aggregates = AGGREGATES.into_iter().map(Feature::Aggregate);
    let binaries = BINARIES.into_iter().map(Feature::Binary);
    functions.chain(aggregates).chain(binaries).chain(MODIFIERS.into_iter().map(Feature::Modifier)).collect()
}

/// What kind of series a selector shall find, mostly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taste {
    /// Numbers.
    Floats,
    /// Native histograms.
    Natives,
    /// The buckets of classic histograms.
    Classic,
    /// Anything.
    Any,
}

/// Draws one query.
pub struct Grammar<'a> {
    random: &'a mut Random,
    when: When,
}

impl<'a> Grammar<'a> {
    /// Queries to be asked at these times.
    pub fn new(random: &'a mut Random, when: When) -> Self {
        Self { random, when }
    }

    /// A query that has `feature`.
    pub fn query(&mut self, feature: Feature) -> String {
        let depth = if self.random.percent(15) { 3 } else { 2 };
        let mut expr = match feature {
            Feature::Function(function) => self.call(function, depth),
            Feature::Aggregate(op) => self.aggregate(op, depth),
            Feature::Binary(op) => self.binary(op, depth),
            Feature::Modifier(modifier) => self.modifier(modifier),
        };
        let scalar = matches!(feature, Feature::Function(f) if f.return_type() == ValueType::Scalar);
        let whole =
            matches!(feature, Feature::Modifier("range vector result" | "string result" | "anchored" | "smoothed"));
        if scalar && self.random.percent(60) {
            expr = match self.random.below(3) {
                0 => format!("vector({expr})"),
                1 => format!("({}) * {expr}", self.vector(1, Taste::Floats)),
                _ => format!("clamp_max({}, {expr})", self.vector(1, Taste::Floats)),
            };
        } else if !scalar && !whole && self.random.percent(35) {
            expr = self.around(&expr);
        }
        expr
    }

    /// Something around a vector.
    fn around(&mut self, inner: &str) -> String {
        match self.random.below(9) {
            0 => format!("({inner})"),
            1 => format!("-({inner})"),
            2 => format!("{}({inner})", self.element_function().name()),
            3 => self.aggregate_of(inner),
            4 => format!("{}({})", self.range_function().name(), self.subquery_of(inner)),
            5 => format!("scalar({inner})"),
            6 => {
                let other = self.vector(1, Taste::Any);
                self.operation_of(inner, &other)
            }
            7 => {
                let other = self.vector(1, Taste::Any);
                self.operation_of(&other, inner)
            }
            _ => format!("({inner}) {} {}", self.random.pick(&["+", "*", ">", "<=", "== bool"]), self.scalar(1)),
        }
    }

    /// A vector.
    fn vector(&mut self, depth: usize, taste: Taste) -> String {
        if depth == 0 || self.random.percent(45) {
            return self.selector(taste);
        }
        match self.random.below(if taste == Taste::Any { 9 } else { 6 }) {
            0 | 1 => {
                let function = if taste == Taste::Natives {
                    *self.random.pick(&[Function::Rate, Function::SumOverTime, Function::LastOverTime, Function::Delta])
                } else {
                    self.range_function()
                };
                if function.signature().args.len() > 1 {
                    return self.call(function, depth - 1);
                }
                format!("{}({})", function.name(), self.range(depth - 1, taste))
            }
            2 => {
                let inner = self.vector(depth - 1, taste);
                self.aggregate_of(&inner)
            }
            3 => format!("(({}) {} {})", self.selector(taste), self.random.pick(&["*", "/"]), self.scalar(depth - 1)),
            4 => {
                let (left, right) = self.pair(depth - 1, taste);
                format!("({})", self.operation_of(&left, &right))
            }
            5 => format!("(-{})", self.selector(taste)),
            6 => {
                let function = self.element_function();
                self.call(function, depth - 1)
            }
            7 => {
                let function = *self.random.pick(Function::ALL);
                let call = self.call(function, depth - 1);
                if function.return_type() == ValueType::Scalar { format!("vector({call})") } else { call }
            }
            _ => {
                let op = *self.random.pick(&AGGREGATES);
                self.aggregate(op, depth - 1)
            }
        }
    }

    /// A scalar.
    fn scalar(&mut self, depth: usize) -> String {
        if depth == 0 || self.random.percent(60) {
            return self.number();
        }
        match self.random.below(8) {
            0 => "time()".to_owned(),
            1 => format!("scalar({})", self.selector(Taste::Floats)),
            2 => format!(
                "({} {} {})",
                self.scalar(0),
                self.random.pick(&["+", "-", "*", "/", "%", "^", "atan2"]),
                self.scalar(depth - 1)
            ),
            3 => format!(
                "({} {} bool {})",
                self.scalar(0),
                self.random.pick(&["==", "!=", ">", "<", ">=", "<="]),
                self.scalar(depth - 1)
            ),
            4 => format!("{}({}, {})", self.random.pick(&["min_of", "max_of"]), self.scalar(0), self.scalar(depth - 1)),
            5 => self.random.pick(&["pi()", "start()", "end()", "step()", "range()"]).to_string(),
            6 => format!("-{}", self.scalar(0)),
            _ => format!("scalar({})", self.vector(depth - 1, Taste::Floats)),
        }
    }

    fn number(&mut self) -> String {
        let numbers = [
            "0", "1", "2", "0.5", "3", "-1", "10", "0.25", "100", "1e3", "-0.75", "NaN", "Inf", "-Inf", "5m", "0x1f",
            "1_000",
        ];
        self.random.pick(&numbers).to_string()
    }

    /// A number that changes from step to step, between about 0 and `most`; or whatever a series has.
    fn moving(&mut self, most: i64) -> String {
        if self.random.percent(20) {
            return format!("scalar({})", self.bare_selector(Taste::Floats));
        }
        let period = self.random.between(30, 300);
        format!("((time() % {period}) / {period} * {most})")
    }
}
