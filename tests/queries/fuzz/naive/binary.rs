//! Binary operators.

use std::collections::{BTreeMap, BTreeSet};

use promql::ast::{Binary, VectorMatching};
use promql::tree::{BinaryOp, Cardinality};
use storage::model::{CounterResetHint, FloatHistogram};

use super::{Computed, Failure, LabelSet, Naive, Naively, Row, Value, Vector, both, label, notes, without_name};

/// What an operator makes of two samples, and whether a comparison holds.
type Pair = Option<(Value, bool)>;

impl Naive<'_> {
    /// A binary operation at every step.
    pub(super) fn binary(&self, binary: &Binary, steps: &[i64]) -> Naively<Computed> {
        match both(self.eval(&binary.lhs, steps), self.eval(&binary.rhs, steps))? {
            (Computed::Scalar(left), Computed::Scalar(right)) => {
                let values = left.into_iter().zip(right);
                Ok(Computed::Scalar(values.map(|(a, b)| self.of_scalars(binary.op, a, b)).collect()))
            }
            (Computed::Vector(left), Computed::Scalar(right)) => {
                let vectors = left.into_iter().zip(right);
                self.unique(vectors.map(|(rows, number)| self.with_scalar(binary, rows, number, false)).collect())
            }
            (Computed::Scalar(left), Computed::Vector(right)) => {
                let vectors = right.into_iter().zip(left);
                self.unique(vectors.map(|(rows, number)| self.with_scalar(binary, rows, number, true)).collect())
            }
            (Computed::Vector(left), Computed::Vector(right)) => {
                let matching = binary.matching.as_ref().ok_or_else(|| Failure::new("no matching"))?;
                let vectors: Naively<Vec<Vector>> = left
                    .into_iter()
                    .zip(right)
                    .map(|(left, right)| self.joined(binary, matching, left, right))
                    .collect();
                self.unique(vectors?)
            }
        }
    }

    fn of_scalars(&self, op: BinaryOp, a: f64, b: f64) -> f64 {
        match holds(op, a, b) {
            Some(holds) => f64::from(u8::from(holds)),
            None => self.rounded(arithmetic(op, a, b)),
        }
    }

    fn with_scalar(&self, binary: &Binary, rows: Vector, number: f64, scalar_first: bool) -> Vector {
        let mut result = Vector::new();
        for row in rows {
            let scalar = Value::Float(number);
            let pair = if scalar_first {
                self.pair(binary.op, &scalar, &row.value)
            } else {
                self.pair(binary.op, &row.value, &scalar)
            };
            if let Some(note) = pair.1 {
                self.note(note);
            }
            let Some((value, holds)) = pair.0 else { continue };
            if binary.return_bool {
                result.push(self.nameless(row.labels, Value::Float(f64::from(u8::from(holds)))));
            } else if holds {
                // a comparison keeps the vector's sample, whichever side it is on
                let value = if binary.op.is_comparison() { row.value.clone() } else { value };
                result.push(if changes_meaning(binary.op) {
                    self.nameless(row.labels, value)
                } else {
                    Row { value, ..row }
                });
            }
        }
        result
    }

    /// Two vectors, joined by their labels.
    fn joined(&self, binary: &Binary, matching: &VectorMatching, left: Vector, right: Vector) -> Naively<Vector> {
        if binary.op.is_set() {
            let keys =
                |rows: &Vector| -> BTreeSet<LabelSet> { rows.iter().map(|row| key(matching, &row.labels)).collect() };
            let (left_keys, right_keys) = (keys(&left), keys(&right));
            return Ok(match binary.op {
                BinaryOp::And => only(left, |row| right_keys.contains(&key(matching, &row.labels))),
                BinaryOp::Unless => only(left, |row| !right_keys.contains(&key(matching, &row.labels))),
                _ => {
                    let more = only(right, |row| !left_keys.contains(&key(matching, &row.labels)));
                    left.into_iter().chain(more).collect()
                }
            });
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if left.is_empty() && right.is_empty() || (left.is_empty() || right.is_empty()) && !fills {
            return Ok(Vector::new());
        }
        // from here on the left side is the one that may have many
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (mut many, mut one) = if swapped { (right, left) } else { (left, right) };
        if self.reverses() {
            many.reverse();
            one.reverse();
        }
        let mut ones: BTreeMap<LabelSet, &Row> = BTreeMap::new();
        for row in &one {
            if ones.insert(key(matching, &row.labels), row).is_some() {
                return Err(Failure::new("found duplicate series for the match group"));
            }
        }
        let mut join = Join {
            naive: self,
            binary,
            matching,
            swapped,
            matched: BTreeMap::new(),
            result: Vector::new(),
            note: None,
        };
        for row in &many {
            let key = key(matching, &row.labels);
            let filled = matching.fill_right.map(|value| Row::new(key.clone(), Value::Float(value)));
            if let Some(other) = ones.get(&key).copied().or(filled.as_ref()) {
                join.pair(row, other, key)?;
            }
        }
        for row in &one {
            let key = key(matching, &row.labels);
            let Some(value) = matching.fill_left.filter(|_| !join.matched.contains_key(&key)) else { continue };
            let filled = Row::new(key.clone(), Value::Float(value));
            join.pair(&filled, row, key)?;
        }
        if let Some(note) = join.note {
            self.note(note);
        }
        Ok(join.result)
    }

    /// An operator on two samples; nothing where it is not defined. The second is what the user is told.
    fn pair(&self, op: BinaryOp, left: &Value, right: &Value) -> (Pair, Option<&'static str>) {
        let undefined = (None, Some(notes::TYPES));
        let histogram = |mut histogram: FloatHistogram| {
            if !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
                histogram.compact(0);
            }
            (Some((Value::Histogram(histogram.into()), true)), None)
        };
        match (left, right) {
            (Value::Float(a), Value::Float(b)) => match (op, holds(op, *a, *b)) {
                (BinaryOp::TrimUpper | BinaryOp::TrimLower, _) => undefined,
                (_, Some(holds)) => (Some((left.clone(), holds)), None),
                _ => (Some((Value::Float(self.rounded(arithmetic(op, *a, *b))), true)), None),
            },
            (Value::Float(number), Value::Histogram(operand)) | (Value::Histogram(operand), Value::Float(number)) => {
                let mut changed = (**operand).clone();
                let histogram_first = matches!(left, Value::Histogram(_));
                match op {
                    BinaryOp::Mul => changed.mul(*number),
                    BinaryOp::Div if histogram_first => changed.div(*number),
                    BinaryOp::TrimUpper if histogram_first => changed.trim_above(*number),
                    BinaryOp::TrimLower if histogram_first => changed.trim_below(*number),
                    _ => return undefined,
                }
                histogram(changed)
            }
            (Value::Histogram(a), Value::Histogram(b)) => match op {
                BinaryOp::Eql => (Some((left.clone(), a.equals(b))), None),
                BinaryOp::Neq => (Some((left.clone(), !a.equals(b))), None),
                BinaryOp::Add | BinaryOp::Sub => {
                    let mut combined = (**a).clone();
                    let done = if op == BinaryOp::Add { combined.add(b) } else { combined.sub(b) };
                    let Ok(done) = done else { return (None, Some(notes::BUCKET_LAYOUT)) };
                    if op == BinaryOp::Sub {
                        combined.counter_reset_hint = CounterResetHint::Gauge;
                    }
                    if done.counter_reset_collision {
                        return (None, Some(notes::RESETS));
                    }
                    (histogram(combined).0, done.bounds_reconciled.then_some(notes::RECONCILED))
                }
                _ => undefined,
            },
        }
    }
}

