//! `series.crc`: what `series.parquet` is checked with.
//!
//! ```text
//! ┌────────────────────────┬─────────────────────┬─────────────────────┬───────────────────────────┐
//! │ magic "QSCR" <4b>      │ version <u32>       │ index size <u64>    │ index TOC checksum <u32>  │
//! ├────────────────────────┼─────────────────────┴─────────────────────┴───────────────────────────┤
//! │ number of ranges <u32> │ for each range: length <u32>, CRC32C <u32>                            │
//! ├────────────────────────┴────────────────────────────────────────────────────────────────────────┤
//! │ CRC32C of all of the above <u32>                                                                │
//! └─────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Numbers are big-endian, as everywhere in a block. The ranges tile the file: its magic, then each dictionary
//! page and data page in file order, and last the tail (page indexes and footer). Storage docs have the page on it.

use std::ops::Range;

use bytes::{Buf, BufMut};
use parquet::file::metadata::ParquetMetaData;

use crate::error::{Error, Result};

use super::schema::FORMAT_VERSION;

const MAGIC: &[u8; 4] = b"QSCR";
const HEADER_SIZE: usize = 4 + 4 + 8 + 4 + 4;
const RANGE_SIZE: usize = 8;
const CRC_SIZE: usize = 4;
/// Largest `series.crc` that is read: 64 columns of a billion series.
pub const CHECKSUM_FILE_SIZE_MAX: u64 = 256 << 20;

/// Which `index` a side-index belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexIdentity {
    /// Size of `index`, bytes.
    pub size: u64,
    /// The last four bytes of `index`: the CRC32C of its table of contents.
    pub toc_crc: u32,
}

/// The contents of a `series.crc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    identity: IndexIdentity,
    /// Where each range ends; the first begins at 0.
    ends: Vec<u64>,
    crcs: Vec<u32>,
}

impl Checksums {
    /// Checksums of a file with these contents, cut at `ends`.
    ///
    /// # Errors
    /// [`Error::Internal`] where a range is longer than 4 GiB; what `read` returns.
    pub fn compute(
        identity: IndexIdentity,
        ends: Vec<u64>,
        mut read: impl FnMut(Range<u64>) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        let mut crcs = Vec::with_capacity(ends.len());
        let mut start = 0;
        for &end in &ends {
            if end < start || end - start > u64::from(u32::MAX) {
                return Err(Error::Internal(format!("side-index range {start}..{end} is out of order or too long")));
            }
            crcs.push(crc32c::crc32c(&read(start..end)?));
            start = end;
        }
        Ok(Self { identity, ends, crcs })
    }

    /// The index that the file was made from.
    #[must_use]
    pub fn identity(&self) -> IndexIdentity {
        self.identity
    }

    /// Size of the file that is checked, in bytes.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The last range: page indexes and footer.
    #[must_use]
    pub fn tail(&self) -> Range<u64> {
        self.range(self.ends.len().saturating_sub(1))
    }

