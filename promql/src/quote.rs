//! Text in quotes as Go's `%q` writes it, since Prometheus's messages and its printed queries are full of it.

use std::fmt::Write as _;

/// `text` in double quotes: `\n`-like escapes, `\x07` for other control bytes, `\u00ad` for what does not print.
pub(crate) fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

/// Like [`quote`]; bytes that are not UTF-8 become `\xff`.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c, '"');
        }
        for byte in chunk.invalid() {
            push_hex(&mut out, "\\x", u32::from(*byte), 2);
        }
    }
    out.push('"');
    out
}

/// At most the first `chars` characters of `text`, quoted: Go's `%.10q`.
pub(crate) fn quote_prefix(text: &str, chars: usize) -> String {
    let end = text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    quote(&text[..end])
}

/// A character in single quotes; the end of the text is the replacement character, as Go has it.
pub(crate) fn quote_char(c: Option<char>) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, c.unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    out.push('\'');
    out
}

/// A character as Go's `%#U`: `U+0071 'q'`.
pub(crate) fn code_point(c: char) -> String {
    let mut out = String::new();
    push_hex_upper(&mut out, u32::from(c));
    if is_printable(c) {
        out.push_str(" '");
        out.push(c);
        out.push('\'');
    }
    out
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    match c {
        _ if c == quote || c == '\\' => {
            out.push('\\');
            out.push(c);
        }
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        _ if is_printable(c) => out.push(c),
        _ if u32::from(c) < 0x80 => push_hex(out, "\\x", u32::from(c), 2),
        _ if u32::from(c) < 0x1_0000 => push_hex(out, "\\u", u32::from(c), 4),
        _ => push_hex(out, "\\U", u32::from(c), 8),
    }
}

fn push_hex(out: &mut String, prefix: &str, value: u32, width: usize) {
    out.push_str(prefix);
    write!(out, "{value:0width$x}").expect("invariant: writing to a String does not fail");
}

fn push_hex_upper(out: &mut String, value: u32) {
    write!(out, "U+{value:04X}").expect("invariant: writing to a String does not fail");
}

/// Letters, marks, numbers, punctuation, symbols and the plain space. Rust's `escape_debug` draws the same line; a letter
/// goes in front because it escapes a combining mark at the start of a text.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    let mut text = [0; 5];
    text[0] = b'a';
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length]).is_ok_and(|text| text.escape_debug().count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go() {
        assert_eq!(quote("a\"b\\\n\x01é\u{ad}\u{e000}\u{10ffff}"), r#""a\"b\\\n\x01é\u00ad\ue000\U0010ffff""#);
        assert_eq!(quote("e\u{301}"), "\"e\u{301}\"");
        assert_eq!(quote("\u{7f}\u{a0}"), r#""\x7f\u00a0""#);
        assert_eq!(quote_bytes(b"a\xc5z"), r#""a\xc5z""#);
        assert_eq!(quote_prefix("0123456789abc", 10), r#""0123456789""#);
        assert_eq!(quote_char(Some('\'')), r"'\''");
        assert_eq!(quote_char(None), "'\u{fffd}'");
        assert_eq!(code_point('q'), "U+0071 'q'");
        assert_eq!(code_point('\n'), "U+000A");
    }
}
