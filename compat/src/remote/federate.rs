//! `GET /federate`: the newest sample of each series that matches, for another Prometheus to scrape.
//!
//! As Prometheus does it: a sample is looked for back over the lookback delta, stale series are left out, a label `instance` is
//! added where there is none so that the scraper keeps its hands off, and every metric is untyped but histograms with custom
//! buckets, which become classic ones. The text format has no native histograms with exponential buckets, so those are left
//! out.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use promql::ParseOptions;
use storage::Clock;
use storage::model::{FloatHistogram, METRIC_NAME, TimeInterval, Timestamp, is_stale_nan, label_key};

use super::read::{ReadError, Reader, SampleValue, SeriesMerge, decode};
use super::write::Failure;
use crate::http::Params;
use crate::tenant::Sender;

/// Most selectors of a request.
const SELECTORS_MAX: usize = 100;

/// What `/federate` needs.
pub struct Federation {
    reader: Arc<Reader>,
    clock: Arc<dyn Clock>,
    lookback_ms: i64,
    parse: ParseOptions,
}

impl Federation {
    /// Reads by way of `reader`, back from the clock's time by `lookback_ms` at most.
    #[must_use]
    pub const fn new(reader: Arc<Reader>, clock: Arc<dyn Clock>, lookback_ms: i64, parse: ParseOptions) -> Self {
        Self { reader, clock, lookback_ms, parse }
    }
}

