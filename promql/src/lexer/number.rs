//! Numbers and durations: finding their end, and their value.
//!
//! Numbers are decimal (`1`, `.5`, `1e3`), hexadecimal (`0x1f`), octal where a zero leads (`010` is 8), with `_` between digits, or
//! `Inf` and `NaN` in any case. Durations are `1y2w3d4h5m6s7ms`, each unit at most once, in that order.

use super::token::TokenKind;
use super::{is_alpha, is_alphanumeric};
use crate::quote::quote;

/// The kind and length of the number or duration that `text` starts with, or how much of it was read before it went wrong.
pub(super) fn scan(text: &str) -> Result<(TokenKind, usize), usize> {
    let mut scan = Scan { text: text.as_bytes(), pos: 0 };
    if scan.number() {
        return Ok((TokenKind::Number, scan.pos));
    }
    if scan.duration() {
        return Ok((TokenKind::Duration, scan.pos));
    }
    // A word character that spoils the number is shown with it; it may be the first byte of a longer character only if it is none.
    Err(scan.pos)
}

struct Scan<'a> {
    text: &'a [u8],
    pos: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    fn at(&self, set: &[u8]) -> bool {
        self.peek().is_some_and(|byte| set.contains(&byte))
    }

    fn accept(&mut self, set: &[u8]) -> bool {
        let found = self.at(set);
        self.pos += usize::from(found);
        found
    }

    fn word_follows(&self) -> bool {
        self.peek().is_some_and(|byte| is_alphanumeric(char::from(byte)))
    }

    /// Reads what looks like a number. Whether it is one is seen when its value is asked for.
    fn number(&mut self) -> bool {
        let mut digits: &[u8] = b"0123456789";
        if self.accept(b"0") && self.accept(b"xX") {
            self.accept(b"_");
            digits = b"0123456789abcdefABCDEF";
        }
        let hexadecimal = digits.len() > 10;
        self.accept(b".");
        self.accept(digits);
        let (mut dot, mut exponent) = (false, false);
        while self.at(digits) || self.at(b"._eE") {
            if (dot && self.accept(b".")) || (exponent && self.accept(b"eE")) {
                return false;
            }
            if self.accept(b".") {
                dot = true;
                if self.accept(b"_.") || hexadecimal {
                    return false;
                }
            } else if self.accept(b"eE") {
                exponent = true;
                self.accept(b"+-");
                if self.accept(b"._eE") || self.peek().is_none() {
                    return false;
                }
            } else if self.accept(b"_") {
                if self.accept(b"._eE") || self.peek().is_none() {
                    return false;
                }
            } else {
                while self.accept(digits) {}
            }
        }
        self.pos > 0 && !self.word_follows()
    }

    /// Reads on where [`Self::number`] stopped, at a unit.
    fn duration(&mut self) -> bool {
        if !self.accept(b"smhdwy") {
            return false;
        }
        self.accept(b"s");
        while self.accept(b"0123456789") {
            while self.accept(b"0123456789") {}
            if !self.accept(b"smhdw") {
                return false;
            }
            self.accept(b"s");
        }
        let spoiled = self.word_follows();
        self.pos += usize::from(spoiled);
        !spoiled
    }
}

/// The value of a [`TokenKind::Number`].
///
/// # Errors
/// The message where it is none after all, or too large.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    if let Some(value) = parse_integer(text) {
        return Ok(value);
    }
    let invalid = || format!("error parsing number: strconv.ParseFloat: parsing {}: invalid syntax", quote(text));
    if text.starts_with(is_alpha) {
        return text.to_ascii_lowercase().parse().map_err(|_| invalid());
    }
    if !underscores_separate_digits(text) {
        return Err(invalid());
    }
    let value: f64 = text.replace('_', "").parse().map_err(|_| invalid())?;
    if value.is_infinite() {
        return Err(format!("error parsing number: strconv.ParseFloat: parsing {}: value out of range", quote(text)));
    }
    Ok(value)
}

/// Hexadecimal, octal and short decimal integers.
fn parse_integer(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        None => (lower.as_str(), 10),
    };
    let separated = match radix {
        16 => digits.strip_prefix('_').unwrap_or(digits),
        _ => &lower,
    };
    if !underscores_separate_digits(separated) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a PromQL number is a float")]
    i64::from_str_radix(&digits.replace('_', ""), radix).ok().map(|value| value as f64)
}

fn underscores_separate_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_hexdigit);
    (0..bytes.len()).filter(|&at| bytes[at] == b'_').all(|at| digit(at.checked_sub(1)) && digit(Some(at + 1)))
}

/// The units of a duration in order, with their length in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000_000_000),
    ("w", 7 * 24 * 3_600_000_000_000),
    ("d", 24 * 3_600_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// The value of a duration in seconds.
///
/// # Errors
/// The message where units are unknown, repeated or out of order, or the whole is over 292 years.
pub fn parse_duration(text: &str) -> Result<f64, String> {
    let invalid = || format!("not a valid duration string: {}", quote(text));
    let out_of_range = || "duration out of range".to_string();
    let (mut rest, mut nanos, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let count: u64 = digits.parse().map_err(|_| invalid())?;
        let at = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| format!("unknown unit {} in duration {}", quote(unit), quote(text)))?;
        if at < next_unit {
            return Err(invalid());
        }
        next_unit = at + 1;
        nanos = count
            .checked_mul(UNITS[at].1)
            .and_then(|part| nanos.checked_add(part))
            .filter(|&nanos| i64::try_from(nanos).is_ok())
            .ok_or_else(out_of_range)?;
        rest = tail;
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds are each exact")]
    Ok((nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9)
}
