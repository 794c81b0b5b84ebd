//! Finding the whole records of a segment, whatever happened to it.
//!
//! Pages are handed in one after the other. Behind a place that does not parse reading goes on
//!
//! 1. where its payload ends by its checksum, if any length fits that: then only the type or the length is damaged;
//! 2. else where it says that it ends, if a fragment begins there: then only the payload or the checksum is;
//! 3. else at the next place of the page where a fragment with the right checksum begins and nothing contradicts it behind;
//! 4. else at the next page.
//!
//! Pieces of records whose beginning is lost are passed over. The header's type is not covered by the checksum, so a piece
//! that appears where it cannot be is taken for a record only if it parses as one.

use super::compress::{Compression, Decompressor};
use super::frame::{Frame, HEADER, PAGE, Piece, frame_at};
use super::record;
use crate::error::Result;

/// Bytes between two whole records, or behind the last, that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) reason: &'static str,
    /// Everything in it is right as far as it goes: what a crash in the middle of a write leaves.
    pub(super) only_cut: bool,
}

/// What was found in a file.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Ascending; the last may reach to the end of the file.
    pub(super) gaps: Vec<Gap>,
    /// Bytes of the file.
    pub(super) len: u64,
    /// Whole records.
    pub(super) records: u64,
    /// Their bytes, not compressed.
    pub(super) bytes: u64,
    /// How the last compressed record was.
    pub(super) compression: Compression,
}

/// A record of which some pieces were read.
#[derive(Debug, Clone, Copy)]
struct Begun {
    start: u64,
    compression: Compression,
    suspect: bool,
}

/// Takes pages and hands out records.
#[derive(Debug)]
pub(super) struct Salvage {
    found: Findings,
    begun: Option<Begun>,
    pieces: Vec<u8>,
    /// What is wrong since the last whole record; its end is not known yet.
    gap: Option<Gap>,
    decompressor: Decompressor,
}

/// Who is handed the records.
pub(super) type Visit<'v> = dyn FnMut(&[u8]) -> Result<()> + 'v;

impl Salvage {
    pub(super) fn new() -> Self {
        Self {
            found: Findings::default(),
            begun: None,
            pieces: Vec::new(),
            gap: None,
            decompressor: Decompressor::new(),
        }
    }

    /// Reads the next page; only the last may be shorter than [`PAGE`].
    pub(super) fn page(&mut self, page: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let base = self.found.len;
        self.found.len += page.len() as u64;
        let mut at = 0;
        loop {
            let start = base + at as u64;
            match frame_at(page, at) {
                Frame::Fragment { piece, compression, payload, end } => {
                    let fills_page = at == 0 && end == PAGE;
                    match piece {
                        Piece::Full => self.full(compression, payload, start, fills_page, visit)?,
                        Piece::First if end == PAGE => self.first(compression, payload, start, at == 0),
                        Piece::Middle if !fills_page => self.lost(start, "a piece of a record in the wrong place"),
                        Piece::Last if at != 0 => self.lost(start, "a piece of a record in the wrong place"),
                        Piece::First => self.lost(start, "a record that stops before its page does"),
                        Piece::Middle => self.next_piece(compression, payload, start),
                        Piece::Last => self.last(compression, payload, start, visit)?,
                    }
                    at = end;
                }
                Frame::Padding => {
                    if at == 0
                        && !page.is_empty()
                        && let Some(begun) = self.begun.take()
                    {
                        self.mark(begun.start, "a record without its end", true);
                    }
                    return Ok(());
                }
                Frame::Cut => {
                    if let Some(end) = end_by_checksum(page, at) {
                        self.lost(start, "wrong length");
                        at = end;
                        continue;
                    }
                    let start = self.begun.take().map_or(start, |begun| begun.start);
                    self.mark(start, "a record that ends with the file", true);
                    return Ok(());
                }
                Frame::Bad { reason, end } => {
                    self.lost(start, reason);
                    match resume(page, at, end) {
                        Some(next) => at = next,
                        None => return Ok(()),
                    }
                }
            }
        }
    }

    /// What was found, after the last page.
    pub(super) fn finish(mut self) -> Findings {
        if let Some(begun) = self.begun.take() {
            self.mark(begun.start, "a record without its end", true);
        }
        self.close_gap(self.found.len);
        self.found
    }

    fn full(
        &mut self,
        compression: Compression,
        payload: &[u8],
        start: u64,
        fills_page: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        // a record cannot begin before the one before it ends, unless a writer failed between; or this is a middle piece
        let suspect = self.drop_begun() && fills_page;
        self.deliver(compression, payload, start, suspect, visit)
    }

