//! A request of OTLP as series: metric by metric, data point by data point.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use storage::head::{FloatSample, HistogramSample, Metadata, MetricKind};
use storage::model::{METRIC_NAME, Timestamp};

use super::OtlpSettings;
use super::labels::{LabelList, Resource};
use super::names::{Suffix, metric_name, unit_name};
use super::point::{Kind, OtlpExemplar, Point, milliseconds};
use crate::remote::histogram::validated;
use crate::remote::series::{Output, SeriesBuilder};
use crate::remote::target::Refusal;
use crate::remote::v1::EXEMPLAR_LABELS_MAX;
use crate::remote::wire::{Fields, Malformed};

/// Most samples of `target_info` that fill the time between the first and the last data point, of one request.
const TARGET_INFO_MAX: i64 = 100_000;

/// The state of one request.
pub struct Translation<'s> {
    settings: &'s OtlpSettings,
    /// Samples of `target_info` that were written: hashes of labels, and times.
    seen: HashSet<(u64, Timestamp)>,
    hasher: RandomState,
    target_info_left: i64,
}

/// What is known of a metric before its data points.
struct Metric<'a> {
    kind: Kind,
    data: &'a [u8],
    name: String,
    unit: String,
    help: &'a str,
    metric_kind: MetricKind,
}

impl<'s> Translation<'s> {
    /// A translation that has seen nothing yet.
    pub fn new(settings: &'s OtlpSettings) -> Self {
        Self { settings, seen: HashSet::new(), hasher: RandomState::new(), target_info_left: TARGET_INFO_MAX }
    }

