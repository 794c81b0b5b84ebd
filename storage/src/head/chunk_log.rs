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
        self.len as usize
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
    Full(Bytes),
    Filed(FiledSegment),
}

impl Default for Content {
    fn default() -> Self {
        Self::Full(Bytes::new())
    }
}

#[derive(Debug, Default)]
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
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.content, Content::Open(_))
    }
}

/// The closed chunks of a shard, and the pieces of its open ones.
#[derive(Debug, Default)]
pub(super) struct ChunkLog {
    /// What open chunks of floats are made of.
    pub pieces: Pieces,
    segments: VecDeque<Segment>,
    /// The number of the first segment; wraps, as differences do.
    first: u32,
    /// Bytes of the segments that are full and in memory.
    full_bytes: usize,
}

impl ChunkLog {
    /// Adds a chunk whose bytes `write` appends.
    pub fn push(&mut self, estimate: usize, write: impl FnOnce(&mut Vec<u8>)) -> ChunkAt {
        self.add(estimate, |out, _| write(out))
    }

    /// Adds what was an open chunk.
    pub fn close(&mut self, open: &mut OpenBytes, state: &XorState) -> ChunkAt {
        self.add(open.len(), |out, pieces| {
            let start = out.len();
            open.write(pieces, out);
            state.patch(&mut out[start..]);
            open.clear(pieces);
        })
    }

    fn add(&mut self, estimate: usize, write: impl FnOnce(&mut Vec<u8>, &mut Pieces)) -> ChunkAt {
        let fits =
            |segment: &Segment| segment.is_open() && segment.bytes().len() + estimate + CHECKSUM_BYTES <= SEGMENT_BYTES;
        if !self.segments.back().is_some_and(fits) {
            self.seal();
            // a full segment whose chunks are all gone goes when the next one begins
            self.trim();
            self.segments.push_back(Segment { content: Content::Open(Vec::new()), live: 0 });
        }
        let segment = self.first.wrapping_add((self.segments.len() - 1) as u32);
        let Some(Segment { content: Content::Open(bytes), live }) = self.segments.back_mut() else {
            return ChunkAt { segment, offset: 0, len: 0 };
        };
        let offset = bytes.len();
        write(bytes, &mut self.pieces);
        let len = bytes.len() - offset;
        let checksum = crc32c::crc32c(&bytes[offset..]);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        *live += 1;
        ChunkAt { segment, offset: offset as u32, len: len as u32 }
    }

    /// Says that nothing is added to the last segment any more.
    pub fn seal(&mut self) {
        if let Some(Segment { content, .. }) = self.segments.back_mut()
            && let Content::Open(bytes) = content
        {
            self.full_bytes += bytes.len();
            *content = Content::Full(std::mem::take(bytes).into());
        }
    }

    fn segment(&self, number: u32) -> Option<&Segment> {
        self.segments.get(number.wrapping_sub(self.first) as usize)
    }

    /// The chunk's bytes, not checked.
    pub fn get(&self, at: ChunkAt) -> &[u8] {
        let start = at.offset as usize;
        self.segment(at.segment).and_then(|segment| segment.bytes().get(start..start + at.len())).unwrap_or_default()
    }

    /// The chunk where it lies in a file, so that it can be read without the shard's lock.
    pub fn in_file(&self, at: ChunkAt) -> Option<FiledChunk> {
        match &self.segment(at.segment)?.content {
            Content::Filed(FiledSegment { file, start, .. }) => {
                Some(FiledChunk { file: Arc::clone(file), start: start + at.offset as usize, len: at.len() })
            }
            _ => None,
        }
    }

    /// Says that nobody refers to the chunk any more.
    pub fn drop_chunk(&mut self, at: ChunkAt) {
        let index = at.segment.wrapping_sub(self.first) as usize;
        let Some(segment) = self.segments.get_mut(index) else { return };
        segment.live = segment.live.saturating_sub(1);
        if segment.live == 0 && !segment.is_open() {
            if let Content::Full(bytes) = &segment.content {
                self.full_bytes -= bytes.len();
            }
            segment.content = Content::default();
            self.trim();
        }
    }

