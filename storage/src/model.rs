//! The field's own types: labels, matchers, times, samples, histograms, tenants.
//!
//! The only part of storage that promql sees. No I/O.

mod block_id;
mod budget;
mod external_labels;
mod histogram;
pub mod label_key;
mod labels;
mod matcher;
mod quote;
mod sample;
mod tenant;
mod time;

pub use block_id::BlockId;
pub use budget::{Budget, BudgetExceeded, Reservation, UnlimitedBudget};
pub use external_labels::ExternalLabels;
pub use histogram::{
    Bucket, CUSTOM_BUCKETS_SCHEMA, ClassicBucket, Combined, CounterResetHint, FloatHistogram, Histogram,
    HistogramError, MAX_EXPONENTIAL_SCHEMA, MIN_EXPONENTIAL_SCHEMA, MonotonicFix, NanNote, Span, bucket_fraction,
    bucket_quantile, exp2, is_exponential_schema, kahan_add, log2,
};
pub use labels::{Labels, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError, ReplaceRegex};
pub use quote::quote_go;
pub use sample::{STALE_NAN_BITS, SampleBuffer, is_stale_nan, stale_nan};
pub use tenant::TenantScope;
pub use time::{TimeInterval, TimeRange, Timestamp};
