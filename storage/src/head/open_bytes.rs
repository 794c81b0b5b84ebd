//! The bytes of open chunks of floats: the last ones within the series, those before in pieces of one size.
//!
//! ```text
//! Series { OpenBytes { tail, first, last } }
//!                               │      └──────────────────────┐
//! Pieces                        └─> 20 bytes, next ─> … ─> 20 bytes
//! ```
//!
//! A head appends to a million chunks in turn. What an append touches should therefore lie together and not move: with a buffer
//! of its own for each chunk half of the time goes into waiting for it and into making it longer. Here an append writes to the
//! series, and one in several moves a piece of what is there to the pieces of the shard, which never move.

use crate::chunk::{BitSink, XorState};
use crate::model::Timestamp;

/// Bytes of a piece, beside the link. With it a series takes up three cache lines.
const PIECE_BYTES: usize = 20;
/// Bytes that a series holds itself: a piece, what one append adds, and the room in which its last word is put down.
const TAIL_BYTES: usize = PIECE_BYTES + XorState::PUSH_BYTES_MAX + 8;
/// Pieces that are allocated at once.
const GROUP: usize = 1 << 11;
/// No piece.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Piece {
    bytes: [u8; PIECE_BYTES],
    next: u32,
}

/// The pieces of a shard.
#[derive(Debug)]
pub(super) struct Pieces {
    groups: Vec<Box<[Piece]>>,
    /// The first of those that are free, which are linked.
    free: u32,
}

/// The bytes of one chunk.
#[derive(Debug)]
#[repr(C)]
pub(super) struct OpenBytes {
    tail: [u8; TAIL_BYTES],
    tail_len: u8,
    pieces: u16,
    first: u32,
    last: u32,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { groups: Vec::new(), free: NONE }
    }
}

impl Pieces {
    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        self.groups.len() * GROUP * size_of::<Piece>()
    }

    fn get(&self, number: u32) -> Option<&Piece> {
        self.groups.get(number as usize / GROUP)?.get(number as usize % GROUP)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Piece> {
        self.groups.get_mut(number as usize / GROUP)?.get_mut(number as usize % GROUP)
    }

    /// A piece that holds `bytes`.
    fn take(&mut self, bytes: [u8; PIECE_BYTES]) -> u32 {
        if self.free == NONE {
            let first = (self.groups.len() * GROUP) as u32;
            let group = (0..GROUP as u32).map(|i| {
                let next = if i + 1 < GROUP as u32 { first + i + 1 } else { NONE };
                Piece { bytes: [0; PIECE_BYTES], next }
            });
            self.groups.push(group.collect());
            self.free = first;
        }
        let number = self.free;
        if let Some(piece) = self.get_mut(number) {
            let next = piece.next;
            *piece = Piece { bytes, next: NONE };
            self.free = next;
        }
        number
    }
}

impl OpenBytes {
    /// Those of no chunk.
    pub const EMPTY: Self = Self { tail: [0; TAIL_BYTES], tail_len: 0, pieces: 0, first: NONE, last: NONE };

    /// Bytes so far.
    pub fn len(&self) -> usize {
        usize::from(self.pieces) * PIECE_BYTES + usize::from(self.tail_len)
    }

    /// Appends a sample to the chunk that `state` knows the rest of.
    #[inline]
    pub fn push(&mut self, pieces: &mut Pieces, state: &mut XorState, t: Timestamp, value: f64) {
        state.push(self, t, value);
        if usize::from(self.tail_len) > PIECE_BYTES {
            self.move_piece(pieces);
        }
    }

    /// Moves what fills a piece out of the tail. At least one byte stays, in which the next append goes on.
    fn move_piece(&mut self, pieces: &mut Pieces) {
        let Some(bytes) = self.tail.first_chunk().copied() else { return };
        let number = pieces.take(bytes);
        match pieces.get_mut(self.last) {
            Some(last) => last.next = number,
            None => self.first = number,
        }
        self.last = number;
        self.pieces += 1;
        self.tail.copy_within(PIECE_BYTES..usize::from(self.tail_len), 0);
        self.tail_len -= PIECE_BYTES as u8;
    }

    /// Appends all bytes to `out`.
    pub fn write(&self, pieces: &Pieces, out: &mut Vec<u8>) {
        let mut next = self.first;
        while let Some(piece) = pieces.get(next) {
            out.extend_from_slice(&piece.bytes);
            next = piece.next;
        }
        out.extend_from_slice(&self.tail[..usize::from(self.tail_len)]);
    }

    /// Lets all bytes go.
    pub fn clear(&mut self, pieces: &mut Pieces) {
        let free = pieces.free;
        if let Some(last) = pieces.get_mut(self.last) {
            last.next = free;
            pieces.free = self.first;
        }
        *self = Self::EMPTY;
    }
}

impl BitSink for OpenBytes {
    #[inline]
    fn last_mut(&mut self) -> Option<&mut u8> {
        self.tail.get_mut(usize::from(self.tail_len).wrapping_sub(1))
    }

    #[inline]
    fn put(&mut self, word: [u8; 8], count: usize) {
        let at = usize::from(self.tail_len);
        if let Some(to) = self.tail.get_mut(at..at + word.len()) {
            to.copy_from_slice(&word);
            self.tail_len += count as u8;
        }
    }

    fn restart(&mut self, header: &[u8]) {
        debug_assert!(self.pieces == 0, "the chunk before has let its bytes go");
        self.tail_len = 0;
        for (to, from) in self.tail.iter_mut().zip(header) {
            *to = *from;
            self.tail_len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::XorEncoder;

    proptest! {
        #[test]
        fn chunks_side_by_side_are_those_of_an_encoder(
            samples in prop::collection::vec((0_usize..4, 0_i64..100_000, any::<u64>(), prop::bool::weighted(0.02)), 1..600)
        ) {
            let mut pieces = Pieces::default();
            let mut chunks: Vec<_> =
                (0..4).map(|_| (OpenBytes::EMPTY, XorState::default(), XorEncoder::new(), 0)).collect();
            for (chunk, step, bits, ends) in samples {
                let (bytes, state, encoder, t) = &mut chunks[chunk];
                if ends {
                    bytes.clear(&mut pieces);
                    (*state, *encoder) = (XorState::default(), XorEncoder::new());
                }
                *t += step;
                bytes.push(&mut pieces, state, *t, f64::from_bits(bits));
                encoder.push(*t, f64::from_bits(bits));
            }
            let used: usize = chunks.iter().map(|(bytes, ..)| usize::from(bytes.pieces)).sum();
            for (bytes, state, encoder, _) in chunks.iter().filter(|(_, state, ..)| !state.is_empty()) {
                let mut payload = Vec::new();
                bytes.write(&pieces, &mut payload);
                state.patch(&mut payload);
                prop_assert_eq!(payload.len(), bytes.len());
                prop_assert_eq!(payload, encoder.clone().finish());
            }
            // every other piece is free
            let mut free = 0;
            let mut next = pieces.free;
            while let Some(piece) = pieces.get(next) {
                (free, next) = (free + 1, piece.next);
            }
            prop_assert_eq!(used + free, pieces.groups.len() * GROUP);
        }
    }
}
