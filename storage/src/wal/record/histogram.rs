//! Native histograms in records: with integer or float counts, and for each the older encoding, which keeps exponential
//! and custom buckets in records of their own, and the newer one with start timestamps.
//!
//! A schema is handed out as it stands in the record, also one that no histogram can have: who takes it up validates it.

use std::marker::PhantomData;

use super::sample::{put_start, read_start};
use super::{RecordError, kind, next_entry};
use crate::cursor::{Cursor, Malformed, put_uvarint, put_varint};
use crate::model::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, Span, Timestamp};

/// A histogram of a series, with integer counts unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramEntry<H = Histogram> {
    /// The number of the series.
    pub series: u64,
    /// When, in milliseconds.
    pub t: Timestamp,
    /// Since when it counts, in milliseconds; 0 is unknown.
    pub start: Timestamp,
    /// The histogram, not validated.
    pub histogram: H,
}

/// A histogram of a series with float counts.
pub type FloatHistogramEntry = HistogramEntry<FloatHistogram>;

/// The histograms of a record, with integer counts unless said otherwise.
#[derive(Debug, Clone)]
pub struct Histograms<'a, H = Histogram> {
    cursor: Cursor<'a>,
    with_start: bool,
    begun: bool,
    first: Position,
    before: Position,
    of: PhantomData<H>,
}

/// The histograms with float counts of a record.
pub type FloatHistograms<'a> = Histograms<'a, FloatHistogram>;

/// Appends a record of histograms, with integer counts unless said otherwise.
#[derive(Debug)]
pub struct HistogramsEncoder<'o, H = Histogram> {
    out: &'o mut Vec<u8>,
    kind: u8,
    /// The first entry and the one before.
    known: Option<(Position, Position)>,
    of: PhantomData<H>,
}

/// Appends a record of histograms with float counts.
pub type FloatHistogramsEncoder<'o> = HistogramsEncoder<'o, FloatHistogram>;

/// What entries are differences to.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    series: u64,
    t: Timestamp,
    start: Timestamp,
}

/// What differs between the two kinds of histograms.
trait Payload: Sized {
    const EXPONENTIAL: u8;
    const CUSTOM: u8;
    const WITH_START: u8;
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed>;
    fn put(&self, out: &mut Vec<u8>);
}

#[expect(private_bounds, reason = "only the two histogram types of the model are histograms")]
impl<'a, H: Payload> Histograms<'a, H> {
    pub(super) fn v1(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let mut first = Position::default();
        if !cursor.is_empty() {
            first.series = cursor.u64_be()?;
            first.t = cursor.u64_be()?.cast_signed();
        }
        Ok(Self { cursor, with_start: false, begun: true, first, before: first, of: PhantomData })
    }

    pub(super) fn v2(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let mut first = Position::default();
        if !cursor.is_empty() {
            first.series = cursor.varint()?.cast_unsigned();
            first.t = cursor.varint()?;
            first.start = cursor.varint()?;
        }
        Ok(Self { cursor, with_start: true, begun: false, first, before: first, of: PhantomData })
    }

    /// Where the next entry stands; the newer encoding has said so of the first already.
    fn position(&mut self, cursor: &mut Cursor<'a>) -> Result<Position, Malformed> {
        if !self.begun {
            self.begun = true;
            return Ok(self.first);
        }
        let base = if self.with_start { self.before.series } else { self.first.series };
        let series = base.wrapping_add_signed(cursor.varint()?);
        let t = self.first.t.wrapping_add(cursor.varint()?);
        let start = if self.with_start { read_start(cursor, self.first.start, self.before.start)? } else { 0 };
        self.before = Position { series, t, start };
        Ok(self.before)
    }
}

impl<H: Payload> Iterator for Histograms<'_, H> {
    type Item = Result<HistogramEntry<H>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = self.cursor.clone();
        let entry = next_entry(&mut cursor, |cursor| {
            let Position { series, t, start } = self.position(cursor)?;
            Ok(HistogramEntry { series, t, start, histogram: H::read(cursor)? })
        });
        self.cursor = cursor;
        entry
    }
}

#[expect(private_bounds, reason = "only the two histogram types of the model are histograms")]
impl<'o, H: Payload> HistogramsEncoder<'o, H> {
    /// Exponential buckets in the encoding that every Prometheus reads; start timestamps are not kept.
    #[must_use]
    pub fn exponential(out: &'o mut Vec<u8>) -> Self {
        Self { out, kind: H::EXPONENTIAL, known: None, of: PhantomData }
    }

    /// Custom buckets, likewise.
    #[must_use]
    pub fn custom_buckets(out: &'o mut Vec<u8>) -> Self {
        Self { out, kind: H::CUSTOM, known: None, of: PhantomData }
    }

    /// Both kinds of buckets with start timestamps, for Prometheus 3.11 and later.
    #[must_use]
    pub fn with_start_times(out: &'o mut Vec<u8>) -> Self {
        Self { out, kind: H::WITH_START, known: None, of: PhantomData }
    }

    /// Appends a histogram; one of [`exponential`](Self::exponential) has exponential buckets, one of
    /// [`custom_buckets`](Self::custom_buckets) custom ones.
    pub fn push(&mut self, series: u64, t: Timestamp, start: Timestamp, histogram: &H) {
        let here = Position { series, t, start };
        let first = if self.kind == H::WITH_START { self.put_v2(here) } else { self.put_v1(here) };
        self.known = Some((first, here));
        histogram.put(self.out);
    }

    fn put_v1(&mut self, here: Position) -> Position {
        let first = match self.known {
            Some((first, _)) => first,
            None => {
                self.out.push(self.kind);
                self.out.extend_from_slice(&here.series.to_be_bytes());
                self.out.extend_from_slice(&here.t.to_be_bytes());
                here
            }
        };
        put_varint(self.out, here.series.wrapping_sub(first.series).cast_signed());
        put_varint(self.out, here.t.wrapping_sub(first.t));
        first
    }

