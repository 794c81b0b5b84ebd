//! The messages of remote read: `prometheus.ReadRequest` in, `ReadResponse` and `ChunkedReadResponse` out.

use storage::chunk::EncodedChunk;
use storage::model::{
    CounterResetHint, FloatHistogram, Histogram, MatchOp, Matcher, MatcherError, Span, TimeInterval, label_key,
};

use super::merge::Chunk;
use super::samples::{Sample, SampleValue};
use crate::remote::wire::{Fields, Malformed, for_each_varint};
use crate::remote::wire_writer::{
    push_bytes, push_double, push_int, push_packed_double, push_packed_sint, push_present_double, push_present_uint,
    push_uint, zigzag,
};

/// How samples are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseType {
    /// One compressed message with all samples.
    Samples,
    /// A stream of messages with chunks.
    StreamedChunks,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The queries, each answered by itself.
    pub queries: Vec<Query>,
    /// The first of the accepted types that is known.
    pub response_type: ResponseType,
}

/// One selection.
#[derive(Debug, Clone)]
pub struct Query {
    /// Both ends are inside.
    pub interval: TimeInterval,
    /// All must pass.
    pub matchers: Vec<Matcher>,
}

/// A request that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No such message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A matcher that does not compile.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// A matcher of no known type, or not in UTF-8.
    #[error("invalid matcher type")]
    MatcherType,
    /// Only types of response that do not exist.
    #[error("server does not support any of the requested response types")]
    ResponseType,
    /// More queries than are answered at once.
    #[error("more than {QUERIES_MAX} queries in one request")]
    TooManyQueries,
}

/// Most queries of a request; Prometheus sends one.
const QUERIES_MAX: usize = 100;
/// Most matchers of a query.
const MATCHERS_MAX: usize = 1_000;

impl ReadRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(body: &[u8]) -> Result<Self, RequestError> {
        let (mut queries, mut accepted, mut asked) = (Vec::new(), None, false);
        let mut fields = Fields::new(body);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 if queries.len() == QUERIES_MAX => return Err(RequestError::TooManyQueries),
                1 => queries.push(query(value.bytes("queries")?)?),
                2 => for_each_varint(value, "accepted_response_types", |kind| {
                    asked = true;
                    let kind = match kind {
                        0 => Some(ResponseType::Samples),
                        1 => Some(ResponseType::StreamedChunks),
                        _ => None,
                    };
                    accepted = accepted.or(kind);
                })?,
                _ => {}
            }
        }
        let response_type = match accepted {
            Some(kind) => kind,
            None if asked => return Err(RequestError::ResponseType),
            None => ResponseType::Samples,
        };
        Ok(Self { queries, response_type })
    }
}

fn query(message: &[u8]) -> Result<Query, RequestError> {
    let (mut start, mut end, mut matchers) = (0, 0, Vec::new());
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => start = value.int("start_timestamp_ms")?,
            2 => end = value.int("end_timestamp_ms")?,
            3 if matchers.len() < MATCHERS_MAX => matchers.push(matcher(value.bytes("matchers")?)?),
            3 => return Err(RequestError::TooManyQueries),
            _ => {}
        }
    }
    Ok(Query { interval: TimeInterval::new(start, end), matchers })
}

fn matcher(message: &[u8]) -> Result<Matcher, RequestError> {
    let (mut op, mut name, mut text) = (MatchOp::Equal, &[][..], &[][..]);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                op = match value.uint("type")? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    _ => return Err(RequestError::MatcherType),
                }
            }
            2 => name = value.bytes("name")?,
            3 => text = value.bytes("value")?,
            _ => {}
        }
    }
    let utf8 = |bytes| str::from_utf8(bytes).map_err(|_| RequestError::MatcherType);
    Ok(Matcher::try_new(op, utf8(name)?, utf8(text)?)?)
}

/// Appends the labels of series `key` as field 1: both `TimeSeries` and `ChunkedSeries` have them there.
pub fn push_labels(out: &mut Vec<u8>, key: &str) {
    let mut label = Vec::new();
    for pair in label_key::pairs(key) {
        label.clear();
        push_bytes(&mut label, 1, pair.name.text().as_bytes());
        push_bytes(&mut label, 2, pair.value.text().as_bytes());
        push_bytes(out, 1, &label);
    }
}

