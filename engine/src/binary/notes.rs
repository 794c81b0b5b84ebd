//! The annotations of a vector-to-vector operation.

use std::sync::Arc;

use promql::tree::{BinaryOp, Span};

use crate::annotations::AnnotationSink;
use crate::context::QueryContext;
use crate::scalar_math::binary::BinaryNote;

/// Which sample pair a note comes from: filled ones come last, then the row decides.
type Order = (bool, Option<u32>);

/// Keeps, as Prometheus does, the last note of each step.
#[derive(Debug)]
pub(super) struct Notes {
    op: BinaryOp,
    position: String,
    sink: Arc<AnnotationSink>,
    steps: usize,
    /// Empty until there is a note.
    last: Vec<Option<(Order, BinaryNote)>>,
}

impl Notes {
    pub(super) fn new(op: BinaryOp, context: &QueryContext, span: Span, steps: usize) -> Self {
        let sink = Arc::clone(&context.annotations);
        Self { op, position: context.position(span.start), sink, steps, last: Vec::new() }
    }

    /// Notes what came of a sample pair.
    pub(super) fn note(&mut self, step: usize, order: Order, note: BinaryNote) {
        if self.last.is_empty() {
            self.last = vec![None; self.steps];
        }
        let last = &mut self.last[step];
        if last.is_none_or(|(earlier, _)| earlier <= order) {
            *last = Some((order, note));
        }
    }

    /// Hands the notes to the query.
    pub(super) fn report(&mut self) {
        let mut reported = Vec::new();
        for (_, note) in self.last.drain(..).flatten() {
            if !reported.contains(&note) {
                note.report(self.op, &self.position, &self.sink);
                reported.push(note);
            }
        }
    }
}
