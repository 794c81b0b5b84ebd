//! What all operators of one query share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::annotations::AnnotationSink;
use crate::dedup::Deduplication;
use crate::error::{Error, Result};
use crate::removed_name::NameRemoval;

/// Shared by every operator of a query's plan.
#[derive(Debug, Clone)]
pub struct QueryContext {
    /// Where warnings and infos go.
    pub annotations: Arc<AnnotationSink>,
    /// How many samples the query may load.
    pub samples: Arc<SampleLimit>,
    /// How far back an instant selector looks for a sample, in milliseconds.
    pub lookback_ms: i64,
    /// How replicas become one series.
    pub deduplication: Deduplication,
    /// When what is no longer a metric loses its name.
    pub name_removal: NameRemoval,
    /// Whether the label `__type__` tells counters, not their names.
    pub type_labels: bool,
    /// The query text, for the line and column of annotations.
    pub text: Arc<str>,
}

impl QueryContext {
    /// `1:6`, the line and column of a byte offset in the query text, as annotations end with it in parentheses.
    #[must_use]
    pub fn position(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").len() + 1;
        format!("{line}:{column}")
    }
}

/// Counts the samples that a query's leaves put out, as `--query.max-samples` limits them, and those that it holds.
#[derive(Debug)]
pub struct SampleLimit {
    max: usize,
    total: AtomicUsize,
    held: AtomicUsize,
    peak: AtomicUsize,
}

impl SampleLimit {
    /// A limit of `max` samples; 0 is none.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, total: AtomicUsize::new(0), held: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Counts `samples` more.
    ///
    /// # Errors
    /// [`Error::Limit`] with Prometheus's text once there are too many.
    pub fn add(&self, samples: usize) -> Result<()> {
        let total = self.total.fetch_add(samples, Ordering::Relaxed).saturating_add(samples);
        if self.max > 0 && total > self.max {
            return Err(Error::Limit(
                "query processing would load too many samples into memory in query execution".to_owned(),
            ));
        }
        Ok(())
    }

    /// The samples counted so far.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Most samples that were held at once so far, as [`HeldSamples`] told.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// The samples that one part of a query holds in memory; dropping it gives them back. Told once a batch, or where a buffer
/// grows, never once a sample.
#[derive(Debug)]
pub(crate) struct HeldSamples {
    /// Where they are counted; nowhere in a plan that runs without a query.
    counter: Option<Arc<SampleLimit>>,
    held: AtomicUsize,
}

impl HeldSamples {
    pub(crate) fn new(counter: Option<Arc<SampleLimit>>) -> Self {
        Self { counter, held: AtomicUsize::new(0) }
    }

    /// Holds `samples` more.
    pub(crate) fn add(&self, samples: usize) {
        if let Some(counter) = &self.counter {
            self.held.fetch_add(samples, Ordering::Relaxed);
            let held = counter.held.fetch_add(samples, Ordering::Relaxed).saturating_add(samples);
            counter.peak.fetch_max(held, Ordering::Relaxed);
        }
    }

    /// Holds `samples` altogether, or what it held before if that is more: a buffer that is used again does not shrink.
    pub(crate) fn raise_to(&mut self, samples: usize) {
        let held = *self.held.get_mut();
        if samples > held {
            self.add(samples - held);
        }
    }
}

impl Drop for HeldSamples {
    fn drop(&mut self) {
        if let Some(counter) = &self.counter {
            counter.held.fetch_sub(*self.held.get_mut(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_was_held_at_once() {
        let counter = Arc::new(SampleLimit::new(0));
        let mut buffer = HeldSamples::new(Some(Arc::clone(&counter)));
        buffer.raise_to(10);
        buffer.raise_to(4);
        let result = HeldSamples::new(Some(Arc::clone(&counter)));
        result.add(5);
        drop(buffer);
        result.add(7);
        assert_eq!(counter.peak(), 15);
        result.add(4);
        assert_eq!(counter.peak(), 16);
        drop(result);
        assert_eq!(counter.held.load(Ordering::Relaxed), 0);
    }
}
