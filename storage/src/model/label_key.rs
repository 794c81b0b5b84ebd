//! The order-preserving encoding of a label set as one string.
//!
//! ```text
//! key   := pair*                      sorted by label name, no empty value
//! pair  := text(name) 00 text(value) 00
//! text  := the bytes of the string, 00 written as 01 01 and 01 as 01 02
//! ```
//!
//! Byte order of two keys is Prometheus's order of the two label sets: 00 ends a name or value and is smaller
//! than anything inside one, so a prefix sorts first, and the escapes keep the order of the bytes they stand
//! for. The result stays UTF-8. Equal label sets have equal keys, so grouping and joining are byte operations.

use std::borrow::Cow;

/// Ends every name and value.
const END: u8 = 0x00;
/// Starts an escape.
const ESCAPE: u8 = 0x01;

/// Appends `text` escaped, without its end.
fn push_text(key: &mut String, text: &str) {
    if text.bytes().all(|b| b > ESCAPE) {
        key.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '\u{0}' => key.push_str("\u{1}\u{1}"),
            '\u{1}' => key.push_str("\u{1}\u{2}"),
            c => key.push(c),
        }
    }
}

/// Appends one pair. The caller keeps names ascending; an empty value is not written.
pub fn push_pair(key: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    push_text(key, name);
    key.push('\u{0}');
    push_text(key, value);
    key.push('\u{0}');
}

/// A name or value as it stands in a key, escapes and all. Compares like the text that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Escaped<'a>(&'a str);

impl<'a> Escaped<'a> {
    /// The text; borrowed unless it holds an escape.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        if !self.0.as_bytes().contains(&ESCAPE) {
            return Cow::Borrowed(self.0);
        }
        let mut text = String::with_capacity(self.0.len());
        let mut chars = self.0.chars();
        while let Some(c) = chars.next() {
            text.push(if c == '\u{1}' { if chars.next() == Some('\u{1}') { '\u{0}' } else { '\u{1}' } } else { c });
        }
        Cow::Owned(text)
    }

    /// The bytes as they stand in the key.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether this stands for `text`.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        self.0 == text || (self.0.as_bytes().contains(&ESCAPE) && self.text() == text)
    }
}

/// One pair of a key and the slice that it takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The label name.
    pub name: Escaped<'a>,
    /// The label value, never empty.
    pub value: Escaped<'a>,
    /// The pair as it stands in the key, both ends included: what a subset of the key is copied from.
    pub raw: &'a str,
}

/// The pairs of `key` in name order.
#[must_use]
pub fn pairs(key: &str) -> Pairs<'_> {
    Pairs { rest: key }
}

/// Iterator of [`pairs`]. A key that was cut short ends it early.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let bytes = self.rest.as_bytes();
        let name_end = bytes.iter().position(|&b| b == END)?;
        let value_len = bytes[name_end + 1..].iter().position(|&b| b == END)?;
        let end = name_end + 1 + value_len + 1;
        let pair = Pair {
            name: Escaped(&self.rest[..name_end]),
            value: Escaped(&self.rest[name_end + 1..end - 1]),
            raw: &self.rest[..end],
        };
        self.rest = &self.rest[end..];
        Some(pair)
    }
}

/// The value of `name` in `key`.
#[must_use]
pub fn get<'a>(key: &'a str, name: &str) -> Option<Escaped<'a>> {
    pairs(key).find(|pair| pair.name.is(name)).map(|pair| pair.value)
}

/// Appends to `out` the pairs of `key` whose name `keep` accepts.
pub fn filter_into(key: &str, out: &mut String, mut keep: impl FnMut(Escaped<'_>) -> bool) {
    for pair in pairs(key) {
        if keep(pair.name) {
            out.push_str(pair.raw);
        }
    }
}