    fn put_v2(&mut self, here: Position) -> Position {
        let Some((first, before)) = self.known else {
            self.out.push(self.kind);
            put_varint(self.out, here.series.cast_signed());
            put_varint(self.out, here.t);
            put_varint(self.out, here.start);
            return here;
        };
        put_varint(self.out, here.series.wrapping_sub(before.series).cast_signed());
        put_varint(self.out, here.t.wrapping_sub(first.t));
        put_start(self.out, here.start, first.start, before.start);
        first
    }
}

impl Payload for Histogram {
    const EXPONENTIAL: u8 = kind::HISTOGRAMS;
    const CUSTOM: u8 = kind::CUSTOM_HISTOGRAMS;
    const WITH_START: u8 = kind::HISTOGRAMS_V2;

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (counter_reset_hint, schema) = read_head(cursor)?;
        let mut histogram = Histogram {
            counter_reset_hint,
            schema,
            zero_threshold: read_float(cursor)?,
            zero_count: cursor.uvarint()?,
            count: cursor.uvarint()?,
            sum: read_float(cursor)?,
            positive_spans: read_list(cursor, 2, read_span)?,
            negative_spans: read_list(cursor, 2, read_span)?,
            positive_deltas: read_list(cursor, 1, Cursor::varint)?,
            negative_deltas: read_list(cursor, 1, Cursor::varint)?,
            custom_values: Vec::new(),
        };
        if schema == CUSTOM_BUCKETS_SCHEMA {
            histogram.custom_values = read_list(cursor, 8, read_float)?;
        }
        Ok(histogram)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_head(out, self.counter_reset_hint, self.schema, self.zero_threshold);
        put_uvarint(out, self.zero_count);
        put_uvarint(out, self.count);
        put_float(out, self.sum);
        put_spans(out, &self.positive_spans);
        put_spans(out, &self.negative_spans);
        for deltas in [&self.positive_deltas, &self.negative_deltas] {
            put_uvarint(out, deltas.len() as u64);
            deltas.iter().for_each(|delta| put_varint(out, *delta));
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            put_floats(out, &self.custom_values);
        }
    }
}

impl Payload for FloatHistogram {
    const EXPONENTIAL: u8 = kind::FLOAT_HISTOGRAMS;
    const CUSTOM: u8 = kind::CUSTOM_FLOAT_HISTOGRAMS;
    const WITH_START: u8 = kind::FLOAT_HISTOGRAMS_V2;

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (counter_reset_hint, schema) = read_head(cursor)?;
        let mut histogram = FloatHistogram {
            counter_reset_hint,
            schema,
            zero_threshold: read_float(cursor)?,
            zero_count: read_float(cursor)?,
            count: read_float(cursor)?,
            sum: read_float(cursor)?,
            positive_spans: read_list(cursor, 2, read_span)?,
            negative_spans: read_list(cursor, 2, read_span)?,
            positive_buckets: read_list(cursor, 8, read_float)?,
            negative_buckets: read_list(cursor, 8, read_float)?,
            custom_values: Vec::new(),
        };
        if schema == CUSTOM_BUCKETS_SCHEMA {
            histogram.custom_values = read_list(cursor, 8, read_float)?;
        }
        Ok(histogram)
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_head(out, self.counter_reset_hint, self.schema, self.zero_threshold);
        put_float(out, self.zero_count);
        put_float(out, self.count);
        put_float(out, self.sum);
        put_spans(out, &self.positive_spans);
        put_spans(out, &self.negative_spans);
        put_floats(out, &self.positive_buckets);
        put_floats(out, &self.negative_buckets);
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            put_floats(out, &self.custom_values);
        }
    }
}

fn read_head(cursor: &mut Cursor<'_>) -> Result<(CounterResetHint, i32), Malformed> {
    let hint = match cursor.u8()? {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::CounterReset,
        2 => CounterResetHint::NotCounterReset,
        3 => CounterResetHint::Gauge,
        _ => return Err(cursor.malformed("unknown counter reset hint")),
    };
    let schema = cursor.varint()?;
    Ok((hint, i32::try_from(schema).map_err(|_| cursor.malformed("schema overflows 32 bits"))?))
}

fn put_head(out: &mut Vec<u8>, hint: CounterResetHint, schema: i32, zero_threshold: f64) {
    out.push(match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_varint(out, i64::from(schema));
    put_float(out, zero_threshold);
}

fn read_float(cursor: &mut Cursor<'_>) -> Result<f64, Malformed> {
    cursor.u64_be().map(f64::from_bits)
}

fn put_float(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    put_uvarint(out, values.len() as u64);
    values.iter().for_each(|value| put_float(out, *value));
}

fn read_span(cursor: &mut Cursor<'_>) -> Result<Span, Malformed> {
    let offset = cursor.varint()?;
    let offset = i32::try_from(offset).map_err(|_| cursor.malformed("span offset overflows 32 bits"))?;
    Ok(Span { offset, length: cursor.uvarint32()? })
}

fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_uvarint(out, spans.len() as u64);
    for span in spans {
        put_varint(out, i64::from(span.offset));
        put_uvarint(out, u64::from(span.length));
    }
}

/// A count and so many items, of which each takes up at least `min_bytes`.
fn read_list<'a, T>(
    cursor: &mut Cursor<'a>,
    min_bytes: usize,
    read: impl Fn(&mut Cursor<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = cursor.uvarint()?;
    let count = cursor.count(count, min_bytes)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(read(cursor)?);
    }
    Ok(list)
}
