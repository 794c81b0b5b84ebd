//! Data points: what each kind has, read into plain structs.

use storage::head::HistogramValue;
use storage::model::{CounterResetHint, Histogram, STALE_NAN_BITS, Span, Timestamp, stale_nan};

use super::attributes::key_value;
use super::labels::{Attributes, LabelError, push_attribute};
use crate::remote::histogram::BUCKETS_MAX;
use crate::remote::wire::{Fields, Malformed, Value, for_each_fixed64, for_each_varint};

/// The kinds of metrics, by the number of their field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `gauge`
    Gauge,
    /// `sum`
    Sum,
    /// `histogram`
    Histogram,
    /// `exponential_histogram`
    Exponential,
    /// `summary`
    Summary,
}

/// A data point of any kind; what a kind does not have stays at its default.
#[derive(Debug, Default)]
pub struct Point<'a> {
    pub attributes: Attributes<'a>,
    pub error: Option<LabelError>,
    pub start: Timestamp,
    pub t: Timestamp,
    /// The value of a number.
    pub value: f64,
    pub sum: Option<f64>,
    pub count: u64,
    pub exemplars: Vec<OtlpExemplar<'a>>,
    pub bounds: Vec<f64>,
    pub counts: Vec<u64>,
    /// Quantiles and their values.
    pub quantiles: Vec<(f64, f64)>,
    pub positive: Buckets,
    pub negative: Buckets,
    pub scale: i32,
    pub zero_count: u64,
    /// Whether there is no value: the series went stale.
    pub stale: bool,
    pub too_large: bool,
}

/// Buckets of one side of an exponential histogram.
#[derive(Debug, Default)]
pub struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

/// An exemplar with its labels.
#[derive(Debug, Default)]
pub struct OtlpExemplar<'a> {
    pub labels: Vec<(&'a str, std::borrow::Cow<'a, str>)>,
    pub t: Timestamp,
    pub value: f64,
}

/// Most exemplars of a point that are read.
const EXEMPLARS_MAX: usize = 1_000;
/// Most characters of an exemplar's labels.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// Nanoseconds to milliseconds, towards zero.
pub const fn milliseconds(nanoseconds: u64) -> Timestamp {
    nanoseconds.cast_signed() / 1_000_000
}

