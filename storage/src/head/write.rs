//! What a write brings: series with their samples, borrowed from the request's body.
//!
//! A protocol's decoder fills these without a copy of a label; the head copies what it keeps. Labels are checked before: sorted
//! by name, names distinct and valid UTF-8, nothing empty.

use crate::model::{FloatHistogram, Histogram, Timestamp};

/// One series and what is to be appended to it.
#[derive(Debug, Clone, Copy)]
pub struct SeriesWrite<'a> {
    /// Names and values, sorted by name, names distinct, no value empty.
    pub labels: &'a [(&'a str, &'a str)],
    /// Float samples, in the order in which they were sent.
    pub floats: &'a [FloatSample],
    /// Native histograms, in the order in which they were sent.
    pub histograms: &'a [HistogramSample],
    /// Exemplars of these samples.
    pub exemplars: &'a [Exemplar<'a>],
    /// What the metric is, where the request says so with the series.
    pub metadata: Option<Metadata<'a>>,
}

/// A float sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloatSample {
    /// When, in milliseconds.
    pub t: Timestamp,
    /// Since when a counter counts, in milliseconds; 0 is unknown.
    pub start: Timestamp,
    /// The value, bit for bit: staleness markers are values here.
    pub value: f64,
}

/// A native histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// When, in milliseconds.
    pub t: Timestamp,
    /// Since when it counts, in milliseconds; 0 is unknown.
    pub start: Timestamp,
    /// The histogram, valid (`validate` was called).
    pub histogram: HistogramValue,
}

/// A native histogram with integer or with float counts.
#[derive(Debug, Clone, PartialEq)]
pub enum HistogramValue {
    /// Integer counts, buckets as deltas.
    Integer(Histogram),
    /// Float counts, buckets absolute.
    Float(FloatHistogram),
}

impl HistogramValue {
    /// How many spans, buckets and bounds it has: what its size in memory goes by.
    #[must_use]
    pub fn layout_len(&self) -> usize {
        match self {
            Self::Integer(h) => {
                let spans = h.positive_spans.len() + h.negative_spans.len();
                spans + h.positive_deltas.len() + h.negative_deltas.len() + h.custom_values.len()
            }
            Self::Float(h) => {
                let spans = h.positive_spans.len() + h.negative_spans.len();
                spans + h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len()
            }
        }
    }
}

/// A sample that stands for many, with labels such as a trace's id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar<'a> {
    /// Its own labels, sorted by name.
    pub labels: &'a [(&'a str, &'a str)],
    /// When, in milliseconds.
    pub t: Timestamp,
    /// The value.
    pub value: f64,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Counter, gauge and so on.
    pub kind: MetricKind,
    /// Its unit, or nothing.
    pub unit: &'a str,
    /// Its help text, or nothing.
    pub help: &'a str,
}

/// The type of a metric. The numbers are those of remote write and of the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum MetricKind {
    /// Nothing is known.
    #[default]
    Unknown = 0,
    /// Rises until it is reset.
    Counter = 1,
    /// Rises and falls.
    Gauge = 2,
    /// A classic or native histogram.
    Histogram = 3,
    /// A histogram whose buckets rise and fall.
    GaugeHistogram = 4,
    /// Quantiles computed by the client.
    Summary = 5,
    /// Labels that describe, with the value 1.
    Info = 6,
    /// One of several states.
    StateSet = 7,
}

impl MetricKind {
    /// The type with this number; unknown where there is none.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }
}
