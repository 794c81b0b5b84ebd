//! Pages and fragments: how records lie in a segment.
//!
//! A segment is a row of pages of 32 KiB. A record is cut where a page ends; each piece has a header of seven bytes: type and
//! compression flags, length, checksum of the piece. Where fewer than seven bytes are left in a page they are zeros, and a
//! zero in the place of a type says that the rest of the page is. So whatever happens to a page, the next one begins anew.

use super::compress::{Compression, Compressor};

/// Bytes of a page.
pub(super) const PAGE: usize = 32 << 10;

/// Bytes before each fragment.
pub(super) const HEADER: usize = 7;

/// Which piece of a record a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Full = 1,
    First = 2,
    Middle = 3,
    Last = 4,
}

const PIECE_MASK: u8 = 0b111;
const SNAPPY_FLAG: u8 = 1 << 3;
const ZSTD_FLAG: u8 = 1 << 4;

/// What stands at a place in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'p> {
    /// A piece whose checksum is right.
    Fragment { piece: Piece, compression: Compression, payload: &'p [u8], end: usize },
    /// Nothing more in this page.
    Padding,
    /// The file ends inside a fragment or its header.
    Cut,
    /// Not a fragment; where a checksum alone is wrong, the place after it.
    Bad { reason: &'static str, end: Option<usize> },
}

/// What stands at `at` of `page`, which is shorter than [`PAGE`] only where the file ends in it.
pub(super) fn frame_at(page: &[u8], at: usize) -> Frame<'_> {
    let bad = |reason| Frame::Bad { reason, end: None };
    let rest = page.get(at..).unwrap_or_default();
    let Some((&flags, after_flags)) = rest.split_first() else {
        return Frame::Padding;
    };
    let piece = match flags & PIECE_MASK {
        0 if rest.iter().all(|byte| *byte == 0) => return Frame::Padding,
        0 => return bad("bytes after the end of a page's last fragment"),
        1 => Piece::Full,
        2 => Piece::First,
        3 => Piece::Middle,
        4 => Piece::Last,
        _ => return bad("unknown type of fragment"),
    };
    if PAGE - at < HEADER {
        return bad("no room for a fragment before the page's end");
    }
    let compression = match flags {
        _ if flags & SNAPPY_FLAG != 0 => Compression::Snappy,
        _ if flags & ZSTD_FLAG != 0 => Compression::Zstd,
        _ => Compression::None,
    };
    let Some((&[l0, l1, c0, c1, c2, c3], body)) = after_flags.split_first_chunk::<6>() else {
        return Frame::Cut;
    };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let end = at + HEADER + len;
    if end > PAGE {
        return bad("a fragment longer than its page");
    }
    let Some(payload) = body.get(..len) else {
        return Frame::Cut;
    };
    if crc32c::crc32c(payload) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Frame::Bad { reason: "wrong checksum", end: Some(end) };
    }
    Frame::Fragment { piece, compression, payload, end }
}

/// Lays records out in the pages of one segment.
#[derive(Debug)]
pub(super) struct Framer {
    compressor: Compressor,
    pages: Pages,
}

/// How far a segment is laid out.
#[derive(Debug, Clone, Copy, Default)]
struct Pages {
    len: u64,
}

impl Framer {
    /// A framer at the start of a segment.
    pub(super) fn new(compression: Compression) -> Self {
        Self { compressor: Compressor::new(compression), pages: Pages::default() }
    }

    /// Goes to the start of a new segment.
    pub(super) fn restart(&mut self) {
        self.pages = Pages::default();
    }

    /// Bytes of the segment so far, those included that were appended to buffers and not written yet.
    pub(super) fn len(&self) -> u64 {
        self.pages.len
    }

    /// Appends `record` to `out`, unless it does not fit a segment of `segment_bytes` that holds something already.
    #[must_use]
    pub(super) fn push(&mut self, record: &[u8], segment_bytes: u64, out: &mut Vec<u8>) -> bool {
        let (stored, compression) = self.compressor.compress(record);
        let flag = match compression {
            Compression::None => 0,
            Compression::Snappy => SNAPPY_FLAG,
            Compression::Zstd => ZSTD_FLAG,
        };
        let segment_bytes = (segment_bytes / PAGE as u64).max(1) * PAGE as u64;
        if self.pages.len > 0 && stored.len() as u64 > free_bytes(self.pages.len, segment_bytes) {
            return false;
        }
        self.pages.put(stored, flag, out);
        true
    }

