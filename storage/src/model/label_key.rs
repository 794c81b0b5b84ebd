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
        // escaped bytes may look like another text's own
        if self.0.as_bytes().contains(&ESCAPE) { self.text() == text } else { self.0 == text }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Text with the bytes that the encoding turns on, and prefixes of itself.
    fn text(min: usize) -> impl Strategy<Value = String> {
        let c = prop::sample::select(vec!['\0', '\u{1}', '\u{2}', 'a', 'b', '\u{7f}', 'é', '\u{ffff}', '\u{10ffff}']);
        prop::collection::vec(c, min..4).prop_map(String::from_iter)
    }

    fn label_set() -> impl Strategy<Value = BTreeMap<String, String>> {
        prop::collection::btree_map(text(1), text(0), 0..4)
    }

    /// The labels without empty values, which are none.
    fn present(labels: &BTreeMap<String, String>) -> Vec<(String, String)> {
        labels.iter().filter(|(_, value)| !value.is_empty()).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    proptest! {
        /// Prometheus compares pair by pair, name then value, and then the number of labels: which is how vectors of
        /// pairs compare.
        #[test]
        fn key_order_is_label_order(a in label_set(), b in label_set()) {
            let (key_a, key_b) = (Labels::from_pairs(&a).into_key(), Labels::from_pairs(&b).into_key());
            prop_assert_eq!(key_a.as_bytes().cmp(key_b.as_bytes()), present(&a).cmp(&present(&b)));
        }

        #[test]
        fn escaped_text_compares_like_text(a in text(0), b in text(0)) {
            let key = |text: &str| { let mut key = String::new(); push_pair(&mut key, "n", &format!("x{text}")); key };
            let (key_a, key_b) = (key(&a), key(&b));
            let (value_a, value_b) = (get(&key_a, "n").unwrap(), get(&key_b, "n").unwrap());
            prop_assert_eq!(value_a.cmp(&value_b), a.cmp(&b));
            let (text_a, text_b) = (format!("x{a}"), format!("x{b}"));
            prop_assert!(value_a.is(&text_a));
            prop_assert_eq!(value_a.is(&text_b), a == b);
        }

        #[test]
        fn keys_round_trip(labels in label_set()) {
            let present = present(&labels);
            let key = Labels::from_pairs(&labels).into_key();
            let read: Vec<_> = pairs(&key).map(|p| (p.name.text().into_owned(), p.value.text().into_owned())).collect();
            prop_assert_eq!(&read, &present);
            let raw: String = pairs(&key).map(|pair| pair.raw).collect();
            prop_assert_eq!(&raw, &key);
            for (name, value) in &labels {
                let found = get(&key, name).map(|value| value.text().into_owned());
                prop_assert_eq!(found, (!value.is_empty()).then(|| value.clone()));
            }
        }

        #[test]
        fn a_subset_of_a_key_is_the_key_of_the_subset(labels in label_set(), kept in prop::collection::vec(text(1), 0..3)) {
            let kept: Vec<_> = kept.into_iter().chain(labels.keys().next().cloned()).collect();
            let mut subset = String::new();
            let key = Labels::from_pairs(&labels).into_key();
            filter_into(&key, &mut subset, |name| kept.iter().any(|keep| name.is(keep)));
            let expected = Labels::from_pairs(labels.iter().filter(|(name, _)| kept.contains(name)));
            prop_assert_eq!(subset, expected.into_key());
        }

        #[test]
        fn any_text_reads_as_some_pairs(text in any::<String>()) {
            let read: usize = pairs(&text).map(|pair| pair.raw.len().max(pair.value.text().len())).sum();
            prop_assert!(read <= text.len());
        }
    }

    #[test]
    fn prefixes_sort_first() {
        let key = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).into_key();
        let ordered = [
            key(&[]),
            key(&[("a", "1")]),
            key(&[("a", "1"), ("b", "1")]),
            key(&[("a", "1\0")]),
            key(&[("a", "1\u{1}")]),
            key(&[("a", "12")]),
            key(&[("a", "\u{10ffff}")]),
            key(&[("a\0", "1")]),
            key(&[("aa", "1")]),
        ];
        assert!(ordered.is_sorted());
    }
}
