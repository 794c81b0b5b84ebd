//! What a write is written to, and what became of it.
//!
//! ```text
//! body ──> WriteRequest::visit ──SeriesWrite, one at a time──> SeriesSink ──> commit ──> durable ──> acknowledgement
//!               │                                                  │
//!               └── refuses labels, histograms, far future ── Tally ── refuses out of order, too old, …
//! ```
//!
//! The target drives: it opens its appender, lets the request visit it, commits, and waits until the write is durable. So the
//! appender may be bound to a thread and hold locks, and nothing of a request is ever collected.

use std::fmt;

use async_trait::async_trait;
use storage::head::{Metadata, SeriesWrite};
use storage::model::{HistogramError, Labels};

use super::wire::Malformed;

/// How many refusals are told to the client in words; the others are counted.
const TOLD_MAX: usize = 10;

/// Something that takes writes: a head, or a ring of receivers.
#[async_trait]
pub trait WriteTarget: Send + Sync + 'static {
    /// Writes what `request` brings and returns when it is durable. What single samples were refused for goes into the tally;
    /// then the others are written nevertheless.
    ///
    /// Where [`visit`](WriteRequest::visit) fails, the target may give up what it was handed so far and return the error, or
    /// commit it and return `Ok`: the client is told that the request was malformed, and how much of it was written.
    /// The future may be dropped at any await, when the client goes away or it took too long; nothing is acknowledged then.
    ///
    /// # Errors
    /// Where nothing of the request is acknowledged.
    async fn write(&self, request: &mut dyn WriteRequest) -> Result<(), WriteError>;
}

/// A request that is decoded while it is written.
pub trait WriteRequest: Send {
    /// Hands every valid series to `sink`, once. Invalid ones go to the tally.
    ///
    /// # Errors
    /// Where the body is not the message that it should be; `sink` may have got series by then.
    fn visit(&mut self, sink: &mut dyn SeriesSink) -> Result<(), Malformed>;

    /// Where to enter what became of samples that the sink only collected.
    fn tally(&mut self) -> &mut Tally;
}

/// What takes the series of a request.
pub trait SeriesSink {
    /// Takes samples of a series and enters in `tally`, or later in [`WriteRequest::tally`], how many were written, and which were
    /// not and why. The same series may come several times. `tenant` has been checked.
    fn push(&mut self, tenant: &str, series: &SeriesWrite<'_>, tally: &mut Tally);

    /// Takes what a request says of a metric as a whole, under the name of its family. Nothing depends on it.
    fn describe(&mut self, tenant: &str, family: &str, metadata: Metadata<'_>) {
        let _ = (tenant, family, metadata);
    }
}

/// Why nothing of a request is acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The body is not the message that it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The tenant is past a limit; the text names it.
    #[error("{0}")]
    Limit(String),
    /// Not now: starting, stopping, disk full, a sync that failed. The same request may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// Our bug.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Why samples of a series were not written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// Labels that are no label set; the text says why.
    Labels(&'static str),
    /// A symbol reference that leads nowhere, or half a pair.
    SymbolRef(u32),
    /// The label that names the tenant has a value that no tenant may have.
    Tenant,
    /// A series that brings neither sample nor histogram, where the protocol asks for one.
    NoSamples,
    /// Older than the newest sample of the series, and than what is taken out of order.
    OutOfOrder,
    /// Older than the out-of-order window.
    TooOld,
    /// Before what the head may hold.
    OutOfBounds,
    /// Further ahead of the clock than is taken.
    TooFarAhead,
    /// The series has another value at this time.
    Duplicate,
    /// A histogram that contradicts itself.
    Histogram(HistogramError),
    /// A histogram with more buckets than are read.
    HistogramTooLarge,
    /// A histogram whose spans and buckets contradict each other.
    HistogramLayout,
    /// An exemplar older than the newest of its series.
    ExemplarOutOfOrder,
    /// An exemplar of a series that has no sample.
    ExemplarOfUnknownSeries,
    /// An exemplar further ahead of the clock than is taken.
    ExemplarTooFarAhead,
    /// An exemplar whose labels are too long or no label set.
    ExemplarLabels,
    /// The tenant may have no more series.
    SeriesLimit,
    /// The head has no place for more labels.
    HeadFull,
}

/// What sort of refusal it is, which decides the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// The samples contradict themselves or what was written before.
    Conflict,
    /// Only an exemplar is lost.
    Exemplar,
    /// A histogram is invalid.
    Invalid,
    /// A limit is reached.
    Limit,
}

impl Refusal {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        match self {
            Self::ExemplarOutOfOrder
            | Self::ExemplarOfUnknownSeries
            | Self::ExemplarTooFarAhead
            | Self::ExemplarLabels => RefusalKind::Exemplar,
            Self::Histogram(_) | Self::HistogramLayout | Self::HistogramTooLarge | Self::Tenant => RefusalKind::Invalid,
            Self::SeriesLimit | Self::HeadFull => RefusalKind::Limit,
            _ => RefusalKind::Conflict,
        }
    }
}

