//! What a query tells its user beside the answer: warnings and infos.
//!
//! Prometheus keeps them in a map and sends them in the order of its hash, which is another one each time. Here they are
//! sorted, so that the same query over the same data gives the same bytes.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// The warning that a limit cut an answer short, in Prometheus's words.
pub const TRUNCATED: &str = "results truncated due to limit";

/// Collects the distinct annotations of one query. Shared by all operators of its plan.
///
/// Formatting a text costs far more than a step does, so an operator notes a condition in a local flag
/// and reports it here once a series or once a batch.
#[derive(Debug, Default)]
pub struct AnnotationSink {
    texts: Mutex<(BTreeSet<String>, BTreeSet<String>)>,
}

impl AnnotationSink {
    /// Adds a warning: the answer may be wrong. Starts with `PromQL warning: ` where Prometheus's does.
    pub fn warn(&self, text: impl Into<String>) {
        self.texts.lock().0.insert(text.into());
    }

    /// Adds an info: the query may not be what its author meant. Starts with `PromQL info: `.
    pub fn info(&self, text: impl Into<String>) {
        self.texts.lock().1.insert(text.into());
    }

    /// The warnings and the infos so far, sorted.
    #[must_use]
    pub fn take(&self) -> (Vec<String>, Vec<String>) {
        let mut texts = self.texts.lock();
        let (warnings, infos) = std::mem::take(&mut *texts);
        (warnings.into_iter().collect(), infos.into_iter().collect())
    }
}
