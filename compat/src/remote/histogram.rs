//! A native histogram as both versions of remote write carry it: the same fields under the same numbers.
//!
//! A field of one byte can become eight in memory, so the number of buckets is bounded before anything is computed.

use storage::head::{HistogramSample, HistogramValue};
use storage::model::{CounterResetHint, FloatHistogram, Histogram, MAX_EXPONENTIAL_SCHEMA, Span};

use super::target::Refusal;
use super::wire::{Fields, Malformed, Value, for_each_fixed64, for_each_varint, zigzag};

/// Most spans, buckets or bounds of one side. Prometheus makes at most 160 buckets of a histogram unless told otherwise.
pub const BUCKETS_MAX: usize = 1 << 16;

/// The highest schema that is read: those above [`MAX_EXPONENTIAL_SCHEMA`] are reserved, and reduced to it.
const RESERVED_SCHEMA_MAX: i32 = 52;

/// What the fields said, before it is known whether counts are integers or floats.
#[derive(Debug, Default)]
struct Wire {
    t: i64,
    start: i64,
    count: Count,
    zero_count_int: u64,
    zero_count_float: f64,
    schema: i32,
    zero_threshold: f64,
    sum: f64,
    hint: CounterResetHint,
    positive: Side,
    negative: Side,
    custom_values: Vec<f64>,
    too_large: bool,
}

#[derive(Debug)]
enum Count {
    Integer(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Self::Integer(0)
    }
}

#[derive(Debug, Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

/// Reads a histogram; the inner error is of this histogram alone.
///
/// # Errors
/// Where the bytes are no such message.
pub fn decode(message: &[u8]) -> Result<Result<HistogramSample, (i64, Refusal)>, Malformed> {
    let mut wire = Wire::default();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        wire.field(number, value)?;
    }
    let t = wire.t;
    Ok(wire.into_sample().map_err(|refusal| (t, refusal)))
}

impl Wire {
    fn field(&mut self, number: u32, value: Value<'_>) -> Result<(), Malformed> {
        let large = &mut self.too_large;
        match number {
            1 => self.count = Count::Integer(value.uint("count_int")?),
            2 => self.count = Count::Float(value.double("count_float")?),
            3 => self.sum = value.double("sum")?,
            4 => self.schema = value.sint32("schema")?,
            5 => self.zero_threshold = value.double("zero_threshold")?,
            6 => self.zero_count_int = value.uint("zero_count_int")?,
            7 => self.zero_count_float = value.double("zero_count_float")?,
            8 => push(&mut self.negative.spans, span(value.bytes("negative_spans")?)?, large),
            9 => for_each_varint(value, "negative_deltas", |v| push(&mut self.negative.deltas, zigzag(v), large))?,
            10 => for_each_fixed64(value, "negative_counts", |v| {
                push(&mut self.negative.counts, f64::from_bits(v), large);
            })?,
            11 => push(&mut self.positive.spans, span(value.bytes("positive_spans")?)?, large),
            12 => for_each_varint(value, "positive_deltas", |v| push(&mut self.positive.deltas, zigzag(v), large))?,
            13 => for_each_fixed64(value, "positive_counts", |v| {
                push(&mut self.positive.counts, f64::from_bits(v), large);
            })?,
            14 => {
                self.hint = match value.uint("reset_hint")? {
                    1 => CounterResetHint::CounterReset,
                    2 => CounterResetHint::NotCounterReset,
                    3 => CounterResetHint::Gauge,
                    _ => CounterResetHint::Unknown,
                }
            }
            15 => self.t = value.int("timestamp")?,
            16 => for_each_fixed64(value, "custom_values", |v| {
                push(&mut self.custom_values, f64::from_bits(v), large);
            })?,
            17 => self.start = value.int("start_timestamp")?,
            _ => {}
        }
        Ok(())
    }

    fn into_sample(self) -> Result<HistogramSample, Refusal> {
        if self.too_large {
            return Err(Refusal::HistogramTooLarge);
        }
        let (t, start) = (self.t, self.start);
        let histogram = match self.count {
            Count::Integer(count) => HistogramValue::Integer(Histogram {
                counter_reset_hint: self.hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count_int,
                count,
                sum: self.sum,
                positive_spans: self.positive.spans,
                negative_spans: self.negative.spans,
                positive_deltas: self.positive.deltas,
                negative_deltas: self.negative.deltas,
                custom_values: self.custom_values,
            }),
            Count::Float(count) => HistogramValue::Float(FloatHistogram {
                counter_reset_hint: self.hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count_float,
                count,
                sum: self.sum,
                positive_spans: self.positive.spans,
                negative_spans: self.negative.spans,
                positive_buckets: self.positive.counts,
                negative_buckets: self.negative.counts,
                custom_values: self.custom_values,
            }),
        };
        Ok(HistogramSample { t, start, histogram: validated(histogram)? })
    }
}

