//! The chunks of a series as samples, histograms as they were written: integer counts stay integers.
//!
//! Where chunks overlap, of two samples at one instant the one of the earlier chunk counts. A histogram's hint speaks of the sample
//! before it in its chunk; where that is another sample in the result, nothing is known, unless it is a gauge.

use storage::chunk::{self, ChunkError, Encoding};
use storage::model::{CounterResetHint, FloatHistogram, Histogram, SampleBuffer, TimeInterval, Timestamp};

use super::merge::Chunk;

/// What a series is at an instant.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A number, or a staleness marker.
    Float(f64),
    /// A histogram with integer counts.
    Integer(Box<Histogram>),
    /// A histogram with float counts.
    FloatHistogram(Box<FloatHistogram>),
}

/// A sample.
pub type Sample = (Timestamp, SampleValue);

/// The samples of `chunks`, which are sorted by their first sample, in `interval`.
///
/// # Errors
/// Where a chunk does not decode.
pub fn decode(chunks: &[Chunk], interval: TimeInterval) -> Result<Vec<Sample>, ChunkError> {
    let mut samples: Vec<Sample> = Vec::new();
    for chunk in chunks.iter().filter(|chunk| chunk.interval().overlaps(interval)) {
        let decoded = decode_payload(chunk.encoding(), chunk.data(), interval)?;
        samples = match (samples.last(), decoded.first()) {
            (Some((last, _)), Some((first, _))) if first <= last => chain(samples, decoded),
            _ => {
                samples.extend(decoded);
                samples
            }
        };
    }
    Ok(samples)
}

/// The samples of one chunk in `interval`.
///
/// # Errors
/// Where it does not decode.
pub fn decode_payload(encoding: u8, data: &[u8], interval: TimeInterval) -> Result<Vec<Sample>, ChunkError> {
    let kind = Encoding::try_from(encoding)?;
    if matches!(kind, Encoding::Histogram | Encoding::HistogramSt) {
        let mut histograms = Vec::new();
        chunk::decode_integer(encoding, data, interval, &mut histograms)?;
        return Ok(histograms.into_iter().map(|(t, h)| (t, SampleValue::Integer(Box::new(h)))).collect());
    }
    let mut buffer = SampleBuffer::new();
    chunk::decode(encoding, data, interval, &mut buffer)?;
    let of_histograms = matches!(kind, Encoding::FloatHistogram | Encoding::FloatHistogramSt);
    let mut histograms = buffer.histograms.into_iter().peekable();
    let samples = buffer.timestamps.iter().zip(&buffer.floats).enumerate().map(|(i, (t, value))| {
        let value = match histograms.next_if(|(index, _)| *index as usize == i) {
            Some((_, histogram)) => SampleValue::FloatHistogram(Box::new(FloatHistogram::clone(&histogram))),
            // the staleness marker of a histogram
            None if of_histograms => {
                SampleValue::FloatHistogram(Box::new(FloatHistogram { sum: *value, ..FloatHistogram::default() }))
            }
            None => SampleValue::Float(*value),
        };
        (*t, value)
    });
    Ok(samples.collect())
}

fn chain(first: Vec<Sample>, second: Vec<Sample>) -> Vec<Sample> {
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    let mut last_is_first = None;
    loop {
        let is_first = match (first.peek(), second.peek()) {
            (Some((a, _)), Some((b, _))) => a <= b,
            (a, b) if a.is_none() && b.is_none() => return merged,
            (a, _) => a.is_some(),
        };
        let taken = if is_first { first.next() } else { second.next() };
        let Some((t, mut value)) = taken else { return merged };
        if is_first {
            second.next_if(|(other, _)| *other == t);
        }
        if last_is_first.is_some_and(|last| last != is_first) {
            forget_hint(&mut value);
        }
        last_is_first = Some(is_first);
        merged.push((t, value));
    }
}

fn forget_hint(value: &mut SampleValue) {
    let hint = match value {
        SampleValue::Float(_) => return,
        SampleValue::Integer(h) => &mut h.counter_reset_hint,
        SampleValue::FloatHistogram(h) => &mut h.counter_reset_hint,
    };
    if *hint != CounterResetHint::Gauge {
        *hint = CounterResetHint::Unknown;
    }
}

/// The same samples with float histograms, for encoding them anew.
pub fn to_buffer(samples: &[Sample]) -> SampleBuffer {
    let mut buffer = SampleBuffer::new();
    for (t, value) in samples {
        match value {
            SampleValue::Float(value) => buffer.push_float(*t, *value),
            SampleValue::Integer(h) => buffer.push_histogram(*t, h.to_float()),
            SampleValue::FloatHistogram(h) => buffer.push_histogram(*t, FloatHistogram::clone(h)),
        }
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_at_one_instant_the_first_counts() {
        let floats = |samples: &[(i64, f64)]| -> Vec<Sample> {
            samples.iter().map(|(t, value)| (*t, SampleValue::Float(*value))).collect()
        };
        let merged = chain(floats(&[(1, 1.0), (3, 1.0), (5, 1.0)]), floats(&[(2, 2.0), (3, 2.0), (6, 2.0)]));
        assert_eq!(merged, floats(&[(1, 1.0), (2, 2.0), (3, 1.0), (5, 1.0), (6, 2.0)]));
        assert_eq!(chain(floats(&[]), floats(&[(2, 2.0)])), floats(&[(2, 2.0)]));
    }

    #[test]
    fn hints_that_no_longer_hold_are_forgotten() {
        let histogram = |t, counter_reset_hint| {
            (t, SampleValue::Integer(Box::new(Histogram { counter_reset_hint, ..Histogram::default() })))
        };
        use CounterResetHint::{Gauge, NotCounterReset, Unknown};
        let merged = chain(
            vec![histogram(1, Unknown), histogram(3, NotCounterReset), histogram(4, NotCounterReset)],
            vec![histogram(2, Gauge)],
        );
        let hints = [Unknown, Gauge, Unknown, NotCounterReset];
        assert_eq!(merged, hints.iter().zip(1..).map(|(hint, t)| histogram(t, *hint)).collect::<Vec<_>>());
    }
}