    /// What this takes up in memory, in bytes.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.ends.len() * (size_of::<u64>() + size_of::<u32>())
    }

    /// The ranges that touch `range`, as numbers for [`range`](Self::range) and [`verify`](Self::verify).
    #[must_use]
    pub fn covering(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.ends.partition_point(|&end| end <= range.start);
        let last = self.ends.partition_point(|&end| end < range.end);
        first..(last + 1).min(self.ends.len()).max(first)
    }

    /// Where range `i` lies in the file.
    #[must_use]
    pub fn range(&self, i: usize) -> Range<u64> {
        let start = if i == 0 { 0 } else { self.ends.get(i - 1).copied().unwrap_or(0) };
        start..self.ends.get(i).copied().unwrap_or(start)
    }

    /// Whether `bytes` are those of range `i`.
    #[must_use]
    pub fn verify(&self, i: usize, bytes: &[u8]) -> bool {
        let range = self.range(i);
        self.crcs
            .get(i)
            .is_some_and(|&crc| range.end - range.start == bytes.len() as u64 && crc == crc32c::crc32c(bytes))
    }

    /// The bytes of `series.crc`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_SIZE + self.ends.len() * RANGE_SIZE + CRC_SIZE);
        out.put_slice(MAGIC);
        out.put_u32(FORMAT_VERSION);
        out.put_u64(self.identity.size);
        out.put_u32(self.identity.toc_crc);
        out.put_u32(u32::try_from(self.ends.len()).unwrap_or(u32::MAX));
        let mut start = 0;
        for (&end, &crc) in self.ends.iter().zip(&self.crcs) {
            out.put_u32(u32::try_from(end - start).unwrap_or(u32::MAX));
            out.put_u32(crc);
            start = end;
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }

    /// Reads a `series.crc`.
    ///
    /// # Errors
    /// Where in the file and why, for the caller to name block and file.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, (u64, String)> {
        if bytes.len() < HEADER_SIZE + CRC_SIZE {
            return Err((bytes.len() as u64, "cut short".to_owned()));
        }
        let (body, mut stored) = bytes.split_at(bytes.len() - CRC_SIZE);
        if stored.get_u32() != crc32c::crc32c(body) {
            return Err((body.len() as u64, "checksum of the file does not match".to_owned()));
        }
        let mut rest = body;
        if !rest.starts_with(MAGIC) {
            return Err((0, "wrong magic".to_owned()));
        }
        rest.advance(MAGIC.len());
        let version = rest.get_u32();
        if version != FORMAT_VERSION {
            return Err((4, format!("version {version} where {FORMAT_VERSION} was expected")));
        }
        let identity = IndexIdentity { size: rest.get_u64(), toc_crc: rest.get_u32() };
        let count = rest.get_u32() as usize;
        if rest.len() / RANGE_SIZE != count || rest.len() % RANGE_SIZE != 0 {
            return Err(((HEADER_SIZE - 4) as u64, format!("{count} ranges do not fit the file's size")));
        }
        let (mut ends, mut crcs, mut end) = (Vec::with_capacity(count), Vec::with_capacity(count), 0_u64);
        for _ in 0..count {
            end += u64::from(rest.get_u32());
            ends.push(end);
            crcs.push(rest.get_u32());
        }
        Ok(Self { identity, ends, crcs })
    }
}

/// Where the ranges of a file end: after its magic, after each page in file order, and at its end.
///
/// # Errors
/// [`Error::Internal`] where the file was written without an offset index.
pub fn range_ends(metadata: &ParquetMetaData, file_size: u64) -> Result<Vec<u64>> {
    if metadata.num_row_groups() == 0 {
        return Ok(vec![4, file_size]);
    }
    let index = metadata.offset_index().ok_or_else(|| Error::Internal("side-index without offset index".to_owned()))?;
    let position =
        |v: i64| u64::try_from(v).map_err(|_| Error::Internal("side-index with a negative offset".to_owned()));
    let mut ends = vec![4];
    for (group, pages) in metadata.row_groups().iter().zip(index) {
        for (column, pages) in group.columns().iter().zip(pages) {
            let (start, size) = column.byte_range();
            for page in pages.page_locations() {
                let start = position(page.offset)?;
                ends.extend([start, start + position(i64::from(page.compressed_page_size))?]);
            }
            ends.extend([start, start + size]);
        }
    }
    ends.push(file_size);
    ends.sort_unstable();
    ends.dedup();
    ends.retain(|&end| end > 0 && end <= file_size);
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksums(contents: &[u8]) -> Checksums {
        let identity = IndexIdentity { size: 77, toc_crc: 5 };
        let read =
            |r: Range<u64>| Ok(contents[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()].to_vec());
        Checksums::compute(identity, vec![4, 10, 20], read).unwrap()
    }

    #[test]
    fn survives_and_covers() {
        let contents: Vec<u8> = (0..20).collect();
        let sums = checksums(&contents);
        assert_eq!(Checksums::decode(&sums.encode()).unwrap(), sums);
        assert_eq!(sums.covering(&(4..10)), 1..2);
        assert_eq!(sums.covering(&(3..11)), 0..3);
        assert_eq!(sums.covering(&(12..20)), 2..3);
        assert_eq!(sums.tail(), 10..20);
        assert!(sums.verify(1, &contents[4..10]));
        assert!(!sums.verify(1, &contents[5..11]));
    }

    #[test]
    fn every_flipped_byte_is_seen() {
        let bytes = checksums(&[7; 20]).encode();
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 0x20;
            assert!(Checksums::decode(&bad).is_err(), "byte {i}");
        }
        assert!(Checksums::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
