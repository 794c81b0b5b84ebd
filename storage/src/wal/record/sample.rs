//! Float samples: most of every log, so what is read here decides how long a restart takes.
//!
//! Two encodings. The older one gives series and time as differences to the first sample. The newer one gives the series as
//! difference to the sample before, and a start timestamp: none, the one of the sample before, or a difference to the first.

use super::{RecordError, kind};
use crate::cursor::{Cursor, Malformed, put_varint};
use crate::model::Timestamp;

/// A float sample of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleEntry {
    /// The number of its series record.
    pub series: u64,
    /// When, in milliseconds.
    pub t: Timestamp,
    /// Since when a counter counts, in milliseconds; 0 is unknown.
    pub start: Timestamp,
    /// The value, bit for bit.
    pub value: f64,
}

pub(super) mod start_marker {
    pub(in super::super) const NONE: u8 = 0;
    pub(in super::super) const SAME: u8 = 1;
    pub(in super::super) const EXPLICIT: u8 = 2;
}

/// The float samples of a record.
#[derive(Debug, Clone)]
pub struct Samples<'a> {
    rest: &'a [u8],
    record_len: usize,
    /// What times, and in the older encoding series, are differences to.
    first: SampleEntry,
    /// Of the newer encoding: what the next series and start timestamp may be differences to; none before the first.
    before: Option<SampleEntry>,
    with_start: bool,
}

impl<'a> Samples<'a> {
    pub(super) fn new(record: &'a [u8], with_start: bool) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(record);
        cursor.u8()?;
        let mut first = SampleEntry { series: 0, t: 0, start: 0, value: 0.0 };
        if !with_start && !cursor.is_empty() {
            first.series = cursor.u64_be()?;
            first.t = cursor.u64_be()?.cast_signed();
        }
        let rest = cursor.bytes(cursor.remaining())?;
        Ok(Self { rest, record_len: record.len(), first, before: None, with_start })
    }

    /// Upper bound of the number of samples that are left, for reserving memory.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.rest.len() / 10
    }

    /// Hands all entries to `visit`, up to the first that does not parse. Replays spend a good part of their time here, and this takes
    /// a third of what going from one entry to the next does.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] at an entry that does not parse.
    pub fn visit(mut self, mut visit: impl FnMut(SampleEntry)) -> Result<(), RecordError> {
        if !self.with_start {
            let first = self.first;
            while let Some((series, t, value, rest)) = read_short(self.rest) {
                self.rest = rest;
                let (series, t) = (first.series.wrapping_add_signed(series), first.t.wrapping_add(t));
                visit(SampleEntry { series, t, start: 0, value });
            }
        }
        self.try_for_each(|entry| entry.map(&mut visit))
    }

    fn malformed(&self, reason: &'static str) -> RecordError {
        RecordError::Malformed { at: self.record_len - self.rest.len(), reason }
    }

    #[inline]
    fn varint(&mut self) -> Option<i64> {
        // one to three bytes hold nearly all differences
        if let Some((&byte, rest)) = self.rest.split_first()
            && byte < 0x80
        {
            self.rest = rest;
            return Some(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.long_varint()
    }

    #[inline]
    fn long_varint(&mut self) -> Option<i64> {
        if let Some(&[b0, b1, b2]) = self.rest.first_chunk::<3>() {
            let low = u32::from(b0 & 0x7f) | u32::from(b1 & 0x7f) << 7;
            let (raw, len) = match (b1 < 0x80, b2 < 0x80) {
                (true, _) => (low, 2),
                (false, true) => (low | u32::from(b2) << 14, 3),
                _ => return self.longest_varint(),
            };
            self.rest = self.rest.get(len..)?;
            return Some(i64::from(raw >> 1) ^ -i64::from(raw & 1));
        }
        self.longest_varint()
    }

    #[cold]
    fn longest_varint(&mut self) -> Option<i64> {
        let mut cursor = Cursor::new(self.rest);
        let value = cursor.varint().ok()?;
        self.rest = self.rest.get(cursor.position()..)?;
        Some(value)
    }

    #[inline]
    fn value(&mut self) -> Option<f64> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(f64::from_bits(u64::from_be_bytes(*bytes)))
    }

    #[inline]
    fn read_v1(&mut self) -> Option<SampleEntry> {
        let series = self.first.series.wrapping_add_signed(self.varint()?);
        let t = self.first.t.wrapping_add(self.varint()?);
        Some(SampleEntry { series, t, start: 0, value: self.value()? })
    }

    fn read_v2(&mut self) -> Option<SampleEntry> {
        let Some(before) = self.before else {
            let series = self.varint()?.cast_unsigned();
            let (t, start) = (self.varint()?, self.varint()?);
            self.first = SampleEntry { series, t, start, value: self.value()? };
            self.before = Some(self.first);
            return self.before;
        };
        let series = before.series.wrapping_add_signed(self.varint()?);
        let t = self.first.t.wrapping_add(self.varint()?);
        let (&marker, rest) = self.rest.split_first()?;
        self.rest = rest;
        let start = match marker {
            start_marker::NONE => 0,
            start_marker::SAME => before.start,
            _ => self.first.start.wrapping_add(self.varint()?),
        };
        self.before = Some(SampleEntry { series, t, start, value: self.value()? });
        self.before
    }
}

