//! What can be wrong with a histogram, in Prometheus's words.

use super::{CUSTOM_BUCKETS_SCHEMA, MAX_EXPONENTIAL_SCHEMA, MIN_EXPONENTIAL_SCHEMA};

/// A histogram that is not valid, or an operation that has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// Just one operand has custom buckets.
    #[error("cannot apply this operation on histograms with a mix of exponential and custom bucket schemas")]
    IncompatibleSchemas,
    /// The schema is not one that a resolution can be reduced to.
    #[error("cannot reduce resolution from schema {from} to {to}")]
    CannotReduce {
        /// Present schema.
        from: i32,
        /// Wanted schema.
        to: i32,
    },
    /// A schema that is neither exponential nor custom.
    #[error(
        "histogram has an invalid schema, which must be between {MIN_EXPONENTIAL_SCHEMA} and \
         {MAX_EXPONENTIAL_SCHEMA} for exponential buckets, or {CUSTOM_BUCKETS_SCHEMA} for custom buckets, got schema {0}"
    )]
    InvalidSchema(i32),
    /// A span other than the first goes backwards.
    #[error("span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    SpanNegativeOffset {
        /// Which span, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// Spans and populations do not fit.
    #[error(
        "spans need {need} buckets, have {have} buckets: histogram spans specify different number of buckets than provided"
    )]
    SpansBucketsMismatch {
        /// Sum of span lengths.
        need: u64,
        /// Number of populations.
        have: usize,
    },
    /// A negative population.
    #[error(
        "bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is negative"
    )]
    NegativeBucketCount {
        /// Which bucket of its side, from 1.
        number: usize,
        /// Its population.
        count: f64,
    },
    /// A negative zero bucket.
    #[error("zero bucket has observation count of {0}: histogram has a bucket whose observation count is negative")]
    NegativeZeroCount(f64),
    /// A negative count.
    #[error("observation count is  {0}: histogram's observation count is negative")]
    NegativeCount(f64),
    /// More observations in buckets than altogether.
    #[error(
        "{sum_of_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count \
         should be at least the number of observations found in the buckets"
    )]
    CountNotBigEnough {
        /// Observations in buckets.
        sum_of_buckets: u64,
        /// Observations altogether.
        count: u64,
    },
    /// Other observations in buckets than altogether, where no NaN was observed.
    #[error(
        "{sum_of_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count \
         should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// Observations in buckets.
        sum_of_buckets: u64,
        /// Observations altogether.
        count: u64,
    },
    /// Exponential buckets with custom bounds.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialWithCustomBounds,
    /// Custom buckets with something that only exponential ones have.
    #[error("custom buckets: must {0}")]
    CustomBuckets(&'static str),
    /// A custom bound is NaN.
    #[error("histogram custom bounds must not be NaN")]
    CustomBoundNan,
    /// A custom bound is +Inf.
    #[error("last +Inf bound must not be explicitly defined: histogram custom bounds must be finite")]
    CustomBoundInfinite,
    /// Custom bounds do not ascend.
    #[error(
        "previous bound is {previous:.6} and current is {current:.6}: histogram custom bounds must be in strictly \
         increasing order"
    )]
    CustomBoundsOrder {
        /// A bound.
        previous: f64,
        /// The bound after it.
        current: f64,
    },
    /// Spans reach past the last custom bound.
    #[error(
        "only {bounds} custom bounds defined which is insufficient to cover total span length of {length}: histogram \
         custom bounds are too few"
    )]
    CustomBoundsTooFew {
        /// Number of bounds.
        bounds: usize,
        /// Buckets and gaps that the spans cover.
        length: u64,
    },
    /// Where the error is.
    #[error("{side}: {error}")]
    Side {
        /// "positive side", "negative side" or "custom buckets".
        side: &'static str,
        /// What is wrong there.
        error: Box<HistogramError>,
    },
}

impl HistogramError {
    /// Says where.
    pub(super) fn on(self, side: &'static str) -> Self {
        Self::Side { side, error: Box::new(self) }
    }
}
