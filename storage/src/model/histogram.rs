//! Native histograms: exponential buckets, or custom ones.
//!
//! What queries compute on is [`FloatHistogram`]; [`Histogram`] is only what is scraped and stored. All behaviour, up
//! to the rounding of sums, is that of Prometheus 3.14. Corrupt histograms give wrong numbers, never a panic.

mod arithmetic;
mod bounds;
mod buckets;
mod classic;
mod compact;
mod custom;
mod error;
mod kahan;
mod log_scale;
mod quantile;
mod reset;
mod spans;
mod text;
mod trim;
mod validate;
mod zero;

pub use arithmetic::Combined;
pub use bounds::{MAX_EXPONENTIAL_SCHEMA, MIN_EXPONENTIAL_SCHEMA, is_exponential_schema};
pub use buckets::Bucket;
pub use classic::{ClassicBucket, MonotonicFix, bucket_fraction, bucket_quantile};
pub use error::HistogramError;
pub use kahan::kahan_add;
pub use log_scale::{exp2, log2};
pub use quantile::NanNote;

/// The schema that marks custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What a histogram's producer says about a counter reset before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CounterResetHint {
    /// Nothing is known: compare with the one before.
    #[default]
    Unknown,
    /// There was a reset.
    CounterReset,
    /// There was none.
    NotCounterReset,
    /// Not a counter at all.
    Gauge,
}

/// A run of `length` buckets that starts `offset` buckets after the end of the run before it; the first
/// offset is the absolute index of the first bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Gap to the previous span; for the first, the index itself, which may be negative.
    pub offset: i32,
    /// Number of consecutive buckets.
    pub length: u32,
}

/// A histogram with float counts: absolute bucket populations, no deltas. What queries compute on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FloatHistogram {
    /// What is known of a reset before this sample.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution −4 to 8 (each power of two has 2^schema buckets), or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Width of the zero bucket: observations in `[-t, t]` are zero.
    pub zero_threshold: f64,
    /// Population of the zero bucket.
    pub zero_count: f64,
    /// Number of observations.
    pub count: f64,
    /// Sum of observations; the staleness marker makes the whole sample one.
    pub sum: f64,
    /// Which positive buckets are present.
    pub positive_spans: Vec<Span>,
    /// Which negative buckets are present.
    pub negative_spans: Vec<Span>,
    /// Populations of the positive buckets, in span order.
    pub positive_buckets: Vec<f64>,
    /// Populations of the negative buckets, in span order.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds where the schema is [`CUSTOM_BUCKETS_SCHEMA`], ascending, without +Inf.
    pub custom_values: Vec<f64>,
}

/// A histogram with integer counts, as it is scraped and stored: bucket populations are deltas to the bucket before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// What is known of a reset before this sample.
    pub counter_reset_hint: CounterResetHint,
    /// As in [`FloatHistogram::schema`].
    pub schema: i32,
    /// As in [`FloatHistogram::zero_threshold`].
    pub zero_threshold: f64,
    /// Population of the zero bucket.
    pub zero_count: u64,
    /// Number of observations.
    pub count: u64,
    /// Sum of observations; the staleness marker makes the whole sample one.
    pub sum: f64,
    /// Which positive buckets are present.
    pub positive_spans: Vec<Span>,
    /// Which negative buckets are present.
    pub negative_spans: Vec<Span>,
    /// Positive populations; the first absolute, each other the difference to the one before.
    pub positive_deltas: Vec<i64>,
    /// Negative populations, likewise.
    pub negative_deltas: Vec<i64>,
    /// As in [`FloatHistogram::custom_values`].
    pub custom_values: Vec<f64>,
}

impl FloatHistogram {
    /// Whether the buckets have custom bounds.
    #[must_use]
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether both say the same, bit for bit in counts, populations and sum; hints do not matter.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        let same_bits = |a: &[f64], b: &[f64]| a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()));
        self.schema == other.schema
            && same_bits(&[self.count, self.sum, self.zero_count], &[other.count, other.sum, other.zero_count])
            && self.zero_threshold == other.zero_threshold
            && !custom::bounds_differ(self, other)
            && spans::same_layout(&self.negative_spans, &other.negative_spans)
            && spans::same_layout(&self.positive_spans, &other.positive_spans)
            && same_bits(&self.negative_buckets, &other.negative_buckets)
            && same_bits(&self.positive_buckets, &other.positive_buckets)
    }

    /// How many float samples this histogram counts for in Prometheus's limit on samples of a query: its size there,
    /// 168 bytes and 8 for each span, bucket and bound, and a timestamp, in units of 16 bytes.
    #[must_use]
    pub fn size_in_samples(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        let values = self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        (168 + (spans + values) * 8 + 8) / 16
    }

    /// Bytes that this histogram holds, for memory accounting.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive_spans.capacity() + self.negative_spans.capacity()) * size_of::<Span>()
            + (self.positive_buckets.capacity() + self.negative_buckets.capacity() + self.custom_values.capacity()) * 8
    }
}

impl FloatHistogram {
    /// The same histogram with integer counts; none where one is not a whole number, or too large to be told from its neighbours.
    #[must_use]
    pub fn to_integer(&self) -> Option<Histogram> {
        const EXACT_MAX: f64 = (1_u64 << 53) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        let whole = |value: f64| ((0.0..=EXACT_MAX).contains(&value) && value.fract() == 0.0).then_some(value as u64);
        let deltas = |populations: &[f64]| {
            let mut before = 0_i64;
            let delta = |&population: &f64| {
                let population = whole(population)?.cast_signed();
                Some(population - std::mem::replace(&mut before, population))
            };
            populations.iter().map(delta).collect::<Option<Vec<i64>>>()
        };
        Some(Histogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: whole(self.zero_count)?,
            count: whole(self.count)?,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_deltas: deltas(&self.positive_buckets)?,
            negative_deltas: deltas(&self.negative_buckets)?,
            custom_values: self.custom_values.clone(),
        })
    }
}

impl Histogram {
    /// The same histogram with float counts and absolute bucket populations.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "Prometheus converts counts the same way")]
    pub fn to_float(&self) -> FloatHistogram {
        let absolute = |deltas: &[i64]| {
            let mut population = 0_i64;
            deltas
                .iter()
                .map(|delta| {
                    population = population.wrapping_add(*delta);
                    population as f64
                })
                .collect()
        };
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_buckets: absolute(&self.positive_deltas),
            negative_buckets: absolute(&self.negative_deltas),
            custom_values: self.custom_values.clone(),
        }
    }
}
