//! Which rows of two vectors are combined, and into which row of the result.
//!
//! 1. Each row's signature (the labels that are matched on) becomes a number; rows of both sides are listed by it.
//! 2. Where several rows of the "one" side share a signature, no step may have a sample in two of them; where several rows
//!    of the left share one in one-to-one matching, likewise.
//! 3. Each pair of a "many" and a "one" row with the same signature goes to the result row of its labels. Series that
//!    come and go make several pairs for one result row, each at its own steps.
//!
//! The left is the "many" side, or the right where many are on the right (`group_right`); in one-to-one matching it
//! is the left too.

use std::sync::Arc;

use datafusion::common::HashMap;
use promql::tree::{Cardinality, VectorMatching};
use smallvec::SmallVec;
use storage::model::{Labels, label_key};

use crate::collected::CollectedRows;
use crate::error::{Error, Result};
use crate::label_ops::{LabelSubset, is_reserved, merge_disjoint};
use crate::removed_name::{mark, unmarked};

/// The rows of one signature.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Rows of the "many" side.
    pub(super) many: SmallVec<[u32; 2]>,
    /// Rows of the "one" side.
    pub(super) one: SmallVec<[u32; 2]>,
}

/// Two rows to combine. A missing one is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) group: u32,
    pub(super) many: Option<u32>,
    pub(super) one: Option<u32>,
}

/// A row of the result.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) labels: Arc<str>,
    /// By group, then in the order of the "many" side; fills of that side last.
    pub(super) pairs: SmallVec<[Pair; 1]>,
}

/// The rows of both sides by signature.
pub(super) fn group(matching: &VectorMatching, many: &CollectedRows, one: &CollectedRows) -> Result<Vec<Group>> {
    let signature = LabelSubset::from(matching);
    let mut numbers: HashMap<String, usize> = HashMap::with_capacity(one.len());
    let mut groups: Vec<Group> = Vec::with_capacity(one.len());
    let mut key = String::new();
    for (side, rows) in [many, one].into_iter().enumerate() {
        for row in 0..rows.len() {
            signature.write(rows.labels(row), &mut key);
            let number = *numbers.entry_ref(key.as_str()).or_insert_with(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            let group = &mut groups[number];
            let list = if side == 0 { &mut group.many } else { &mut group.one };
            list.push(index(row)?);
        }
        let bytes = rows.len() * (size_of::<Group>() + size_of::<(String, usize)>() + key.len());
        rows.memory.try_grow(bytes)?;
    }
    Ok(groups)
}

fn index(row: usize) -> Result<u32> {
    u32::try_from(row).map_err(|e| Error::Internal(e.to_string()))
}

/// Checks that no step has samples in two "one" rows of a group.
///
/// # Errors
/// Prometheus's text about the first step that has.
pub(super) fn check_one_side(
    groups: &[Group],
    matching: &VectorMatching,
    many: &CollectedRows,
    one: &CollectedRows,
    steps: usize,
) -> Result<()> {
    // the earliest step counts, and at that step the row that comes first
    let mut first: Option<(usize, u32, u32)> = None;
    for group in groups.iter().filter(|group| group.one.len() > 1) {
        let mut holder: Vec<Option<u32>> = vec![None; steps];
        for &row in &group.one {
            for step in one.row(row as usize).present_steps() {
                match holder[step] {
                    Some(held)
                        if first.is_none_or(|(s, r, _)| (step, row) < (s, r)) && any_many(matching, many, step) =>
                    {
                        first = Some((step, row, held));
                    }
                    _ => holder[step] = Some(row),
                }
            }
        }
    }
    let Some((_, second, first)) = first else {
        return Ok(());
    };
    let mut matched = String::new();
    LabelSubset::from(matching).write(one.labels(second as usize), &mut matched);
    let side = if matching.cardinality == Cardinality::OneToMany { "left" } else { "right" };
    let mut pair = [first, second].map(|row| Labels::from_key(unmarked(one.labels(row as usize))).to_string());
    pair.sort();
    Err(Error::Execution(format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}]\
         ;many-to-many matching not allowed: matching labels must be unique on one side",
        Labels::from_key(matched),
        pair[0],
        pair[1]
    )))
}

/// Whether matching happens at a step at all: without samples on the other side, or a fill for them, it does not.
fn any_many(matching: &VectorMatching, many: &CollectedRows, step: usize) -> bool {
    matching.fill_left.is_some()
        || matching.fill_right.is_some()
        || (0..many.len()).any(|row| many.row(row).is_present(step))
}

