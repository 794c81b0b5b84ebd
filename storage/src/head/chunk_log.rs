//! The bytes of closed chunks of one shard, behind one another in segments.
//!
//! ```text
//! segment  chunk, crc32c │ chunk, crc32c │ …     the last one is written to; full ones move to a file, see `files.rs`
//! ```
//!
//! Chunks are closed in about the order of time and are dropped in that order, so a segment dies as a whole, and its memory
//! goes back in one piece: no chunk has an allocation of its own, and nothing is copied to fill holes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::files::ChunkFile;
use super::open_bytes::{OpenBytes, Pieces};
use crate::chunk::XorState;

/// Bytes after which a segment is full. A longer chunk has one of its own.
const SEGMENT_BYTES: usize = 256 << 10;
/// Of the checksum behind a chunk.
const CHECKSUM_BYTES: usize = 4;
/// Numbers that the segments of a shard may span: more would be no shard's.
const SEGMENTS_MAX: u32 = 1 << 24;

/// Set in the length of a chunk of late samples.
const LATE: u32 = 1 << 31;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkAt {
    pub segment: u32,
    pub offset: u32,
    pub len: u32,
}

impl ChunkAt {
    /// Bytes of the chunk.
    pub fn len(self) -> usize {
        (self.len & !LATE) as usize
    }

    /// Whether it is among those of late samples.
    pub fn is_late(self) -> bool {
        self.len & LATE != 0
    }
}

/// A part of a file that is a segment.
#[derive(Debug, Clone)]
pub(super) struct FiledSegment {
    pub file: Arc<ChunkFile>,
    pub start: usize,
    pub len: usize,
}

impl FiledSegment {
    fn bytes(&self) -> &[u8] {
        self.file.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }
}

#[derive(Debug)]
enum Content {
    /// Written to: the last one.
    Open(Vec<u8>),
    /// In memory.
    Full(Bytes),
    Filed(FiledSegment),
    /// None of its chunks is left.
    Gone,
}

#[derive(Debug)]
struct Segment {
    content: Content,
    /// Chunks that are not dropped.
    live: u32,
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Open(bytes) => bytes,
            Content::Full(bytes) => bytes,
            Content::Filed(filed) => filed.bytes(),
            Content::Gone => &[],
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.content, Content::Open(_))
    }
}

/// The closed chunks of a shard, and the pieces of its open ones.
///
/// Chunks of late samples are few and decoded now and then under the shard's lock, so they have segments of their own, which stay in
/// memory.
#[derive(Debug, Default)]
pub(super) struct ChunkLog {
    /// What open chunks of floats are made of.
    pub pieces: Pieces,
    in_order: Segments,
    late: Segments,
}

impl ChunkLog {
    /// Adds a chunk of samples in order whose bytes `write` appends.
    pub fn push(&mut self, estimate: usize, write: impl FnOnce(&mut Vec<u8>)) -> ChunkAt {
        self.in_order.add(estimate, write)
    }

    /// Adds a chunk of late samples.
    pub fn push_late(&mut self, payload: &[u8]) -> ChunkAt {
        let at = self.late.add(payload.len(), |out| out.extend_from_slice(payload));
        ChunkAt { len: at.len | LATE, ..at }
    }

    /// Adds what was an open chunk.
    pub fn close(&mut self, open: &mut OpenBytes, state: &XorState) -> ChunkAt {
        let pieces = &mut self.pieces;
        self.in_order.add(open.len(), |out| {
            let start = out.len();
            open.write(pieces, out);
            state.patch(&mut out[start..]);
            open.clear(pieces);
        })
    }

    fn segments(&self, at: ChunkAt) -> &Segments {
        if at.is_late() { &self.late } else { &self.in_order }
    }

    /// The chunk's bytes, not checked: where [`in_file`](Self::in_file) says that it is in one, they are to be read there.
    pub fn get(&self, at: ChunkAt) -> &[u8] {
        let start = at.offset as usize;
        let segment = self.segments(at).get(at.segment);
        segment.and_then(|segment| segment.bytes().get(start..start + at.len())).unwrap_or_default()
    }

    /// The chunk where it lies in a file, so that it can be read without the shard's lock.
    pub fn in_file(&self, at: ChunkAt) -> Option<FiledChunk> {
        match &self.segments(at).get(at.segment)?.content {
            Content::Filed(FiledSegment { file, start, .. }) => {
                Some(FiledChunk { file: Arc::clone(file), start: start + at.offset as usize, len: at.len() })
            }
            _ => None,
        }
    }