impl<'a> Point<'a> {
    /// Reads a data point of a metric of `kind`.
    ///
    /// # Errors
    /// Where the bytes are no such message.
    pub fn decode(message: &'a [u8], kind: Kind) -> Result<Self, Malformed> {
        let mut point = Self::default();
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match (number, kind) {
                (2, _) => point.start = milliseconds(value.fixed64("start_time_unix_nano")?),
                (3, _) => point.t = milliseconds(value.fixed64("time_unix_nano")?),
                _ => match kind {
                    Kind::Gauge | Kind::Sum => point.number_field(number, value)?,
                    Kind::Histogram => point.histogram_field(number, value)?,
                    Kind::Exponential => point.exponential_field(number, value)?,
                    Kind::Summary => point.summary_field(number, value)?,
                },
            }
        }
        Ok(point)
    }

    fn attribute(&mut self, value: Value<'a>) -> Result<(), Malformed> {
        push_attribute(value.bytes("attributes")?, &mut self.attributes, &mut self.error)
    }

    fn flags(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        self.stale = value.uint("flags")? & 1 == 1;
        Ok(())
    }

    fn exemplar(&mut self, value: Value<'a>) -> Result<(), Malformed> {
        if let Some(exemplar) = exemplar(value.bytes("exemplars")?)?
            && self.exemplars.len() < EXEMPLARS_MAX
        {
            self.exemplars.push(exemplar);
        }
        Ok(())
    }

    fn number_field(&mut self, number: u32, value: Value<'a>) -> Result<(), Malformed> {
        match number {
            4 => self.value = value.double("as_double")?,
            5 => self.exemplar(value)?,
            6 => self.value = float_of(value.fixed64("as_int")?.cast_signed()),
            7 => self.attribute(value)?,
            8 => self.flags(value)?,
            _ => {}
        }
        Ok(())
    }

    fn histogram_field(&mut self, number: u32, value: Value<'a>) -> Result<(), Malformed> {
        let large = &mut self.too_large;
        match number {
            4 => self.count = value.fixed64("count")?,
            5 => self.sum = Some(value.double("sum")?),
            6 => for_each_fixed64(value, "bucket_counts", |count| push(&mut self.counts, count, large))?,
            7 => for_each_fixed64(value, "explicit_bounds", |bits| {
                push(&mut self.bounds, f64::from_bits(bits), large);
            })?,
            8 => self.exemplar(value)?,
            9 => self.attribute(value)?,
            10 => self.flags(value)?,
            _ => {}
        }
        Ok(())
    }

    fn exponential_field(&mut self, number: u32, value: Value<'a>) -> Result<(), Malformed> {
        match number {
            1 => self.attribute(value)?,
            4 => self.count = value.fixed64("count")?,
            5 => self.sum = Some(value.double("sum")?),
            6 => self.scale = value.sint32("scale")?,
            7 => self.zero_count = value.fixed64("zero_count")?,
            8 => self.positive = buckets(value.bytes("positive")?, &mut self.too_large)?,
            9 => self.negative = buckets(value.bytes("negative")?, &mut self.too_large)?,
            10 => self.flags(value)?,
            11 => self.exemplar(value)?,
            _ => {}
        }
        Ok(())
    }

    fn summary_field(&mut self, number: u32, value: Value<'a>) -> Result<(), Malformed> {
        match number {
            4 => self.count = value.fixed64("count")?,
            5 => self.sum = Some(value.double("sum")?),
            6 => {
                let (mut quantile, mut at) = (0.0, 0.0);
                let mut fields = Fields::new(value.bytes("quantile_values")?);
                while let Some((number, value)) = fields.next()? {
                    match number {
                        1 => quantile = value.double("quantile")?,
                        2 => at = value.double("value")?,
                        _ => {}
                    }
                }
                push(&mut self.quantiles, (quantile, at), &mut self.too_large);
            }
            7 => self.attribute(value)?,
            8 => self.flags(value)?,
            _ => {}
        }
        Ok(())
    }

    /// `value`, or a staleness marker where there is none.
    pub fn or_stale(&self, value: f64) -> f64 {
        if self.stale { stale_nan() } else { value }
    }

    /// The native histogram of an exponential one, not validated yet.
    ///
    /// # Errors
    /// Where its resolution is coarser than a native histogram can have.
    pub fn native_histogram(&self) -> Result<HistogramValue, String> {
        const SCHEMA_MIN: i32 = storage::model::MIN_EXPONENTIAL_SCHEMA;
        const SCHEMA_MAX: i32 = storage::model::MAX_EXPONENTIAL_SCHEMA;
        if self.scale < SCHEMA_MIN {
            return Err(format!(
                "cannot convert exponential to native histogram. Scale must be >= {SCHEMA_MIN}, was {}",
                self.scale
            ));
        }
        // Past 63 nothing is left to shift.
        let shift = u32::try_from(self.scale.saturating_sub(SCHEMA_MAX)).unwrap_or(0).min(63);
        let (positive_spans, positive_deltas) = self.positive.layout(shift);
        let (negative_spans, negative_deltas) = self.negative.layout(shift);
        Ok(HistogramValue::Integer(Histogram {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: self.scale.min(SCHEMA_MAX),
            zero_threshold: 1e-128,
            zero_count: self.zero_count,
            count: if self.stale { STALE_NAN_BITS } else { self.count },
            sum: if self.stale { stale_nan() } else { self.sum.unwrap_or(0.0) },
            positive_spans,
            negative_spans,
            positive_deltas,
            negative_deltas,
            custom_values: Vec::new(),
        }))
    }
}

