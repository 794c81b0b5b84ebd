//! The table of contents: the last 52 bytes of an index.

use std::sync::Arc;

use super::{CRC_LEN, HEADER_LEN, INDEX_FILE, checksum};
use crate::cursor::{Cursor, Origin};
use crate::error::Result;

/// Length of the table in bytes, its checksum included.
pub const TOC_LEN: usize = 6 * 8 + CRC_LEN;

/// Offsets of the sections in the index file, in bytes; 0 where there is no such section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Toc {
    /// The symbol table.
    pub symbols: u64,
    /// The first series entry, or the padding before it.
    pub series: u64,
    /// The label indices, which nobody reads any more; where there are none, the end of the series.
    pub label_indices: u64,
    /// The offset table of the label indices; where there are none, the postings offset table.
    pub label_indices_table: u64,
    /// The first postings list, or the padding before it.
    pub postings: u64,
    /// The postings offset table.
    pub postings_table: u64,
    /// CRC32C of the six offsets. With the file's size it identifies an index well enough to tell that another
    /// file was derived from it.
    pub checksum: u32,
}

impl Toc {
    /// Reads the table from the end of an index: `tail` is the last bytes of a file of `file_len` bytes, at least
    /// [`TOC_LEN`] of them.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the tail is too short, the checksum does not match, or an
    /// offset lies outside the file.
    pub fn try_parse(tail: &[u8], file_len: u64, place: impl Into<Arc<str>>) -> Result<Self> {
        Self::parse(tail, file_len, &Origin::new(place, INDEX_FILE))
    }

    pub(super) fn parse(tail: &[u8], file_len: u64, origin: &Origin) -> Result<Self> {
        let end = usize::try_from(file_len).unwrap_or(usize::MAX);
        let base = end.saturating_sub(TOC_LEN);
        let Some((_, toc)) = tail.split_at_checked(tail.len().wrapping_sub(TOC_LEN)).filter(|_| tail.len() <= end)
        else {
            return Err(origin.corrupt(0, format!("{file_len} bytes are too few for an index")));
        };
        let mut cursor = Cursor::new(toc);
        let mut parse = || {
            Ok(Self {
                symbols: cursor.u64_be()?,
                series: cursor.u64_be()?,
                label_indices: cursor.u64_be()?,
                label_indices_table: cursor.u64_be()?,
                postings: cursor.u64_be()?,
                postings_table: cursor.u64_be()?,
                checksum: cursor.u32_be()?,
            })
        };
        let parsed = parse().map_err(|malformed| origin.malformed(base, malformed))?;
        if checksum(&toc[..TOC_LEN - CRC_LEN]) != parsed.checksum {
            return Err(origin.corrupt(base, "checksum of the table of contents does not match"));
        }
        for offset in parsed.offsets() {
            if offset != 0 && (offset < HEADER_LEN as u64 || offset > base as u64) {
                return Err(origin.corrupt(base, format!("section offset {offset} lies outside the file")));
            }
        }
        Ok(parsed)
    }

    fn offsets(&self) -> [u64; 6] {
        [self.symbols, self.series, self.label_indices, self.label_indices_table, self.postings, self.postings_table]
    }

    /// Where the section that starts at `start` must have ended: at the next section, or else at `limit`.
    pub(super) fn section_end(&self, start: u64, limit: u64) -> u64 {
        let others = [self.label_indices, self.label_indices_table, self.postings, self.postings_table];
        others.into_iter().filter(|&offset| offset != 0 && offset >= start).min().unwrap_or(limit)
    }

    /// The table as bytes; sets `checksum`.
    pub(super) fn encode(&mut self) -> [u8; TOC_LEN] {
        let mut bytes = [0; TOC_LEN];
        for (slot, offset) in bytes.chunks_exact_mut(8).zip(self.offsets()) {
            slot.copy_from_slice(&offset.to_be_bytes());
        }
        self.checksum = checksum(&bytes[..TOC_LEN - CRC_LEN]);
        bytes[TOC_LEN - CRC_LEN..].copy_from_slice(&self.checksum.to_be_bytes());
        bytes
    }
}
