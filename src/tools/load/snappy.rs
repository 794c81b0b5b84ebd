//! Snappy with holes: a block whose bytes at given places can be changed after it was compressed.
//!
//! A hole is always written as literal bytes and no copy reads from it, so whatever is put there later, all other bytes of the
//! decompressed block stay as they were. Requests that differ only in their samples are compressed once that way.
//! The format is that of <https://github.com/google/snappy/blob/main/format_description.txt>.

use std::ops::Range;

/// Entries of the table of places seen, by hash of four bytes.
const TABLE_BITS: u32 = 15;
/// How far back a copy of two bytes reaches.
const REACH: usize = 65_535;
/// Longest copy of one element.
const COPY_MAX: usize = 64;
/// Shortest copy that is worth it.
const COPY_MIN: usize = 4;

/// A compressed block, and where in it the holes begin.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// The block.
    pub bytes: Vec<u8>,
    /// The first byte of each hole, in the order of the holes.
    pub holes: Vec<usize>,
}

/// Compresses `input`; `holes` are ordered, do not overlap, and none is empty.
pub fn compress(input: &[u8], holes: &[Range<usize>]) -> Compressed {
    let mut out = Compressed { bytes: Vec::with_capacity(input.len() / 4), holes: Vec::with_capacity(holes.len()) };
    super::body::push_varint(&mut out.bytes, input.len() as u64);
    let firm = firm_until(input.len(), holes);
    let mut table = vec![usize::MAX; 1 << TABLE_BITS];
    let mut unmapped = holes;
    let (mut at, mut literal) = (0, 0);
    while at + COPY_MIN <= input.len() {
        let four = [input[at], input[at + 1], input[at + 2], input[at + 3]];
        let hash = u32::from_le_bytes(four).wrapping_mul(0x1e35_a7bd) >> (32 - TABLE_BITS);
        let seen = std::mem::replace(&mut table[hash as usize], at);
        let len = if seen < at && at - seen <= REACH {
            let most = (firm[at] - at).min(firm[seen] - seen);
            input[at..at + most].iter().zip(&input[seen..]).take_while(|(a, b)| a == b).count()
        } else {
            0
        };
        if len < COPY_MIN {
            at += 1;
            continue;
        }
        push_literal(&mut out, input, literal..at, &mut unmapped);
        push_copy(&mut out.bytes, at - seen, len);
        at += len;
        literal = at;
    }
    push_literal(&mut out, input, literal..input.len(), &mut unmapped);
    out
}

/// For every byte, where the next hole begins; a byte of a hole has itself.
fn firm_until(len: usize, holes: &[Range<usize>]) -> Vec<usize> {
    let mut firm: Vec<usize> = vec![len; len];
    let mut from = 0;
    for hole in holes {
        firm[from..hole.start].fill(hole.start);
        hole.clone().for_each(|at| firm[at] = at);
        from = hole.end;
    }
    firm
}

/// Writes bytes as they are; the holes among them are now known.
fn push_literal(out: &mut Compressed, input: &[u8], range: Range<usize>, unmapped: &mut &[Range<usize>]) {
    if range.is_empty() {
        return;
    }
    let last = range.len() - 1;
    let length = u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes();
    match last {
        0..60 => out.bytes.push(length[0] << 2),
        60..0x100 => out.bytes.extend([60 << 2, length[0]]),
        0x100..0x1_0000 => out.bytes.extend([61 << 2, length[0], length[1]]),
        _ => {
            out.bytes.push(63 << 2);
            out.bytes.extend(length);
        }
    }
    let shift = out.bytes.len();
    while let Some((hole, rest)) = unmapped.split_first()
        && hole.start < range.end
    {
        out.holes.push(shift + hole.start - range.start);
        *unmapped = rest;
    }
    out.bytes.extend_from_slice(&input[range]);
}

/// Writes a copy of `len` bytes from `offset` bytes before.
fn push_copy(out: &mut Vec<u8>, offset: usize, mut len: usize) {
    let low = u16::try_from(offset).unwrap_or(u16::MAX).to_le_bytes();
    while len > 0 {
        let part = len.min(COPY_MAX);
        let length = u8::try_from(part).unwrap_or(0);
        if (4..12).contains(&part) && offset < 2048 {
            out.extend([1 | (length - 4) << 2 | low[1] << 5, low[0]]);
        } else {
            out.extend([2 | (length - 1) << 2, low[0], low[1]]);
        }
        len -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compresses, changes what is in the holes, and compares with what it should be then.
    fn check(input: &[u8], holes: &[Range<usize>]) -> usize {
        let mut compressed = compress(input, holes);
        let mut expected = input.to_vec();
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&compressed.bytes).unwrap(), expected);
        assert_eq!(compressed.holes.len(), holes.len());
        for (n, (hole, at)) in holes.iter().zip(&compressed.holes).enumerate() {
            for i in 0..hole.len() {
                compressed.bytes[at + i] = (n * 31 + i) as u8 ^ 0xa5;
                expected[hole.start + i] = (n * 31 + i) as u8 ^ 0xa5;
            }
        }
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&compressed.bytes).unwrap(), expected);
        compressed.bytes.len()
    }

    #[test]
    fn decompresses_to_what_it_was() {
        check(b"", &[]);
        check(b"abc", &[]);
        check(b"abcd", &[0..1, 1..4]);
        let random: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in [59, 60, 61, 255, 256, 257, 65_536, 65_537, 200_000] {
            check(&random[..len], &[0..1, 10..30]);
        }
    }

    #[test]
    fn what_repeats_is_small_and_holes_stay_free() {
        let line = b"__name__=load_http_requests_total pod=load-0000001 value=";
        let (mut text, mut holes) = (Vec::new(), Vec::new());
        for _ in 0..3_000 {
            text.extend_from_slice(line);
            holes.push(text.len()..text.len() + 8);
            text.extend_from_slice(&[0; 8]);
        }
        let size = check(&text, &holes);
        assert!(size < text.len() / 4, "{size} of {}", text.len());
        assert!(check(&vec![b'x'; 100_000], &[50_000..50_001, 70_000..70_002]) < 6_000);
    }
}
