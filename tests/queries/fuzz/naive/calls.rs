//! Function calls: which rule each function follows.

use promql::ast::{Call, VectorSelector};
use promql::tree::ValueType;
use promql::{Expr, Function};

use super::numbers::{greater, natural, seconds, smaller};
use super::{Computed, Failure, LabelSet, Naive, Naively, Row, Value, Vector, label, map_rows};

impl Naive<'_> {
    /// A call at every step.
    pub(super) fn call(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let function = call.function;
        if function.signature().args.contains(&ValueType::Matrix) {
            return self.call_of_range(call, steps);
        }
        let all = |value: f64| Ok(Computed::Scalar(vec![value; steps.len()]));
        let args = &call.args;
        match function {
            Function::Pi => all(std::f64::consts::PI),
            Function::Start => all(seconds(self.when.start)),
            Function::End => all(seconds(self.when.end)),
            Function::Range => all(seconds(self.when.end - self.when.start)),
            Function::Step if self.when.start == self.when.end => all(0.0),
            Function::Step => all(seconds(self.when.step_ms)),
            Function::Time => Ok(Computed::Scalar(steps.iter().map(|t| seconds(*t)).collect())),
            Function::MinOf | Function::MaxOf => {
                let pairs = self.scalars(&args[0], steps)?.into_iter().zip(self.scalars(&args[1], steps)?);
                let of = if function == Function::MinOf { smaller } else { greater };
                Ok(Computed::Scalar(pairs.map(|(a, b)| of(a, b)).collect()))
            }
            Function::Scalar => Ok(Computed::Scalar(self.vectors(&args[0], steps)?.iter().map(single).collect())),
            Function::Vector => {
                let row = |value| vec![Row::new(LabelSet::new(), Value::Float(value))];
                Ok(Computed::Vector(self.scalars(&args[0], steps)?.into_iter().map(row).collect()))
            }
            Function::Absent => {
                let (labels, vectors) = (absent_labels(&args[0]), self.vectors(&args[0], steps)?);
                Ok(Computed::Vector(vectors.iter().map(|vector| absent(&labels, vector.is_empty())).collect()))
            }
            Function::Timestamp => self.timestamp(&args[0], steps),
            Function::StartTimestamp => {
                match args[0].unparenthesized() {
                    Expr::Vector(selector) if self.starts => return self.start_timestamp(selector, steps),
                    Expr::Vector(_) => {}
                    _ => drop(self.vectors(&args[0], steps)?),
                }
                Ok(Computed::Vector(vec![Vector::new(); steps.len()]))
            }
            Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc => {
                self.sorted(call, steps)
            }
            Function::LabelReplace => self.label_replace(call, steps),
            Function::LabelJoin => self.label_join(call, steps),
            Function::Info => self.info(call, steps),
            Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
                self.of_buckets(call, steps)
            }
            _ if function.name().contains("day") || is_clock(function) => self.date(call, steps),
            _ => self.element_function(call, steps),
        }
    }

    fn call_of_range(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let is_range = |arg: &&Expr| arg.value_type() == ValueType::Matrix;
        let range = call.args.iter().find(is_range).ok_or_else(|| Failure::new("no range vector"))?;
        let others = call.args.iter().filter(|arg| !is_range(arg));
        let scalars = others.map(|arg| self.scalars(arg, steps)).collect::<Naively<Vec<_>>>()?;
        let vectors = self.range_function(call.function, range, &scalars, steps)?;
        if call.function != Function::AbsentOverTime {
            return Ok(Computed::Vector(vectors));
        }
        let labels = absent_labels(range);
        Ok(Computed::Vector(vectors.iter().map(|vector| absent(&labels, vector.is_empty())).collect()))
    }

    /// Of a selector the samples' own times, of anything else the time of evaluation.
    fn timestamp(&self, arg: &Expr, steps: &[i64]) -> Naively<Computed> {
        let row = |labels: &LabelSet, t: i64| self.nameless(labels.clone(), Value::Float(seconds(t)));
        if let Expr::Vector(selector) = arg.unparenthesized() {
            let found = self.latest(selector, steps)?;
            let rows = |step: Vec<(&LabelSet, i64, Value)>| step.iter().map(|(labels, t, _)| row(labels, *t)).collect();
            return self.unique(found.into_iter().map(rows).collect());
        }
        let vectors = self.vectors(arg, steps)?;
        let rows = |(t, vector): (&i64, Vector)| vector.iter().map(|one| row(&one.labels, *t)).collect();
        self.unique(steps.iter().zip(vectors).map(rows).collect())
    }

    /// Since when the samples of a selector count; 0 is unknown.
    fn start_timestamp(&self, selector: &VectorSelector, steps: &[i64]) -> Naively<Computed> {
        let start = |labels: &LabelSet, t: i64| self.data.starts.get(labels)?.get(&t).copied();
        let row = |(labels, t, _): &(&LabelSet, i64, Value)| {
            self.nameless((*labels).clone(), Value::Float(seconds(start(labels, *t).unwrap_or(0))))
        };
        let found = self.latest(selector, steps)?;
        self.unique(found.iter().map(|step| step.iter().map(row).collect()).collect())
    }

    fn sorted(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let names: Vec<&str> = call.args[1..].iter().map(text).collect();
        let function = call.function;
        let mut vectors = self.vectors(&call.args[0], steps)?;
        if matches!(function, Function::Sort | Function::SortDesc) {
            vectors = map_rows(vectors, |row| matches!(row.value, Value::Float(_)).then_some(row));
        }
        for vector in &mut vectors {
            vector.sort_by(|a, b| match (function, &a.value, &b.value) {
                (Function::Sort, Value::Float(a), Value::Float(b)) => nan_last(*a, *b),
                (Function::SortDesc, Value::Float(a), Value::Float(b)) => nan_last(-*a, -*b),
                _ => {
                    let by = |name: &&str| natural(label(&a.labels, name), label(&b.labels, name));
                    let order = names.iter().map(by).find(|order| order.is_ne());
                    let order = order.unwrap_or_else(|| a.labels.cmp(&b.labels));
                    if function == Function::SortByLabelDesc { order.reverse() } else { order }
                }
            });
        }
        Ok(Computed::Vector(vectors))
    }
}

