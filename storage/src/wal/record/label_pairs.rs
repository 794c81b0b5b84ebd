//! Label sets inside records: a count, then names and values, each with its length.

use crate::cursor::{Cursor, Malformed, put_text, put_uvarint};

/// Names and values of one label set, borrowed from the record, in the order in which they were written: by name.
#[derive(Debug, Clone)]
pub struct LabelPairs<'a> {
    pairs: Cursor<'a>,
    left: usize,
    encoded: &'a [u8],
}

impl<'a> LabelPairs<'a> {
    /// Walks over the label set at the cursor. What it hands out later was checked here.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let start = cursor.clone();
        let count = cursor.uvarint()?;
        let left = cursor.count(count, 2)?;
        let pairs = cursor.clone();
        for _ in 0..left {
            cursor.text()?;
            cursor.text()?;
        }
        let encoded = start.clone().bytes(cursor.position() - start.position())?;
        Ok(Self { pairs, left, encoded })
    }

    /// The bytes of the whole set as they stand in the record: equal bytes are equal labels, whatever the series.
    #[must_use]
    pub fn encoded(&self) -> &'a [u8] {
        self.encoded
    }
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((self.pairs.text().ok()?, self.pairs.text().ok()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for LabelPairs<'_> {}

/// Appends a label set.
pub(super) fn put<'l>(
    out: &mut Vec<u8>,
    labels: impl IntoIterator<Item = (&'l str, &'l str), IntoIter: ExactSizeIterator>,
) {
    let labels = labels.into_iter();
    put_uvarint(out, labels.len() as u64);
    for (name, value) in labels {
        put_text(out, name);
        put_text(out, value);
    }
}