/// A join of one step that is under way.
struct Join<'a> {
    naive: &'a Naive<'a>,
    binary: &'a Binary,
    matching: &'a VectorMatching,
    swapped: bool,
    /// Labels of the results by the key that they matched on.
    matched: BTreeMap<LabelSet, BTreeSet<LabelSet>>,
    result: Vector,
    /// Only the last one of a step is told.
    note: Option<&'static str>,
}

impl Join<'_> {
    /// Adds what comes of two rows that match.
    fn pair(&mut self, many: &Row, one: &Row, key: LabelSet) -> Naively<()> {
        let (left, right) = if self.swapped { (one, many) } else { (many, one) };
        let (pair, note) = self.naive.pair(self.binary.op, &left.value, &right.value);
        self.note = note.or(self.note);
        let Some((value, holds)) = pair else { return Ok(()) };
        let labels = self.labels(many, one);
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let results = self.matched.entry(key).or_default();
        if one_to_one && !results.is_empty() || !results.insert(labels.clone()) {
            return Err(Failure::new("multiple matches for labels"));
        }
        if self.binary.return_bool {
            let value = Value::Float(f64::from(u8::from(holds)));
            self.result.push(Row { labels, value, unnamed: true });
        } else if holds {
            self.result.push(Row::new(labels, value));
        }
        Ok(())
    }

    fn labels(&self, many: &Row, one: &Row) -> LabelSet {
        let mut labels = many.labels.clone();
        // even where names go at the end, arithmetic takes them at once
        if changes_meaning(self.binary.op) || self.binary.return_bool && !self.naive.names_at_end {
            labels = without_name(labels);
        }
        if self.matching.cardinality == Cardinality::OneToOne {
            labels.retain(|name, _| self.matching.labels.contains(name) == self.matching.on);
        }
        for name in &self.matching.include {
            match label(&one.labels, name) {
                "" => labels.remove(name),
                value => labels.insert(name.clone(), value.to_owned()),
            };
        }
        labels
    }
}

/// What two rows must have in common.
fn key(matching: &VectorMatching, labels: &LabelSet) -> LabelSet {
    let named = |name: &String| matching.labels.contains(name);
    let counts = |name: &String| if matching.on { named(name) } else { !named(name) && name != "__name__" };
    labels.iter().filter(|(name, _)| counts(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn only(rows: Vector, keep: impl Fn(&Row) -> bool) -> Vector {
    rows.into_iter().filter(keep).collect()
}

/// Whether the result is no longer what the metric's name says.
fn changes_meaning(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

/// What a comparison says; nothing where the operator is none.
fn holds(op: BinaryOp, a: f64, b: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Eql => a == b,
        BinaryOp::Neq => a != b,
        BinaryOp::Gtr => a > b,
        BinaryOp::Lss => a < b,
        BinaryOp::Gte => a >= b,
        BinaryOp::Lte => a <= b,
        _ => return None,
    })
}

fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        _ => a.atan2(b),
    }
}
