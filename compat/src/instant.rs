//! Instants and spans as the Prometheus API takes them: a decimal number of seconds, or RFC 3339; a number, or a duration.

use storage::model::Timestamp;

use crate::duration::parse_prometheus;

/// The start of a time range that names none, as Prometheus has it.
pub const MIN_TIME: Timestamp = (i64::MIN / 1000 + 62_135_596_801) * 1000;
/// The end of a time range that names none, as Prometheus has it.
pub const MAX_TIME: Timestamp = (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999;

/// How Prometheus prints the two, and therefore gets them back; their years have too many digits for RFC 3339.
const FAR_TIMES: [(&str, Timestamp); 2] =
    [("-292273086-05-16T16:47:06Z", MIN_TIME), ("292277025-08-18T07:12:54.999999999Z", MAX_TIME)];

/// An instant in milliseconds.
///
/// # Errors
/// Prometheus's text where it is none.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Ok(from_seconds(seconds));
    }
    if let Some(t) = parse_rfc3339(text) {
        return Ok(t);
    }
    let far = FAR_TIMES.iter().find(|(name, _)| *name == text);
    far.map(|(_, t)| *t).ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Rounds to milliseconds in the steps in which Prometheus does, so that both land on the same one. Kept between
/// [`MIN_TIME`] and [`MAX_TIME`], so that no query can make a sum of times overflow.
#[expect(clippy::cast_possible_truncation, reason = "saturates, and is clamped")]
fn from_seconds(seconds: f64) -> Timestamp {
    let whole = seconds.trunc();
    let fraction = ((seconds - whole) * 1000.0).round() / 1000.0;
    let nanos = (fraction * 1e9) as i64;
    let ms = (whole as i64).saturating_mul(1000).saturating_add(nanos.div_euclid(1_000_000));
    ms.clamp(MIN_TIME, MAX_TIME)
}

/// A span of time in nanoseconds: a number of seconds, or a Prometheus duration.
///
/// # Errors
/// Prometheus's text where it is none.
pub fn parse_span_ns(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && !seconds.is_nan()
    {
        let nanos = seconds * 1e9;
        #[expect(clippy::cast_precision_loss, reason = "Prometheus compares with the same rounded bounds")]
        if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked")]
        return Ok(nanos as i64);
    }
    let ms = parse_prometheus(text).ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))?;
    Ok(ms.saturating_mul(1_000_000))
}

/// `2006-01-02T15:04:05.999Z` or with an offset like `+02:00`, in milliseconds.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let fixed = |at: usize, len: usize| -> Option<i64> {
        let digits = text.get(at..at + len)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let is = |at: usize, byte: u8| text.as_bytes().get(at) == Some(&byte);
    let (year, month, day) = (fixed(0, 4)?, fixed(5, 2)?, fixed(8, 2)?);
    let (hour, minute, second) = (fixed(11, 2)?, fixed(14, 2)?, fixed(17, 2)?);
    let separated = is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':');
    let valid_day = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !separated || !valid_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut millis = 0;
    if is(at, b'.') {
        let digits = text.get(at + 1..)?.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let shown: String = text.get(at + 1..at + 1 + digits)?.chars().chain("000".chars()).take(3).collect();
        millis = shown.parse().ok()?;
        at += 1 + digits;
    }
    let offset_minutes = match text.get(at..)? {
        "Z" => 0,
        zone if zone.len() == 6 && is(at + 3, b':') => {
            let (hours, minutes) = (fixed(at + 1, 2)?, fixed(at + 4, 2)?);
            if hours > 24 || minutes > 59 {
                return None;
            }
            match zone.as_bytes().first()? {
                b'+' => hours * 60 + minutes,
                b'-' => -(hours * 60 + minutes),
                _ => return None,
            }
        }
        _ => return None,
    };
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * 1000 + millis)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, counting years from March so that the leap day comes last (Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// An instant as RFC 3339 in UTC, with milliseconds.
pub fn format_rfc3339(t: Timestamp) -> String {
    let (days, ms) = (t.div_euclid(86_400_000), t.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_instants() {
        for (text, ms) in [
            ("0", 0),
            ("1.234", 1234),
            ("-1.5", -1500),
            ("1e3", 1_000_000),
            ("1e300", MAX_TIME),
            ("1767245940.0001", 1_767_245_940_000),
            ("2015-06-03T13:21:58.555Z", 1_433_337_718_555),
            ("2015-06-03T14:21:58.555999+01:00", 1_433_337_718_555),
            ("1969-12-31T23:59:59Z", -1000),
            ("2024-02-29T00:00:00-00:30", 1_709_166_600_000),
            ("-292273086-05-16T16:47:06Z", MIN_TIME),
            ("292277025-08-18T07:12:54.999999999Z", MAX_TIME),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn anything_else_is_told_as_prometheus_does() {
        for text in [
            "",
            "foo",
            "30s",
            "2023-02-29T00:00:00Z",
            "2015-06-03 13:21:58Z",
            "2015-06-03T13:21:58",
            "NaN",
            "é015-06-03T",
        ] {
            assert_eq!(parse_time(text), Err(format!("cannot parse {text:?} to a valid timestamp")));
        }
    }

    #[test]
    fn spans_are_numbers_or_durations() {
        assert_eq!(parse_span_ns("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_span_ns("-1"), Ok(-1_000_000_000));
        assert_eq!(parse_span_ns("2h"), Ok(7_200_000_000_000));
        assert_eq!(parse_span_ns("x"), Err("cannot parse \"x\" to a valid duration".to_owned()));
        let overflow = "cannot parse \"1e300\" to a valid duration. It overflows int64";
        assert_eq!(parse_span_ns("1e300"), Err(overflow.to_owned()));
    }

    #[test]
    fn dates_are_written_and_read_back() {
        assert_eq!(format_rfc3339(1_433_337_718_555), "2015-06-03T13:21:58.555Z");
        for t in (-60_000_000_000_000..250_000_000_000_000).step_by(7_777_777_777_777) {
            assert_eq!(parse_time(&format_rfc3339(t)), Ok(t));
        }
    }
}
