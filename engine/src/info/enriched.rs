//! The rows that come out of `info()`.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::HashMap;
use smallvec::SmallVec;
use storage::model::{METRIC_NAME, label_key};

use super::selector::InfoSelector;
use super::sources::{InfoLabels, Run, Sources};
use crate::collected::CollectedRows;
use crate::error::{Error, Result};
use crate::vector::VectorBuilder;

/// Some steps of a base row.
#[derive(Debug)]
struct Piece {
    row: usize,
    steps: Range<usize>,
}

/// A row to put out.
#[derive(Debug)]
struct Output {
    labels: Arc<str>,
    pieces: SmallVec<[Piece; 1]>,
}

/// The base rows under their new labels.
#[derive(Debug)]
pub(super) struct Enriched {
    base: CollectedRows,
    steps: usize,
    outputs: Vec<Output>,
}

impl Enriched {
    /// Finds the labels of every base row.
    ///
    /// # Errors
    /// Prometheus's texts where info series contradict each other.
    pub(super) fn try_new(
        base: CollectedRows,
        info: &CollectedRows,
        selector: &InfoSelector,
        steps: usize,
    ) -> Result<Self> {
        let is_plain: Vec<bool> = (0..base.len()).map(|row| !is_info_series(base.labels(row), selector)).collect();
        let plain: Vec<usize> = (0..base.len()).filter(|&row| is_plain[row]).collect();
        let (sources, info_labels) = Sources::try_new(&base, &plain, info, selector, steps)?;
        let mut outputs = Outputs::default();
        let mut key = String::new();
        let all = Run { steps: 0..steps, labels: None };
        for (row, is_plain) in is_plain.into_iter().enumerate() {
            let labels = base.labels(row);
            if !is_plain {
                outputs.add(labels, Piece { row, steps: 0..steps });
                continue;
            }
            let source = sources.find(labels, &mut key);
            let runs = source.map_or(std::slice::from_ref(&all), |source| source.runs.as_slice());
            let samples = base.row(row);
            for run in runs.iter().filter(|run| run.steps.clone().any(|step| samples.is_present(step))) {
                let piece = Piece { row, steps: run.steps.clone() };
                match run.labels {
                    Some(number) => {
                        add_labels(labels, &info_labels[number], &mut key)?;
                        outputs.add(&key, piece);
                    }
                    None if selector.requires_info() => {}
                    None => outputs.add(labels, piece),
                }
            }
            base.memory.try_grow(std::mem::take(&mut outputs.bytes))?;
        }
        Ok(Self { base, steps, outputs: outputs.outputs })
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Where two base rows came to the same labels at the same step.
    pub(super) fn write(&self, index: usize, builder: &mut VectorBuilder) -> Result<()> {
        let Output { labels, pieces } = &self.outputs[index];
        if let [piece] = pieces.as_slice()
            && piece.steps.len() == self.steps
        {
            builder.push_copy(labels, &self.base.row(piece.row));
            return Ok(());
        }
        let mut row_of: Vec<Option<usize>> = vec![None; self.steps];
        for piece in pieces {
            let samples = self.base.row(piece.row);
            for step in piece.steps.clone().filter(|&step| samples.is_present(step)) {
                if row_of[step].replace(piece.row).is_some() {
                    return Err(Error::same_labelset());
                }
            }
        }
        let mut out = builder.start_row();
        for (step, row) in row_of.into_iter().enumerate() {
            if let Some(sample) = row.and_then(|row| self.base.row(row).sample(step)) {
                out.set_sample(step, sample);
            }
        }
        builder.finish_row(labels);
        Ok(())
    }
}

fn is_info_series(labels: &str, selector: &InfoSelector) -> bool {
    let name = label_key::get(labels, METRIC_NAME).map(label_key::Escaped::text);
    selector.is_info_metric(name.as_deref().unwrap_or(""))
}

/// Replaces `out` by `base` and what it lacks of `info`. The value of a label that `base` has does not matter, so it
/// cannot be contradictory either.
fn add_labels(base: &str, info: &InfoLabels, out: &mut String) -> Result<()> {
    if let Some(name) = info.conflicts.iter().find(|name| label_key::get(base, name).is_none()) {
        return Err(Error::Execution(format!("conflicting label: {name}")));
    }
    out.clear();
    let mut added = label_key::pairs(&info.key).peekable();
    for pair in label_key::pairs(base) {
        while let Some(other) = added.next_if(|other| other.name < pair.name) {
            out.push_str(other.raw);
        }
        added.next_if(|other| other.name == pair.name);
        out.push_str(pair.raw);
    }
    for other in added {
        out.push_str(other.raw);
    }
    Ok(())
}

/// Finds the row of a label set.
#[derive(Debug, Default)]
struct Outputs {
    numbers: HashMap<Arc<str>, usize>,
    outputs: Vec<Output>,
    /// What has been added and not been reserved yet.
    bytes: usize,
}

impl Outputs {
    /// Adds a piece; pieces of a row come in the order of their steps.
    fn add(&mut self, labels: &str, piece: Piece) {
        let Some(&number) = self.numbers.get(labels) else {
            let labels: Arc<str> = labels.into();
            self.bytes += labels.len() + size_of::<Output>() + size_of::<(Arc<str>, usize)>() + 16;
            self.numbers.insert(Arc::clone(&labels), self.outputs.len());
            self.outputs.push(Output { labels, pieces: SmallVec::from_buf([piece]) });
            return;
        };
        let pieces = &mut self.outputs[number].pieces;
        match pieces.last_mut() {
            Some(last) if last.row == piece.row && last.steps.end == piece.steps.start => {
                last.steps.end = piece.steps.end;
            }
            _ => {
                self.bytes += size_of::<Piece>();
                pieces.push(piece);
            }
        }
    }
}
