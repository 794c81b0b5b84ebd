//! The series of an answer, one JSON object each.

use engine::vector::{RowView, Sample, VectorColumns};
use promql::tree::Grid;
use storage::model::{Labels, SampleBuffer, Timestamp, label_key};

use super::histogram::push_histogram;
use super::{push_point, push_string};
use crate::http::number::{push_float, push_quoted_float, push_timestamp};

/// The series still to be written.
pub struct Rows {
    source: Source,
    /// Batch and row of each series in the order to be written.
    order: std::vec::IntoIter<(u32, u32)>,
}

enum Source {
    Vector { t: Timestamp, batches: Vec<VectorColumns> },
    Matrix { times: StepTimes, batches: Vec<VectorColumns> },
    Samples(Vec<(Labels, SampleBuffer)>),
}

/// Every step's time, formatted once as `[1435781451.781,`.
struct StepTimes {
    text: Vec<u8>,
    /// Where each step's text begins; one more entry than steps.
    starts: Vec<usize>,
}

impl StepTimes {
    fn new(grid: Grid) -> Self {
        let steps = grid.steps();
        let mut text = Vec::with_capacity(steps.saturating_mul(16));
        let mut starts = Vec::with_capacity(steps + 1);
        starts.push(0);
        for step in 0..steps {
            text.push(b'[');
            push_timestamp(&mut text, grid.at(step));
            text.push(b',');
            starts.push(text.len());
        }
        Self { text, starts }
    }

    fn of(&self, step: usize) -> &[u8] {
        &self.text[self.starts[step]..self.starts[step + 1]]
    }
}

impl Rows {
    /// No series.
    pub fn none() -> Self {
        Self { source: Source::Samples(Vec::new()), order: Vec::new().into_iter() }
    }

    /// The rows of batches of one step, in their order.
    pub fn vector(t: Timestamp, batches: Vec<VectorColumns>) -> Self {
        let order = in_sequence(&batches);
        Self { source: Source::Vector { t, batches }, order: order.into_iter() }
    }

    /// The rows of batches over `grid` that `order` names, in its order.
    pub fn matrix(grid: Grid, batches: Vec<VectorColumns>, order: Vec<(u32, u32)>) -> Self {
        Self { source: Source::Matrix { times: StepTimes::new(grid), batches }, order: order.into_iter() }
    }

    /// Series with samples at their own times.
    pub fn samples(series: Vec<(Labels, SampleBuffer)>) -> Self {
        let order: Vec<(u32, u32)> = (0..u32::try_from(series.len()).unwrap_or(u32::MAX)).map(|row| (0, row)).collect();
        Self { source: Source::Samples(series), order: order.into_iter() }
    }

    /// Appends the next series, or says that there is none left.
    pub fn push_next(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((batch, row)) = self.order.next() else { return false };
        let (batch, row) = (batch as usize, row as usize);
        match &self.source {
            Source::Samples(series) => push_samples(out, series[row].0.as_key(), &series[row].1),
            Source::Vector { t, batches } => push_instant(out, batches[batch].labels(row), batches[batch].row(row), *t),
            Source::Matrix { times, batches } => {
                push_series(out, batches[batch].labels(row), batches[batch].row(row), times);
            }
        }
        true
    }
}

fn in_sequence(batches: &[VectorColumns]) -> Vec<(u32, u32)> {
    let rows = |batch: &VectorColumns| 0..u32::try_from(batch.len()).unwrap_or(u32::MAX);
    (0_u32..).zip(batches).flat_map(|(number, batch)| rows(batch).map(move |row| (number, row))).collect()
}

/// `{"__name__":"up","job":"api"}`
pub fn push_labels(out: &mut Vec<u8>, key: &str) {
    out.push(b'{');
    for (i, pair) in label_key::pairs(key).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_string(out, &pair.name.text());
        out.push(b':');
        push_string(out, &pair.value.text());
    }
    out.push(b'}');
}

fn push_metric(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(br#"{"metric":"#);
    push_labels(out, key);
}

/// A row of an instant query.
fn push_instant(out: &mut Vec<u8>, labels: &str, row: RowView<'_>, t: Timestamp) {
    push_metric(out, labels);
    match row.sample(0) {
        Some(Sample::Float(value)) => {
            out.extend_from_slice(br#","value":"#);
            push_point(out, t, |out| push_quoted_float(out, value));
        }
        Some(Sample::Histogram(histogram)) => {
            out.extend_from_slice(br#","histogram":"#);
            push_point(out, t, |out| push_histogram(out, histogram));
        }
        None => {}
    }
    out.push(b'}');
}

/// A row of a range query.
fn push_series(out: &mut Vec<u8>, labels: &str, row: RowView<'_>, times: &StepTimes) {
    push_metric(out, labels);
    let mut first = true;
    for (step, &value) in row.values.iter().enumerate() {
        if !row.is_float(step) {
            continue;
        }
        out.extend_from_slice(if first { br#","values":["# } else { b"," });
        first = false;
        out.extend_from_slice(times.of(step));
        out.push(b'"');
        push_float(out, value);
        out.extend_from_slice(b"\"]");
    }
    if !first {
        out.push(b']');
    }
    for (i, (step, histogram)) in row.histograms.iter().enumerate() {
        out.extend_from_slice(if i == 0 { br#","histograms":["# } else { b"," });
        out.extend_from_slice(times.of(*step as usize));
        push_histogram(out, histogram);
        out.push(b']');
    }
    if !row.histograms.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
}

/// A series with samples at their own times.
fn push_samples(out: &mut Vec<u8>, labels: &str, samples: &SampleBuffer) {
    push_metric(out, labels);
    let mut first = true;
    for (i, (&t, &value)) in samples.timestamps.iter().zip(&samples.floats).enumerate() {
        if samples.histogram(i).is_some() {
            continue;
        }
        out.extend_from_slice(if first { br#","values":["# } else { b"," });
        first = false;
        push_point(out, t, |out| push_quoted_float(out, value));
    }
    if !first {
        out.push(b']');
    }
    for (i, (index, histogram)) in samples.histograms.iter().enumerate() {
        let Some(&t) = samples.timestamps.get(*index as usize) else { continue };
        out.extend_from_slice(if i == 0 { br#","histograms":["# } else { b"," });
        push_point(out, t, |out| push_histogram(out, histogram));
    }
    if !samples.histograms.is_empty() {
        out.push(b']');
    }
    out.push(b'}');
}
