//! Everything in a log that is not a sample: series, tombstones, exemplars, metadata and markers of mapped chunks.

use super::label_pairs::{self, LabelPairs};
use super::{RecordError, kind, next_entry};
use crate::cursor::{Cursor, Malformed, put_text, put_uvarint, put_varint};
use crate::model::{TimeInterval, Timestamp};

/// A series and the number by which other records name it.
#[derive(Debug, Clone)]
pub struct SeriesEntry<'a> {
    /// The number.
    pub series: u64,
    /// The labels.
    pub labels: LabelPairs<'a>,
}

/// The series of a record.
#[derive(Debug, Clone)]
pub struct Series<'a>(Cursor<'a>);

/// Appends a record of series.
#[derive(Debug)]
pub struct SeriesEncoder<'o> {
    out: &'o mut Vec<u8>,
    begun: bool,
}

/// An interval in which a series has no samples any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TombstoneEntry {
    /// The number of the series.
    pub series: u64,
    /// What is deleted, both ends inside.
    pub interval: TimeInterval,
}

/// The tombstones of a record.
#[derive(Debug, Clone)]
pub struct Tombstones<'a>(Cursor<'a>);

/// Appends a record of tombstones.
#[derive(Debug)]
pub struct TombstonesEncoder<'o> {
    out: &'o mut Vec<u8>,
    begun: bool,
}

/// An exemplar of a series.
#[derive(Debug, Clone)]
pub struct ExemplarEntry<'a> {
    /// The number of the series.
    pub series: u64,
    /// When, in milliseconds.
    pub t: Timestamp,
    /// The value, bit for bit.
    pub value: f64,
    /// The exemplar's own labels.
    pub labels: LabelPairs<'a>,
}

/// The exemplars of a record.
#[derive(Debug, Clone)]
pub struct Exemplars<'a> {
    cursor: Cursor<'a>,
    series: u64,
    t: Timestamp,
}

/// Appends a record of exemplars.
#[derive(Debug)]
pub struct ExemplarsEncoder<'o> {
    out: &'o mut Vec<u8>,
    first: Option<(u64, Timestamp)>,
}

/// What the metric of a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataEntry<'a> {
    /// The number of the series.
    pub series: u64,
    /// The type as a number, as in `MetricKind`; one that is not known there is to be read as unknown.
    pub kind: u8,
    /// The unit, or nothing.
    pub unit: &'a str,
    /// The help text, or nothing.
    pub help: &'a str,
}

/// The metadata of a record.
#[derive(Debug, Clone)]
pub struct MetadataEntries<'a>(Cursor<'a>);

/// Appends a record of metadata.
#[derive(Debug)]
pub struct MetadataEncoder<'o> {
    out: &'o mut Vec<u8>,
    begun: bool,
}

/// Says that the out-of-order samples of a series so far stand in a chunk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmapMarkerEntry {
    /// The number of the series.
    pub series: u64,
    /// File (upper 32 bits) and offset (lower) in `chunks_head`.
    pub chunk: u64,
}

/// The markers of a record.
#[derive(Debug, Clone)]
pub struct MmapMarkers<'a>(Cursor<'a>);

impl<'a> Series<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self(cursor)
    }
}

impl<'a> Iterator for Series<'a> {
    type Item = Result<SeriesEntry<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(&mut self.0, |cursor| {
            Ok(SeriesEntry { series: cursor.u64_be()?, labels: LabelPairs::read(cursor)? })
        })
    }
}

impl<'o> SeriesEncoder<'o> {
    /// A record at the end of `out`.
    #[must_use]
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, begun: false }
    }

    /// Appends a series; `labels` are sorted by name.
    pub fn push<'l>(
        &mut self,
        series: u64,
        labels: impl IntoIterator<Item = (&'l str, &'l str), IntoIter: ExactSizeIterator>,
    ) {
        begin(self.out, &mut self.begun, kind::SERIES);
        self.out.extend_from_slice(&series.to_be_bytes());
        label_pairs::put(self.out, labels);
    }
}

impl<'a> Tombstones<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self(cursor)
    }
}

impl Iterator for Tombstones<'_> {
    type Item = Result<TombstoneEntry, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(&mut self.0, |cursor| {
            let series = cursor.u64_be()?;
            Ok(TombstoneEntry { series, interval: TimeInterval { mint: cursor.varint()?, maxt: cursor.varint()? } })
        })
    }
}

