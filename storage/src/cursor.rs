//! A bounds-checked read position in bytes of Prometheus's formats: big-endian integers and Go's varints.
//!
//! A read past the end or an overlong varint is a [`Malformed`] that remembers where; whoever knows the block and
//! the file turns it into [`Error::Corrupt`] with [`Origin::corrupt`].

use std::sync::Arc;

use crate::error::Error;

/// Bytes that do not parse: where in the slice, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Position in the slice that the cursor walks.
    pub(crate) at: usize,
    /// What was expected.
    pub(crate) reason: &'static str,
}

/// Which bytes a slice is, for messages: the block, the file in it, and the slice's offset in that file.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The block's ULID, or the folder of a local directory.
    pub(crate) place: Arc<str>,
    /// The file inside the block.
    pub(crate) file: Arc<str>,
}

impl Origin {
    pub(crate) fn new(place: impl Into<Arc<str>>, file: impl Into<Arc<str>>) -> Self {
        Self { place: place.into(), file: file.into() }
    }

    /// The error for damage at `offset` of the file.
    pub(crate) fn corrupt(&self, offset: usize, reason: impl Into<String>) -> Error {
        Error::Corrupt {
            place: self.place.to_string(),
            file: self.file.to_string(),
            offset: offset as u64,
            reason: reason.into(),
        }
    }

    /// The error for `malformed` in a slice that starts at `base` of the file.
    pub(crate) fn malformed(&self, base: usize, malformed: Malformed) -> Error {
        self.corrupt(base.saturating_add(malformed.at), malformed.reason)
    }
}

/// A read position in a slice.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Position from the start of the slice.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.data.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub(crate) fn malformed(&self, reason: &'static str) -> Malformed {
        Malformed { at: self.at, reason }
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(n).ok_or(self.malformed("length overflows"))?;
        let bytes = self.data.get(self.at..end).ok_or(self.malformed("bytes end early"))?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let malformed = self.malformed("bytes end early");
        self.bytes(N)?.try_into().map_err(|_| malformed)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// LEB128, at most ten bytes, the last of which holds one bit.
    pub(crate) fn uvarint(&mut self) -> Result<u64, Malformed> {
        let rest = &self.data[self.at..];
        let mut value = 0u64;
        for (i, &byte) in rest.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(self.malformed(if rest.len() < 10 { "varint ends early" } else { "varint overflows 64 bits" }))
    }

    /// Zigzag-coded LEB128.
    pub(crate) fn varint(&mut self) -> Result<i64, Malformed> {
        let raw = self.uvarint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A uvarint that has to fit 32 bits.
    pub(crate) fn uvarint32(&mut self) -> Result<u32, Malformed> {
        let malformed = self.malformed("varint overflows 32 bits");
        u32::try_from(self.uvarint()?).map_err(|_| malformed)
    }

    /// A length-prefixed string.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let malformed = self.malformed("text is not utf-8 or longer than what is left");
        let len = usize::try_from(self.uvarint()?).map_err(|_| malformed)?;
        std::str::from_utf8(self.bytes(len).map_err(|_| malformed)?).map_err(|_| malformed)
    }

    /// A count of things that take up at least `min_bytes` each, checked against what is left, so that it is safe
    /// to reserve memory for them.
    pub(crate) fn count(&self, count: u64, min_bytes: usize) -> Result<usize, Malformed> {
        usize::try_from(count)
            .ok()
            .filter(|count| count.checked_mul(min_bytes).is_some_and(|bytes| bytes <= self.remaining()))
            .ok_or(self.malformed("count is larger than what is left"))
    }
}

/// Appends LEB128.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends zigzag-coded LEB128.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a length-prefixed string.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_read_back(unsigned in any::<u64>(), signed in any::<i64>()) {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, unsigned);
            put_varint(&mut bytes, signed);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.uvarint(), Ok(unsigned));
            prop_assert_eq!(cursor.varint(), Ok(signed));
            prop_assert!(cursor.is_empty());
        }
    }

    #[test]
    fn overlong_and_cut_varints_are_refused() {
        assert_eq!(Cursor::new(&[0xff; 12]).uvarint().unwrap_err().reason, "varint overflows 64 bits");
        assert_eq!(Cursor::new(&[0x80; 3]).uvarint().unwrap_err().reason, "varint ends early");
        let mut largest = vec![0xff; 9];
        largest.push(1);
        assert_eq!(Cursor::new(&largest).uvarint(), Ok(u64::MAX));
    }

    #[test]
    fn lengths_are_checked_against_what_is_left() {
        let mut bytes = Vec::new();
        put_uvarint(&mut bytes, u64::MAX);
        assert!(Cursor::new(&bytes).text().is_err());
        assert!(Cursor::new(&[0; 8]).count(3, 3).is_err());
        assert_eq!(Cursor::new(&[0; 9]).count(3, 3), Ok(3));
    }
}
