//! Names of OTLP as names of Prometheus: what the text format cannot have becomes an underscore, and a metric's name gets its unit
//! and, where it is a counter, `total`. The rules are those of the OpenTelemetry specification on compatibility with Prometheus.

use std::borrow::Cow;

/// How names are translated: `otlp.translation_strategy` of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TranslationStrategy {
    /// Underscores for what is no letter, digit or colon, and suffixes.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Underscores, no suffixes.
    UnderscoreEscapingWithoutSuffixes,
    /// Names as they are, with suffixes.
    NoUtf8EscapingWithSuffixes,
    /// Names as they are.
    NoTranslation,
}

impl TranslationStrategy {
    const fn escapes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes)
    }

    const fn adds_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}

/// What the name of a metric depends on, besides its name and unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffix {
    /// A gauge: `ratio` where the unit is 1.
    Gauge,
    /// A counter that only rises: `total`.
    Counter,
    /// None of its own.
    None,
}

/// The name of a metric; nothing where no name is left.
pub fn metric_name(name: &str, unit: &str, suffix: Suffix, strategy: TranslationStrategy) -> Option<String> {
    let translated = match (strategy.escapes(), strategy.adds_suffixes()) {
        (true, true) => escaped_with_suffixes(name, unit, suffix),
        (true, false) => {
            let invalid = |c: char| !(c.is_ascii_alphanumeric() || c == ':' || c == '_');
            with_letter_first(name.split(invalid).filter(|token| !token.is_empty()).collect::<Vec<_>>().join("_"))
        }
        (false, true) => plain_with_suffixes(name, unit, suffix),
        (false, false) => name.to_owned(),
    };
    let only_underscores = strategy.escapes() && translated != name && translated.bytes().all(|byte| byte == b'_');
    (!translated.is_empty() && !only_underscores).then_some(translated)
}

fn escaped_with_suffixes(name: &str, unit: &str, suffix: Suffix) -> String {
    let invalid = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    let mut tokens: Vec<&str> = name.split(invalid).filter(|token| !token.is_empty()).collect();
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let mut main = if tokens.contains(&main.as_str()) { "" } else { &main };
    let mut per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    if tokens.contains(&per) {
        per = "";
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|token| !token.is_empty()));
    let last = match suffix {
        Suffix::Counter => Some("total"),
        Suffix::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    with_letter_first(tokens.join("_"))
}

fn plain_with_suffixes(name: &str, unit: &str, suffix: Suffix) -> String {
    let mut name = name;
    let last = match suffix {
        Suffix::Counter => Some("total"),
        Suffix::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        name = without_end(name, last);
    }
    let (main, per) = unit_suffixes(unit);
    if !per.is_empty() {
        name = without_end(name, &per);
    }
    let mut translated = name.to_owned();
    let main = (!main.is_empty() && !name.ends_with(main.as_ref())).then_some(main.as_ref());
    for end in [main, Some(per.as_ref()).filter(|per| !per.is_empty()), last].into_iter().flatten() {
        translated.push('_');
        translated.push_str(end);
    }
    translated
}

/// `name` without `end` and the character before it, if anything is left then.
fn without_end<'a>(name: &'a str, end: &str) -> &'a str {
    let rest = name.strip_suffix(end);
    let shorter = rest.and_then(|rest| rest.char_indices().next_back().map(|(at, _)| &rest[..at]));
    shorter.filter(|rest| !rest.is_empty()).unwrap_or(name)
}