    /// Says that nobody refers to the chunk any more.
    pub fn drop_chunk(&mut self, at: ChunkAt) {
        let segments = if at.is_late() { &mut self.late } else { &mut self.in_order };
        segments.drop_chunk(at.segment);
    }

    /// Says that nothing is added to the last segment any more.
    pub fn seal(&mut self) {
        self.in_order.seal();
    }

    /// Bytes of the segments that are full and in memory.
    pub fn full_bytes(&self) -> usize {
        self.in_order.full_bytes
    }

    /// The segments that are full and in memory, by number.
    pub fn full(&self) -> impl Iterator<Item = (u32, Bytes)> {
        self.in_order.numbered().filter_map(|(number, segment)| match &segment.content {
            Content::Full(bytes) => Some((number, bytes.clone())),
            _ => None,
        })
    }

    /// The segments that are in files, by number.
    pub fn filed(&self) -> impl Iterator<Item = (u32, &FiledSegment)> {
        self.in_order.numbered().filter_map(|(number, segment)| match &segment.content {
            Content::Filed(filed) => Some((number, filed)),
            _ => None,
        })
    }

    /// Reads a segment from the file from now on, and frees its memory; nothing where its chunks are gone.
    pub fn move_to_file(&mut self, number: u32, filed: FiledSegment) {
        if let Some(segment) = self.in_order.get_mut(number)
            && let Content::Full(bytes) = &segment.content
            && bytes.len() == filed.len
        {
            let len = filed.len;
            segment.content = Content::Filed(filed);
            self.in_order.full_bytes -= len;
        }
    }

    /// Takes segments in files into a log that is empty, ascending by number; their chunks are then to be [kept](Self::keep), and
    /// segments without any [released](Self::release). False where no log has such numbers.
    pub fn restore(&mut self, segments: Vec<(u32, FiledSegment)>) -> bool {
        self.in_order.restore(segments)
    }

    /// Counts a chunk of a restored segment. False where there is none.
    pub fn keep(&mut self, at: ChunkAt) -> bool {
        let Some(segment) = self.in_order.get_mut(at.segment).filter(|_| !at.is_late()) else { return false };
        let end = (at.offset as usize).checked_add(at.len()).and_then(|end| end.checked_add(CHECKSUM_BYTES));
        if end.is_none_or(|end| end > segment.bytes().len()) {
            return false;
        }
        segment.live += 1;
        true
    }

    /// Lets restored segments go of which no chunk was kept.
    pub fn release(&mut self) {
        self.in_order.release();
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        self.pieces.size_bytes() + self.in_order.size_bytes() + self.late.size_bytes()
    }
}

/// Segments of chunks of one kind.
#[derive(Debug, Default)]
struct Segments {
    list: VecDeque<Segment>,
    /// The number of the first; wraps, as differences do.
    first: u32,
    /// Bytes of those that are full and in memory.
    full_bytes: usize,
}

impl Segments {
    fn get(&self, number: u32) -> Option<&Segment> {
        self.list.get(number.wrapping_sub(self.first) as usize)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.list.get_mut(number.wrapping_sub(self.first) as usize)
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &Segment)> {
        self.list.iter().enumerate().map(|(i, segment)| (self.first.wrapping_add(i as u32), segment))
    }

    fn add(&mut self, estimate: usize, write: impl FnOnce(&mut Vec<u8>)) -> ChunkAt {
        let fits =
            |segment: &Segment| segment.is_open() && segment.bytes().len() + estimate + CHECKSUM_BYTES <= SEGMENT_BYTES;
        if !self.list.back().is_some_and(fits) {
            self.seal();
            self.list.push_back(Segment { content: Content::Open(Vec::new()), live: 0 });
        }
        let segment = self.first.wrapping_add((self.list.len() - 1) as u32);
        let Some(Segment { content: Content::Open(bytes), live }) = self.list.back_mut() else {
            return ChunkAt { segment, offset: 0, len: 0 };
        };
        let offset = bytes.len();
        write(bytes);
        let len = bytes.len() - offset;
        let checksum = crc32c::crc32c(&bytes[offset..]);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        *live += 1;
        ChunkAt { segment, offset: offset as u32, len: len as u32 }
    }

