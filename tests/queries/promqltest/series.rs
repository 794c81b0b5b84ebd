//! The notation for series and their points: `m{a="b"} 1 0+10x5 _x2 stale {{schema:0 count:4 buckets:[1 2 1]}}x3`.
//!
//! `AxN` is `A` and N repetitions, `A+BxN` is `A` and N sums more; `_` is no sample, `_xN` is N times no sample. Histograms stand
//! in double braces, with the same repetitions.

use std::sync::Arc;

use promql::Expr;
use storage::model::{CounterResetHint, FloatHistogram, Labels, METRIC_NAME, Span, stale_nan};

/// Most points that a repetition may make.
const REPEAT_MAX: usize = 100_000;

/// What a series has at one step of the notation.
#[derive(Debug, Clone)]
pub enum Point {
    /// No sample.
    Gap,
    /// A float, perhaps the staleness marker.
    Float(f64),
    /// A histogram.
    Histogram {
        /// The histogram.
        histogram: Arc<FloatHistogram>,
        /// Whether the text gives the counter reset hint.
        hint_given: bool,
    },
}

/// A line of the notation: labels, and points where there are any.
pub fn parse_series(line: &str) -> Result<(Labels, Vec<Point>), String> {
    let (labels, rest) = parse_labels(line)?;
    let mut points = Vec::new();
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (item, after) = rest.split_at(item_len(rest));
        expand(item, &mut points).map_err(|e| format!("{item:?}: {e}"))?;
        rest = after.trim_start();
    }
    Ok((labels, points))
}

/// A number as in a query, with a sign perhaps.
pub fn parse_number(text: &str) -> Result<f64, String> {
    match promql::parse(text, &promql::ParseOptions::default()) {
        Ok(Expr::Number(number)) => Ok(number.value),
        _ => Err(format!("{text:?} is no number")),
    }
}

/// A quoted text as in a query.
pub fn parse_string(text: &str) -> Result<String, String> {
    match promql::parse(text, &promql::ParseOptions::default()) {
        Ok(Expr::String(string)) => Ok(string.value),
        _ => Err(format!("{text:?} is no string")),
    }
}

/// The labels before the points, and the rest.
pub fn parse_labels(line: &str) -> Result<(Labels, &str), String> {
    let name_len = line.find(|c: char| c.is_whitespace() || c == '{').unwrap_or(line.len());
    let (name, rest) = line.split_at(name_len);
    let mut pairs = Vec::new();
    let braces = rest.trim_start();
    if !braces.starts_with('{') || braces.starts_with("{{") {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
        return Ok((Labels::from_pairs(pairs), rest));
    }
    let mut rest = braces[1..].trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            rest = after;
            break;
        }
        let (label, after) = if rest.starts_with(QUOTES) {
            let (quoted, after) = rest.split_at(quoted_len(rest)?);
            (parse_string(quoted)?, after)
        } else {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (rest[..len].to_owned(), &rest[len..])
        };
        let after = after.trim_start();
        if let Some(after) = after.strip_prefix('=') {
            let (quoted, after) = after.trim_start().split_at(quoted_len(after.trim_start())?);
            pairs.push((label, parse_string(quoted)?));
            rest = after.trim_start();
        } else {
            pairs.push((METRIC_NAME.to_owned(), label));
            rest = after;
        }
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start();
        } else if !rest.starts_with('}') {
            return Err(format!("expected , or }} before {rest:?}"));
        }
    }
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    Ok((Labels::from_pairs(pairs), rest))
}

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// How long the quoted text is with which `text` begins.
fn quoted_len(text: &str) -> Result<usize, String> {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, c)| c).filter(|c| QUOTES.contains(c));
    let quote = quote.ok_or_else(|| format!("expected a string before {text:?}"))?;
    let mut escaped = false;
    for (at, c) in chars {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err(format!("a string without end: {text:?}"))
}

/// How long the item is with which `text` begins: up to white space outside of braces.
fn item_len(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// The points that one item stands for.
fn expand(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    if item.starts_with("{{") {
        return expand_histograms(item, points);
    }
    let (value, repeat) = match item.rsplit_once('x') {
        Some((value, count)) => (value, Some(parse_count(count)?)),
        None => (item, None),
    };
    if value == "_" {
        points.extend((0..repeat.unwrap_or(1)).map(|_| Point::Gap));
        return Ok(());
    }
    let exponent = |at: usize| value[..at].ends_with(['e', 'E']);
    let sign = value.char_indices().skip(1).find(|&(at, c)| (c == '+' || c == '-') && !exponent(at));
    let (mut value, increment) = match sign {
        Some((at, _)) => (parse_number(&value[..at])?, Some(parse_number(&value[at..])?)),
        None if value == "stale" => (stale_nan(), None),
        None => (parse_number(value)?, None),
    };
    for _ in 0..=repeat.unwrap_or(0) {
        points.push(Point::Float(value));
        if let Some(increment) = increment {
            value += increment;
        }
    }
    Ok(())
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|e| format!("repetitions {text:?}: {e}"))?;
    if count > REPEAT_MAX { Err(format!("{count} repetitions are too many")) } else { Ok(count) }
}