    /// Fills the page that was begun with zeros.
    pub(super) fn pad_page(&mut self, out: &mut Vec<u8>) {
        self.pages.pad(out);
    }
}

impl Pages {
    fn put(&mut self, stored: &[u8], flag: u8, out: &mut Vec<u8>) {
        let mut left = stored;
        let mut is_first = true;
        loop {
            let room = self.room();
            let (payload, after) = left.split_at(left.len().min(room - HEADER));
            let piece = match (is_first, after.is_empty()) {
                (true, true) => Piece::Full,
                (true, false) => Piece::First,
                (false, false) => Piece::Middle,
                (false, true) => Piece::Last,
            };
            out.push(piece as u8 | flag);
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            out.extend_from_slice(&crc32c::crc32c(payload).to_be_bytes());
            out.extend_from_slice(payload);
            self.len += (HEADER + payload.len()) as u64;
            if self.room() < HEADER {
                self.pad(out);
            }
            (left, is_first) = (after, false);
            if left.is_empty() {
                return;
            }
        }
    }

    fn pad(&mut self, out: &mut Vec<u8>) {
        let padding = self.room() % PAGE;
        out.resize(out.len() + padding, 0);
        self.len += padding as u64;
    }

    /// Bytes left in the page; of a page that was not begun, all.
    fn room(self) -> usize {
        PAGE - (self.len % PAGE as u64) as usize
    }
}

/// Bytes of one record that fit behind the first `len` bytes of a segment, as Prometheus counts.
fn free_bytes(len: u64, segment_bytes: u64) -> u64 {
    let page = PAGE as u64;
    let header = HEADER as u64;
    let whole_pages = (segment_bytes / page).saturating_sub(len / page + 1);
    let in_page = if len >= segment_bytes { 0 } else { (page - len % page).saturating_sub(header) };
    in_page + whole_pages * (page - header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(records: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut framer = Framer::new(Compression::None);
        assert!(records.iter().all(|record| framer.push(record, 1 << 20, &mut out)));
        assert_eq!(framer.len(), out.len() as u64);
        out
    }

    #[test]
    fn a_small_record_is_one_fragment() {
        let out = framed(&[b"123456789", b""]);
        // CRC-32C of "123456789" is its check value
        assert_eq!(out[..16], *b"\x01\x00\x09\xe3\x06\x92\x83123456789");
        assert_eq!(out[16..], [1, 0, 0, 0, 0, 0, 0]);
        let Frame::Fragment { piece: Piece::Full, payload: b"123456789", end: 16, .. } = frame_at(&out, 0) else {
            panic!("{:?}", frame_at(&out, 0))
        };
        assert_eq!(frame_at(&out[..15], 0), Frame::Cut);
        assert_eq!(frame_at(&out[..6], 0), Frame::Cut);
        assert_eq!(frame_at(&out, out.len()), Frame::Padding);
    }

    #[test]
    fn pages_are_filled_to_the_last_byte() {
        // six bytes are left after the first record: no room for a header
        let out = framed(&[&vec![1; PAGE - HEADER - 6], b"a"]);
        assert_eq!(out.len(), PAGE + HEADER + 1);
        assert_eq!(out[PAGE - 6..PAGE], [0; 6]);
        // seven are: a first fragment without payload, as Prometheus writes it
        let out = framed(&[&vec![1; PAGE - HEADER - 7], b"a"]);
        assert_eq!(out.len(), PAGE + HEADER + 1);
        assert_eq!(out[PAGE - 7..PAGE], [2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[PAGE], Piece::Last as u8);
    }

    #[test]
    fn records_do_not_cross_segments() {
        let mut framer = Framer::new(Compression::None);
        let mut out = Vec::new();
        let segment_bytes = 2 * PAGE as u64;
        let large = vec![7; PAGE];
        assert!(framer.push(&large, segment_bytes, &mut out));
        assert!(!framer.push(&large, segment_bytes, &mut out));
        assert!(framer.push(b"small", segment_bytes, &mut out));
        framer.restart();
        // one that is larger than a segment has one for itself
        assert!(framer.push(&vec![7; 5 * PAGE], segment_bytes, &mut out));
        assert!(!framer.push(b"small", segment_bytes, &mut out));
    }
}