/// In Prometheus's words where it has any.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(reason) => write!(f, "invalid labels: {reason}"),
            Self::SymbolRef(reference) => write!(f, "symbol reference {reference} is not in the symbols table"),
            Self::Tenant => f.write_str("invalid tenant name"),
            Self::NoSamples => f.write_str("TimeSeries must contain at least one sample or histogram"),
            Self::OutOfOrder => f.write_str("out of order sample"),
            Self::TooOld => f.write_str("too old sample"),
            Self::OutOfBounds => f.write_str("out of bounds"),
            Self::TooFarAhead => f.write_str("out of bounds: timestamp is too far in the future"),
            Self::Duplicate => f.write_str("duplicate sample for timestamp"),
            Self::Histogram(error) => error.fmt(f),
            Self::HistogramTooLarge => f.write_str("histogram has more buckets than are accepted"),
            Self::HistogramLayout => f.write_str("invalid histogram"),
            Self::ExemplarOutOfOrder => f.write_str("out of order exemplar"),
            Self::ExemplarOfUnknownSeries => f.write_str("exemplar of an unknown series"),
            Self::ExemplarTooFarAhead => f.write_str("timestamp of exemplar is too far in the future"),
            Self::ExemplarLabels => f.write_str("labels of exemplar are invalid or too long"),
            Self::SeriesLimit => f.write_str("tenant is above active series limit"),
            Self::HeadFull => f.write_str("the head has no place for more labels"),
        }
    }
}

/// What of a request was written, and what was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Float samples written; a sample that is there already with the same value counts.
    pub floats: u64,
    /// Histograms written.
    pub histograms: u64,
    /// Exemplars written.
    pub exemplars: u64,
    conflicts: u64,
    exemplars_refused: u64,
    invalid: u64,
    over_limit: u64,
    told: Vec<String>,
}

impl Tally {
    /// Enters that `count` samples of the series `labels` were refused.
    pub fn refuse(&mut self, refusal: &Refusal, labels: &[(&str, &str)], count: u64) {
        // A series without samples is refused too and has to be seen.
        self.refuse_untold(refusal, count.max(1));
        if self.told.len() < TOLD_MAX {
            let series = Labels::from_pairs(labels.iter().copied());
            self.told.push(shortened(format!("{refusal} for series {series}")));
        }
    }

    /// Enters that `count` samples were refused of series that are not told.
    pub fn refuse_untold(&mut self, refusal: &Refusal, count: u64) {
        let counter = match refusal.kind() {
            RefusalKind::Conflict => &mut self.conflicts,
            RefusalKind::Exemplar => &mut self.exemplars_refused,
            RefusalKind::Invalid => &mut self.invalid,
            RefusalKind::Limit => &mut self.over_limit,
        };
        *counter += count;
    }

    /// Enters that `count` samples of a metric were refused before there was a series of them.
    pub fn refuse_metric(&mut self, reason: String, count: u64) {
        self.invalid += count.max(1);
        if self.told.len() < TOLD_MAX {
            self.told.push(shortened(reason));
        }
    }

    /// How much was refused of a kind.
    #[must_use]
    pub const fn refused(&self, kind: RefusalKind) -> u64 {
        match kind {
            RefusalKind::Conflict => self.conflicts,
            RefusalKind::Exemplar => self.exemplars_refused,
            RefusalKind::Invalid => self.invalid,
            RefusalKind::Limit => self.over_limit,
        }
    }

    /// How much was refused altogether.
    #[must_use]
    pub const fn refused_total(&self) -> u64 {
        self.conflicts + self.exemplars_refused + self.invalid + self.over_limit
    }

    /// As [`reasons`](Self::reasons), for an answer in which the tally is not looked at again.
    pub(super) fn take_reasons(&mut self) -> String {
        let text = self.reasons();
        self.told = Vec::new();
        text
    }

    /// The first refusals, a line each, and how many there are more.
    #[must_use]
    pub fn reasons(&self) -> String {
        let mut text = self.told.join("\n");
        let untold = self.refused_total().saturating_sub(self.told.len() as u64);
        if untold > 0 && self.told.len() == TOLD_MAX {
            text.push_str(&format!("\nand {untold} more"));
        }
        text
    }
}

/// Bytes of one refusal's text: labels can be as long as a request.
const TEXT_MAX: usize = 1_000;

fn shortened(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusals_are_told_and_the_others_counted() {
        let mut tally = Tally::default();
        let long = "x".repeat(5_000);
        tally.refuse(&Refusal::OutOfOrder, &[("__name__", "up"), ("é", &long)], 2);
        assert!(tally.reasons().starts_with("out of order sample for series {__name__=\"up\", \"é\"=\"xxx"));
        assert!(tally.reasons().len() < 1_010);
        for _ in 0..100 {
            tally.refuse(&Refusal::NoSamples, &[], 0);
        }
        assert_eq!(tally.reasons().lines().count(), 11);
        assert!(tally.reasons().ends_with("\nand 92 more"));
        assert_eq!((tally.refused(RefusalKind::Conflict), tally.refused_total()), (102, 102));
    }
}
