//! The bytes of closed chunks of one shard, behind one another in segments.
//!
//! Chunks are closed in about the order of time and are dropped in that order, so a segment dies as a whole, and its memory
//! goes back in one piece: no chunk has an allocation of its own, and nothing is copied to fill holes.

use std::collections::VecDeque;

use super::open_bytes::{OpenBytes, Pieces};
use crate::chunk::XorState;

/// Bytes after which a segment is full. A longer chunk has one of its own.
const SEGMENT_BYTES: usize = 256 << 10;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkAt {
    segment: u32,
    offset: u32,
    len: u32,
}

impl ChunkAt {
    /// Bytes of the chunk.
    pub fn len(self) -> usize {
        self.len as usize
    }
}

#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    /// Chunks that are not dropped.
    live: u32,
}

/// The closed chunks of a shard, and the pieces of its open ones.
#[derive(Debug, Default)]
pub(super) struct ChunkLog {
    /// What open chunks of floats are made of.
    pub pieces: Pieces,
    segments: VecDeque<Segment>,
    /// The number of the first segment; wraps, as differences do.
    first: u32,
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
        let fits = |segment: &Segment| segment.bytes.len() + estimate <= SEGMENT_BYTES;
        if !self.segments.back().is_some_and(fits) {
            // a full segment whose chunks are all gone goes when the next one begins
            self.trim();
            self.segments.push_back(Segment::default());
        }
        let segment = self.first.wrapping_add((self.segments.len() - 1) as u32);
        let Some(last) = self.segments.back_mut() else { return ChunkAt { segment, offset: 0, len: 0 } };
        let offset = last.bytes.len();
        write(&mut last.bytes, &mut self.pieces);
        last.live += 1;
        ChunkAt { segment, offset: offset as u32, len: (last.bytes.len() - offset) as u32 }
    }

    /// The chunk's bytes.
    pub fn get(&self, at: ChunkAt) -> &[u8] {
        let segment = self.segments.get(at.segment.wrapping_sub(self.first) as usize);
        let start = at.offset as usize;
        segment.and_then(|segment| segment.bytes.get(start..start + at.len())).unwrap_or_default()
    }

    /// Says that nobody refers to the chunk any more.
    pub fn drop_chunk(&mut self, at: ChunkAt) {
        let last = self.segments.len().wrapping_sub(1);
        let index = at.segment.wrapping_sub(self.first) as usize;
        if let Some(segment) = self.segments.get_mut(index) {
            segment.live = segment.live.saturating_sub(1);
            if segment.live == 0 && index != last {
                segment.bytes = Vec::new();
                self.trim();
            }
        }
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        let segments = self.segments.iter().map(|segment| segment.bytes.capacity() + size_of::<Segment>());
        self.pieces.size_bytes() + segments.sum::<usize>()
    }

    /// Takes dead segments away in front.
    fn trim(&mut self) {
        while self.segments.front().is_some_and(|segment| segment.live == 0) {
            self.segments.pop_front();
            self.first = self.first.wrapping_add(1);
        }
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
