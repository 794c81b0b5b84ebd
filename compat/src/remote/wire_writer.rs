//! Writing protobuf: fields appended to a buffer, nested messages by way of a second one.

/// Appends a varint.
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends an integer field; zero, the default, is left out.
pub fn push_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        push_varint(out, u64::from(field << 3));
        push_varint(out, value);
    }
}

/// Appends an `int64` field; zero is left out.
pub fn push_int(out: &mut Vec<u8>, field: u32, value: i64) {
    push_uint(out, field, value.cast_unsigned());
}

/// Zigzag: small numbers of either sign become small.
pub const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Appends a double field; positive zero is left out, negative zero is not.
pub fn push_double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value.to_bits() != 0 {
        push_present_double(out, field, value);
    }
}

/// Appends a double field of a `oneof`, where zero counts as present.
pub fn push_present_double(out: &mut Vec<u8>, field: u32, value: f64) {
    push_varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends an integer field of a `oneof`, where zero counts as present.
pub fn push_present_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    push_varint(out, u64::from(field << 3));
    push_varint(out, value);
}

/// Appends a string, bytes or a message; an empty one too, as repeated fields need it.
pub fn push_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    push_varint(out, u64::from(field << 3 | 2));
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends packed `sint64`; nothing where there are none.
pub fn push_packed_sint(out: &mut Vec<u8>, field: u32, values: &[i64]) {
    if !values.is_empty() {
        let mut packed = Vec::with_capacity(values.len());
        values.iter().for_each(|value| push_varint(&mut packed, zigzag(*value)));
        push_bytes(out, field, &packed);
    }
}

/// Appends packed doubles; nothing where there are none.
pub fn push_packed_double(out: &mut Vec<u8>, field: u32, values: &[f64]) {
    if !values.is_empty() {
        push_varint(out, u64::from(field << 3 | 2));
        push_varint(out, values.len() as u64 * 8);
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::wire;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        push_int(&mut out, 1, -5);
        push_double(&mut out, 2, -0.0);
        push_double(&mut out, 3, 0.0);
        push_bytes(&mut out, 40, b"text");
        push_packed_sint(&mut out, 5, &[-1, i64::MIN, 7]);
        let mut fields = wire::Fields::new(&out);
        let mut next = || fields.next().unwrap();
        assert_eq!(next().map(|(n, v)| (n, v.int("x"))), Some((1, Ok(-5))));
        assert_eq!(next(), Some((2, wire::Value::Fixed64(1 << 63))));
        assert_eq!(next(), Some((40, wire::Value::Bytes(b"text"))));
        let (_, packed) = next().unwrap();
        let mut read = Vec::new();
        wire::for_each_varint(packed, "x", |v| read.push(wire::zigzag(v))).unwrap();
        assert_eq!(read, [-1, i64::MIN, 7]);
        assert_eq!(next(), None);
    }
}
