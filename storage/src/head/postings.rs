//! Which series of a shard have a label: ascending numbers, packed as differences.
//!
//! A series that is added has a higher number than those before, so a list grows at its end: one byte where the neighbour has
//! the label too. Most labels that only one series has take no memory beside their slot. Sets that matchers select are bitmaps:
//! a shard's series are few enough that one is some kilobytes.

/// The series with a label.
#[derive(Debug, Default)]
pub(super) enum Postings {
    #[default]
    None,
    One(u32),
    Many(Box<Packed>),
}

/// Two series or more.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    first: u32,
    last: u32,
    count: u32,
}

impl Postings {
    /// Adds a series, whose number is higher than all before.
    pub fn push(&mut self, series: u32) {
        match self {
            Self::None => *self = Self::One(series),
            Self::One(first) => {
                let mut packed = Packed { bytes: Vec::with_capacity(8), first: *first, last: *first, count: 1 };
                packed.push(series);
                *self = Self::Many(Box::new(packed));
            }
            Self::Many(packed) => packed.push(series),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(packed) => packed.count as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The series, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let (first, bytes) = match self {
            Self::None => (None, &[][..]),
            Self::One(first) => (Some(*first), &[][..]),
            Self::Many(packed) => (Some(packed.first), &packed.bytes[..]),
        };
        let mut last = first.unwrap_or_default();
        let mut rest = bytes;
        first.into_iter().chain(std::iter::from_fn(move || {
            last = last.wrapping_add(read_varint(&mut rest)?);
            Some(last)
        }))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Many(packed) => size_of::<Packed>() + packed.bytes.capacity(),
            _ => 0,
        }
    }
}

impl Packed {
    fn push(&mut self, series: u32) {
        // A quarter more at a time: lists are many and memory is dear.
        if self.bytes.capacity() - self.bytes.len() < 5 {
            self.bytes.reserve_exact((self.bytes.len() / 4).max(8));
        }
        write_varint(&mut self.bytes, series.wrapping_sub(self.last));
        self.last = series;
        self.count += 1;
    }
}

/// Appends `value`, seven bits a byte, the lowest first.
pub(super) fn write_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number that [`write_varint`] wrote off the front.
#[inline]
pub(super) fn read_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A set of the series of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeriesBits {
    words: Vec<u64>,
    len: usize,
}

impl SeriesBits {
    /// None of `len` series.
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// All of `len` series.
    pub fn all(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !len.is_multiple_of(64)
        {
            *last = (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }

    pub fn insert(&mut self, series: u32) {
        if let Some(word) = self.words.get_mut(series as usize / 64) {
            *word |= 1 << (series % 64);
        }
    }

    pub fn remove(&mut self, series: u32) {
        if let Some(word) = self.words.get_mut(series as usize / 64) {
            *word &= !(1 << (series % 64));
        }
    }

    pub fn contains(&self, series: u32) -> bool {
        self.words.get(series as usize / 64).is_some_and(|word| word >> (series % 64) & 1 == 1)
    }

    pub fn insert_all(&mut self, postings: &Postings) {
        postings.iter().for_each(|series| self.insert(series));
    }

    pub fn remove_all(&mut self, postings: &Postings) {
        postings.iter().for_each(|series| self.remove(series));
    }

    /// Keeps what `other` has too.
    pub fn intersect(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The series, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some((i * 64) as u32 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn lists_and_sets_hold_what_was_put_in(series in prop::collection::btree_set(0_u32..5_000, 0..200), gone in any::<u32>()) {
            let mut postings = Postings::default();
            series.iter().for_each(|&s| postings.push(s));
            prop_assert_eq!(postings.len(), series.len());
            prop_assert_eq!(postings.is_empty(), series.is_empty());
            prop_assert_eq!(postings.iter().collect::<BTreeSet<_>>(), series.clone());
            let mut bits = SeriesBits::none(5_000);
            bits.insert_all(&postings);
            prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), series.clone());
            let mut rest = SeriesBits::all(5_000);
            rest.remove_all(&postings);
            prop_assert!((0..5_000).all(|s| rest.contains(s) != bits.contains(s)));
            rest.intersect(&bits);
            prop_assert!(rest.is_empty() && !rest.contains(gone));
        }

        #[test]
        fn varints_round_trip(value in any::<u32>()) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, value);
            prop_assert_eq!(read_varint(&mut &bytes[..]), Some(value));
            prop_assert_eq!(read_varint(&mut &bytes[..bytes.len() - 1]), None);
        }
    }
}