/// `GET /federate`
pub async fn federate(State(federation): State<Arc<Federation>>, from: Sender, params: Params) -> Response {
    let utf8 = from
        .headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("escaping=allow-utf-8"));
    match exposition(&federation, &from, &params, utf8).await {
        Ok(text) => {
            let content_type = match utf8 {
                true => "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
                false => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            };
            ([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

/// The newest sample of a series.
struct Newest {
    name: String,
    key: String,
    t: Timestamp,
    value: SampleValue,
}

async fn exposition(federation: &Federation, from: &Sender, params: &Params, utf8: bool) -> Result<String, Failure> {
    let scope = federation.reader.scope(from)?;
    let now = federation.clock.now();
    let interval = TimeInterval::new(now.saturating_sub(federation.lookback_ms), now);
    let bad = |text: String| Failure::new(StatusCode::BAD_REQUEST, text);
    let mut parts = Vec::new();
    for (i, selector) in params.all("match[]").enumerate() {
        if i == SELECTORS_MAX {
            return Err(bad(format!("more than {SELECTORS_MAX} match[] in one request")));
        }
        let matchers = promql::parse_selector(selector, &federation.parse).map_err(|error| bad(error.to_string()))?;
        parts.extend(federation.reader.select(&scope, matchers, interval).await?.parts);
    }
    let mut newest = newest_samples(SeriesMerge::new(&parts), interval).await?;
    newest.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    let mut family = None;
    for sample in &newest {
        let histogram = match &sample.value {
            SampleValue::Float(_) => None,
            SampleValue::Integer(h) => Some(h.to_float()),
            SampleValue::FloatHistogram(h) => Some(FloatHistogram::clone(h)),
        };
        if sample.name.is_empty() || histogram.as_ref().is_some_and(|h| !h.uses_custom_buckets()) {
            continue;
        }
        let kind = if histogram.is_some() { "histogram" } else { "untyped" };
        if family != Some((sample.name.as_str(), kind)) {
            family = Some((&sample.name, kind));
            let name = if utf8 && !is_plain(&sample.name) { quoted(&sample.name) } else { escaped(&sample.name, true) };
            let _ = writeln!(text, "# TYPE {name} {kind}");
        }
        let line = Line { text: &mut text, sample, utf8 };
        match (&sample.value, histogram) {
            (SampleValue::Float(value), _) => line.write("", None, *value),
            (_, Some(histogram)) => line.write_histogram(&histogram),
            _ => {}
        }
    }
    Ok(text)
}

async fn newest_samples(mut merge: SeriesMerge, interval: TimeInterval) -> Result<Vec<Newest>, ReadError> {
    let mut newest = Vec::new();
    while let Some(series) = merge.next().await? {
        let samples = decode(&series.chunks, interval).map_err(|error| ReadError::chunk(&series.key, error))?;
        let Some((t, value)) = samples.into_iter().next_back() else { continue };
        let number = match &value {
            SampleValue::Float(value) => *value,
            SampleValue::Integer(h) => h.sum,
            SampleValue::FloatHistogram(h) => h.sum,
        };
        if !is_stale_nan(number) {
            let name = label_key::get(&series.key, METRIC_NAME).map(|name| name.text().into_owned());
            newest.push(Newest { name: name.unwrap_or_default(), key: series.key, t, value });
        }
    }
    Ok(newest)
}

/// Writes lines of one series.
struct Line<'a> {
    text: &'a mut String,
    sample: &'a Newest,
    /// Whether names may be quoted; otherwise what a plain name cannot have becomes an underscore.
    utf8: bool,
}

impl Line<'_> {
    /// One line: the name with `suffix`, the labels with `le`, value and time.
    fn write(self, suffix: &str, le: Option<f64>, value: f64) {
        self.write_more(suffix, le, value);
    }

    fn write_more(self, suffix: &str, le: Option<f64>, value: f64) -> Self {
        let name = format!("{}{suffix}", self.sample.name);
        let mut labels = Vec::new();
        let mut has_instance = false;
        if self.utf8 && !is_plain(&name) {
            labels.push(quoted(&name));
        } else {
            self.text.push_str(&escaped(&name, true));
        }
        for pair in label_key::pairs(&self.sample.key).filter(|pair| !pair.name.is(METRIC_NAME)) {
            has_instance |= pair.name.is("instance");
            let name = pair.name.text();
            let name = match (is_plain(&name) && !name.contains(':'), self.utf8) {
                (true, _) => name.into_owned(),
                (false, true) => quoted(&name),
                (false, false) => escaped(&name, false),
            };
            labels.push(format!("{name}={}", quoted(&pair.value.text())));
        }
        if !has_instance {
            labels.push("instance=\"\"".to_owned());
        }
        labels.extend(le.map(|le| format!("le=\"{}\"", go_float(le))));
        let _ = writeln!(self.text, "{{{}}} {} {}", labels.join(","), go_float(value), self.sample.t);
        self
    }

    fn write_histogram(mut self, histogram: &FloatHistogram) {
        let mut buckets = histogram.positive_spans.iter().scan(0_i64, |next, span| {
            let first = *next + i64::from(span.offset);
            *next = first + i64::from(span.length);
            Some(first..*next)
        });
        let mut indices = buckets.by_ref().flatten().zip(&histogram.positive_buckets).peekable();
        let mut below = 0.0;
        for (i, bound) in (0_i64..).zip(&histogram.custom_values) {
            while let Some((_, population)) = indices.next_if(|(index, _)| *index <= i) {
                below += population;
            }
            self = self.write_more("_bucket", Some(*bound), below);
        }
        self.write_more("_bucket", Some(f64::INFINITY), histogram.count).write_more("_sum", None, histogram.sum).write(
            "_count",
            None,
            histogram.count,
        );
    }
}

/// Whether the text format has `name` without quotes.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain)
}

/// `name` with an underscore for every character that it cannot have.
fn escaped(name: &str, colons: bool) -> String {
    let plain = |i: usize, c: char| {
        c.is_ascii_alphabetic() || c == '_' || (c == ':' && colons) || (c.is_ascii_digit() && i > 0)
    };
    name.chars().enumerate().map(|(i, c)| if plain(i, c) { c } else { '_' }).collect()
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// As Go's `strconv.FormatFloat(value, 'g', -1, 64)`: an exponent below -4 and above 5.
pub fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(name: &str, labels: &[(&str, &str)], value: SampleValue, utf8: bool) -> String {
        let pairs = labels.iter().copied().chain([(METRIC_NAME, name)]);
        let key = storage::model::Labels::from_pairs(pairs).into_key();
        let sample = Newest { name: name.to_owned(), key, t: 7, value };
        let mut text = String::new();
        let line = Line { text: &mut text, sample: &sample, utf8 };
        match &sample.value {
            SampleValue::Float(value) => line.write("", None, *value),
            SampleValue::FloatHistogram(h) => line.write_histogram(h),
            SampleValue::Integer(_) => {}
        }
        text
    }

    #[test]
    fn a_line() {
        let float = |value| SampleValue::Float(value);
        assert_eq!(lines("up", &[("job", "a\"\n")], float(1.0), false), "up{job=\"a\\\"\\n\",instance=\"\"} 1 7\n");
        assert_eq!(lines("up", &[("instance", "i")], float(f64::NAN), false), "up{instance=\"i\"} NaN 7\n");
        let dotted = [("instance", "i"), ("k.8", "v")];
        assert_eq!(lines("a.b", &dotted, float(-0.5), false), "a_b{instance=\"i\",k_8=\"v\"} -0.5 7\n");
        assert_eq!(lines("a.b", &dotted, float(1.25e6), true), "{\"a.b\",instance=\"i\",\"k.8\"=\"v\"} 1.25e+06 7\n");
    }

    #[test]
    fn custom_buckets_become_classic_ones() {
        let h = FloatHistogram {
            schema: storage::model::CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            sum: 9.5,
            positive_spans: vec![storage::model::Span { offset: 1, length: 2 }],
            positive_buckets: vec![1.0, 5.0],
            custom_values: vec![0.5, 1.0, 2.5],
            ..FloatHistogram::default()
        };
        assert_eq!(
            lines("h", &[("instance", "i")], SampleValue::FloatHistogram(Box::new(h)), false),
            "h_bucket{instance=\"i\",le=\"0.5\"} 0 7\nh_bucket{instance=\"i\",le=\"1\"} 1 7\n\
             h_bucket{instance=\"i\",le=\"2.5\"} 6 7\nh_bucket{instance=\"i\",le=\"+Inf\"} 6 7\n\
             h_sum{instance=\"i\"} 9.5 7\nh_count{instance=\"i\"} 6 7\n"
        );
    }
}
