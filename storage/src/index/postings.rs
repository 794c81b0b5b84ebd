//! The postings offset table: which label pair has its list of series where.
//!
//! The table is walked once when the index is opened: its order is checked, and of each label name every 32nd
//! entry is remembered. A lookup then is a binary search over these and a walk of at most 32 entries.

use super::SeriesRef;
use crate::cursor::{Cursor, Malformed};

/// Entries between two that are remembered.
const SAMPLE_EVERY: usize = 32;

/// One entry of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct PostingsEntry<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// Offset of the list in the index file, in bytes.
    pub(super) offset: u64,
}

/// What is remembered of one label name: positions in the table's body.
#[derive(Debug)]
struct NameRange {
    name: String,
    /// The first entry of the name and every 32nd after it.
    samples: Vec<u32>,
    /// After the last entry of the name.
    end: u32,
}

/// The directory of the table. Positions are relative to the body: what the section's length covers.
#[derive(Debug, Default)]
pub(super) struct PostingsTable {
    names: Vec<NameRange>,
}

impl PostingsTable {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut table = Self::default();
        let mut cursor = Cursor::new(body);
        let count = cursor.u32_be()?;
        // keycount, two empty texts and an offset take up four bytes
        let count = cursor.count(u64::from(count), 4)?;
        let mut last: Option<PostingsEntry<'_>> = None;
        let mut of_name = 0usize;
        for _ in 0..count {
            let malformed = cursor.malformed("postings offset table is out of order");
            let start = u32::try_from(cursor.position()).map_err(|_| malformed)?;
            let entry = read_entry(&mut cursor)?;
            if last.is_some_and(|last| (last.name, last.value) >= (entry.name, entry.value)) {
                return Err(malformed);
            }
            if last.is_none_or(|last| last.name != entry.name) {
                table.names.push(NameRange { name: entry.name.to_owned(), samples: Vec::new(), end: start });
                of_name = 0;
            }
            if let Some(range) = table.names.last_mut() {
                if of_name.is_multiple_of(SAMPLE_EVERY) {
                    range.samples.push(start);
                }
                range.end = u32::try_from(cursor.position()).map_err(|_| malformed)?;
            }
            of_name += 1;
            last = Some(entry);
        }
        if cursor.is_empty() { Ok(table) } else { Err(cursor.malformed("bytes after the last entry")) }
    }

    /// The label names, in order, without the empty one of the all-postings entry.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|range| range.name.as_str()).filter(|name| !name.is_empty())
    }

    /// The entries of `name`, in the order of their values.
    pub(super) fn entries<'a>(&self, body: &'a [u8], name: &str) -> Entries<'a> {
        match self.range(name) {
            Some(range) => Entries::new(body, range.samples.first().copied().unwrap_or(range.end), range.end),
            None => Entries::new(body, 0, 0),
        }
    }

    /// The offset of the list of the pair, if it has one.
    pub(super) fn find(&self, body: &[u8], name: &str, value: &str) -> Result<Option<u64>, Malformed> {
        let Some(range) = self.range(name) else { return Ok(None) };
        let (mut low, mut high) = (0, range.samples.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let first = Entries::new(body, range.samples[middle], range.end).next().transpose()?;
            if first.is_some_and(|entry| entry.value <= value) { low = middle + 1 } else { high = middle }
        }
        let Some(start) = low.checked_sub(1) else { return Ok(None) };
        for entry in Entries::new(body, range.samples[start], range.end).take(SAMPLE_EVERY) {
            let entry = entry?;
            if entry.value == value {
                return Ok(Some(entry.offset));
            }
        }
        Ok(None)
    }

    fn range(&self, name: &str) -> Option<&NameRange> {
        let found = self.names.binary_search_by(|range| range.name.as_str().cmp(name)).ok()?;
        Some(&self.names[found])
    }
}

/// Iterator over the entries between two positions of the body.
pub(super) struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Entries<'a> {
    fn new(body: &'a [u8], start: u32, end: u32) -> Self {
        let mut cursor = Cursor::new(body.get(..end as usize).unwrap_or_default());
        // the body is the one that was walked when the table was parsed, so it holds `start`
        if cursor.bytes(start as usize).is_err() {
            cursor = Cursor::new(&[]);
        }
        Self { cursor }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<PostingsEntry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.cursor.is_empty()).then(|| read_entry(&mut self.cursor))
    }
}

fn read_entry<'a>(cursor: &mut Cursor<'a>) -> Result<PostingsEntry<'a>, Malformed> {
    let malformed = cursor.malformed("postings offset entry does not have two keys");
    if cursor.uvarint()? != 2 {
        return Err(malformed);
    }
    Ok(PostingsEntry { name: cursor.text()?, value: cursor.text()?, offset: cursor.uvarint()? })
}

/// Reads the body of a postings list.
pub(super) fn parse_list(body: &[u8]) -> Result<Vec<SeriesRef>, Malformed> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u32_be()?;
    let count = cursor.count(u64::from(count), 4)?;
    if cursor.remaining() != count * 4 {
        return Err(cursor.malformed("length of the postings list is not that of its entries"));
    }
    let mut list: Vec<SeriesRef> = Vec::with_capacity(count);
    for _ in 0..count {
        let malformed = cursor.malformed("postings list is out of order");
        let series = SeriesRef(cursor.u32_be()?);
        if list.last().is_some_and(|last| *last >= series) {
            return Err(malformed);
        }
        list.push(series);
    }
    Ok(list)
}
