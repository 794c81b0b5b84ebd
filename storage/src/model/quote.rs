//! Text in quotes as Go's `strconv.Quote` writes it, which is how Prometheus prints label values.

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

/// Letters, marks, numbers, punctuation and symbols: what is printed as it is.
static PRINTABLE: LazyLock<ClassUnicode> = LazyLock::new(|| {
    match regex_syntax::parse(r"[\p{L}\p{M}\p{N}\p{P}\p{S}]").map(regex_syntax::hir::Hir::into_kind) {
        Ok(HirKind::Class(Class::Unicode(class))) => class,
        _ => ClassUnicode::empty(),
    }
});

/// `text` in double quotes, with escapes for quotes, backslashes and what cannot be printed.
#[must_use]
pub fn quote_go(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            ' '..='~' => quoted.push(c),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            c if is_printable(c) => quoted.push(c),
            c => {
                let code_point = u32::from(c);
                // Writing to a String cannot fail.
                let _ = match code_point {
                    0..=0x1f | 0x7f => write!(quoted, "\\x{code_point:02x}"),
                    0..=0xffff => write!(quoted, "\\u{code_point:04x}"),
                    _ => write!(quoted, "\\U{code_point:08x}"),
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

fn is_printable(c: char) -> bool {
    let ranges = PRINTABLE.ranges();
    let after = ranges.partition_point(|range| range.start() <= c);
    after.checked_sub(1).is_some_and(|i| c <= ranges[i].end())
}

/// `name` as it stands before a label's value: in quotes unless it is `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub(super) fn label_name(name: &str) -> std::borrow::Cow<'_, str> {
    let legacy = !name.is_empty()
        && name.bytes().enumerate().all(|(i, b)| b == b'_' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit()));
    if legacy { name.into() } else { quote_go(name).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_strconv_quote() {
        let check = |text, expected: &str| assert_eq!(quote_go(text), expected);
        check("plain", r#""plain""#);
        check("a\"b\\c'd", r#""a\"b\\c'd""#);
        check("\0\x01\x07\x08\t\n\x0b\x0c\r\x1b\x7f", r#""\x00\x01\a\b\t\n\v\f\r\x1b\x7f""#);
        check("é世\u{301}😀", "\"é世\u{301}😀\"");
        check("\u{80}\u{a0}\u{ad}\u{200b}\u{feff}\u{e000}", r#""\u0080\u00a0\u00ad\u200b\ufeff\ue000""#);
        check("\u{10ffff}", r#""\U0010ffff""#);
    }

    #[test]
    fn names() {
        assert_eq!(label_name("job_1"), "job_1");
        assert_eq!(label_name("1job"), "\"1job\"");
        assert_eq!(label_name("service.name"), "\"service.name\"");
    }
}
