//! The TSDB index, version 2: which series a block holds, their chunks, and which series have which label.
//!
//! ```text
//! magic version │ symbols │ series … │ postings … │ postings offset table │ TOC
//! ```
//!
//! The bytes are Prometheus's, drawn in `docs/format/index.md`. [`IndexReader`] reads an index whose bytes are at
//! hand (a mapped file, a fetched object), [`IndexWriter`] writes one front to back. Every checksum is verified
//! before what it covers is believed.

mod health;
mod postings;
mod reader;
mod symbols;
mod toc;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::model::{TimeInterval, Timestamp};

pub use health::IndexHealth;
pub use reader::{IndexReader, SeriesCursor};
pub use symbols::Symbols;
pub use toc::{TOC_LEN, Toc};
pub use writer::IndexWriter;

/// The name of the file in a block.
pub const INDEX_FILE: &str = "index";

const MAGIC: u32 = 0xBAAA_D700;
const VERSION: u8 = 2;
const HEADER_LEN: usize = 5;
/// Series entries start at multiples of this.
const SERIES_ALIGN: usize = 16;
const CRC_LEN: usize = 4;

/// Where a series stands in the index of its block: its offset divided by 16. Ascends with the label order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u32);

impl SeriesRef {
    /// The offset of the entry in the index file, in bytes.
    #[must_use]
    pub fn offset(self) -> u64 {
        u64::from(self.0) * SERIES_ALIGN as u64
    }
}

/// Where a chunk stands in its block: the segment in the upper half, the offset in it in the lower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef(pub u64);

impl ChunkRef {
    /// Of a segment, counted from 0, and an offset in its file.
    #[must_use]
    pub fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    /// The segment, counted from 0: segment 0 is the file `000001`.
    #[must_use]
    pub fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The offset in the segment file, in bytes, of the chunk's length field.
    #[must_use]
    pub fn offset(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }
}

impl fmt::Debug for ChunkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.offset())
    }
}

/// What the index knows of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkMeta {
    /// Time of the first sample.
    pub mint: Timestamp,
    /// Time of the last sample; never before `mint`.
    pub maxt: Timestamp,
    /// Where the chunk stands.
    pub chunk: ChunkRef,
}

impl ChunkMeta {
    /// The time from first to last sample.
    #[must_use]
    pub fn interval(&self) -> TimeInterval {
        TimeInterval::new(self.mint, self.maxt)
    }
}

/// One series as the index lists it. Borrowed from a cursor or writer that reuses the buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesEntry<'a> {
    /// Where the entry stands.
    pub series: SeriesRef,
    /// Name and value pairs, names strictly ascending.
    pub labels: &'a [(&'a str, &'a str)],
    /// In the order of the index. Ascending without overlap, as writers promise, but for blocks of writers that
    /// did not: readers do not rely on it.
    pub chunks: &'a [ChunkMeta],
}

/// CRC32 with the Castagnoli polynomial, as every file of a block uses it.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
