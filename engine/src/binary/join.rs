//! The result rows of a vector-to-vector operation, one after the other.

use std::sync::Arc;

use promql::tree::{Cardinality, VectorMatching};
use smallvec::smallvec;

use super::float_rows::{self, Comparison, Operand};
use super::matching::{self, Group, Output, Pair, ResultLabels};
use super::notes::Notes;
use super::{BinarySpec, takes_floats};
use crate::collected::CollectedRows;
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::scalar_math::binary::{BinaryOutcome, Value, binary};
use crate::vector::{Sample, VectorBuilder};

/// Two collected sides and what is to be computed of them.
#[derive(Debug)]
pub(super) struct Join {
    spec: BinarySpec,
    steps: usize,
    many: CollectedRows,
    one: CollectedRows,
    groups: Vec<Group>,
    outputs: Vec<Output>,
    notes: Notes,
}

impl Join {
    /// Matches the rows of both sides.
    ///
    /// # Errors
    /// Prometheus's texts where the matching is not as unique as it must be.
    pub(super) fn try_new(
        lhs: CollectedRows,
        rhs: CollectedRows,
        spec: BinarySpec,
        steps: usize,
        context: &QueryContext,
    ) -> Result<Self> {
        let swapped = spec.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let groups = matching::group(&spec.matching, &many, &one)?;
        matching::check_one_side(&groups, &spec.matching, &many, &one, steps)?;
        let notes = Notes::new(spec.op, context, spec.span, steps);
        let mut join = Self { spec, steps, many, one, groups, outputs: Vec::new(), notes };
        join.check_many_side()?;
        let mut labels = ResultLabels::new(&join.spec.matching, join.spec.removed_name(context.name_removal));
        join.outputs = matching::outputs(&join.groups, &mut labels, &join.many, &join.one)?;
        Ok(join)
    }

    /// Number of result rows, those without a sample included.
    pub(super) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Writes a result row, and after the last one the annotations.
    ///
    /// # Errors
    /// Prometheus's texts where two samples come to the same labels at the same step.
    pub(super) fn write(&mut self, index: usize, builder: &mut VectorBuilder) -> Result<()> {
        let empty = Output { labels: Arc::from(""), pairs: smallvec![] };
        let output = std::mem::replace(&mut self.outputs[index], empty);
        if !self.write_floats(&output, builder) {
            self.write_samples(&output, builder)?;
        }
        if index + 1 == self.outputs.len() {
            self.notes.report();
        }
        Ok(())
    }

    /// The usual row: one pair, floats only.
    fn write_floats(&self, output: &Output, builder: &mut VectorBuilder) -> bool {
        let [pair] = output.pairs.as_slice() else {
            return false;
        };
        if !takes_floats(self.spec.op) {
            return false;
        }
        let group = &self.groups[pair.group as usize];
        let many = pair.many.map(|row| self.many.row(row as usize));
        let one = pair.one.map(|row| self.one.row(row as usize));
        if many.is_some_and(|row| !row.histograms.is_empty()) || one.is_some_and(|row| !row.histograms.is_empty()) {
            return false;
        }
        let (many, one, present) = match (many, one, self.spec.matching.fill_left, self.spec.matching.fill_right) {
            (Some(many), Some(one), _, _) => {
                let present = float_rows::both(many.float_bits(), one.float_bits());
                (Operand::Steps(many.values), Operand::Steps(one.values), present)
            }
            (Some(many), None, _, Some(fill)) if group.one.is_empty() => {
                (Operand::Steps(many.values), Operand::Constant(fill), many.float_bits())
            }
            (None, Some(one), Some(fill), _) if group.many.is_empty() => {
                (Operand::Constant(fill), Operand::Steps(one.values), one.float_bits())
            }
            _ => return false,
        };
        let (left, right) = self.in_order(many, one);
        let comparison = if self.spec.return_bool { Comparison::Bool } else { Comparison::KeepLeft };
        let mut row = builder.start_row();
        float_rows::write(self.spec.op, comparison, left, right, present.as_ref(), &mut row);
        builder.finish_row(&output.labels);
        true
    }

