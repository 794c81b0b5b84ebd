//! Protobuf as bytes: one message's fields, one after the other, borrowed from the body.
//!
//! Nothing is collected and nothing is copied, so a body of many empty messages costs time and no memory. Unknown fields are
//! passed over, as the format asks; groups, which proto3 does not have, are refused.

/// A body that is not the message which it should be. The whole request is wrong then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A varint of more than 64 bits.
    #[error("a varint is longer than 64 bits")]
    VarintTooLong,
    /// A field number of 0, or one past 2^29.
    #[error("illegal field number {0}")]
    FieldNumber(u64),
    /// A known field with a wire type that it cannot have.
    #[error("wrong wire type for field {0}")]
    WireType(&'static str),
    /// A wire type that proto3 does not have.
    #[error("unknown wire type {0}")]
    UnknownWireType(u8),
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer, a bool or an enum.
    Varint(u64),
    /// A double, or a fixed integer of eight bytes.
    Fixed64(u64),
    /// A string, bytes, a message or packed scalars.
    Bytes(&'a [u8]),
    /// A float, or a fixed integer of four bytes.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// A message, a string or packed scalars; `field` is for the error.
    #[inline]
    pub fn bytes(self, field: &'static str) -> Result<&'a [u8], Malformed> {
        if let Value::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed::WireType(field)) }
    }

    /// An integer without sign.
    #[inline]
    pub fn uint(self, field: &'static str) -> Result<u64, Malformed> {
        if let Value::Varint(value) = self { Ok(value) } else { Err(Malformed::WireType(field)) }
    }

    /// An `int64`, or an `int32` or enum in the two's complement that protobuf has for them.
    #[inline]
    pub fn int(self, field: &'static str) -> Result<i64, Malformed> {
        self.uint(field).map(u64::cast_signed)
    }

    /// An integer of 32 bits without sign; higher bits are cut off, as protobuf does.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "that is how protobuf reads a longer varint")]
    pub fn uint32(self, field: &'static str) -> Result<u32, Malformed> {
        self.uint(field).map(|value| value as u32)
    }

    /// A `sint32`: zigzag.
    #[inline]
    pub fn sint32(self, field: &'static str) -> Result<i32, Malformed> {
        self.uint32(field).map(|value| (value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A double, bit for bit.
    #[inline]
    pub fn double(self, field: &'static str) -> Result<f64, Malformed> {
        self.fixed64(field).map(f64::from_bits)
    }

    /// A fixed integer of eight bytes.
    #[inline]
    pub fn fixed64(self, field: &'static str) -> Result<u64, Malformed> {
        if let Value::Fixed64(bits) = self { Ok(bits) } else { Err(Malformed::WireType(field)) }
    }
}

/// A `sint64`: zigzag.
#[inline]
pub fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The fields of a message that are still to come.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[inline]
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value, or nothing at the end.
    #[inline]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number > 0x1fff_ffff {
            return Err(Malformed::FieldNumber(number));
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            #[expect(clippy::cast_possible_truncation, reason = "three bits")]
            other => return Err(Malformed::UnknownWireType(other as u8)),
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most 29 bits, as checked above")]
        Ok(Some((number as u32, value)))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Reads a varint where there is no key before it: within packed scalars.
    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (i, byte) in self.rest.iter().enumerate().take(10) {
            if i == 9 && *byte > 1 {
                return Err(Malformed::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { Malformed::Truncated } else { Malformed::VarintTooLong })
    }
}

/// Calls `each` with every varint of a repeated field: the one of `value`, or those packed in it.
#[inline]
pub fn for_each_varint(value: Value<'_>, field: &'static str, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
    match value {
        Value::Varint(value) => each(value),
        Value::Bytes(packed) => {
            let mut fields = Fields::new(packed);
            while !fields.rest.is_empty() {
                each(fields.varint()?);
            }
        }
        _ => return Err(Malformed::WireType(field)),
    }
    Ok(())
}

/// Calls `each` with every eight-byte scalar of a repeated field.
#[inline]
pub fn for_each_fixed64(value: Value<'_>, field: &'static str, mut each: impl FnMut(u64)) -> Result<(), Malformed> {
    match value {
        Value::Fixed64(bits) => each(bits),
        Value::Bytes(packed) => {
            let (whole, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Malformed::Truncated);
            }
            whole.iter().for_each(|bytes| each(u64::from_le_bytes(*bytes)));
        }
        _ => return Err(Malformed::WireType(field)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        let (mut fields, mut found) = (Fields::new(message), Vec::new());
        while let Some(field) = fields.next()? {
            found.push(field);
        }
        Ok(found)
    }

    #[test]
    fn every_wire_type() {
        let message = [0x08, 0x96, 0x01, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x1a, 2, b'h', b'i', 0x25, 1, 0, 0, 0];
        let expected = vec![
            (1, Value::Varint(150)),
            (2, Value::Fixed64(1.0_f64.to_bits())),
            (3, Value::Bytes(b"hi")),
            (4, Value::Fixed32(1)),
        ];
        assert_eq!(all(&message).unwrap(), expected);
    }

    #[test]
    fn what_is_not_protobuf_is_refused() {
        assert_eq!(all(&[0x08]), Err(Malformed::Truncated));
        assert_eq!(all(&[0x08, 0x80]), Err(Malformed::Truncated));
        assert_eq!(all(&[0x1a, 5, 1]), Err(Malformed::Truncated));
        assert_eq!(all(&[0x11, 5, 1]), Err(Malformed::Truncated));
        assert_eq!(all(&[0x00, 1]), Err(Malformed::FieldNumber(0)));
        assert_eq!(all(&[0x0b, 1]), Err(Malformed::UnknownWireType(3)));
        let huge_length = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(all(&huge_length), Err(Malformed::Truncated));
        assert_eq!(all(&[0xff; 11]), Err(Malformed::VarintTooLong));
        let mut past_64_bits = [0xff; 11];
        past_64_bits[10] = 2;
        assert_eq!(all(&past_64_bits[1..]), Err(Malformed::VarintTooLong));
        assert_eq!(Value::Varint(1).bytes("labels"), Err(Malformed::WireType("labels")));
    }

    #[test]
    fn numbers_with_signs() {
        assert_eq!(Value::Varint(3).sint32("x"), Ok(-2));
        assert_eq!(Value::Varint(u64::from(u32::MAX)).sint32("x"), Ok(i32::MIN));
        assert_eq!(zigzag(u64::MAX), i64::MIN);
        assert_eq!(Value::Varint(u64::MAX).int("x"), Ok(-1));
    }

    #[test]
    fn packed_and_unpacked() {
        let collect = |value| {
            let mut found = Vec::new();
            for_each_varint(value, "x", |v| found.push(v)).map(|()| found)
        };
        assert_eq!(collect(Value::Bytes(&[1, 0x96, 1])), Ok(vec![1, 150]));
        assert_eq!(collect(Value::Varint(7)), Ok(vec![7]));
        assert_eq!(collect(Value::Bytes(&[0x80])), Err(Malformed::Truncated));
        assert_eq!(collect(Value::Fixed32(0)), Err(Malformed::WireType("x")));
        assert_eq!(for_each_fixed64(Value::Bytes(&[0; 9]), "x", |_| ()), Err(Malformed::Truncated));
    }
}