    /// Bytes of the segments that are full and in memory.
    pub fn full_bytes(&self) -> usize {
        self.full_bytes
    }

    /// The segments that are full and in memory, by number.
    pub fn full(&self) -> impl Iterator<Item = (u32, Bytes)> {
        self.numbered().filter_map(|(number, segment)| match &segment.content {
            Content::Full(bytes) if segment.live > 0 => Some((number, bytes.clone())),
            _ => None,
        })
    }

    /// The segments that are in files, by number.
    pub fn filed(&self) -> impl Iterator<Item = (u32, &FiledSegment)> {
        self.numbered().filter_map(|(number, segment)| match &segment.content {
            Content::Filed(filed) if segment.live > 0 => Some((number, filed)),
            _ => None,
        })
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &Segment)> {
        self.segments.iter().enumerate().map(|(i, segment)| (self.first.wrapping_add(i as u32), segment))
    }

    /// Reads a segment from the file from now on, and frees its memory; nothing where its chunks are gone.
    pub fn move_to_file(&mut self, number: u32, filed: FiledSegment) {
        let index = number.wrapping_sub(self.first) as usize;
        let Some(segment) = self.segments.get_mut(index).filter(|segment| segment.live > 0) else { return };
        if let Content::Full(bytes) = &segment.content
            && bytes.len() == filed.len
        {
            self.full_bytes -= bytes.len();
            segment.content = Content::Filed(filed);
        }
    }

    /// Takes segments in files into a log that is empty, ascending by number; their chunks are then to be [kept](Self::keep).
    /// False where no log has such numbers.
    pub fn restore(&mut self, segments: Vec<(u32, FiledSegment)>) -> bool {
        let Some(first) = segments.first().map(|(number, _)| *number) else { return true };
        self.first = first;
        for (number, filed) in segments {
            let index = number.wrapping_sub(first);
            if index >= SEGMENTS_MAX || (index as usize) < self.segments.len() {
                return false;
            }
            self.segments.resize_with(index as usize, Segment::default);
            self.segments.push_back(Segment { content: Content::Filed(filed), live: 0 });
        }
        true
    }

    /// Counts a chunk of a restored segment. False where there is none.
    pub fn keep(&mut self, at: ChunkAt) -> bool {
        let index = at.segment.wrapping_sub(self.first) as usize;
        let Some(segment) = self.segments.get_mut(index) else { return false };
        let end = (at.offset as usize).checked_add(at.len()).and_then(|end| end.checked_add(CHECKSUM_BYTES));
        if end.is_none_or(|end| end > segment.bytes().len()) {
            return false;
        }
        segment.live += 1;
        true
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        let segments = self.segments.iter().map(|segment| match &segment.content {
            Content::Open(bytes) => bytes.capacity(),
            Content::Full(bytes) => bytes.len(),
            Content::Filed(_) => 0,
        });
        self.pieces.size_bytes() + segments.sum::<usize>() + self.segments.len() * size_of::<Segment>()
    }

    /// Takes dead segments away in front.
    pub fn trim(&mut self) {
        while self.segments.front().is_some_and(|segment| segment.live == 0 && !segment.is_open()) {
            if let Some(Segment { content: Content::Full(bytes), .. }) = self.segments.pop_front() {
                self.full_bytes -= bytes.len();
            }
            self.first = self.first.wrapping_add(1);
        }
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
        let segments = log.segments.len();
        chunks[..600].iter().for_each(|at| log.drop_chunk(*at));
        assert!(log.segments.len() < segments && log.get(chunks[0]).is_empty());
        assert!(chunks[600..].iter().enumerate().all(|(i, at)| log.get(*at) == [(i + 600) as u8; 1_000]));
        chunks[600..].iter().for_each(|at| log.drop_chunk(*at));
        let next = push(&mut log, 7);
        assert_eq!((log.get(next), log.get(chunks[999])), (&[7; 1_000][..], &[231; 1_000][..]));
        let long = log.push(1 << 20, |out| out.resize(out.len() + (1 << 20), 1));
        assert_eq!((log.get(long).len(), log.segments.len()), (1 << 20, 2));
    }
}