fn is_clock(function: Function) -> bool {
    matches!(function, Function::Hour | Function::Minute | Function::Month | Function::Year)
}

fn nan_last(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// A text argument.
pub(super) fn text(arg: &Expr) -> &str {
    match arg.unparenthesized() {
        Expr::String(text) => &text.value,
        _ => "",
    }
}

/// The only number of a vector, or NaN.
fn single(vector: &Vector) -> f64 {
    let mut floats = vector.iter().filter_map(|row| match row.value {
        Value::Float(value) => Some(value),
        Value::Histogram(_) => None,
    });
    match (floats.next(), floats.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
}

fn absent(labels: &LabelSet, is_absent: bool) -> Vector {
    let row = || Row::new(labels.clone(), Value::Float(1.0));
    is_absent.then(row).into_iter().collect()
}

/// The labels that a selector asks for by `=`, each once.
fn absent_labels(arg: &Expr) -> LabelSet {
    use storage::model::MatchOp;
    let matchers = match arg.unparenthesized() {
        Expr::Vector(selector) => &selector.matchers,
        Expr::Matrix(matrix) => &matrix.selector.matchers,
        _ => return LabelSet::new(),
    };
    let mut labels = LabelSet::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != "__name__") {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            seen.push(matcher.name());
            labels.insert(matcher.name().to_owned(), matcher.value().to_owned());
        } else {
            labels.remove(matcher.name());
        }
    }
    labels.retain(|_, value| !value.is_empty());
    labels
}
