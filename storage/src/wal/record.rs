//! The records of a write-ahead log, in the encoding of Prometheus 3.14.
//!
//! A record is one type byte and entries of that type. [`decode`] tells the type and hands out a lazy iterator that borrows the
//! record's bytes: nothing is allocated but the buckets of histograms. Writers append a record to a `Vec<u8>` with one of the
//! encoders, entry by entry; an encoder that is given no entry writes nothing. What they write is byte for byte what Prometheus
//! writes for the same entries; storage/docs/format/wal.md draws it.
//!
//! The bytes were covered by a checksum, but this trusts nothing: whatever they are, decoding ends with an error, never with
//! a panic or an allocation larger than the record.

mod histogram;
mod label_pairs;
mod sample;
mod series;

use crate::cursor::{Cursor, Malformed};

pub use histogram::{
    FloatHistogramEntry, FloatHistograms, FloatHistogramsEncoder, HistogramEntry, Histograms, HistogramsEncoder,
};
pub use label_pairs::LabelPairs;
pub use sample::{SampleEntry, Samples, SamplesEncoder};
pub use series::{
    ExemplarEntry, Exemplars, ExemplarsEncoder, MetadataEncoder, MetadataEntries, MetadataEntry, MmapMarkerEntry,
    MmapMarkers, Series, SeriesEncoder, SeriesEntry, TombstoneEntry, Tombstones, TombstonesEncoder,
};

/// A record of the log: an iterator over its entries, each of which may turn out not to parse.
#[derive(Debug, Clone)]
pub enum Record<'a> {
    /// Labels of new series.
    Series(Series<'a>),
    /// Float samples, with start timestamps in the newer encoding.
    Samples(Samples<'a>),
    /// Deleted intervals.
    Tombstones(Tombstones<'a>),
    /// Exemplars.
    Exemplars(Exemplars<'a>),
    /// Chunks of out-of-order samples that were written to `chunks_head`; only in a `wbl`.
    MmapMarkers(MmapMarkers<'a>),
    /// Type, unit and help of metrics.
    Metadata(MetadataEntries<'a>),
    /// Native histograms with integer counts: exponential, custom buckets, or either with start timestamps.
    Histograms(Histograms<'a>),
    /// Native histograms with float counts, likewise.
    FloatHistograms(FloatHistograms<'a>),
}

/// Why a record does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A type that Prometheus 3.14 does not know; it skips such records, and so should everybody.
    #[error("unknown record type {0}")]
    UnknownType(u8),
    /// No byte at all.
    #[error("the record is empty")]
    Empty,
    /// An entry that does not parse; those before it are fine.
    #[error("byte {at} of the record: {reason}")]
    Malformed {
        /// Offset in the record.
        at: usize,
        /// What was expected.
        reason: &'static str,
    },
}

impl From<Malformed> for RecordError {
    fn from(malformed: Malformed) -> Self {
        RecordError::Malformed { at: malformed.at, reason: malformed.reason }
    }
}

/// The type bytes.
mod kind {
    pub(super) const SERIES: u8 = 1;
    pub(super) const SAMPLES: u8 = 2;
    pub(super) const TOMBSTONES: u8 = 3;
    pub(super) const EXEMPLARS: u8 = 4;
    pub(super) const MMAP_MARKERS: u8 = 5;
    pub(super) const METADATA: u8 = 6;
    pub(super) const HISTOGRAMS: u8 = 7;
    pub(super) const FLOAT_HISTOGRAMS: u8 = 8;
    pub(super) const CUSTOM_HISTOGRAMS: u8 = 9;
    pub(super) const CUSTOM_FLOAT_HISTOGRAMS: u8 = 10;
    pub(super) const SAMPLES_V2: u8 = 11;
    pub(super) const HISTOGRAMS_V2: u8 = 12;
    pub(super) const FLOAT_HISTOGRAMS_V2: u8 = 13;
}

/// The entries of `record`.
///
/// # Errors
/// A type that is not known, and a beginning that does not parse; entries are checked as they are read.
pub fn decode(record: &[u8]) -> Result<Record<'_>, RecordError> {
    let (&first, _) = record.split_first().ok_or(RecordError::Empty)?;
    let mut cursor = Cursor::new(record);
    cursor.u8()?;
    Ok(match first {
        kind::SERIES => Record::Series(Series::new(cursor)),
        kind::SAMPLES | kind::SAMPLES_V2 => Record::Samples(Samples::new(record, first == kind::SAMPLES_V2)?),
        kind::TOMBSTONES => Record::Tombstones(Tombstones::new(cursor)),
        kind::EXEMPLARS => Record::Exemplars(Exemplars::new(cursor)?),
        kind::MMAP_MARKERS => Record::MmapMarkers(MmapMarkers::new(cursor)),
        kind::METADATA => Record::Metadata(MetadataEntries::new(cursor)),
        kind::HISTOGRAMS | kind::CUSTOM_HISTOGRAMS => Record::Histograms(Histograms::v1(cursor)?),
        kind::HISTOGRAMS_V2 => Record::Histograms(Histograms::v2(cursor)?),
        kind::FLOAT_HISTOGRAMS | kind::CUSTOM_FLOAT_HISTOGRAMS => Record::FloatHistograms(FloatHistograms::v1(cursor)?),
        kind::FLOAT_HISTOGRAMS_V2 => Record::FloatHistograms(FloatHistograms::v2(cursor)?),
        other => return Err(RecordError::UnknownType(other)),
    })
}

/// Whether `record` is of a known type and parses to its last byte.
#[must_use]
pub fn is_whole(record: &[u8]) -> bool {
    fn all<T>(mut entries: impl Iterator<Item = Result<T, RecordError>>) -> bool {
        entries.all(|entry| entry.is_ok())
    }
    match decode(record) {
        Ok(Record::Series(entries)) => all(entries),
        Ok(Record::Samples(entries)) => all(entries),
        Ok(Record::Tombstones(entries)) => all(entries),
        Ok(Record::Exemplars(entries)) => all(entries),
        Ok(Record::MmapMarkers(entries)) => all(entries),
        Ok(Record::Metadata(entries)) => all(entries),
        Ok(Record::Histograms(entries)) => all(entries),
        Ok(Record::FloatHistograms(entries)) => all(entries),
        Err(_) => false,
    }
}

/// Yields what `read` finds until the cursor is at its end; after an error, nothing.
fn next_entry<'a, T>(
    cursor: &mut Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, Malformed>,
) -> Option<Result<T, RecordError>> {
    if cursor.is_empty() {
        return None;
    }
    Some(read(cursor).map_err(|malformed| {
        *cursor = Cursor::new(&[]);
        malformed.into()
    }))
}

#[cfg(test)]
pub(super) mod tests;