    /// Ends the last segment; one whose chunks are all gone goes.
    fn seal(&mut self) {
        if let Some(Segment { content, live }) = self.list.back_mut()
            && let Content::Open(bytes) = content
        {
            if *live == 0 {
                *content = Content::Gone;
            } else {
                self.full_bytes += bytes.len();
                *content = Content::Full(std::mem::take(bytes).into());
            }
        }
        self.trim();
    }

    fn drop_chunk(&mut self, number: u32) {
        let Some(segment) = self.get_mut(number) else { return };
        segment.live = segment.live.saturating_sub(1);
        if segment.live == 0 && !segment.is_open() {
            if let Content::Full(bytes) = std::mem::replace(&mut segment.content, Content::Gone) {
                self.full_bytes -= bytes.len();
            }
            self.trim();
        }
    }

    fn restore(&mut self, segments: Vec<(u32, FiledSegment)>) -> bool {
        let Some(first) = segments.first().map(|(number, _)| *number) else { return true };
        self.first = first;
        for (number, filed) in segments {
            let index = number.wrapping_sub(first);
            if index >= SEGMENTS_MAX || (index as usize) < self.list.len() {
                return false;
            }
            self.list.resize_with(index as usize, || Segment { content: Content::Gone, live: 0 });
            self.list.push_back(Segment { content: Content::Filed(filed), live: 0 });
        }
        true
    }

    fn release(&mut self) {
        let empty = |segment: &&mut Segment| segment.live == 0 && !segment.is_open();
        self.list.iter_mut().filter(empty).for_each(|segment| segment.content = Content::Gone);
        self.trim();
    }

    /// Takes segments away in front whose chunks are gone.
    fn trim(&mut self) {
        while self.list.front().is_some_and(|segment| matches!(segment.content, Content::Gone)) {
            self.list.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    fn size_bytes(&self) -> usize {
        let bytes = self.list.iter().map(|segment| match &segment.content {
            Content::Open(bytes) => bytes.capacity(),
            Content::Full(bytes) => bytes.len(),
            Content::Filed(_) | Content::Gone => 0,
        });
        bytes.sum::<usize>() + self.list.len() * size_of::<Segment>()
    }
}

/// A chunk in a file.
#[derive(Debug, Clone)]
pub(super) struct FiledChunk {
    file: Arc<ChunkFile>,
    start: usize,
    len: usize,
}

impl FiledChunk {
    /// Its bytes, not checked.
    pub fn bytes(&self) -> &[u8] {
        self.file.bytes.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// Compares it with its checksum.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where they differ.
    pub fn check(&self) -> crate::error::Result<()> {
        let end = self.start + self.len;
        let stored = self.file.bytes.get(end..end + CHECKSUM_BYTES).and_then(|bytes| bytes.try_into().ok());
        if stored.map(u32::from_le_bytes) == Some(crc32c::crc32c(self.bytes())) {
            return Ok(());
        }
        Err(self.file.corrupt(self.start, "checksum of a chunk; a restart reads it from the log again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_go_when_all_of_their_chunks_went() {
        let mut log = ChunkLog::default();
        let push = |log: &mut ChunkLog, byte: u8| log.push(1_000, |out| out.extend([byte; 1_000]));
        let chunks: Vec<ChunkAt> = (0..1_000).map(|i| push(&mut log, i as u8)).collect();
        assert!(chunks.iter().enumerate().all(|(i, at)| log.get(*at) == [i as u8; 1_000]));
        let segments = log.in_order.list.len();
        chunks[..600].iter().for_each(|at| log.drop_chunk(*at));
        assert!(log.in_order.list.len() < segments && log.get(chunks[0]).is_empty());
        assert!(chunks[600..].iter().enumerate().all(|(i, at)| log.get(*at) == [(i + 600) as u8; 1_000]));
        chunks[600..].iter().for_each(|at| log.drop_chunk(*at));
        let next = push(&mut log, 7);
        assert_eq!((log.get(next), log.get(chunks[999])), (&[7; 1_000][..], &[231; 1_000][..]));
        let long = log.push(1 << 20, |out| out.resize(out.len() + (1 << 20), 1));
        assert_eq!((log.get(long).len(), log.in_order.list.len()), (1 << 20, 2));
    }
}