/// An entry of the older encoding whose differences take up to three bytes each, as nearly all do, and what comes behind it.
#[inline(always)]
fn read_short(bytes: &[u8]) -> Option<(i64, i64, f64, &[u8])> {
    /// The differences at their longest, and the value.
    const LONGEST: usize = 3 + 3 + 8;
    let head = bytes.first_chunk::<LONGEST>()?;
    let [b0, b1, b2, ..] = *head;
    let (series, at) = short_varint([b0, b1, b2])?;
    let (t, len) = short_varint([head[at], head[at + 1], head[at + 2]])?;
    let at = at + len;
    let value = f64::from_bits(u64::from_be_bytes(*head[at..].first_chunk()?));
    Some((series, t, value, &bytes[at + 8..]))
}

/// A varint of up to three bytes, and its length.
#[inline(always)]
fn short_varint([b0, b1, b2]: [u8; 3]) -> Option<(i64, usize)> {
    let (low, middle, high) = (u32::from(b0 & 0x7f), u32::from(b1 & 0x7f) << 7, u32::from(b2) << 14);
    let (raw, len) = match (b0 < 0x80, b1 < 0x80, b2 < 0x80) {
        (true, _, _) => (low, 1),
        (false, true, _) => (low | middle, 2),
        (false, false, true) => (low | middle | high, 3),
        _ => return None,
    };
    Some((i64::from(raw >> 1) ^ -i64::from(raw & 1), len))
}

impl Iterator for Samples<'_> {
    type Item = Result<SampleEntry, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = if self.with_start { self.read_v2() } else { self.read_v1() };
        Some(entry.ok_or_else(|| {
            let error = self.malformed("a sample ends early or has an overlong number");
            self.rest = &[];
            error
        }))
    }
}

/// Appends a record of float samples.
#[derive(Debug)]
pub struct SamplesEncoder<'o> {
    out: &'o mut Vec<u8>,
    with_start: bool,
    /// The first sample and the one before.
    known: Option<(SampleEntry, SampleEntry)>,
}

impl<'o> SamplesEncoder<'o> {
    /// The encoding that every Prometheus reads. Start timestamps are not kept.
    #[must_use]
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, with_start: false, known: None }
    }

    /// The encoding of Prometheus 3.11 and later, which keeps start timestamps.
    #[must_use]
    pub fn with_start_times(out: &'o mut Vec<u8>) -> Self {
        Self { out, with_start: true, known: None }
    }

    /// Appends one sample; the samples of a record are smallest where series ascend.
    #[inline]
    pub fn push(&mut self, sample: SampleEntry) {
        if self.with_start {
            self.push_v2(sample);
        } else {
            self.push_v1(sample);
        }
        self.out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
    }

    #[inline]
    fn push_v1(&mut self, sample: SampleEntry) {
        let first = match self.known {
            Some((first, _)) => first,
            None => {
                self.out.push(kind::SAMPLES);
                self.out.extend_from_slice(&sample.series.to_be_bytes());
                self.out.extend_from_slice(&sample.t.to_be_bytes());
                self.known = Some((sample, sample));
                sample
            }
        };
        put_varint(self.out, sample.series.wrapping_sub(first.series).cast_signed());
        put_varint(self.out, sample.t.wrapping_sub(first.t));
    }

    fn push_v2(&mut self, sample: SampleEntry) {
        let first = match self.known {
            Some((first, before)) => {
                put_varint(self.out, sample.series.wrapping_sub(before.series).cast_signed());
                put_varint(self.out, sample.t.wrapping_sub(first.t));
                put_start(self.out, sample.start, first.start, before.start);
                first
            }
            None => {
                self.out.push(kind::SAMPLES_V2);
                put_varint(self.out, sample.series.cast_signed());
                put_varint(self.out, sample.t);
                put_varint(self.out, sample.start);
                sample
            }
        };
        self.known = Some((first, sample));
    }
}

/// Appends the start timestamp of an entry that is not the first of its record.
pub(super) fn put_start(out: &mut Vec<u8>, start: Timestamp, first: Timestamp, before: Timestamp) {
    if start == 0 {
        out.push(start_marker::NONE);
    } else if start == before {
        out.push(start_marker::SAME);
    } else {
        out.push(start_marker::EXPLICIT);
        put_varint(out, start.wrapping_sub(first));
    }
}

/// Reads what [`put_start`] wrote.
pub(super) fn read_start(cursor: &mut Cursor<'_>, first: Timestamp, before: Timestamp) -> Result<Timestamp, Malformed> {
    Ok(match cursor.u8()? {
        start_marker::NONE => 0,
        start_marker::SAME => before,
        _ => first.wrapping_add(cursor.varint()?),
    })
}
