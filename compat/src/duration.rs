//! Durations as people write them in flags and parameters.
//!
//! Two grammars meet here. Prometheus: whole numbers with units from large to small, each at most once, `1w2d3h4m5s6ms`, with
//! `1d` = 24h, `1w` = 7d and `1y` = 365d. Go: decimal numbers with units `ns`, `us`, `ms`, `s`, `m`, `h` in any order, with a
//! sign. A flag may use either; where both fit they mean the same.

use std::time::Duration;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration; write for example 30s, 1h30m or 14d")]
pub struct DurationError {
    text: String,
}

/// Units of the Prometheus grammar in the order in which they may follow each other, in milliseconds.
const PROMETHEUS_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of the Go grammar, in nanoseconds.
const GO_UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// A duration of the Prometheus grammar in milliseconds, or `None` where the text is none or too large.
pub(crate) fn parse_prometheus(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut units = PROMETHEUS_UNITS.iter();
    let mut total = 0_i64;
    while !rest.is_empty() {
        let (number, unit, after) = next_term(rest)?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*factor)?)?;
        rest = after;
    }
    // Go counts nanoseconds in 64 bits
    (total <= i64::MAX / 1_000_000).then_some(total)
}

/// A duration of the Go grammar in nanoseconds, or `None` where the text is none or too large.
fn parse_go(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let (number, unit, after) = next_term(rest)?;
        let (_, factor) = GO_UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    #[expect(clippy::cast_precision_loss, reason = "the bound need not be exact to the nanosecond")]
    let fits = total < i64::MAX as f64;
    #[expect(clippy::cast_possible_truncation, reason = "checked")]
    fits.then(|| if negative { -(total as i64) } else { total as i64 })
}

/// Splits `12.5ms3s` into `12.5`, `ms` and `3s`.
fn next_term(text: &str) -> Option<(&str, &str, &str)> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let unit_at = text.find(|c| !is_number(c)).filter(|&at| at > 0)?;
    let unit_end = text[unit_at..].find(is_number).map_or(text.len(), |at| unit_at + at);
    Some((&text[..unit_at], &text[unit_at..unit_end], &text[unit_end..]))
}

/// A flag's duration: either grammar, not negative.
///
/// # Errors
/// [`DurationError`] where it is neither, or is negative.
pub fn parse_duration_flag(text: &str) -> Result<Duration, DurationError> {
    let millis = parse_prometheus(text).and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let nanos = || parse_go(text).and_then(|ns| u64::try_from(ns).ok()).map(Duration::from_nanos);
    millis.or_else(nanos).ok_or_else(|| DurationError { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_grammars_are_read() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("5m", 300_000),
            ("30d", 30 * 86_400_000),
            ("1y2w3d4h5m6s7ms", 31_536_000_000 + 14 * 86_400_000 + 3 * 86_400_000 + 4 * 3_600_000 + 306_007),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("1s1m", 61_000),
        ] {
            assert_eq!(parse_duration_flag(text).map(|d| d.as_millis()), Ok(ms), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "5", "m", "5 m", "-5m", "5x", "1.5d", "1d2w", "5m5m1d", "99999999999y", "1e3s", "."] {
            assert!(parse_duration_flag(text).is_err(), "{text}");
        }
        assert_eq!(parse_prometheus("1m1h"), None);
        assert_eq!(parse_prometheus("1.5h"), None);
    }
}
