//! What bodies hold, and what was read back, in one form that can be compared.
//!
//! Floats are compared by their bits. A histogram is the counts of its buckets under their index: spans can be cut in several
//! ways, and a chunk writes empty buckets into the gaps.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use storage::model::{CounterResetHint, FloatHistogram, STALE_NAN_BITS};

use super::wire;

/// Names and values, sorted.
pub type Labels = BTreeMap<String, String>;

/// A sample, under whose time it stands in a [`Series`].
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// Its bits.
    Float(u64),
    Histogram(Box<Histogram>),
}

impl Sample {
    /// Whether it says that the series ended.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Float(bits) => *bits == STALE_NAN_BITS,
            Self::Histogram(histogram) => histogram.sum == STALE_NAN_BITS,
        }
    }
}

/// By time in milliseconds.
pub type Series = BTreeMap<i64, Sample>;

/// Counts that are whole numbers are exact as floats here: none is past 2^53.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    pub gauge: bool,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    /// Its bits.
    pub sum: u64,
    /// Of the buckets that are not empty.
    pub positive: BTreeMap<i64, f64>,
    pub negative: BTreeMap<i64, f64>,
    pub custom_values: Vec<f64>,
}

/// Labels of the series, labels of the exemplar, time, bits of the value.
pub type Exemplar = (Labels, Labels, i64, u64);

/// Kind, help, unit.
pub type Metadata = (&'static str, String, String);

/// Everything that was sent.
#[derive(Debug, Default, PartialEq)]
pub struct Sent {
    pub series: BTreeMap<Labels, Series>,
    pub exemplars: BTreeSet<Exemplar>,
    pub metadata: BTreeMap<String, BTreeSet<Metadata>>,
}

impl Sent {
    /// What one body of a version holds.
    pub fn of(version: &str, body: &[u8]) -> Self {
        let mut sent = Self::default();
        sent.add(version, body);
        sent
    }

    /// Adds a body, compressed; says how many floats, histograms and exemplars are in it.
    pub fn add(&mut self, version: &str, body: &[u8]) -> [usize; 3] {
        let raw = snap::raw::Decoder::new().decompress_vec(body).unwrap();
        if version == "v1" { self.add_v1(&raw) } else { self.add_v2(&raw) }
    }

    fn add_v1(&mut self, body: &[u8]) -> [usize; 3] {
        let request = wire::WriteRequest::decode(body).unwrap();
        for metadata in request.metadata {
            let entry = (kind_name(metadata.kind), metadata.help, metadata.unit);
            self.metadata.entry(metadata.metric_family_name).or_default().insert(entry);
        }
        let counts = count(request.timeseries.iter().map(|s| [s.samples.len(), s.histograms.len(), s.exemplars.len()]));
        for series in request.timeseries {
            let labels = labels(series.labels);
            let exemplars = series.exemplars.into_iter();
            let exemplars = exemplars.map(|e| (self::labels(e.labels), e.timestamp, e.value)).collect();
            self.add_series(&labels, &series.samples, &series.histograms, exemplars);
        }
        counts
    }

    fn add_v2(&mut self, body: &[u8]) -> [usize; 3] {
        let request = wire::Request::decode(body).unwrap();
        let symbol = |reference: u32| request.symbols[reference as usize].clone();
        let labels = |references: &[u32]| -> Labels {
            references.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect()
        };
        for series in &request.timeseries {
            let exemplars = series.exemplars.iter().map(|e| (labels(&e.labels_refs), e.timestamp, e.value)).collect();
            let labels = labels(&series.labels_refs);
            if let Some(metadata) = &series.metadata {
                let entry = (kind_name(metadata.kind), symbol(metadata.help_ref), symbol(metadata.unit_ref));
                let name = &labels["__name__"];
                let suffixes: &[&str] = match entry.0 {
                    "histogram" | "gaugehistogram" => &["_bucket", "_count", "_sum"],
                    "summary" => &["_count", "_sum"],
                    _ => &[],
                };
                let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
                // nothing is said of a metric where all is empty
                if entry != ("unknown", String::new(), String::new()) {
                    self.metadata.entry(family.to_owned()).or_default().insert(entry);
                }
            }
            self.add_series(&labels, &series.samples, &series.histograms, exemplars);
        }
        count(request.timeseries.iter().map(|s| [s.samples.len(), s.histograms.len(), s.exemplars.len()]))
    }

    fn add_series(
        &mut self,
        labels: &Labels,
        samples: &[wire::Sample],
        histograms: &[wire::Histogram],
        exemplars: Vec<(Labels, i64, f64)>,
    ) {
        let series = self.series.entry(labels.clone()).or_default();
        series.extend(samples.iter().map(|s| (s.timestamp, Sample::Float(s.value.to_bits()))));
        series.extend(histograms.iter().map(|h| (h.timestamp, Sample::Histogram(Box::new(Histogram::from_wire(h))))));
        let exemplars = exemplars.into_iter().map(|(own, t, value)| (labels.clone(), own, t, value.to_bits()));
        self.exemplars.extend(exemplars);
    }

    /// Times of the first and the last sample.
    pub fn interval(&self) -> (i64, i64) {
        let times = || self.series.values().flat_map(|series| series.keys().copied());
        (times().min().unwrap(), times().max().unwrap())
    }
}

fn count(of_series: impl Iterator<Item = [usize; 3]>) -> [usize; 3] {
    of_series.fold([0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]])
}