impl Buckets {
    /// Spans and deltas with `2^shift` buckets merged into one. OTLP's bucket 0 is Prometheus's bucket 1. Gaps of up to two empty
    /// buckets are filled, as Prometheus does, longer ones begin a span.
    fn layout(&self, shift: u32) -> (Vec<Span>, Vec<i64>) {
        let (mut spans, mut deltas) = (Vec::<Span>::new(), Vec::new());
        if self.counts.is_empty() {
            return (spans, deltas);
        }
        let target =
            |i: usize| ((i64::try_from(i).unwrap_or(i64::MAX).saturating_add(i64::from(self.offset))) >> shift) + 1;
        let mut index = target(0);
        spans.push(Span { offset: clamped(index), length: 0 });
        let (mut population, mut last) = (0_i64, 0_i64);
        let mut put = |index_gap: i64, population: i64| {
            if index_gap > 2 {
                spans.push(Span { offset: clamped(index_gap), length: 0 });
            }
            let empty = if index_gap > 2 { 0 } else { index_gap.max(0) };
            for population in (0..empty).map(|_| 0).chain([population]) {
                if let Some(span) = spans.last_mut() {
                    span.length += 1;
                }
                deltas.push(population.wrapping_sub(last));
                last = population;
            }
        };
        for (i, count) in self.counts.iter().enumerate() {
            let next = target(i);
            if next == index {
                population = population.wrapping_add(count.cast_signed());
            } else if population == 0 {
                population = count.cast_signed();
            } else {
                put(next - index - 1, population);
                (population, index) = (count.cast_signed(), next);
            }
        }
        put(target(self.counts.len() - 1) - index, population);
        (spans, deltas)
    }
}

fn clamped(offset: i64) -> i32 {
    i32::try_from(offset).unwrap_or(if offset < 0 { i32::MIN } else { i32::MAX })
}

#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
pub const fn float_of(value: i64) -> f64 {
    value as f64
}

fn push<T>(values: &mut Vec<T>, value: T, too_large: &mut bool) {
    if values.len() < BUCKETS_MAX {
        values.push(value);
    } else {
        *too_large = true;
    }
}

fn buckets(message: &[u8], too_large: &mut bool) -> Result<Buckets, Malformed> {
    let mut buckets = Buckets::default();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => buckets.offset = value.sint32("offset")?,
            2 => for_each_varint(value, "bucket_counts", |count| push(&mut buckets.counts, count, too_large))?,
            _ => {}
        }
    }
    Ok(buckets)
}

/// Reads an exemplar; nothing where it has no value. Attributes are left out where all labels together would be too long.
fn exemplar(message: &[u8]) -> Result<Option<OtlpExemplar<'_>>, Malformed> {
    let (mut exemplar, mut attributes, mut has_value) = (OtlpExemplar::default(), Vec::new(), false);
    let mut chars = 0;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => exemplar.t = milliseconds(value.fixed64("time_unix_nano")?),
            3 => (exemplar.value, has_value) = (value.double("as_double")?, true),
            6 => (exemplar.value, has_value) = (float_of(value.fixed64("as_int")?.cast_signed()), true),
            4 | 5 => {
                let (name, len) = if number == 4 { ("span_id", 8) } else { ("trace_id", 16) };
                let id = value.bytes(name)?;
                if id.len() == len && id.iter().any(|byte| *byte != 0) {
                    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                    chars += name.len() + hex.len();
                    exemplar.labels.push((name, hex.into()));
                }
            }
            7 => {
                if let Some((key, value)) = key_value(value.bytes("filtered_attributes")?)? {
                    chars += key.chars().count() + value.chars().count();
                    if chars <= EXEMPLAR_CHARS_MAX {
                        attributes.push((key, value));
                    }
                }
            }
            _ => {}
        }
    }
    if chars <= EXEMPLAR_CHARS_MAX {
        exemplar.labels.append(&mut attributes);
    }
    Ok(has_value.then_some(exemplar))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offset: i32, counts: &[u64], shift: u32, spans: &[(i32, u32)], deltas: &[i64]) {
        let (got_spans, got_deltas) = Buckets { offset, counts: counts.to_vec() }.layout(shift);
        let got_spans: Vec<_> = got_spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!((got_spans.as_slice(), got_deltas.as_slice()), (spans, deltas));
    }

    #[test]
    fn layouts() {
        check(0, &[], 0, &[], &[]);
        check(1, &[4, 3, 2, 1], 0, &[(2, 4)], &[4, -1, -1, -1]);
        check(0, &[4, 4, 0, 0, 2, 2, 0, 0, 2, 2], 0, &[(1, 10)], &[4, 0, -4, 0, 2, 0, -2, 0, 2, 0]);
        check(0, &[4, 2, 0, 0, 0, 0, 0, 0, 0, 3], 0, &[(1, 2), (7, 1)], &[4, -2, 1]);
        check(-4, &[1, 2, 3, 4], 1, &[(-1, 2)], &[3, 4]);
        check(i32::MAX, &[1, 2], 0, &[(i32::MAX, 2)], &[1, 1]);
        check(5, &[1, 2], 63, &[(1, 1)], &[3]);
    }
}
