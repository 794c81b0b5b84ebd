//! A sample of either kind, borrowed from a write or owned by the head.

use super::write::HistogramValue;
use crate::chunk::{ChunkError, Encoding, decode, decode_integer};
use crate::model::{FloatHistogram, Histogram, SampleBuffer, TimeInterval, Timestamp, is_stale_nan};

/// A value that belongs to somebody else.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueRef<'a> {
    Float(f64),
    Integer(&'a Histogram),
    FloatHistogram(&'a FloatHistogram),
}

/// A sample that belongs to somebody else.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleRef<'a> {
    pub t: Timestamp,
    pub start: Timestamp,
    pub value: ValueRef<'a>,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Float(f64),
    Histogram(Box<HistogramValue>),
}

/// A sample.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub t: Timestamp,
    pub start: Timestamp,
    pub value: Value,
}

impl<'a> From<&'a HistogramValue> for ValueRef<'a> {
    fn from(value: &'a HistogramValue) -> Self {
        match value {
            HistogramValue::Integer(histogram) => Self::Integer(histogram),
            HistogramValue::Float(histogram) => Self::FloatHistogram(histogram),
        }
    }
}

impl ValueRef<'_> {
    /// Whether both are the same value of the same kind, bit for bit; what is said of counter resets does not matter.
    pub fn same(self, other: ValueRef<'_>) -> bool {
        match (self, other) {
            (Self::Float(a), ValueRef::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Integer(a), ValueRef::Integer(b)) => same_histogram(&a.to_float(), &b.to_float()),
            (Self::FloatHistogram(a), ValueRef::FloatHistogram(b)) => same_histogram(a, b),
            _ => false,
        }
    }

    pub fn to_value(self) -> Value {
        match self {
            Self::Float(value) => Value::Float(value),
            Self::Integer(histogram) => Value::Histogram(Box::new(HistogramValue::Integer(histogram.clone()))),
            Self::FloatHistogram(histogram) => Value::Histogram(Box::new(HistogramValue::Float(histogram.clone()))),
        }
    }

    /// The staleness marker of a series whose last value is `self`: a histogram's is a histogram.
    pub fn stale_marker(self, marker: f64) -> Value {
        let marker = match self {
            Self::Float(_) => return Value::Float(marker),
            Self::Integer(last) => HistogramValue::Integer(Histogram {
                counter_reset_hint: last.counter_reset_hint,
                sum: marker,
                ..Histogram::default()
            }),
            Self::FloatHistogram(last) => HistogramValue::Float(FloatHistogram {
                counter_reset_hint: last.counter_reset_hint,
                sum: marker,
                ..FloatHistogram::default()
            }),
        };
        Value::Histogram(Box::new(marker))
    }
}

/// Of staleness markers nothing but that they are some is compared.
fn same_histogram(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    match (is_stale_nan(a.sum), is_stale_nan(b.sum)) {
        (false, false) => a.equals(b),
        (a, b) => a && b,
    }
}

impl Value {
    pub fn borrow(&self) -> ValueRef<'_> {
        match self {
            Self::Float(value) => ValueRef::Float(*value),
            Self::Histogram(histogram) => histogram.as_ref().into(),
        }
    }
}

impl Sample {
    pub fn borrow(&self) -> SampleRef<'_> {
        SampleRef { t: self.t, start: self.start, value: self.value.borrow() }
    }
}

impl SampleRef<'_> {
    pub fn to_sample(self) -> Sample {
        Sample { t: self.t, start: self.start, value: self.value.to_value() }
    }
}

/// Appends to `out` the samples of a chunk, histograms with the counts that they were stored with. Staleness markers are
/// floats.
pub(super) fn decode_samples(encoding: u8, data: &[u8], out: &mut Vec<Sample>) -> Result<(), ChunkError> {
    let mut samples = SampleBuffer::new();
    decode(encoding, data, TimeInterval::ALL, &mut samples)?;
    let mut integers = Vec::new();
    if matches!(Encoding::try_from(encoding)?, Encoding::Histogram | Encoding::HistogramSt) {
        decode_integer(encoding, data, TimeInterval::ALL, &mut integers)?;
    }
    let mut histograms = samples.histograms.iter().peekable();
    let mut integers = integers.into_iter();
    for (i, (&t, &value)) in samples.timestamps.iter().zip(&samples.floats).enumerate() {
        let integer = integers.next();
        let value = match histograms.next_if(|(index, _)| *index as usize == i) {
            None => Value::Float(value),
            Some((_, float)) => Value::Histogram(Box::new(match integer {
                Some((_, histogram)) => HistogramValue::Integer(histogram),
                None => HistogramValue::Float(float.as_ref().clone()),
            })),
        };
        out.push(Sample { t, start: samples.start_time(i), value });
    }
    Ok(())
}
