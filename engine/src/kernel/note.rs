//! What kernels tell the user, in Prometheus's words.

use storage::model::quote_go;

use super::KernelContext;

/// A condition that a kernel met. Notes are gathered while a series is evaluated, and put into words once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// A window held floats and histograms, and so has no answer.
    MixedWindow,
    /// A window held floats and histograms, of which only the floats counted.
    HistogramsIgnored,
    /// rate or increase of a series that is not named, or where types are labels not labelled, like a counter.
    NotLikeCounter,
    /// A counter function met a gauge histogram.
    NotCounter,
    /// A gauge function met a counter histogram.
    NotGauge,
    /// Histograms with exponential and with custom buckets met.
    MixedSchemas,
    /// Custom bucket bounds differed and were reconciled in a subtraction.
    ReconciledSubtraction,
    /// Likewise, in an addition.
    ReconciledAddition,
    /// Likewise, in sum or avg over time.
    ReconciledAggregation,
    /// sum or avg over time met both hints: counter reset, and no counter reset.
    ResetCollision,
    /// A sample counts since before the one before it, but not since when that one counts.
    StartsOverlap,
}

/// The distinct notes of one series.
#[derive(Debug, Default)]
pub(super) struct Notes(u16);

impl Notes {
    /// Adds a note.
    #[inline]
    pub fn add(&mut self, note: Note) {
        self.0 |= 1 << note as u16;
    }

    /// Adds all of `other`'s.
    pub fn merge(&mut self, other: &Self) {
        self.0 |= other.0;
    }

    fn has(&self, note: Note) -> bool {
        self.0 & (1 << note as u16) != 0
    }

    /// Writes the annotations.
    pub fn report(&self, context: &KernelContext<'_>) {
        if self.0 == 0 {
            return;
        }
        let KernelContext { position, annotations, .. } = context;
        let metric_name = quote_go(context.metric_name);
        if self.has(Note::MixedWindow) {
            annotations.warn(format!(
                "PromQL warning: encountered a mix of histograms and floats for metric name {metric_name} ({position})"
            ));
        }
        if self.has(Note::HistogramsIgnored) {
            annotations.info(format!(
                "PromQL info: ignored histograms in a range containing both floats and histograms for metric name \
                 {metric_name} ({position})"
            ));
        }
        if self.has(Note::NotLikeCounter) {
            let reason = match context.type_label {
                Some(label) => {
                    format!("__type__ label is not set to \"counter\" or \"histogram\", got {}", quote_go(label))
                }
                None => "name does not end in _total/_sum/_count/_bucket".to_owned(),
            };
            annotations
                .info(format!("PromQL info: metric might not be a counter, {reason}: {metric_name} ({position})"));
        }
        if self.has(Note::NotCounter) {
            annotations.warn(format!(
                "PromQL warning: this native histogram metric is not a counter: {metric_name} ({position})"
            ));
        }
        if self.has(Note::NotGauge) {
            annotations.warn(format!(
                "PromQL warning: this native histogram metric is not a gauge: {metric_name} ({position})"
            ));
        }
        if self.has(Note::MixedSchemas) {
            annotations.warn(format!(
                "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for \
                 metric name {metric_name} ({position})"
            ));
        }
        for (note, operation) in [
            (Note::ReconciledSubtraction, "subtraction"),
            (Note::ReconciledAddition, "addition"),
            (Note::ReconciledAggregation, "aggregation"),
        ] {
            if self.has(note) {
                annotations.info(format!(
                    "PromQL info: mismatched custom buckets were reconciled during {operation} ({position})"
                ));
            }
        }
        if self.has(Note::StartsOverlap) {
            annotations.warn(format!(
                "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric \
                 {metric_name} ({position})"
            ));
        }
        if self.has(Note::ResetCollision) {
            annotations
                .warn(format!("PromQL warning: conflicting counter resets during histogram aggregation ({position})"));
        }
    }
}