/// `{{…}}`, `{{…}}xN`, `{{…}}+{{…}}xN` or `{{…}}-{{…}}xN`.
fn expand_histograms(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    let (mut histogram, mut hint_given, rest) = parse_histogram(item)?;
    let mut push = |histogram: &FloatHistogram, hint_given| {
        points.push(Point::Histogram { histogram: Arc::new(histogram.clone()), hint_given });
    };
    if rest.is_empty() {
        push(&histogram, hint_given);
        return Ok(());
    }
    if let Some(count) = rest.strip_prefix('x') {
        let count = parse_count(count)?;
        (0..=count).for_each(|_| push(&histogram, hint_given));
        return Ok(());
    }
    let falls = rest.starts_with('-');
    let (change, change_hint, rest) = parse_histogram(&rest[1..])?;
    hint_given = change_hint;
    let count = parse_count(rest.strip_prefix('x').ok_or("expected repetitions")?)?;
    push(&histogram, hint_given);
    for _ in 0..count {
        if histogram.schema > change.schema {
            return Err(format!("a histogram of schema {} cannot take {}", histogram.schema, change.schema));
        }
        let combined = if falls { histogram.sub(&change) } else { histogram.add(&change) };
        combined.map_err(|e| e.to_string())?;
        push(&histogram, hint_given);
    }
    Ok(())
}

/// The histogram with which `text` begins, whether it has a hint, and the rest.
fn parse_histogram(text: &str) -> Result<(FloatHistogram, bool, &str), String> {
    let inner = text.strip_prefix("{{").ok_or_else(|| format!("expected {{{{ before {text:?}"))?;
    let (mut inner, rest) = inner.split_once("}}").ok_or("a histogram without end")?;
    let mut histogram = FloatHistogram::default();
    let mut hint_given = false;
    let (mut offset, mut n_offset) = (0, 0);
    inner = inner.trim();
    while let Some((key, after)) = inner.split_once(':') {
        let (value, after) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("a list without end")?,
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        let list = || value.split_whitespace().map(parse_number).collect::<Result<Vec<f64>, String>>();
        let int = || value.parse::<i32>().map_err(|e| format!("{value:?}: {e}"));
        match key {
            "schema" => histogram.schema = int()?,
            "sum" => histogram.sum = parse_number(value)?,
            "count" => histogram.count = parse_number(value)?,
            "z_bucket" => histogram.zero_count = parse_number(value)?,
            "z_bucket_w" => histogram.zero_threshold = parse_number(value)?,
            "custom_values" => histogram.custom_values = list()?,
            "buckets" => histogram.positive_buckets = list()?,
            "n_buckets" => histogram.negative_buckets = list()?,
            "offset" => offset = int()?,
            "n_offset" => n_offset = int()?,
            "counter_reset_hint" => {
                hint_given = true;
                histogram.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::CounterReset,
                    "not_reset" => CounterResetHint::NotCounterReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return Err(format!("no counter reset hint {value:?}")),
                };
            }
            _ => return Err(format!("a histogram has no {key:?}")),
        }
        inner = after.trim_start();
    }
    if !inner.is_empty() {
        return Err(format!("{inner:?} in a histogram"));
    }
    histogram.positive_spans = span_of(offset, &histogram.positive_buckets);
    histogram.negative_spans = span_of(n_offset, &histogram.negative_buckets);
    Ok((histogram, hint_given, rest))
}

fn span_of(offset: i32, buckets: &[f64]) -> Vec<Span> {
    match u32::try_from(buckets.len()) {
        Ok(length) if length > 0 => vec![Span { offset, length }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let points = parse_series(text).unwrap().1;
        points.iter().map(|point| if let Point::Float(value) = point { Some(*value) } else { None }).collect()
    }

    #[test]
    fn repetitions() {
        assert_eq!(
            floats("m 1 2+3x2 _ 4x1"),
            [1.0, 2.0, 5.0, 8.0].map(Some).into_iter().chain([None, Some(4.0), Some(4.0)]).collect::<Vec<_>>()
        );
        assert_eq!(
            floats("m{} -1-1x1 1e-2 0x1 _x2 +Inf"),
            [Some(-1.0), Some(-2.0), Some(0.01), Some(0.0), Some(0.0), None, None, Some(f64::INFINITY)]
        );
    }

    #[test]
    fn labels() {
        let labels = |text| parse_labels(text).unwrap().0;
        assert_eq!(
            labels("m{a=\"1\", b='x,}y',} 5"),
            Labels::from_pairs([("__name__", "m"), ("a", "1"), ("b", "x,}y")])
        );
        assert_eq!(labels("{\"m.n\", \"a b\"=`1`}"), Labels::from_pairs([("__name__", "m.n"), ("a b", "1")]));
        assert_eq!(labels("{} 3"), Labels::default());
    }

    #[test]
    fn histograms() {
        let points = parse_series("m {{schema:1 count:3 offset:-1 buckets:[1 2]}}+{{schema:1 count:1 buckets:[1]}}x1")
            .unwrap()
            .1;
        let Point::Histogram { histogram, hint_given: false } = &points[1] else { panic!("{points:?}") };
        assert_eq!((histogram.count, &*histogram.positive_buckets), (4.0, &[1.0, 3.0][..]));
        assert_eq!(points.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for text in ["m{a=1}", "m{a=\"", "m 1x", "m 1q", "m {{", "m {{colour:1}}", "m {{buckets:[1 2}}", "m 1x9999999"]
        {
            parse_series(text).unwrap_err();
        }
    }
}
