//! Attributes: keys with values of any type, which become text as the collector's libraries write them.

use std::borrow::Cow;
use std::fmt::Write;

use crate::remote::wire::{Fields, Malformed};

/// How deep values may lie within each other.
const DEPTH_MAX: usize = 32;

/// The key and value of an attribute; nothing where a text is not UTF-8.
///
/// # Errors
/// Where the bytes are no such message.
pub fn key_value(message: &[u8]) -> Result<Option<(&str, Cow<'_, str>)>, Malformed> {
    let (mut key, mut value) = (&[][..], &[][..]);
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => key = field.bytes("key")?,
            2 => value = field.bytes("value")?,
            _ => {}
        }
    }
    let (Ok(key), Some(value)) = (str::from_utf8(key), text(value)?) else { return Ok(None) };
    Ok(Some((key, value)))
}

/// What a value says.
enum Any<'a> {
    Empty,
    Text(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(&'a [u8]),
    Map(&'a [u8]),
    Bytes(&'a [u8]),
    NotUtf8,
}

fn any(message: &[u8]) -> Result<Any<'_>, Malformed> {
    let mut value = Any::Empty;
    let mut fields = Fields::new(message);
    while let Some((number, field)) = fields.next()? {
        value = match number {
            1 => str::from_utf8(field.bytes("string_value")?).map_or(Any::NotUtf8, Any::Text),
            2 => Any::Bool(field.uint("bool_value")? != 0),
            3 => Any::Int(field.int("int_value")?),
            4 => Any::Double(field.double("double_value")?),
            5 => Any::Array(field.bytes("array_value")?),
            6 => Any::Map(field.bytes("kvlist_value")?),
            7 => Any::Bytes(field.bytes("bytes_value")?),
            _ => value,
        };
    }
    Ok(value)
}

/// A value as text: a string itself, anything else as JSON, and bytes in base 64.
fn text(message: &[u8]) -> Result<Option<Cow<'_, str>>, Malformed> {
    Ok(Some(match any(message)? {
        Any::Empty => Cow::Borrowed(""),
        Any::Text(text) => Cow::Borrowed(text),
        Any::NotUtf8 => return Ok(None),
        Any::Bytes(bytes) => Cow::Owned(base64(bytes)),
        _ => {
            let mut json = String::new();
            push_json(&mut json, message, DEPTH_MAX)?;
            Cow::Owned(json)
        }
    }))
}

fn push_json(out: &mut String, message: &[u8], depth: usize) -> Result<(), Malformed> {
    if depth == 0 {
        out.push_str("null");
        return Ok(());
    }
    match any(message)? {
        Any::Empty | Any::NotUtf8 => out.push_str("null"),
        Any::Text(text) => push_json_string(out, text),
        Any::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Any::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Any::Double(value) => out.push_str(&json_float(value)),
        Any::Bytes(bytes) => push_json_string(out, &base64(bytes)),
        Any::Array(array) => {
            out.push('[');
            let (mut fields, mut first) = (Fields::new(array), true);
            while let Some((number, field)) = fields.next()? {
                if number == 1 {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    push_json(out, field.bytes("values")?, depth - 1)?;
                }
            }
            out.push(']');
        }
        Any::Map(map) => push_json_map(out, map, depth)?,
    }
    Ok(())
}

/// Keys come sorted, and of two equal ones the last counts, as Go writes maps.
fn push_json_map(out: &mut String, map: &[u8], depth: usize) -> Result<(), Malformed> {
    let mut entries = std::collections::BTreeMap::new();
    let mut fields = Fields::new(map);
    while let Some((number, field)) = fields.next()? {
        if number != 1 {
            continue;
        }
        let (mut key, mut value) = (&[][..], &[][..]);
        let mut entry = Fields::new(field.bytes("values")?);
        while let Some((number, field)) = entry.next()? {
            match number {
                1 => key = field.bytes("key")?,
                2 => value = field.bytes("value")?,
                _ => {}
            }
        }
        entries.insert(String::from_utf8_lossy(key), value);
    }
    out.push('{');
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_json_string(out, key);
        out.push(':');
        push_json(out, value, depth - 1)?;
    }
    out.push('}');
    Ok(())
}

fn push_json_string(out: &mut String, text: &str) {
    // Writing a string as JSON cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// As Go's JSON has it: an exponent below 1e-6 and from 1e21 on, without a leading zero in it.
fn json_float(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let scientific = format!("{value:e}");
        return if scientific.contains("e-") { scientific } else { scientific.replace('e', "e+") };
    }
    format!("{value}")
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::testing::Message;

    fn check(value: Message, expected: &str) {
        let message = Message::default().bytes(1, b"k").message(2, value);
        assert_eq!(key_value(&message.0).unwrap(), Some(("k", Cow::Borrowed(expected))));
    }

    #[test]
    fn values_as_text() {
        let value = Message::default;
        let string = |text: &str| value().bytes(1, text.as_bytes());
        let entry = |key: &str, inner: Message| value().bytes(1, key.as_bytes()).message(2, inner);
        check(value(), "");
        check(string("a\"b"), "a\"b");
        check(value().varint(2, 1), "true");
        check(value().varint(3, (-5_i64).cast_unsigned()), "-5");
        check(value().double(4, 1.5), "1.5");
        check(value().double(4, 1e21), "1e+21");
        check(value().double(4, 1.5e-7), "1.5e-7");
        check(value().bytes(7, b"quiver"), "cXVpdmVy");
        check(value().bytes(7, b"quive"), "cXVpdmU=");
        let array = value().message(1, string("a")).message(1, value().varint(3, 2)).message(1, value());
        check(value().message(5, array.clone()), r#"["a",2,null]"#);
        let map =
            value().message(1, entry("z", value().varint(2, 0))).message(1, entry("a", value().message(5, array)));
        check(value().message(6, map), r#"{"a":["a",2,null],"z":false}"#);
        let mut deep = string("x");
        for _ in 0..1_000 {
            deep = value().message(5, value().message(1, deep));
        }
        let message = Message::default().bytes(1, b"k").message(2, deep);
        assert!(key_value(&message.0).unwrap().unwrap().1.contains("null"));
        assert_eq!(key_value(&Message::default().bytes(1, &[0xff]).0), Ok(None));
    }
}