/// Labels as they are sent.
pub fn labels(sent: Vec<wire::Label>) -> Labels {
    sent.into_iter().map(|label| (label.name, label.value)).collect()
}

fn kind_name(kind: u32) -> &'static str {
    ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"][kind as usize]
}

impl Histogram {
    /// As it is sent.
    pub fn from_wire(sent: &wire::Histogram) -> Self {
        let counts = |deltas: &[i64], counts: &[f64]| -> Vec<f64> {
            let running = deltas.iter().scan(0, |count, delta| {
                *count += delta;
                Some(*count as f64)
            });
            running.chain(counts.iter().copied()).collect()
        };
        let side = |spans: &[wire::BucketSpan], counts: Vec<f64>| {
            buckets(spans.iter().map(|span| (span.offset, span.length)), &counts)
        };
        let histogram = Self {
            gauge: sent.reset_hint == 3,
            schema: sent.schema,
            zero_threshold: sent.zero_threshold,
            zero_count: sent.zero_count_float.unwrap_or(sent.zero_count_int.unwrap_or_default() as f64),
            count: sent.count_float.unwrap_or(sent.count_int.unwrap_or_default() as f64),
            sum: sent.sum.to_bits(),
            positive: side(&sent.positive_spans, counts(&sent.positive_deltas, &sent.positive_counts)),
            negative: side(&sent.negative_spans, counts(&sent.negative_deltas, &sent.negative_counts)),
            custom_values: sent.custom_values.clone(),
        };
        histogram.or_only_stale()
    }

    /// As a chunk holds it.
    pub fn from_chunk(stored: &FloatHistogram) -> Self {
        let side = |spans: &[storage::model::Span], counts: &[f64]| {
            buckets(spans.iter().map(|span| (span.offset, span.length)), counts)
        };
        let histogram = Self {
            gauge: stored.counter_reset_hint == CounterResetHint::Gauge,
            schema: stored.schema,
            zero_threshold: stored.zero_threshold,
            zero_count: stored.zero_count,
            count: stored.count,
            sum: stored.sum.to_bits(),
            positive: side(&stored.positive_spans, &stored.positive_buckets),
            negative: side(&stored.negative_spans, &stored.negative_buckets),
            custom_values: stored.custom_values.clone(),
        };
        histogram.or_only_stale()
    }

    /// A staleness marker is its sum; what else stands in it says nothing.
    fn or_only_stale(self) -> Self {
        if self.sum != STALE_NAN_BITS {
            return self;
        }
        let nothing = BTreeMap::new();
        Self {
            gauge: false,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: self.sum,
            positive: nothing.clone(),
            negative: nothing,
            custom_values: Vec::new(),
        }
    }

    /// Bounds and counts of the buckets that are not empty, ascending, as the HTTP API shows them.
    pub fn bounds(&self) -> Vec<(f64, f64, f64)> {
        if self.schema == -53 {
            let bound = |index: i64| match usize::try_from(index) {
                Ok(index) => self.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
                Err(_) => f64::NEG_INFINITY,
            };
            return self.positive.iter().map(|(&i, &count)| (bound(i - 1), bound(i), count)).collect();
        }
        let bound = |index: i64| (index as f64 * (-self.schema as f64).exp2()).exp2();
        let negative = self.negative.iter().rev().map(|(&i, &count)| (-bound(i), -bound(i - 1), count));
        let zero = (self.zero_count != 0.0).then_some((-self.zero_threshold, self.zero_threshold, self.zero_count));
        let positive = self.positive.iter().map(|(&i, &count)| (bound(i - 1), bound(i), count));
        negative.chain(zero).chain(positive).collect()
    }
}

fn buckets(spans: impl Iterator<Item = (i32, u32)>, counts: &[f64]) -> BTreeMap<i64, f64> {
    let mut at = 0;
    let mut indexes = Vec::new();
    for (offset, length) in spans {
        at += i64::from(offset);
        indexes.extend(at..at + i64::from(length));
        at += i64::from(length);
    }
    assert_eq!(indexes.len(), counts.len());
    indexes.into_iter().zip(counts.iter().copied()).filter(|(_, count)| *count != 0.0).collect()
}