    /// Translates an `ExportMetricsServiceRequest`.
    ///
    /// # Errors
    /// Where `body` is no such message.
    pub fn request(&mut self, body: &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
        let mut fields = Fields::new(body);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                self.resource_metrics(value.bytes("resource_metrics")?, out)?;
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
        let mut resource_message = &[][..];
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                resource_message = value.bytes("resource")?;
            }
        }
        let resource = match Resource::decode(resource_message, self.settings)? {
            Ok(resource) => resource,
            Err(error) => {
                out.tally.refuse_metric(error.to_string(), 1);
                return Ok(());
            }
        };
        let mut times: Option<(u64, u64)> = None;
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            if number != 2 {
                continue;
            }
            let mut scope = Fields::new(value.bytes("scope_metrics")?);
            while let Some((number, value)) = scope.next()? {
                if number == 2 {
                    self.metric(value.bytes("metrics")?, &resource, &mut times, out)?;
                }
            }
        }
        if let Some((earliest, latest)) = times {
            self.target_info(&resource, earliest, latest, out);
        }
        Ok(())
    }

    fn metric(
        &self,
        message: &[u8],
        resource: &Resource<'_>,
        times: &mut Option<(u64, u64)>,
        out: &mut Output<'_>,
    ) -> Result<(), Malformed> {
        let (mut name, mut help, mut unit, mut data) = (&[][..], &[][..], &[][..], None);
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => name = value.bytes("name")?,
                2 => help = value.bytes("description")?,
                3 => unit = value.bytes("unit")?,
                5 => data = Some((Kind::Gauge, value.bytes("gauge")?)),
                7 => data = Some((Kind::Sum, value.bytes("sum")?)),
                9 => data = Some((Kind::Histogram, value.bytes("histogram")?)),
                10 => data = Some((Kind::Exponential, value.bytes("exponential_histogram")?)),
                11 => data = Some((Kind::Summary, value.bytes("summary")?)),
                _ => {}
            }
        }
        let (Ok(name), Ok(help), Ok(unit)) = (str::from_utf8(name), str::from_utf8(help), str::from_utf8(unit)) else {
            out.tally.refuse_metric("the name, unit or description of a metric is not UTF-8".to_owned(), 1);
            return Ok(());
        };
        let Some((kind, data)) = data else {
            out.tally.refuse_metric(format!("could not get aggregation temporality for {name}: unsupported type"), 1);
            return Ok(());
        };
        let (points, temporality, monotonic) = survey(data, times)?;
        let needs_temporality = matches!(kind, Kind::Sum | Kind::Histogram | Kind::Exponential);
        if needs_temporality && temporality != CUMULATIVE {
            out.tally.refuse_metric(format!("invalid temporality and type combination for metric {name:?}"), points);
            return Ok(());
        }
        let suffix = match kind {
            Kind::Gauge => Suffix::Gauge,
            Kind::Sum if monotonic => Suffix::Counter,
            _ => Suffix::None,
        };
        let Some(translated) = metric_name(name, unit, suffix, self.settings.strategy) else {
            out.tally.refuse_metric(format!("normalization for metric {name:?} resulted in an invalid name"), points);
            return Ok(());
        };
        let metric_kind = match kind {
            Kind::Sum if monotonic => MetricKind::Counter,
            Kind::Gauge | Kind::Sum => MetricKind::Gauge,
            Kind::Histogram | Kind::Exponential => MetricKind::Histogram,
            Kind::Summary => MetricKind::Summary,
        };
        let metric = Metric { kind, data, name: translated, unit: unit_name(unit), help, metric_kind };
        self.points(&metric, resource, out)
    }

    fn points(&self, metric: &Metric<'_>, resource: &Resource<'_>, out: &mut Output<'_>) -> Result<(), Malformed> {
        let mut fields = Fields::new(metric.data);
        while let Some((number, value)) = fields.next()? {
            if number != 1 {
                continue;
            }
            let mut point = Point::decode(value.bytes("data_points")?, metric.kind)?;
            let attributes = std::mem::take(&mut point.attributes);
            let labels = match &point.error {
                Some(error) => Err(error.clone()),
                None => resource.labels(&attributes, self.settings),
            };
            match labels {
                Ok(_) if point.too_large => {
                    out.tally.refuse_metric(format!("a data point of {} has too many buckets", metric.name), 1);
                }
                Ok(labels) => metric.point(&point, &labels, out),
                Err(error) => out.tally.refuse_metric(format!("{error} in metric {:?}", metric.name), 1),
            }
        }
        Ok(())
    }

    /// Writes 1 for the resource, often enough that a query finds it wherever it finds a data point.
    fn target_info(&mut self, resource: &Resource<'_>, earliest: u64, latest: u64, out: &mut Output<'_>) {
        if !self.settings.target_info {
            return;
        }
        let labels = match resource.info_labels(self.settings) {
            Ok(Some(labels)) => labels,
            Ok(None) => return,
            Err(error) => return out.tally.refuse_metric(error.to_string(), 1),
        };
        let mut key: Vec<_> = labels.iter().collect();
        key.sort_unstable();
        let hash = self.hasher.hash_one(key);
        let step = self.settings.lookback_ms.max(2).saturating_mul(1_000_000) / 2;
        let (earliest, latest) = (earliest.cast_signed(), latest.cast_signed());
        let steps = (latest.saturating_sub(earliest).max(0).saturating_add(step - 1) / step).min(self.target_info_left);
        self.target_info_left -= steps;
        let mut builder = SeriesBuilder::default();
        builder.start();
        builder.text_label(METRIC_NAME, "target_info");
        labels.iter().for_each(|(name, value)| builder.text_label(name, value));
        builder.describe(Metadata { kind: MetricKind::Gauge, unit: "", help: "Target metadata" });
        builder.check_labels(out.admission);
        let first = latest.saturating_sub(steps.saturating_mul(step)).max(earliest);
        let between = (0..steps).map(|i| first.saturating_add(i.saturating_mul(step)));
        for t in between.chain([latest]).map(|t| milliseconds(t.cast_unsigned())) {
            if self.seen.insert((hash, t)) {
                builder.float(FloatSample { t, start: 0, value: 1.0 }, out);
            }
        }
        builder.finish(false, out);
    }
}

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`
const CUMULATIVE: u64 = 2;

/// Counts data points, widens `times` by theirs, and reads temporality and monotonicity.
fn survey(data: &[u8], times: &mut Option<(u64, u64)>) -> Result<(u64, u64, bool), Malformed> {
    let (mut points, mut temporality, mut monotonic) = (0, 0, false);
    let mut fields = Fields::new(data);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                points += 1;
                let mut time = 0;
                let mut point = Fields::new(value.bytes("data_points")?);
                while let Some((number, value)) = point.next()? {
                    if number == 3 {
                        time = value.fixed64("time_unix_nano")?;
                    }
                }
                let (earliest, latest) = times.unwrap_or((time, time));
                *times = Some((earliest.min(time), latest.max(time)));
            }
            2 => temporality = value.uint("aggregation_temporality")?,
            3 => monotonic = value.uint("is_monotonic")? != 0,
            _ => {}
        }
    }
    Ok((points, temporality, monotonic))
}

impl Metric<'_> {
    fn point(&self, point: &Point<'_>, labels: &LabelList<'_>, out: &mut Output<'_>) {
        match self.kind {
            Kind::Gauge => self.float(point, labels, "", None, point.value, &[], out),
            Kind::Sum => self.float(point, labels, "", None, point.value, &point.exemplars, out),
            Kind::Histogram => self.classic_histogram(point, labels, out),
            Kind::Summary => {
                self.float(point, labels, "_sum", None, point.sum.unwrap_or(0.0), &[], out);
                self.float(point, labels, "_count", None, count_of(point.count), &[], out);
                for (quantile, value) in &point.quantiles {
                    self.float(point, labels, "", Some(("quantile", &decimal(*quantile))), *value, &[], out);
                }
            }
            Kind::Exponential => {
                let histogram = match point.native_histogram() {
                    Ok(histogram) => histogram,
                    Err(text) => return out.tally.refuse_metric(format!("{text} in metric {:?}", self.name), 1),
                };
                let (t, start) = (point.t, point.start);
                let sample = validated(histogram)
                    .map(|histogram| HistogramSample { t, start, histogram })
                    .map_err(|refusal| (t, refusal));
                let mut builder = self.series(labels, "", None, out);
                builder.histogram(sample, out);
                push_exemplars(&mut builder, &point.exemplars, out);
                builder.finish(false, out);
            }
        }
    }

    /// Sum, count and one series a bucket, each with all that is at most its bound. An exemplar goes to the first bucket that holds
    /// it.
    fn classic_histogram(&self, point: &Point<'_>, labels: &LabelList<'_>, out: &mut Output<'_>) {
        if let Some(sum) = point.sum {
            self.float(point, labels, "_sum", None, sum, &[], out);
        }
        let count = count_of(point.count);
        self.float(point, labels, "_count", None, count, &[], out);
        let (mut below, mut exemplars) = (0_u64, &point.exemplars[..]);
        for (bound, bucket) in point.bounds.iter().zip(&point.counts) {
            below = below.wrapping_add(*bucket);
            let inside = exemplars.iter().take_while(|exemplar| exemplar.value <= *bound).count();
            let (own, rest) = exemplars.split_at(inside);
            exemplars = rest;
            self.float(point, labels, "_bucket", Some(("le", &decimal(*bound))), count_of(below), own, out);
        }
        self.float(point, labels, "_bucket", Some(("le", "+Inf")), count, exemplars, out);
    }

    #[expect(clippy::too_many_arguments, reason = "one series with one sample, said in one line by its callers")]
    fn float(
        &self,
        point: &Point<'_>,
        labels: &LabelList<'_>,
        suffix: &str,
        extra: Option<(&str, &str)>,
        value: f64,
        exemplars: &[OtlpExemplar<'_>],
        out: &mut Output<'_>,
    ) {
        let name = format!("{}{suffix}", self.name);
        let mut builder = self.series(labels, &name, extra, out);
        let sample = FloatSample { t: point.t, start: point.start, value: point.or_stale(value) };
        builder.float(sample, out);
        push_exemplars(&mut builder, exemplars, out);
        builder.finish(false, out);
    }

    /// A series under `name`, or the metric's where that is empty, with one label more.
    fn series<'b>(
        &'b self,
        labels: &'b LabelList<'b>,
        name: &'b str,
        extra: Option<(&'b str, &'b str)>,
        out: &Output<'_>,
    ) -> SeriesBuilder<'b> {
        let mut builder = SeriesBuilder::default();
        builder.start();
        builder.text_label(METRIC_NAME, if name.is_empty() { &self.name } else { name });
        for (label, value) in labels.iter() {
            if label != METRIC_NAME && extra.is_none_or(|(name, _)| name != label) {
                builder.text_label(label, value);
            }
        }
        if let Some((name, value)) = extra {
            builder.text_label(name, value);
        }
        builder.describe(Metadata { kind: self.metric_kind, unit: &self.unit, help: self.help });
        builder.check_labels(out.admission);
        builder
    }
}

fn push_exemplars<'b>(builder: &mut SeriesBuilder<'b>, exemplars: &'b [OtlpExemplar<'_>], out: &mut Output<'_>) {
    for exemplar in exemplars {
        let begin = builder.exemplar_begin();
        for (name, value) in exemplar.labels.iter().take(EXEMPLAR_LABELS_MAX) {
            builder.exemplar_label(name, value);
        }
        builder.exemplar(exemplar.t, exemplar.value, Ok::<(), Refusal>(()), begin, out);
    }
}

/// A count as a sample.
#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
const fn count_of(count: u64) -> f64 {
    count as f64
}

/// As Go's `strconv.FormatFloat(value, 'f', -1, 64)`.
fn decimal(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value}")
}