/// Appends samples to a `TimeSeries`: floats as field 2, histograms as field 4.
pub fn push_samples(out: &mut Vec<u8>, samples: &[Sample]) {
    let mut message = Vec::new();
    for (t, value) in samples {
        message.clear();
        match value {
            SampleValue::Float(value) => {
                push_double(&mut message, 1, *value);
                push_int(&mut message, 2, *t);
                push_bytes(out, 2, &message);
            }
            SampleValue::Integer(h) => {
                push_integer_histogram(&mut message, *t, h);
                push_bytes(out, 4, &message);
            }
            SampleValue::FloatHistogram(h) => {
                push_float_histogram(&mut message, *t, h);
                push_bytes(out, 4, &message);
            }
        }
    }
}

fn push_integer_histogram(out: &mut Vec<u8>, t: i64, h: &Histogram) {
    push_present_uint(out, 1, h.count);
    push_double(out, 3, h.sum);
    push_uint(out, 4, zigzag(i64::from(h.schema)));
    push_double(out, 5, h.zero_threshold);
    push_present_uint(out, 6, h.zero_count);
    push_spans(out, 8, &h.negative_spans);
    push_packed_sint(out, 9, &h.negative_deltas);
    push_spans(out, 11, &h.positive_spans);
    push_packed_sint(out, 12, &h.positive_deltas);
    push_end(out, h.counter_reset_hint, t, &h.custom_values);
}

fn push_float_histogram(out: &mut Vec<u8>, t: i64, h: &FloatHistogram) {
    push_present_double(out, 2, h.count);
    push_double(out, 3, h.sum);
    push_uint(out, 4, zigzag(i64::from(h.schema)));
    push_double(out, 5, h.zero_threshold);
    push_present_double(out, 7, h.zero_count);
    push_spans(out, 8, &h.negative_spans);
    push_packed_double(out, 10, &h.negative_buckets);
    push_spans(out, 11, &h.positive_spans);
    push_packed_double(out, 13, &h.positive_buckets);
    push_end(out, h.counter_reset_hint, t, &h.custom_values);
}

fn push_end(out: &mut Vec<u8>, hint: CounterResetHint, t: i64, custom_values: &[f64]) {
    let hint = match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::CounterReset => 1,
        CounterResetHint::NotCounterReset => 2,
        CounterResetHint::Gauge => 3,
    };
    push_uint(out, 14, hint);
    push_int(out, 15, t);
    push_packed_double(out, 16, custom_values);
}

fn push_spans(out: &mut Vec<u8>, field: u32, spans: &[Span]) {
    let mut message = Vec::new();
    for span in spans {
        message.clear();
        push_uint(&mut message, 1, zigzag(i64::from(span.offset)));
        push_uint(&mut message, 2, u64::from(span.length));
        push_bytes(out, field, &message);
    }
}

/// Appends a chunk to a `ChunkedSeries`.
pub fn push_chunk(out: &mut Vec<u8>, interval: TimeInterval, encoding: u8, data: &[u8]) {
    let mut message = Vec::with_capacity(data.len() + 32);
    push_int(&mut message, 1, interval.mint);
    push_int(&mut message, 2, interval.maxt);
    push_uint(&mut message, 3, u64::from(encoding));
    push_bytes(&mut message, 4, data);
    push_bytes(out, 2, &message);
}

/// As [`push_chunk`], of a stored chunk.
pub fn push_stored_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    push_chunk(out, chunk.interval(), chunk.encoding(), chunk.data());
}

/// As [`push_chunk`], of a chunk that was encoded anew.
pub fn push_encoded_chunk(out: &mut Vec<u8>, chunk: &EncodedChunk) {
    push_chunk(out, TimeInterval::new(chunk.mint, chunk.maxt), chunk.encoding as u8, &chunk.data);
}

/// A frame of the stream: length, CRC32C and `ChunkedReadResponse` of one series.
pub fn frame(series: &[u8], query_index: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(series.len() + 16);
    push_bytes(&mut message, 1, series);
    push_uint(&mut message, 2, query_index as u64);
    let mut frame = Vec::with_capacity(message.len() + 14);
    crate::remote::wire_writer::push_varint(&mut frame, message.len() as u64);
    frame.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}
