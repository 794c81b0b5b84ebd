//! What becomes of the samples of a write.

use crate::model::{Labels, Timestamp};

/// Rejections that a commit tells in full; the others are only counted.
pub const REJECTIONS_TOLD: usize = 10;

/// Why a sample or exemplar was not taken. The texts are Prometheus's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Older than the newest sample of its series, and nothing out of order is taken.
    #[error("out of order sample")]
    OutOfOrder,
    /// Older than what the head takes at all.
    #[error("out of bounds")]
    OutOfBounds,
    /// Older than the window for samples out of order.
    #[error("too old sample")]
    TooOld,
    /// The series has another value at this time.
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// Further after now than is taken.
    #[error("out of bounds: timestamp is too far in the future")]
    TooFarInFuture,
    /// A label that is reserved for the log.
    #[error("label name {RESERVED} is reserved", RESERVED = super::journal::TENANT_IN_LOG)]
    ReservedLabel,
    /// A histogram whose spans and buckets contradict each other.
    #[error("invalid histogram")]
    InvalidHistogram,
    /// The strings of a part of the head exceed what it can hold.
    #[error("the head holds too many labels")]
    TooManyLabels,
    /// The tenant has as many series as it may have.
    #[error("tenant is above active series limit")]
    SeriesLimit,
    /// Older than the newest exemplar of its series.
    #[error("out of order exemplar")]
    ExemplarOutOfOrder,
    /// An exemplar's labels have more than 128 characters.
    #[error("label length for exemplar exceeds maximum of 128 UTF-8 characters")]
    ExemplarLabelsTooLong,
    /// An exemplar of a series that has no sample.
    #[error("exemplar of an unknown series")]
    ExemplarOfUnknownSeries,
}

/// What a rejected sample was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedSample {
    /// Its series.
    pub labels: Labels,
    /// Its time.
    pub t: Timestamp,
    /// Why.
    pub reason: Rejection,
}

/// What a commit took and what it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Float samples taken, those among them that were known already.
    pub floats: u64,
    /// Histograms, likewise.
    pub histograms: u64,
    /// Exemplars, likewise; where none are kept, all that came.
    pub exemplars: u64,
    /// Of the samples taken, those out of order.
    pub out_of_order: u64,
    /// Series that were not there before.
    pub new_series: u64,
    /// How much was rejected for each reason, in the order of reasons.
    pub rejected: Vec<(Rejection, u64)>,
    /// The first [`REJECTIONS_TOLD`] rejections.
    pub rejections: Vec<RejectedSample>,
}

impl Outcome {
    /// Samples and exemplars that were rejected.
    #[must_use]
    pub fn rejected_count(&self) -> u64 {
        self.rejected.iter().map(|(_, count)| count).sum()
    }

    /// Notes a rejection.
    pub(super) fn reject(&mut self, labels: impl FnOnce() -> Labels, t: Timestamp, reason: Rejection) {
        match self.rejected.binary_search_by_key(&reason, |(reason, _)| *reason) {
            Ok(at) => self.rejected[at].1 += 1,
            Err(at) => self.rejected.insert(at, (reason, 1)),
        }
        if self.rejections.len() < REJECTIONS_TOLD {
            self.rejections.push(RejectedSample { labels: labels(), t, reason });
        }
    }
}
