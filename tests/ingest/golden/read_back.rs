//! Reading everything back, in each way that there is, and comparing it with what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use prost::Message;
use serde_json::Value;
use storage::chunk::decode;
use storage::model::{SampleBuffer, TimeInterval};

use super::model::{Exemplar, Histogram, Labels, Metadata, Sample, Sent, Series, labels};
use super::wire;
use crate::server::{Answer, Server, send};

/// What was sent, and the server that it was sent to.
pub struct ReadBack<'a> {
    pub server: &'a Server,
    pub sent: &'a Sent,
}

/// All series of the tenant, which tells them from the server's own metrics.
const SELECTOR: &str = "{tenant_id=\"default-tenant\"}";
/// How far back a selector without range looks.
const LOOKBACK_MS: i64 = 300_000;
const STEP_MS: i64 = 7_000;

impl ReadBack<'_> {
    /// By PromQL, a range at one time: every sample but staleness markers, which PromQL does not show.
    pub fn matrix_selector(&self) {
        let (first, last) = self.sent.interval();
        let query = format!("{SELECTOR}[{}ms]", last - first + 1);
        let data = self.server.data("/api/v1/query", &[("query", &query), ("time", &seconds(last))]);
        let mut expected = self.sent.series.clone();
        expected.values_mut().for_each(|series| series.retain(|_, sample| !sample.is_stale()));
        expected.retain(|_, series| !series.is_empty());
        self.compare_promql(&data, &expected);
    }

    /// By PromQL, step by step: at each the newest sample of the last five minutes.
    pub fn query_range(&self) {
        let (first, last) = self.sent.interval();
        let fields = [("query", SELECTOR), ("start", &seconds(first)), ("end", &seconds(last)), ("step", "7s")];
        let data = self.server.data("/api/v1/query_range", &fields);
        let at = |series: &Series, t: i64| {
            let (_, newest) = series.range(t - LOOKBACK_MS + 1..=t).next_back()?;
            (!newest.is_stale()).then(|| newest.clone())
        };
        let steps = |series: &Series| -> Series {
            (first..=last).step_by(STEP_MS as usize).filter_map(|t| Some((t, at(series, t)?))).collect()
        };
        let mut expected: BTreeMap<_, _> =
            self.sent.series.iter().map(|(labels, series)| (labels.clone(), steps(series))).collect();
        expected.retain(|_, series| !series.is_empty());
        self.compare_promql(&data, &expected);
    }

    fn compare_promql(&self, data: &Value, expected: &BTreeMap<Labels, Series>) {
        let mut found = BTreeSet::new();
        for row in data["result"].as_array().unwrap() {
            let labels = without_external(json_labels(&row["metric"]));
            let series = &expected.get(&labels).unwrap_or_else(|| panic!("{labels:?} was not sent"));
            let floats = points(row, "values");
            let histograms = points(row, "histograms");
            assert_eq!(floats.len() + histograms.len(), series.len(), "{labels:?}");
            for (t, sample) in series.iter() {
                match sample {
                    Sample::Float(bits) => {
                        let value = float(floats[t]);
                        let sent = f64::from_bits(*bits);
                        // text has one NaN only
                        let equal = value.to_bits() == *bits || value.is_nan() && sent.is_nan();
                        assert!(equal, "{labels:?} at {t}: {value} for {sent}");
                    }
                    Sample::Histogram(histogram) => compare_shown(histogram, histograms[t]),
                }
            }
            assert!(found.insert(labels.clone()), "{labels:?} twice");
        }
        assert_eq!(found.len(), expected.len());
    }

    /// By remote read, as samples: every sample, staleness markers too.
    pub fn remote_read_samples(&self) {
        let body = snap::raw::Decoder::new().decompress_vec(&self.remote_read(&[0])).unwrap();
        let answer = wire::ReadResponse::decode(body.as_slice()).unwrap();
        assert_eq!(answer.results.len(), 1);
        let mut found: BTreeMap<Labels, Series> = BTreeMap::new();
        for series in answer.results.into_iter().flat_map(|result| result.timeseries) {
            let samples = series.samples.iter().map(|s| (s.timestamp, Sample::Float(s.value.to_bits())));
            let histogram = |h: &wire::Histogram| (h.timestamp, Sample::Histogram(Box::new(Histogram::from_wire(h))));
            let all = samples.chain(series.histograms.iter().map(histogram));
            let known = found.insert(without_external(labels(series.labels)), all.collect());
            assert!(known.is_none(), "a series twice");
        }
        compare(&found, &self.sent.series);
    }

    /// By remote read, as a stream of chunks.
    pub fn remote_read_chunks(&self) {
        let stream = self.remote_read(&[1]);
        let mut rest = stream.as_slice();
        let mut found: BTreeMap<Labels, Series> = BTreeMap::new();
        while !rest.is_empty() {
            let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
            let (checksum, after) = rest.split_at(4);
            let (message, after) = after.split_at(length);
            assert_eq!(u32::from_be_bytes(checksum.try_into().unwrap()), crc32c::crc32c(message));
            rest = after;
            for chunked in wire::ChunkedReadResponse::decode(message).unwrap().chunked_series {
                let series = found.entry(without_external(labels(chunked.labels))).or_default();
                for chunk in chunked.chunks {
                    let samples = samples_of(&chunk);
                    let bounds = (*samples.keys().next().unwrap(), *samples.keys().next_back().unwrap());
                    assert_eq!(bounds, (chunk.min_time_ms, chunk.max_time_ms));
                    for (t, sample) in samples {
                        assert!(series.insert(t, sample).is_none(), "a sample twice");
                    }
                }
            }
        }
        compare(&found, &self.sent.series);
    }

    fn remote_read(&self, accepted: &[u32]) -> Vec<u8> {
        let (first, last) = self.sent.interval();
        let tenant = wire::LabelMatcher { kind: 0, name: "tenant_id".to_owned(), value: "default-tenant".to_owned() };
        let query = wire::ReadQuery { start_timestamp_ms: first, end_timestamp_ms: last, matchers: vec![tenant] };
        let request = wire::ReadRequest { queries: vec![query], accepted_response_types: accepted.to_vec() };
        let body = crate::requests::compress(&request.encode_to_vec());
        let headers = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                       X-Prometheus-Remote-Read-Version: 0.1.0\r\n";
        let answer = Answer::of(send(&self.server.address, "POST /api/v1/read", headers, &body));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    /// Every exemplar.
    pub fn exemplars(&self) {
        let data = self.server.data("/api/v1/query_exemplars", &[("query", SELECTOR)]);
        let mut found: Vec<Exemplar> = Vec::new();
        for series in data.as_array().unwrap() {
            let labels = without_external(json_labels(&series["seriesLabels"]));
            for exemplar in series["exemplars"].as_array().unwrap() {
                let value = float(&exemplar["value"]).to_bits();
                found.push((labels.clone(), json_labels(&exemplar["labels"]), time(&exemplar["timestamp"]), value));
            }
        }
        assert_eq!(found.len(), self.sent.exemplars.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), self.sent.exemplars);
    }

    /// What is said of each metric.
    pub fn metadata(&self) {
        let data = self.server.get("/api/v1/metadata");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        for (family, expected) in &self.sent.metadata {
            let entries = data[family].as_array().unwrap_or_else(|| panic!("nothing is said of {family}"));
            let found: BTreeSet<(String, String, String)> = entries
                .iter()
                .map(|entry| (text(&entry["type"]), text(&entry["help"]), text(&entry["unit"])))
                .collect();
            let owned = |(kind, help, unit): &Metadata| ((*kind).to_owned(), help.clone(), unit.clone());
            assert_eq!(found, expected.iter().map(owned).collect(), "{family}");
        }
    }
}

