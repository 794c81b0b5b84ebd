//! The symbol table: every string of the series' labels once, in byte order.
//!
//! Held as one text and the end of each symbol in it, so that a lookup is two loads and no check of UTF-8. Since
//! symbols are sorted and distinct, comparing two symbol numbers compares their texts.

use super::checksum;
use crate::cursor::{Cursor, Malformed, put_text};
use crate::error::{Error, Result};

/// The distinct strings of an index in byte order; a symbol's number is its position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    text: String,
    ends: Vec<u32>,
}

impl Symbols {
    /// Of strictly ascending strings.
    ///
    /// # Errors
    /// [`Error::Internal`] where they do not ascend, [`Error::Unsupported`] past the 4 GiB that the format allows.
    pub fn try_from_sorted<S: AsRef<str>>(sorted: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut symbols = Self::default();
        for symbol in sorted {
            symbols.push(symbol.as_ref()).map_err(|malformed| match malformed {
                Refused::Unsorted => Error::Internal(format!("symbol {:?} is out of order", symbol.as_ref())),
                Refused::TooMany => Error::Unsupported("a symbol table over 4 GiB".to_owned()),
            })?;
        }
        Ok(symbols)
    }

    /// Number of symbols.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The symbol of that number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        let end = *self.ends.get(number)?;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        self.text.get(start as usize..end as usize)
    }

    /// The number of `symbol`, if it is in the table.
    #[must_use]
    pub fn number(&self, symbol: &str) -> Option<u32> {
        let (mut low, mut high) = (0, u32::try_from(self.len()).ok()?);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.cmp(symbol) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// All symbols in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..).map_while(|number| self.get(number))
    }

    fn last(&self) -> Option<&str> {
        self.get(u32::try_from(self.len()).ok()?.checked_sub(1)?)
    }

    fn push(&mut self, symbol: &str) -> Result<(), Refused> {
        if self.last().is_some_and(|last| last >= symbol) {
            return Err(Refused::Unsorted);
        }
        let end = u32::try_from(self.text.len() + symbol.len()).map_err(|_| Refused::TooMany)?;
        self.text.push_str(symbol);
        self.ends.push(end);
        Ok(())
    }

    /// Reads the body of the section: what its length covers.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let count = cursor.u32_be()?;
        let count = cursor.count(u64::from(count), 1)?;
        let mut symbols = Self { text: String::with_capacity(cursor.remaining() - count), ends: Vec::new() };
        symbols.ends.reserve_exact(count);
        for _ in 0..count {
            let malformed = cursor.malformed("symbols are out of order");
            symbols.push(cursor.text()?).map_err(|_| malformed)?;
        }
        if cursor.is_empty() { Ok(symbols) } else { Err(cursor.malformed("bytes after the last symbol")) }
    }

    /// The whole section: length, count, symbols, checksum.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut section = vec![0; 8];
        section.reserve(self.text.len() + 2 * self.ends.len());
        for symbol in self.iter() {
            put_text(&mut section, symbol);
        }
        let too_large = || Error::Unsupported("a symbol table over 4 GiB".to_owned());
        let len = u32::try_from(section.len() - 4).map_err(|_| too_large())?;
        let count = u32::try_from(self.len()).map_err(|_| too_large())?;
        section[..4].copy_from_slice(&len.to_be_bytes());
        section[4..8].copy_from_slice(&count.to_be_bytes());
        let crc = checksum(&section[4..]);
        section.extend_from_slice(&crc.to_be_bytes());
        Ok(section)
    }
}

enum Refused {
    Unsorted,
    TooMany,
}
