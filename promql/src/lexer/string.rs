//! Strings: finding their end, and their value.
//!
//! `"…"` and `'…'` take Go's escapes, `` `…` `` none. Escapes of bytes (`\xff`, `\377`) may add up to text that is not UTF-8.

use crate::quote::code_point;

/// The length of the string whose opening `delimiter` has been read, closing delimiter included.
///
/// # Errors
/// The message.
pub(super) fn scan(text: &str, delimiter: char) -> Result<usize, String> {
    let raw = delimiter == '`';
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == delimiter => return Ok(at + 1),
            char::REPLACEMENT_CHARACTER => return Err("invalid UTF-8 rune".to_string()),
            '\\' if !raw => scan_escape(&mut chars.by_ref().map(|(_, c)| c), delimiter)?,
            '\n' if !raw => break,
            _ => {}
        }
    }
    Err(if raw { "unterminated raw string" } else { "unterminated quoted string" }.to_string())
}

/// Reads an escape after its backslash.
fn scan_escape(chars: &mut impl Iterator<Item = char>, delimiter: char) -> Result<(), String> {
    let unterminated = || "escape sequence not terminated".to_string();
    let first = chars.next().ok_or_else(unterminated)?;
    let (mut value, digits, radix, max) = match first {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
        _ if first == delimiter => return Ok(()),
        '0'..='7' => (first.to_digit(8).unwrap_or(0), 2, 8, 255),
        'x' => (0, 2, 16, 255),
        'u' => (0, 4, 16, u32::from(char::MAX)),
        'U' => (0, 8, 16, u32::from(char::MAX)),
        _ => return Err(format!("unknown escape sequence {}", code_point(first))),
    };
    for _ in 0..digits {
        let c = chars.next().ok_or_else(unterminated)?;
        let digit =
            c.to_digit(radix).ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    if value > max || (0xd800..0xe000).contains(&value) {
        return Err("escape sequence is an invalid Unicode code point".to_string());
    }
    Ok(())
}

/// The bytes that a string token, quotes included, stands for. `None` where it is none that [`scan`] accepts.
pub(crate) fn unquote(token: &str) -> Option<Vec<u8>> {
    let delimiter = token.chars().next()?;
    let inner = token.get(1..token.len().checked_sub(1)?)?;
    if delimiter == '`' || !inner.contains('\\') {
        return Some(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' { push_escape(&mut out, &mut chars)? } else { push_char(&mut out, c) }
    }
    Some(out)
}

fn push_escape(out: &mut Vec<u8>, chars: &mut std::str::Chars<'_>) -> Option<()> {
    let c = match chars.next()? {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'u' => char::from_u32(digits(chars, 4, 16, 0)?)?,
        'U' => char::from_u32(digits(chars, 8, 16, 0)?)?,
        c @ ('x' | '0'..='7') => {
            let byte = match c.to_digit(8) {
                Some(first) => digits(chars, 2, 8, first)?,
                None => digits(chars, 2, 16, 0)?,
            };
            out.push(u8::try_from(byte).ok()?);
            return Some(());
        }
        c => c,
    };
    push_char(out, c);
    Some(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32, first: u32) -> Option<u32> {
    let mut value = first;
    for _ in 0..count {
        value = value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
    }
    Some(value)
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