impl<'o> TombstonesEncoder<'o> {
    /// A record at the end of `out`.
    #[must_use]
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, begun: false }
    }

    /// Appends a tombstone.
    pub fn push(&mut self, tombstone: TombstoneEntry) {
        begin(self.out, &mut self.begun, kind::TOMBSTONES);
        self.out.extend_from_slice(&tombstone.series.to_be_bytes());
        put_varint(self.out, tombstone.interval.mint);
        put_varint(self.out, tombstone.interval.maxt);
    }
}

impl<'a> Exemplars<'a> {
    pub(super) fn new(mut cursor: Cursor<'a>) -> Result<Self, Malformed> {
        let (series, t) = if cursor.is_empty() { (0, 0) } else { (cursor.u64_be()?, cursor.u64_be()?.cast_signed()) };
        Ok(Self { cursor, series, t })
    }
}

impl<'a> Iterator for Exemplars<'a> {
    type Item = Result<ExemplarEntry<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (series, t) = (self.series, self.t);
        next_entry(&mut self.cursor, |cursor| {
            Ok(ExemplarEntry {
                series: series.wrapping_add_signed(cursor.varint()?),
                t: t.wrapping_add(cursor.varint()?),
                value: f64::from_bits(cursor.u64_be()?),
                labels: LabelPairs::read(cursor)?,
            })
        })
    }
}

impl<'o> ExemplarsEncoder<'o> {
    /// A record at the end of `out`.
    #[must_use]
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, first: None }
    }

    /// Appends an exemplar; `labels` are sorted by name.
    pub fn push<'l>(
        &mut self,
        series: u64,
        t: Timestamp,
        value: f64,
        labels: impl IntoIterator<Item = (&'l str, &'l str), IntoIter: ExactSizeIterator>,
    ) {
        let (first_series, first_t) = *self.first.get_or_insert_with(|| {
            self.out.push(kind::EXEMPLARS);
            self.out.extend_from_slice(&series.to_be_bytes());
            self.out.extend_from_slice(&t.to_be_bytes());
            (series, t)
        });
        put_varint(self.out, series.wrapping_sub(first_series).cast_signed());
        put_varint(self.out, t.wrapping_sub(first_t));
        self.out.extend_from_slice(&value.to_bits().to_be_bytes());
        label_pairs::put(self.out, labels);
    }
}

const UNIT: &str = "UNIT";
const HELP: &str = "HELP";

impl<'a> MetadataEntries<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self(cursor)
    }
}

impl<'a> Iterator for MetadataEntries<'a> {
    type Item = Result<MetadataEntry<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(&mut self.0, |cursor| {
            let mut entry = MetadataEntry { series: cursor.uvarint()?, kind: cursor.u8()?, unit: "", help: "" };
            let fields = cursor.uvarint()?;
            for _ in 0..cursor.count(fields, 2)? {
                let (name, value) = (cursor.text()?, cursor.text()?);
                match name {
                    UNIT => entry.unit = value,
                    HELP => entry.help = value,
                    _ => {}
                }
            }
            Ok(entry)
        })
    }
}

impl<'o> MetadataEncoder<'o> {
    /// A record at the end of `out`.
    #[must_use]
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, begun: false }
    }

    /// Appends the metadata of a series.
    pub fn push(&mut self, metadata: MetadataEntry<'_>) {
        begin(self.out, &mut self.begun, kind::METADATA);
        put_uvarint(self.out, metadata.series);
        self.out.push(metadata.kind);
        put_uvarint(self.out, 2);
        for (name, value) in [(UNIT, metadata.unit), (HELP, metadata.help)] {
            put_text(self.out, name);
            put_text(self.out, value);
        }
    }
}

impl<'a> MmapMarkers<'a> {
    pub(super) fn new(cursor: Cursor<'a>) -> Self {
        Self(cursor)
    }
}

impl Iterator for MmapMarkers<'_> {
    type Item = Result<MmapMarkerEntry, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_entry(&mut self.0, |cursor| Ok(MmapMarkerEntry { series: cursor.u64_be()?, chunk: cursor.u64_be()? }))
    }
}

/// Writes the type byte before the first entry.
fn begin(out: &mut Vec<u8>, begun: &mut bool, kind: u8) {
    if !*begun {
        out.push(kind);
        *begun = true;
    }
}