fn with_letter_first(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The unit of a metric as metadata has it.
pub fn unit_name(unit: &str) -> String {
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let joined = if !main.is_empty() && !per.is_empty() { format!("{main}_{per}") } else { main + &per };
    let joined = joined.strip_prefix('_').unwrap_or(&joined);
    joined.strip_suffix('_').unwrap_or(joined).to_owned()
}

/// The words for a unit in UCUM notation: before the slash, and `per_…` after it. What stands in braces is no unit.
fn unit_suffixes(unit: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let main = if main.contains(['{', '}']) { "" } else { main_unit(main) };
    let per = if per.is_empty() || per.contains(['{', '}']) {
        Cow::Borrowed("")
    } else {
        Cow::Owned(format!("per_{}", per_unit(per)))
    };
    (Cow::Borrowed(main), per)
}

fn main_unit(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_unit(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// `unit` with one underscore for each run of what a name cannot have, and none in front.
fn clean_unit(unit: &str) -> String {
    let mut clean = String::with_capacity(unit.len());
    for c in unit.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            clean.push(c);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    clean.strip_prefix('_').map(str::to_owned).unwrap_or(clean)
}

/// The name of a label; nothing where no name is left.
pub fn label_name(name: &str, strategy: TranslationStrategy) -> Option<Cow<'_, str>> {
    if !strategy.escapes() {
        return name.bytes().any(|byte| byte != b'_').then_some(Cow::Borrowed(name));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut translated = Cow::Borrowed(name);
    if !name.chars().all(valid) {
        translated = Cow::Owned(name.chars().map(|c| if valid(c) { c } else { '_' }).collect());
    }
    if translated.starts_with(|c: char| c.is_ascii_digit()) {
        translated = Cow::Owned(format!("key_{translated}"));
    } else if translated.starts_with('_') && !translated.starts_with("__") {
        translated = Cow::Owned(format!("key{translated}"));
    }
    translated.bytes().any(|byte| byte != b'_').then_some(translated)
}

#[cfg(test)]
mod tests {
    use super::TranslationStrategy::{
        NoTranslation, NoUtf8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes,
    };
    use super::*;

    fn check(name: &str, unit: &str, suffix: Suffix, expected: &str) {
        let got = metric_name(name, unit, suffix, UnderscoreEscapingWithSuffixes);
        assert_eq!(got.as_deref(), Some(expected).filter(|text| !text.is_empty()), "{name} {unit}");
    }

    #[test]
    fn metric_names() {
        check("http.server.duration", "s", Suffix::None, "http_server_duration_seconds");
        check("system.cpu.time", "s", Suffix::Counter, "system_cpu_time_seconds_total");
        check("requests.total.count", "1", Suffix::Counter, "requests_count_total");
        check("ratio.of.things", "1", Suffix::Gauge, "of_things_ratio");
        check("memory.usage.bytes", "By", Suffix::Gauge, "memory_usage_bytes");
        check("speed", "km/h", Suffix::Gauge, "speed_km_per_hour");
        check("speed_per_hour", "m/h", Suffix::Gauge, "speed_per_hour_meters_per_hour");
        check("packets", "{packets}/s", Suffix::Counter, "packets_per_second_total");
        check("packets", "{packets}", Suffix::None, "packets");
        check("2xx..responses__", "", Suffix::None, "_2xx_responses");
        check("a:b", "°C/%", Suffix::None, "a:b_C");
        check("...", "", Suffix::None, "");
        check("", "s", Suffix::None, "seconds");
        let without = metric_name("http.server_duration", "s", Suffix::Counter, UnderscoreEscapingWithoutSuffixes);
        assert_eq!(without.as_deref(), Some("http_server_duration"));
        assert_eq!(metric_name("a.b", "s", Suffix::Counter, NoTranslation).as_deref(), Some("a.b"));
        let plain = |name, unit| metric_name(name, unit, Suffix::Counter, NoUtf8EscapingWithSuffixes);
        assert_eq!(plain("http.time", "s").as_deref(), Some("http.time_seconds_total"));
        assert_eq!(plain("http.seconds.total", "s").as_deref(), Some("http.seconds_total"));
        assert_eq!(plain("rate", "By/s").as_deref(), Some("rate_bytes_per_second_total"));
        assert_eq!(plain("total", "").as_deref(), Some("total_total"));
    }

    #[test]
    fn label_names() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(label_name(name, UnderscoreEscapingWithSuffixes).as_deref(), expected, "{name}");
        };
        check("http.method", Some("http_method"));
        check("1st", Some("key_1st"));
        check("_private", Some("key_private"));
        check("__reserved__", Some("__reserved__"));
        check("a..b", Some("a__b"));
        check("é", Some("key_"));
        check("..", None);
        check("", None);
        assert_eq!(label_name("a.b", NoTranslation).as_deref(), Some("a.b"));
    }

    #[test]
    fn units() {
        for (unit, expected) in [("s", "seconds"), ("By/s", "bytes_per_second"), ("1", ""), ("{x}/s", "per_second")] {
            assert_eq!(unit_name(unit), expected);
        }
    }
}
