//! The chunk references of one series as a few bytes.
//!
//! ```text
//! list  := uvarint(count) chunk*
//! chunk := varint(mint - maxt of the chunk before)            first: mint
//!          uvarint(maxt - mint)
//!          varint(ref - (ref + span of the chunk before))     first: ref
//!          uvarint(span)                                      0: not known
//! ```
//!
//! `span` is how many bytes of the segment, from `ref` on, are enough to read the chunk: the distance to the next
//! chunk of the segment. With it a chunk is fetched by an exact range. Chunks of one series usually lie one
//! behind the other, so that the third number is mostly zero. `varint` is zigzag, both are LEB128. All
//! arithmetic wraps on writing and is undone the same way, so every list of numbers survives.

use crate::error::{Error, Result};
use crate::model::{TimeInterval, Timestamp};

/// One chunk as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSpan {
    /// First sample's time.
    pub mint: Timestamp,
    /// Last sample's time.
    pub maxt: Timestamp,
    /// Segment in the upper 32 bits (0 is file `000001`), offset in the lower.
    pub chunk_ref: u64,
    /// Bytes from `chunk_ref` on that hold the chunk; 0 where that is not known.
    pub span: u32,
}

impl ChunkSpan {
    /// What the chunk covers.
    #[must_use]
    pub fn interval(&self) -> TimeInterval {
        TimeInterval::new(self.mint, self.maxt)
    }
}

/// Appends the list of `chunks` to `out`.
pub fn encode(chunks: &[ChunkSpan], out: &mut Vec<u8>) {
    push_uvarint(out, chunks.len() as u64);
    let (mut last_maxt, mut last_end) = (0_i64, 0_u64);
    for chunk in chunks {
        push_uvarint(out, zigzag(chunk.mint.wrapping_sub(last_maxt)));
        push_uvarint(out, chunk.maxt.wrapping_sub(chunk.mint).cast_unsigned());
        push_uvarint(out, zigzag(chunk.chunk_ref.wrapping_sub(last_end).cast_signed()));
        push_uvarint(out, u64::from(chunk.span));
        last_maxt = chunk.maxt;
        last_end = chunk.chunk_ref.wrapping_add(u64::from(chunk.span));
    }
}

/// The chunks of an encoded list.
///
/// # Errors
/// The iterator yields one error, and then ends, where the list is cut short or holds an impossible number.
#[must_use]
pub fn decode(list: &[u8]) -> ChunkSpans<'_> {
    let mut rest = list;
    let remaining = take_uvarint(&mut rest);
    ChunkSpans { rest, remaining: remaining.unwrap_or(1), broken: remaining.is_none(), last_maxt: 0, last_end: 0 }
}

/// Iterator of [`decode`].
#[derive(Debug, Clone)]
pub struct ChunkSpans<'a> {
    rest: &'a [u8],
    remaining: u64,
    broken: bool,
    last_maxt: i64,
    last_end: u64,
}

impl ChunkSpans<'_> {
    fn take(&mut self) -> Option<ChunkSpan> {
        if self.broken {
            return None;
        }
        let mint = self.last_maxt.wrapping_add(unzigzag(take_uvarint(&mut self.rest)?));
        let maxt = mint.wrapping_add(take_uvarint(&mut self.rest)?.cast_signed());
        let chunk_ref = self.last_end.wrapping_add(unzigzag(take_uvarint(&mut self.rest)?).cast_unsigned());
        let span = u32::try_from(take_uvarint(&mut self.rest)?).ok()?;
        self.last_maxt = maxt;
        self.last_end = chunk_ref.wrapping_add(u64::from(span));
        (mint <= maxt).then_some(ChunkSpan { mint, maxt, chunk_ref, span })
    }
}

impl Iterator for ChunkSpans<'_> {
    type Item = Result<ChunkSpan>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        self.remaining -= 1;
        let chunk = self.take();
        if chunk.is_none() {
            self.remaining = 0;
        }
        Some(chunk.ok_or_else(|| Error::Arrow("chunk list of a side-index is malformed".to_owned())))
    }
}

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)).cast_unsigned()
}

fn unzigzag(v: u64) -> i64 {
    (v >> 1).cast_signed() ^ -(v & 1).cast_signed()
}

fn push_uvarint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v & 0x7f) as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn take_uvarint(rest: &mut &[u8]) -> Option<u64> {
    let mut v = 0_u64;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            return None;
        }
        v |= bits << (7 * i);
        if byte < 0x80 {
            *rest = &rest[i + 1..];
            return Some(v);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_list_survives(chunks in prop::collection::vec((any::<i64>(), any::<u32>(), any::<u64>(), any::<u32>()), 0..20)) {
            let chunks: Vec<ChunkSpan> = chunks
                .into_iter()
                .map(|(mint, len, chunk_ref, span)| ChunkSpan {
                    mint,
                    maxt: mint.saturating_add(i64::from(len)),
                    chunk_ref,
                    span,
                })
                .collect();
            let mut list = Vec::new();
            encode(&chunks, &mut list);
            let back: Vec<ChunkSpan> = decode(&list).collect::<Result<_>>().unwrap();
            prop_assert_eq!(back, chunks);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(decode(&bytes).filter(|chunk| chunk.is_ok()).count() <= 16);
        }
    }

    #[test]
    fn neighbours_are_short() {
        let chunk = |i: i64| ChunkSpan {
            mint: 1_767_225_600_000 + i * 1_800_000,
            maxt: 1_767_225_600_000 + i * 1_800_000 + 1_785_000,
            chunk_ref: 8 + 200 * u64::try_from(i).unwrap(),
            span: 200,
        };
        let mut list = Vec::new();
        encode(&[chunk(0), chunk(1), chunk(2)], &mut list);
        assert_eq!(list.len(), 1 + (6 + 3 + 1 + 2) + 2 * (3 + 3 + 1 + 2));
    }
}
