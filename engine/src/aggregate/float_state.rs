//! The state of float aggregations: a few planes of floats, `groups × steps` each.
//!
//! | op | planes |
//! |---|---|
//! | sum | count, sum, compensation |
//! | avg | count (negative once it is a running mean), sum or mean, compensation |
//! | min, max | count, extreme |
//! | count, group | count |
//! | stddev, stdvar | count, mean, sum of squared differences |
//!
//! The count says whether a group has a sample at a step. Sums are Neumaier's, as Prometheus computes them; the mean runs once
//! its sum would overflow; variances are Welford's, merged by Chan's formula.

use promql::tree::AggregateOp;
use storage::model::kahan_add;

use crate::vector::RowView;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FloatOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
}

impl FloatOp {
    pub(super) fn from_tree(op: AggregateOp) -> Option<Self> {
        Some(match op {
            AggregateOp::Sum => Self::Sum,
            AggregateOp::Avg => Self::Avg,
            AggregateOp::Count => Self::Count,
            AggregateOp::Min => Self::Min,
            AggregateOp::Max => Self::Max,
            AggregateOp::Group => Self::Group,
            AggregateOp::Stddev => Self::Stddev,
            AggregateOp::Stdvar => Self::Stdvar,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
        }
    }

    /// How many floats the state has for each group and step.
    pub(super) fn planes(self) -> usize {
        match self {
            Self::Count | Self::Group => 1,
            Self::Min | Self::Max => 2,
            Self::Sum | Self::Avg | Self::Stddev | Self::Stdvar => 3,
        }
    }

    /// Whether histograms are aggregated (sum, avg) or counted (count, group) rather than left out.
    pub(super) fn takes_histograms(self) -> bool {
        matches!(self, Self::Sum | Self::Avg)
    }

    /// Whether a histogram counts like a float.
    pub(super) fn counts_histograms(self) -> bool {
        matches!(self, Self::Count | Self::Group)
    }
}

/// The state of one group at one step.
type Slot = [f64; 3];

/// Adds a sample.
#[inline(always)]
fn add(op: FloatOp, slot: Slot, value: f64) -> Slot {
    let [n, a, b] = slot;
    match op {
        FloatOp::Count | FloatOp::Group => [n + 1.0, a, b],
        FloatOp::Sum if n == 0.0 => [1.0, value, 0.0],
        FloatOp::Sum => {
            let (sum, compensation) = kahan_add(value, a, b);
            [n + 1.0, sum, compensation]
        }
        FloatOp::Avg => add_to_mean(slot, value),
        FloatOp::Min => [n + 1.0, if n == 0.0 || a > value || a.is_nan() { value } else { a }, b],
        FloatOp::Max => [n + 1.0, if n == 0.0 || a < value || a.is_nan() { value } else { a }, b],
        FloatOp::Stddev | FloatOp::Stdvar if n == 0.0 => [1.0, value, if value.is_finite() { 0.0 } else { f64::NAN }],
        FloatOp::Stddev | FloatOp::Stdvar => {
            let n = n + 1.0;
            let delta = value - a;
            let mean = a + delta / n;
            [n, mean, b + delta * (value - mean)]
        }
    }
}

fn add_to_mean([n, a, b]: Slot, value: f64) -> Slot {
    if n == 0.0 {
        return [1.0, value, 0.0];
    }
    let count = n.abs() + 1.0;
    let (mut mean, mut compensation) = (a, b);
    if n > 0.0 {
        let (sum, c) = kahan_add(value, a, b);
        if !sum.is_infinite() {
            return [count, sum, c];
        }
        // the sum would overflow: from here on it is the mean that runs
        mean = a / n;
        compensation = b / n;
    }
    let weight = (count - 1.0) / count;
    let (mean, compensation) = kahan_add(value / count, weight * mean, weight * compensation);
    [-count, mean, compensation]
}

/// Joins the states of two partitions, the earlier one first.
fn merge(op: FloatOp, left: Slot, right: Slot) -> Slot {
    let ([n1, a1, b1], [n2, a2, b2]) = (left, right);
    if n1 == 0.0 || n2 == 0.0 {
        return if n1 == 0.0 { right } else { left };
    }
    match op {
        FloatOp::Count | FloatOp::Group => [n1 + n2, a1, b1],
        FloatOp::Sum => {
            let (sum, compensation) = kahan_add(a2, a1, b1);
            [n1 + n2, sum, if sum.is_infinite() { 0.0 } else { compensation + b2 }]
        }
        FloatOp::Avg => merge_means(left, right),
        FloatOp::Min => [n1 + n2, if a1 > a2 || a1.is_nan() { a2 } else { a1 }, b1],
        FloatOp::Max => [n1 + n2, if a1 < a2 || a1.is_nan() { a2 } else { a1 }, b1],
        FloatOp::Stddev | FloatOp::Stdvar => {
            let n = n1 + n2;
            let delta = a2 - a1;
            [n, a1 + delta * (n2 / n), b1 + b2 + delta * delta * (n1 / n) * n2]
        }
    }
}

fn merge_means(left: Slot, right: Slot) -> Slot {
    let ([n1, a1, b1], [n2, a2, b2]) = (left, right);
    let n = n1.abs() + n2.abs();
    if n1 > 0.0 && n2 > 0.0 {
        let (sum, compensation) = kahan_add(a2, a1, b1);
        if !sum.is_infinite() {
            return [n, sum, compensation + b2];
        }
    }
    let mean = |n: f64, a: f64, b: f64| if n > 0.0 { a / n + b / n } else { a + b };
    let (w1, w2) = (n1.abs() / n, n2.abs() / n);
    let (mean, compensation) = kahan_add(w2 * mean(n2, a2, b2), w1 * mean(n1, a1, b1), 0.0);
    [-n, mean, compensation]
}

/// What a group's state comes to.
fn finish(op: FloatOp, [n, a, b]: Slot) -> f64 {
    match op {
        FloatOp::Count => n,
        FloatOp::Group => 1.0,
        FloatOp::Sum => a + b,
        FloatOp::Avg if n < 0.0 => a + b,
        FloatOp::Avg => a / n + b / n,
        FloatOp::Min | FloatOp::Max => a,
        FloatOp::Stdvar => b / n,
        FloatOp::Stddev => (b / n).sqrt(),
    }
}

/// The states of all groups at all steps.
#[derive(Debug)]
pub(super) struct FloatState {
    op: FloatOp,
    steps: usize,
    planes: Vec<Vec<f64>>,
}

impl FloatState {
    pub(super) fn new(op: FloatOp, steps: usize) -> Self {
        Self { op, steps, planes: vec![Vec::new(); op.planes()] }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.planes.iter().map(|plane| plane.capacity() * 8).sum()
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.planes[0].len() / self.steps.max(1)
    }