    /// Any row, sample by sample.
    fn write_samples(&mut self, output: &Output, builder: &mut VectorBuilder) -> Result<()> {
        let one_to_one = self.spec.matching.cardinality == Cardinality::OneToOne;
        let mut cells: Vec<Option<Value>> = vec![None; self.steps];
        let mut group_of: Vec<Option<u32>> = vec![None; self.steps];
        for pair in &output.pairs {
            for step in 0..self.steps {
                let Some((many, one)) = self.samples(*pair, step) else {
                    continue;
                };
                let BinaryOutcome { value, keep, note } = self.operate(many, one);
                if let Some(note) = note {
                    let order = pair.many.map_or((true, pair.one), |row| (false, Some(row)));
                    self.notes.note(step, order, note);
                }
                let Some(value) = value else {
                    continue;
                };
                if !one_to_one && group_of[step].replace(pair.group) == Some(pair.group) {
                    return Err(Error::Execution(
                        "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
                    ));
                }
                if !keep && !self.spec.return_bool {
                    continue;
                }
                let value = if self.spec.return_bool { Value::Float(f64::from(u8::from(keep))) } else { value };
                if cells[step].replace(value).is_some() {
                    return Err(Error::same_labelset());
                }
            }
        }
        let mut row = builder.start_row();
        for (step, cell) in cells.into_iter().enumerate() {
            match cell {
                Some(Value::Float(value)) => row.set(step, value),
                Some(Value::Histogram(histogram)) => row.set_histogram(step, histogram),
                None => {}
            }
        }
        builder.finish_row(&output.labels);
        Ok(())
    }

    /// In one-to-one matching, checks that no step has results from two left rows of a group.
    fn check_many_side(&self) -> Result<()> {
        if self.spec.matching.cardinality != Cardinality::OneToOne {
            return Ok(());
        }
        for group in self.groups.iter().filter(|group| group.many.len() > 1) {
            for step in 0..self.steps {
                if group.many.iter().filter(|row| self.is_matched(group, **row, step)).nth(1).is_some() {
                    return Err(Error::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                            .to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether a "many" row has a sample at `step` that found its partner, or a fill, and could be combined with it.
    fn is_matched(&self, group: &Group, many: u32, step: usize) -> bool {
        let Some(many) = self.many.row(many as usize).sample(step) else {
            return false;
        };
        match self.partner(group, step) {
            Some(one) => self.operate(many, one).value.is_some(),
            None => false,
        }
    }

    /// What a group's "many" samples are combined with at `step`.
    fn partner(&self, group: &Group, step: usize) -> Option<Sample<'_>> {
        let fill = || self.spec.matching.fill_right.map(Sample::Float);
        group.one.iter().find_map(|row| self.one.row(*row as usize).sample(step)).or_else(fill)
    }

    /// The samples that a pair combines at `step`.
    fn samples(&self, pair: Pair, step: usize) -> Option<(Sample<'_>, Sample<'_>)> {
        let VectorMatching { fill_left, fill_right, .. } = self.spec.matching;
        let group = &self.groups[pair.group as usize];
        let many = |row: u32| self.many.row(row as usize).sample(step);
        let one = |row: u32| self.one.row(row as usize).sample(step);
        match (pair.many, pair.one) {
            (Some(left), Some(right)) => Some((many(left)?, one(right)?)),
            (Some(left), None) => {
                let found = group.one.iter().any(|row| one(*row).is_some());
                if found { None } else { Some((many(left)?, Sample::Float(fill_right?))) }
            }
            (None, Some(right)) => {
                let right = one(right)?;
                let matched = group.many.iter().any(|row| self.is_matched(group, *row, step));
                if matched { None } else { Some((Sample::Float(fill_left?), right)) }
            }
            (None, None) => None,
        }
    }

    fn operate(&self, many: Sample<'_>, one: Sample<'_>) -> BinaryOutcome {
        let (left, right) = self.in_order(many, one);
        binary(self.spec.op, left, right)
    }

    /// Back from "many" and "one" to left and right.
    fn in_order<T>(&self, many: T, one: T) -> (T, T) {
        if self.spec.matching.cardinality == Cardinality::OneToMany { (one, many) } else { (many, one) }
    }
}
