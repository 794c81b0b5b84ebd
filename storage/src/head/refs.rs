//! Which series the numbers of a log stand for: a table in pages, since numbers are given in order and most lie close together.

use std::collections::HashMap;

/// Numbers of a page.
const PAGE: u64 = 1 << 10;
/// Numbers from here on are in a map: nobody gave so many out one after the other.
const PAGED_END: u64 = 1 << 34;

/// Where a series is, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RefEntry {
    pub shard: u32,
    pub number: u32,
    pub tenant: u32,
}

type Page = Box<[Option<RefEntry>]>;

/// Series by number.
#[derive(Debug, Default)]
pub(super) struct Refs {
    pages: Vec<Option<Page>>,
    far: HashMap<u64, RefEntry>,
    largest: u64,
}

impl Refs {
    /// The series of a number.
    #[inline]
    pub fn get(&self, reference: u64) -> Option<RefEntry> {
        match self.pages.get(usize::try_from(reference / PAGE).ok()?) {
            Some(page) => *page.as_ref()?.get((reference % PAGE) as usize)?,
            None if reference >= PAGED_END => self.far.get(&reference).copied(),
            None => None,
        }
    }

    /// Says what a number stands for.
    pub fn insert(&mut self, reference: u64, entry: RefEntry) {
        self.largest = self.largest.max(reference);
        // A few numbers far apart would make many pages of a few entries.
        let index = reference / PAGE;
        if reference >= PAGED_END {
            self.far.insert(reference, entry);
            return;
        }
        let index = index as usize;
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, || None);
        }
        let page = self.pages[index].get_or_insert_with(|| vec![None; PAGE as usize].into_boxed_slice());
        page[(reference % PAGE) as usize] = Some(entry);
    }

    /// The largest number; 0 where there is none.
    pub fn largest(&self) -> u64 {
        self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_near_and_far() {
        let mut refs = Refs::default();
        let numbers = [1, 2, 1_023, 1_024, 5_000_000, PAGED_END, u64::MAX];
        for (i, number) in numbers.into_iter().enumerate() {
            assert_eq!(refs.get(number), None);
            refs.insert(number, RefEntry { shard: i as u32, number: 0, tenant: 0 });
        }
        for (i, number) in numbers.into_iter().enumerate() {
            assert_eq!(refs.get(number).map(|entry| entry.shard), Some(i as u32));
        }
        assert_eq!((refs.get(3), refs.get(2_000_000), refs.largest()), (None, None, u64::MAX));
    }
}