    /// Makes room for `groups` groups; those that are new have no samples.
    pub(super) fn grow(&mut self, groups: usize) {
        for plane in &mut self.planes {
            plane.resize(groups * self.steps, 0.0);
        }
    }

    /// Adds a row to its group.
    pub(super) fn add_row(&mut self, group: usize, row: &RowView<'_>) {
        let op = self.op;
        let (start, steps) = (group * self.steps, self.steps);
        // one loop an operation, so that each is compiled on its own
        macro_rules! each {
            ($($name:ident),*) => { match op { $(FloatOp::$name => self.add_row_as(start, steps, row, |slot, value| add(FloatOp::$name, slot, value)),)* } };
        }
        each!(Sum, Avg, Count, Min, Max, Group, Stddev, Stdvar);
    }

    #[inline(always)]
    fn add_row_as(&mut self, start: usize, steps: usize, row: &RowView<'_>, add: impl Fn(Slot, f64) -> Slot) {
        let bits = row.float_bits();
        let mut planes = self.planes.iter_mut().map(|plane| &mut plane[start..start + steps]);
        let (Some(n), a, b) = (planes.next(), planes.next(), planes.next()) else { return };
        let present = |step: usize| bits.as_ref().is_none_or(|bits| bits.value(step));
        let all = bits.as_ref().is_none_or(|bits| bits.count_set_bits() == steps);
        let values = row.values;
        match (a, b) {
            (Some(a), Some(b)) if all => {
                for (((n, a), b), &value) in n.iter_mut().zip(a).zip(b).zip(values) {
                    [*n, *a, *b] = add([*n, *a, *b], value);
                }
            }
            (Some(a), Some(b)) => {
                for (step, (((n, a), b), &value)) in n.iter_mut().zip(a).zip(b).zip(values).enumerate() {
                    if present(step) {
                        [*n, *a, *b] = add([*n, *a, *b], value);
                    }
                }
            }
            (Some(a), None) => {
                for (step, ((n, a), &value)) in n.iter_mut().zip(a).zip(values).enumerate() {
                    if all || present(step) {
                        [*n, *a, _] = add([*n, *a, 0.0], value);
                    }
                }
            }
            _ => {
                for (step, (n, &value)) in n.iter_mut().zip(values).enumerate() {
                    if all || present(step) {
                        [*n, _, _] = add([*n, 0.0, 0.0], value);
                    }
                }
            }
        }
    }

    /// Counts a sample that is no float.
    pub(super) fn count(&mut self, group: usize, step: usize) {
        self.planes[0][group * self.steps + step] += 1.0;
    }

    /// Joins a group's state in another partition, one slice a plane, to the one here.
    pub(super) fn merge_row(&mut self, group: usize, planes: &[&[f64]]) {
        for step in 0..self.steps {
            let slot = group * self.steps + step;
            let mut other: Slot = [0.0; 3];
            for (to, plane) in other.iter_mut().zip(planes) {
                *to = plane[step];
            }
            let merged = merge(self.op, self.slot(slot), other);
            for (plane, value) in self.planes.iter_mut().zip(merged) {
                plane[slot] = value;
            }
        }
    }

    fn slot(&self, slot: usize) -> Slot {
        let mut state: Slot = [0.0; 3];
        for (to, plane) in state.iter_mut().zip(&self.planes) {
            *to = plane[slot];
        }
        state
    }

    /// Whether the group has a float at the step.
    pub(super) fn is_present(&self, group: usize, step: usize) -> bool {
        self.planes[0][group * self.steps + step] != 0.0
    }

    /// The group's result at the step; meaningless where it has no float.
    pub(super) fn result(&self, group: usize, step: usize) -> f64 {
        finish(self.op, self.slot(group * self.steps + step))
    }

    /// Takes the planes of the first `groups` groups out.
    pub(super) fn take(&mut self, groups: usize) -> Vec<Vec<f64>> {
        let slots = groups * self.steps;
        self.planes
            .iter_mut()
            .map(|plane| {
                let rest = plane.split_off(slots.min(plane.len()));
                std::mem::replace(plane, rest)
            })
            .collect()
    }
}
