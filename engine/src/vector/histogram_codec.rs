//! How a native histogram travels between operators: one flat run of little-endian fields.
//!
//! ```text
//! hint u8 │ schema i32 │ zero_threshold, zero_count, count, sum f64 │ 5 × length u32 │
//! positive spans (i32, u32) │ negative spans │ positive buckets f64 │ negative buckets f64 │ custom values f64
//! ```
//!
//! It never leaves the process except inside a plan's own exchange, so it carries no version.

use storage::model::{CounterResetHint, FloatHistogram, Span};

use crate::error::{Error, Result};

/// Appends the encoding of `histogram` to `out`.
pub fn encode_histogram(histogram: &FloatHistogram, out: &mut Vec<u8>) {
    out.push(match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    });
    out.extend_from_slice(&histogram.schema.to_le_bytes());
    for float in [histogram.zero_threshold, histogram.zero_count, histogram.count, histogram.sum] {
        out.extend_from_slice(&float.to_le_bytes());
    }
    let lengths = [
        histogram.positive_spans.len(),
        histogram.negative_spans.len(),
        histogram.positive_buckets.len(),
        histogram.negative_buckets.len(),
        histogram.custom_values.len(),
    ];
    for length in lengths {
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    for span in histogram.positive_spans.iter().chain(&histogram.negative_spans) {
        out.extend_from_slice(&span.offset.to_le_bytes());
        out.extend_from_slice(&span.length.to_le_bytes());
    }
    let floats = histogram.positive_buckets.iter().chain(&histogram.negative_buckets).chain(&histogram.custom_values);
    for float in floats {
        out.extend_from_slice(&float.to_le_bytes());
    }
}

/// Reads what [`encode_histogram`] wrote.
///
/// # Errors
/// [`Error::Internal`] where the bytes are cut short.
pub fn decode_histogram(bytes: &[u8]) -> Result<FloatHistogram> {
    Reader { rest: bytes }
        .histogram()
        .ok_or_else(|| Error::Internal("a histogram between operators is cut short".to_owned()))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn f64(&mut self) -> Option<f64> {
        self.take().map(f64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn floats(&mut self, n: u32) -> Option<Vec<f64>> {
        (0..n).map(|_| self.f64()).collect()
    }

    fn spans(&mut self, n: u32) -> Option<Vec<Span>> {
        (0..n).map(|_| Some(Span { offset: self.i32()?, length: self.u32()? })).collect()
    }

    fn histogram(mut self) -> Option<FloatHistogram> {
        let [hint] = self.take()?;
        let counter_reset_hint = match hint {
            1 => CounterResetHint::CounterReset,
            2 => CounterResetHint::NotCounterReset,
            3 => CounterResetHint::Gauge,
            _ => CounterResetHint::Unknown,
        };
        let schema = self.i32()?;
        let (zero_threshold, zero_count, count, sum) = (self.f64()?, self.f64()?, self.f64()?, self.f64()?);
        let lengths = [self.u32()?, self.u32()?, self.u32()?, self.u32()?, self.u32()?];
        Some(FloatHistogram {
            counter_reset_hint,
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans: self.spans(lengths[0])?,
            negative_spans: self.spans(lengths[1])?,
            positive_buckets: self.floats(lengths[2])?,
            negative_buckets: self.floats(lengths[3])?,
            custom_values: self.floats(lengths[4])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let histogram = FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            schema: -2,
            zero_threshold: 1e-128,
            zero_count: 3.5,
            count: 9.25,
            sum: -0.0,
            positive_spans: vec![Span { offset: -4, length: 2 }],
            negative_spans: vec![Span { offset: 7, length: 1 }],
            positive_buckets: vec![1.0, 2.5],
            negative_buckets: vec![2.25],
            custom_values: vec![0.5],
        };
        let mut bytes = Vec::new();
        encode_histogram(&histogram, &mut bytes);
        assert_eq!(decode_histogram(&bytes).unwrap(), histogram);
        for cut in 0..bytes.len() {
            assert!(decode_histogram(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