/// Reduces a reserved schema to the highest that is stored, and checks what comes out.
///
/// # Errors
/// What is wrong with the histogram.
pub fn validated(mut histogram: HistogramValue) -> Result<HistogramValue, Refusal> {
    let reserved = |schema| schema > MAX_EXPONENTIAL_SCHEMA && schema <= RESERVED_SCHEMA_MAX;
    match &mut histogram {
        HistogramValue::Integer(h) => {
            if reserved(h.schema) {
                reduce(h);
            }
            h.validate()
        }
        HistogramValue::Float(h) => {
            if reserved(h.schema) { h.reduce_resolution(MAX_EXPONENTIAL_SCHEMA) } else { Ok(()) }
                .and_then(|()| h.validate())
        }
    }
    .map_err(Refusal::Histogram)?;
    Ok(histogram)
}

/// Merges the buckets of a schema above the highest into it. A layout that contradicts itself is left for validation to find.
fn reduce(h: &mut Histogram) {
    let shift = h.schema.abs_diff(MAX_EXPONENTIAL_SCHEMA);
    reduce_side(&mut h.positive_spans, &mut h.positive_deltas, shift);
    reduce_side(&mut h.negative_spans, &mut h.negative_deltas, shift);
    h.schema = MAX_EXPONENTIAL_SCHEMA;
}

/// Bucket `i` of the schema that is `shift` higher lies in bucket `((i - 1) >> shift) + 1`.
fn reduce_side(spans: &mut Vec<Span>, deltas: &mut Vec<i64>, shift: u32) {
    let need: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if need != deltas.len() as u64 || spans.iter().skip(1).any(|span| span.offset < 0) {
        return;
    }
    let mut merged: Vec<(i64, i64)> = Vec::with_capacity(deltas.len());
    let (mut next_index, mut population, mut rest) = (0_i64, 0_i64, deltas.iter());
    for span in spans.iter() {
        next_index += i64::from(span.offset);
        for delta in rest.by_ref().take(span.length as usize) {
            population = population.wrapping_add(*delta);
            let index = ((next_index - 1) >> shift) + 1;
            match merged.last_mut() {
                Some((last, sum)) if *last == index => *sum = sum.wrapping_add(population),
                _ => merged.push((index, population)),
            }
            next_index += 1;
        }
    }
    (*spans, *deltas) = layout(&merged);
}

/// Spans and deltas of buckets given by index, ascending, and population. Indices beyond 32 bits are bent to their ends.
pub fn layout(buckets: &[(i64, i64)]) -> (Vec<Span>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<Span>::new(), Vec::with_capacity(buckets.len()));
    let (mut next_index, mut last) = (0_i64, 0_i64);
    for (index, population) in buckets {
        match spans.last_mut() {
            Some(span) if next_index == *index => span.length += 1,
            _ => {
                let gap = (index - next_index).clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                spans.push(Span { offset: i32::try_from(gap).unwrap_or_default(), length: 1 });
            }
        }
        deltas.push(population.wrapping_sub(last));
        (next_index, last) = (index + 1, *population);
    }
    (spans, deltas)
}

fn push<T>(values: &mut Vec<T>, value: T, too_large: &mut bool) {
    if values.len() < BUCKETS_MAX {
        values.push(value);
    } else {
        *too_large = true;
    }
}

fn span(message: &[u8]) -> Result<Span, Malformed> {
    let mut span = Span::default();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.offset = value.sint32("offset")?,
            2 => span.length = value.uint32("length")?,
            _ => {}
        }
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_schema_is_reduced() {
        // Schema 9: buckets 1 and 2 make up bucket 1 of schema 8, and 5 lies in 3.
        let h = Histogram {
            schema: 9,
            count: 9,
            positive_spans: vec![Span { offset: 1, length: 2 }, Span { offset: 2, length: 1 }],
            positive_deltas: vec![2, 1, 1],
            ..Histogram::default()
        };
        let HistogramValue::Integer(reduced) = validated(HistogramValue::Integer(h.clone())).unwrap() else {
            panic!("integer counts became float counts")
        };
        assert_eq!(reduced.positive_spans, [Span { offset: 1, length: 1 }, Span { offset: 1, length: 1 }]);
        assert_eq!((reduced.positive_deltas.as_slice(), reduced.schema), ([5, -1].as_slice(), 8));
        let mut float = h.to_float();
        float.reduce_resolution(8).unwrap();
        assert!(float.equals(&reduced.to_float()));
    }

    #[test]
    fn bad_spans_are_this_histograms_error_only() {
        let message = [0x08, 5, 0x5a, 4, 0x08, 2, 0x10, 3, 0x78, 7];
        let (t, refusal) = decode(&message).unwrap().unwrap_err();
        assert_eq!(t, 7);
        assert_eq!(
            refusal.to_string(),
            "positive side: spans need 3 buckets, have 0 buckets: histogram spans specify different number of buckets \
             than provided"
        );
        assert_eq!(decode(&[0x5a, 2, 0x0a, 0]), Err(Malformed::WireType("offset")));
    }

    #[test]
    fn more_buckets_than_are_read() {
        let mut message = vec![0x62, 0x80, 0x80, 0x10];
        message.extend(vec![0; 1 << 18]);
        assert_eq!(decode(&message).unwrap(), Err((0, Refusal::HistogramTooLarge)));
    }
}