/// What becomes of a result's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RemovedName {
    /// It stays.
    Never,
    /// It is not among the labels.
    AtOnce,
    /// It goes at the end of the query.
    AtEnd,
}

/// Makes the labels of result rows.
#[derive(Debug)]
pub(super) struct ResultLabels<'a> {
    matching: &'a VectorMatching,
    removed: RemovedName,
    kept: String,
    included: String,
}

impl<'a> ResultLabels<'a> {
    pub(super) fn new(matching: &'a VectorMatching, removed: RemovedName) -> Self {
        Self { matching, removed, kept: String::new(), included: String::new() }
    }

    /// Replaces `out` by the labels of the result of two rows, the "many" side's first.
    fn write(&mut self, many: &str, one: &str, out: &mut String) {
        let VectorMatching { cardinality, on, labels, include, .. } = self.matching;
        let one_to_one = *cardinality == Cardinality::OneToOne;
        let listed = |name: label_key::Escaped<'_>, names: &[String]| names.iter().any(|n| name.is(n));
        let keep = |name: label_key::Escaped<'_>| {
            let dropped = self.removed == RemovedName::AtOnce && is_reserved(name);
            let unmatched = one_to_one && listed(name, labels) != *on;
            !dropped && !unmatched && !listed(name, include)
        };
        // whatever the sides were, only this operation says what becomes of the name
        let (many, one) = (unmarked(many), unmarked(one));
        self.kept.clear();
        label_key::filter_into(many, &mut self.kept, keep);
        if include.is_empty() {
            std::mem::swap(&mut self.kept, out);
        } else {
            self.included.clear();
            label_key::filter_into(one, &mut self.included, |name| listed(name, include));
            merge_disjoint(&self.kept, &self.included, out);
        }
        if self.removed == RemovedName::AtEnd {
            std::mem::swap(&mut self.kept, out);
            mark(&self.kept, out);
        }
    }
}

/// Assigns every pair to its result row. Rows come in the order of the "many" side; what is there only because of a fill
/// for that side follows.
pub(super) fn outputs(
    groups: &[Group],
    labels: &mut ResultLabels<'_>,
    many: &CollectedRows,
    one: &CollectedRows,
) -> Result<Vec<Output>> {
    let matching = labels.matching;
    let signature = LabelSubset::from(matching);
    let mut group_of_many = vec![0_u32; many.len()];
    for (number, group) in groups.iter().enumerate() {
        for &row in &group.many {
            group_of_many[row as usize] = index(number)?;
        }
    }
    let mut sorter = Sorter::default();
    let (mut key, mut subset) = (String::new(), String::new());
    for (row, &number) in group_of_many.iter().enumerate() {
        let found = &groups[number as usize].one;
        let pair = Pair { group: number, many: Some(index(row)?), one: None };
        for &partner in found {
            labels.write(many.labels(row), one.labels(partner as usize), &mut key);
            sorter.add(&key, Pair { one: Some(partner), ..pair });
        }
        if matching.fill_right.is_some() {
            signature.write(many.labels(row), &mut subset);
            labels.write(many.labels(row), &subset, &mut key);
            sorter.add(&key, pair);
        }
    }
    if matching.fill_left.is_some() {
        for (number, group) in groups.iter().enumerate() {
            for &row in &group.one {
                signature.write(one.labels(row as usize), &mut subset);
                labels.write(&subset, one.labels(row as usize), &mut key);
                sorter.add(&key, Pair { group: index(number)?, many: None, one: Some(row) });
            }
        }
    }
    for output in &mut sorter.outputs {
        output.pairs.sort_by_key(|pair| (pair.many.is_none(), pair.group));
    }
    many.memory.try_grow(sorter.bytes)?;
    Ok(sorter.outputs)
}

/// Finds the result row of a label set.
#[derive(Debug, Default)]
struct Sorter {
    rows: HashMap<Arc<str>, usize>,
    outputs: Vec<Output>,
    bytes: usize,
}

impl Sorter {
    fn add(&mut self, key: &str, pair: Pair) {
        if let Some(&row) = self.rows.get(key) {
            self.outputs[row].pairs.push(pair);
            self.bytes += size_of::<Pair>();
            return;
        }
        let labels: Arc<str> = key.into();
        self.bytes += key.len() + size_of::<Output>() + size_of::<(Arc<str>, usize)>() + 16;
        self.rows.insert(Arc::clone(&labels), self.outputs.len());
        self.outputs.push(Output { labels, pairs: SmallVec::from_buf([pair]) });
    }
}
