//! What all operators of one query share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::annotations::AnnotationSink;
use crate::error::{Error, Result};

/// Shared by every operator of a query's plan.
#[derive(Debug, Clone)]
pub struct QueryContext {
    /// Where warnings and infos go.
    pub annotations: Arc<AnnotationSink>,
    /// How many samples the query may load.
    pub samples: Arc<SampleLimit>,
    /// How far back an instant selector looks for a sample, in milliseconds.
    pub lookback_ms: i64,
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

/// Counts the samples that a query's leaves put out, as `--query.max-samples` limits them.
#[derive(Debug)]
pub struct SampleLimit {
    max: usize,
    total: AtomicUsize,
}

impl SampleLimit {
    /// A limit of `max` samples; 0 is none.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, total: AtomicUsize::new(0) }
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
}