fn samples_of(chunk: &wire::Chunk) -> Series {
    let mut samples = SampleBuffer::new();
    decode(u8::try_from(chunk.kind).unwrap(), &chunk.data, TimeInterval::ALL, &mut samples).unwrap();
    let mut histograms = samples.histograms.iter().peekable();
    let sample = |(i, (&t, &value)): (usize, (&i64, &f64))| match histograms.next_if(|(at, _)| *at as usize == i) {
        Some((_, histogram)) => (t, Sample::Histogram(Box::new(Histogram::from_chunk(histogram)))),
        None => (t, Sample::Float(value.to_bits())),
    };
    samples.timestamps.iter().zip(&samples.floats).enumerate().map(sample).collect()
}

fn compare<K: Ord + Debug, V: PartialEq + Debug>(found: &BTreeMap<K, V>, expected: &BTreeMap<K, V>) {
    for (key, value) in expected {
        assert_eq!(found.get(key), Some(value), "{key:?}");
    }
    assert_eq!(found.len(), expected.len());
}

/// A histogram as the HTTP API writes it: buckets with their bounds.
fn compare_shown(histogram: &Histogram, shown: &Value) {
    assert_eq!(float(&shown["count"]), histogram.count);
    assert_eq!(float(&shown["sum"]).to_bits(), histogram.sum);
    let none = Vec::new();
    let buckets = shown["buckets"].as_array().unwrap_or(&none);
    let expected = histogram.bounds();
    assert_eq!(buckets.len(), expected.len(), "{histogram:?} {shown}");
    let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-12 * a.abs();
    for (bucket, (lower, upper, count)) in buckets.iter().zip(expected) {
        assert!(near(float(&bucket[1]), lower) && near(float(&bucket[2]), upper), "{bucket}: {lower}, {upper}");
        assert_eq!(float(&bucket[3]), count);
    }
}

fn points<'a>(row: &'a Value, kind: &str) -> BTreeMap<i64, &'a Value> {
    let points = row.get(kind).map_or(&[][..], |points| points.as_array().unwrap());
    points.iter().map(|point| (time(&point[0]), &point[1])).collect()
}

fn float(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

/// Milliseconds of a time in seconds.
fn time(seconds: &Value) -> i64 {
    (seconds.as_f64().unwrap() * 1_000.0).round() as i64
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn json_labels(object: &Value) -> Labels {
    object.as_object().unwrap().iter().map(|(name, v)| (name.clone(), v.as_str().unwrap().to_owned())).collect()
}

/// The labels that were sent: `receiver` and `tenant_id` were joined to them here.
fn without_external(mut labels: Labels) -> Labels {
    assert_eq!(labels.remove("tenant_id").as_deref(), Some("default-tenant"));
    labels.remove("receiver");
    labels
}
