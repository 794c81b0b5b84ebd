//! Answers as JSON, written straight from vector batches into byte buffers.
//!
//! An answer is cut into pieces of about [`PIECE_BYTES`]; a piece is written when the connection takes it, so that a large
//! answer is never held twice. The times of a range query are formatted once and copied into every point.
//!
//! ```text
//! {"status":"success","data":{"resultType":"matrix","result":[  row , row , …  ]},"warnings":[…],"infos":[…]}
//! └────────────────────────── head ───────────────────────────┘ └── rows ───┘ └──────── tail ────────────────┘
//! ```

mod histogram;
mod rows;
mod text;

use bytes::Bytes;
use engine::vector::VectorColumns;
use engine::{Answer, QueryStats, Value};

use super::number::{push_float, push_quoted_float, push_timestamp};
pub use rows::push_labels;
pub use text::push_string;

/// How much is written before it is handed to the connection.
pub const PIECE_BYTES: usize = 128 << 10;

/// Writes one answer piece by piece.
pub struct AnswerJson {
    head: Option<Vec<u8>>,
    rows: rows::Rows,
    tail: Option<Vec<u8>>,
    /// Whether a row has been written, so that the next needs a comma.
    started: bool,
}

impl AnswerJson {
    /// Prepares to write `answer`; with its statistics where `with_stats`, and in Thanos's form where `with_analysis`.
    ///
    /// # Errors
    /// [`engine::Error::Internal`] where a batch is not a vector batch.
    pub fn try_new(answer: Answer, with_stats: bool, with_analysis: bool) -> engine::Result<Self> {
        let mut head = br#"{"status":"success","data":{"resultType":"#.to_vec();
        let mut tail = Vec::new();
        let (result_type, rows) = match answer.value {
            Value::Scalar { t, value } => {
                push_point(&mut tail, t, |out| push_quoted_float(out, value));
                ("scalar", rows::Rows::none())
            }
            Value::String { t, value } => {
                push_point(&mut tail, t, |out| push_string(out, &value));
                ("string", rows::Rows::none())
            }
            Value::Vector { t, batches } => ("vector", rows::Rows::vector(t, columns(&batches)?)),
            Value::Matrix { grid, batches, order } => ("matrix", rows::Rows::matrix(grid, columns(&batches)?, order)),
            Value::Samples(series) => ("matrix", rows::Rows::samples(series)),
        };
        push_string(&mut head, result_type);
        head.extend_from_slice(br#","result":"#);
        if matches!(result_type, "vector" | "matrix") {
            head.push(b'[');
            tail.push(b']');
        }
        if with_stats {
            push_stats(&mut tail, &answer.stats);
        }
        if with_analysis {
            push_analysis(&mut tail, &answer.stats);
        }
        tail.push(b'}');
        push_annotations(&mut tail, &answer.warnings, &answer.infos);
        tail.push(b'}');
        Ok(Self { head: Some(head), rows, tail: Some(tail), started: false })
    }
}

impl Iterator for AnswerJson {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.tail.as_ref()?;
        let mut out = Vec::with_capacity(if self.head.is_some() { 4 << 10 } else { PIECE_BYTES + (PIECE_BYTES >> 3) });
        if let Some(head) = self.head.take() {
            out.extend_from_slice(&head);
        }
        while out.len() < PIECE_BYTES {
            let before = out.len();
            if self.started {
                out.push(b',');
            }
            if !self.rows.push_next(&mut out) {
                out.truncate(before);
                out.extend_from_slice(&self.tail.take().unwrap_or_default());
                break;
            }
            self.started = true;
        }
        Some(Bytes::from(out))
    }
}

/// Takes all batches apart, so that nothing can fail once the status is sent.
fn columns(batches: &[arrow::array::RecordBatch]) -> engine::Result<Vec<VectorColumns>> {
    batches.iter().map(VectorColumns::try_new).collect()
}

/// `[time,…]`
fn push_point(out: &mut Vec<u8>, t: storage::model::Timestamp, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    push_timestamp(out, t);
    out.push(b',');
    value(out);
    out.push(b']');
}

/// `,"warnings":[…],"infos":[…]`, at most ten of each, as Prometheus shows them.
pub fn push_annotations(out: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    const SHOWN_MAX: usize = 10;
    for (key, kind, texts) in [("warnings", "warning", warnings), ("infos", "info", infos)] {
        if texts.is_empty() {
            continue;
        }
        out.push(b',');
        push_string(out, key);
        out.push(b':');
        let omitted = texts.len().saturating_sub(SHOWN_MAX);
        let more = (omitted > 0).then(|| format!("{omitted} more {kind} annotations omitted"));
        push_array(out, texts.iter().take(SHOWN_MAX).chain(&more));
    }
}

/// An array of strings.
pub fn push_array<S: AsRef<str>>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = S>) {
    out.push(b'[');
    for (i, text) in texts.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_string(out, text.as_ref());
    }
    out.push(b']');
}

/// `,"stats":{…}` in the shape of Prometheus.
fn push_stats(out: &mut Vec<u8>, stats: &QueryStats) {
    let total = stats.parse + stats.plan + stats.exec;
    let timings = [
        ("evalTotalTime", stats.plan + stats.exec),
        ("resultSortTime", std::time::Duration::ZERO),
        ("queryPreparationTime", stats.plan),
        ("innerEvalTime", stats.exec),
        ("execQueueTime", std::time::Duration::ZERO),
        ("execTotalTime", total),
    ];
    out.extend_from_slice(br#","stats":{"timings":{"#);
    for (i, (name, time)) in timings.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        push_float(out, time.as_secs_f64());
    }
    out.extend_from_slice(
        format!(
            r#"}},"samples":{{"totalQueryableSamples":{},"samplesRead":{},"peakSamples":{}}}}}"#,
            stats.samples_total, stats.samples_total, stats.peak_samples
        )
        .as_bytes(),
    );
}

/// `,"analysis":{…}` in the shape of Thanos, for the query as a whole.
fn push_analysis(out: &mut Vec<u8>, stats: &QueryStats) {
    let time = format!("{:?}", stats.exec);
    out.extend_from_slice(br#","analysis":{"name":"query","executionTime":"#);
    push_string(out, &time);
    out.extend_from_slice(
        format!(r#","peakSamples":{},"totalSamples":{}}}"#, stats.peak_samples, stats.samples_total).as_bytes(),
    );
}

#[cfg(test)]
mod tests;