    fn first(&mut self, compression: Compression, payload: &[u8], start: u64, at_page_start: bool) {
        let suspect = self.drop_begun() && at_page_start;
        self.begun = Some(Begun { start, compression, suspect });
        self.pieces.clear();
        self.pieces.extend_from_slice(payload);
    }

    fn next_piece(&mut self, compression: Compression, payload: &[u8], start: u64) {
        match self.begun {
            Some(begun) if begun.compression == compression => self.pieces.extend_from_slice(payload),
            Some(_) => self.lost(start, "pieces of a record that do not belong together"),
            None => self.lost(start, "a piece of a record without its beginning"),
        }
    }

    fn last(&mut self, compression: Compression, payload: &[u8], start: u64, visit: &mut Visit<'_>) -> Result<()> {
        self.next_piece(compression, payload, start);
        let Some(begun) = self.begun.take() else {
            return Ok(());
        };
        let pieces = std::mem::take(&mut self.pieces);
        let delivered = self.deliver(compression, &pieces, begun.start, begun.suspect, visit);
        self.pieces = pieces;
        delivered
    }

    fn deliver(
        &mut self,
        compression: Compression,
        stored: &[u8],
        start: u64,
        suspect: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let mut decompressor = std::mem::replace(&mut self.decompressor, Decompressor::new());
        let result = match decompressor.decompress(stored, compression) {
            Some(bytes) if !suspect || record::is_whole(bytes) => {
                self.close_gap(start);
                self.found.records += 1;
                self.found.bytes += bytes.len() as u64;
                if compression != Compression::None {
                    self.found.compression = compression;
                }
                visit(bytes)
            }
            Some(_) => {
                self.mark(start, "a piece of a record without its beginning", false);
                Ok(())
            }
            None => {
                self.mark(start, "a record that does not decompress", false);
                Ok(())
            }
        };
        self.decompressor = decompressor;
        result
    }

    /// Gives up the record that was begun, if one was.
    fn drop_begun(&mut self) -> bool {
        match self.begun.take() {
            Some(begun) => {
                self.mark(begun.start, "a record without its end", false);
                true
            }
            None => false,
        }
    }

    /// Gives up the record that was begun and what stands at `start`.
    fn lost(&mut self, start: u64, reason: &'static str) {
        let start = self.begun.take().map_or(start, |begun| begun.start);
        self.mark(start, reason, false);
    }

    fn mark(&mut self, start: u64, reason: &'static str, only_cut: bool) {
        match &mut self.gap {
            Some(gap) => gap.only_cut &= only_cut,
            none => *none = Some(Gap { start, end: start, reason, only_cut }),
        }
    }

    fn close_gap(&mut self, end: u64) {
        if let Some(gap) = self.gap.take() {
            self.found.gaps.push(Gap { end, ..gap });
        }
    }
}

/// Where reading of `page` goes on behind the bad fragment at `at`, which claims to end at `end`.
fn resume(page: &[u8], at: usize, end: Option<usize>) -> Option<usize> {
    let fits = |at| !matches!(frame_at(page, at), Frame::Bad { .. });
    if let Some(end) = end_by_checksum(page, at).filter(|end| fits(*end)) {
        return Some(end);
    }
    if let Some(end) = end
        && matches!(frame_at(page, end), Frame::Fragment { .. } | Frame::Padding)
    {
        return Some(end);
    }
    // an empty fragment is too short to be told from a payload's bytes; nor are flags looked for that nobody writes
    let is_type = |byte: u8| matches!(byte & 0b111, 1..=4) && matches!(byte >> 3, 0..=2);
    (at + 1..page.len()).find(|&at| {
        is_type(page[at])
            && matches!(frame_at(page, at), Frame::Fragment { payload, end, .. } if !payload.is_empty() && fits(end))
    })
}

/// Where the fragment at `at` ends if its checksum is right and its length may be wrong.
fn end_by_checksum(page: &[u8], at: usize) -> Option<usize> {
    let (header, payload) = page.get(at..)?.split_first_chunk::<HEADER>()?;
    let expected = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
    let mut checksum = 0;
    let len = payload.iter().position(|byte| {
        checksum = crc32c::crc32c_append(checksum, std::slice::from_ref(byte));
        checksum == expected
    })?;
    Some(at + HEADER + len + 1)
}

#[cfg(test)]
mod tests;
