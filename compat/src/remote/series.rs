//! One series of a request on its way to the head: its labels checked, its samples gathered in buffers that are reused.
//!
//! An empty sample is two bytes of the body and 24 here, so the buffers are handed on when they are full, and a series with very
//! many samples goes to the head in several portions. That keeps what a request takes near the size of its body.

use std::ops::Range;
use std::sync::Arc;

use storage::head::{Exemplar, FloatSample, HistogramSample, Metadata, SeriesWrite};
use storage::model::{METRIC_NAME, Timestamp};

use super::target::{Refusal, SeriesSink, Tally};
use crate::relabel::Relabel;
use crate::tenant::is_valid_tenant;

/// Most labels of one series.
pub const LABELS_MAX: usize = 4_096;
/// Most characters in the labels of an exemplar, as `OpenMetrics` has it.
const EXEMPLAR_CHARS_MAX: usize = 128;
/// Samples that are gathered before they are handed on.
const FLOATS_AT_ONCE: usize = 4_096;
const HISTOGRAMS_AT_ONCE: usize = 64;
/// Spans and buckets of histograms that are gathered before they are handed on.
const BUCKETS_AT_ONCE: usize = 1 << 14;
const EXEMPLARS_AT_ONCE: usize = 256;

/// What a request is checked against.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Whose request it is; checked.
    pub tenant: String,
    /// The label that names the tenant of a single series, if there is one. It is taken off the series.
    pub split_label: Option<String>,
    /// The latest timestamp that is taken.
    pub latest: Timestamp,
    /// Whether a series must have a metric name.
    pub name_required: bool,
    /// Rules that the labels go through first.
    pub relabel: Option<Arc<Relabel>>,
}

/// Where series go, and what became of them.
pub struct Output<'s> {
    /// The checks.
    pub admission: &'s Admission,
    /// The head.
    pub sink: &'s mut dyn SeriesSink,
    /// The counts.
    pub tally: &'s mut Tally,
}

/// The series that is being decoded, and the buffers for all of them.
#[derive(Debug, Default)]
pub struct SeriesBuilder<'a> {
    labels: Vec<(&'a str, &'a str)>,
    tenant: Option<&'a str>,
    refusal: Option<Refusal>,
    metadata: Option<Metadata<'a>>,
    floats: Vec<FloatSample>,
    histograms: Vec<HistogramSample>,
    /// Spans and buckets of `histograms`.
    buckets: usize,
    exemplar_labels: Vec<(&'a str, &'a str)>,
    exemplars: Vec<(Range<usize>, Timestamp, f64)>,
    samples: u64,
    too_far_ahead: u64,
}

impl<'a> SeriesBuilder<'a> {
    /// Starts the next series.
    #[inline]
    pub fn start(&mut self) {
        self.labels.clear();
        (self.tenant, self.refusal, self.metadata) = (None, None, None);
        (self.samples, self.too_far_ahead) = (0, 0);
    }

    /// Adds a label.
    #[inline]
    pub fn label(&mut self, name: &'a [u8], value: &'a [u8]) {
        match (str::from_utf8(name), str::from_utf8(value)) {
            (Ok(name), Ok(value)) => self.text_label(name, value),
            _ => self.refuse(Refusal::Labels("a name or value is not UTF-8")),
        }
    }

    /// Adds a label whose text is known to be UTF-8.
    #[inline]
    pub fn text_label(&mut self, name: &'a str, value: &'a str) {
        if self.labels.len() < LABELS_MAX {
            self.labels.push((name, value));
        } else {
            self.refuse(Refusal::Labels("more labels than are accepted"));
        }
    }

    /// Says that the series cannot be written, and why; the first reason stays.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// Says what the metric is.
    pub const fn describe(&mut self, metadata: Metadata<'a>) {
        self.metadata = Some(metadata);
    }

    /// Checks the labels, when all are there: sorts them where the sender did not, drops those without a value.
    pub fn check_labels(&mut self, admission: &Admission) {
        if !self.labels.is_sorted_by(|a, b| a.0 < b.0) {
            self.labels.sort_by(|a, b| a.0.cmp(b.0));
            if self.labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                self.refuse(Refusal::Labels("a name occurs twice"));
            }
        }
        if self.labels.first().is_some_and(|(name, _)| name.is_empty()) {
            self.refuse(Refusal::Labels("a name is empty"));
        }
        if self.labels.iter().any(|(_, value)| value.is_empty()) {
            self.labels.retain(|(_, value)| !value.is_empty());
        }
        if let Some(split) = &admission.split_label
            && let Ok(at) = self.labels.binary_search_by(|(name, _)| (*name).cmp(split))
        {
            let (_, tenant) = self.labels.remove(at);
            self.tenant = Some(tenant);
            if !is_valid_tenant(tenant) {
                self.refuse(Refusal::Tenant);
            }
        }
        if self.labels.is_empty() {
            self.refuse(Refusal::Labels("there are none"));
        } else if admission.name_required && !self.labels.iter().any(|(name, _)| *name == METRIC_NAME) {
            self.refuse(Refusal::Labels("there is no metric name"));
        }
    }

    /// Adds a float sample.
    #[inline]
    pub fn float(&mut self, sample: FloatSample, out: &mut Output<'_>) {
        self.samples += 1;
        if sample.t > out.admission.latest {
            self.too_far_ahead += 1;
        } else if self.refusal.is_none() {
            self.floats.push(sample);
            if self.floats.len() == FLOATS_AT_ONCE {
                self.hand_on(out);
            }
        }
    }

    /// Adds a histogram, or says why not.
    pub fn histogram(&mut self, histogram: Result<HistogramSample, (Timestamp, Refusal)>, out: &mut Output<'_>) {
        self.samples += 1;
        match histogram {
            Ok(sample) if sample.t > out.admission.latest => self.too_far_ahead += 1,
            Err((t, _)) if t > out.admission.latest => self.too_far_ahead += 1,
            _ if self.refusal.is_some() => {}
            Ok(sample) => {
                self.buckets += sample.histogram.layout_len();
                self.histograms.push(sample);
                if self.histograms.len() == HISTOGRAMS_AT_ONCE || self.buckets >= BUCKETS_AT_ONCE {
                    self.hand_on(out);
                }
            }
            Err((_, refusal)) => out.tally.refuse(&refusal, &self.labels, 1),
        }
    }

    /// Adds an exemplar; its labels are what `labels` adds to the list that it gets.
    pub fn exemplar(
        &mut self,
        t: Timestamp,
        value: f64,
        labels: Result<(), Refusal>,
        begin: usize,
        out: &mut Output<'_>,
    ) {
        let own = self.exemplar_labels.get_mut(begin..).unwrap_or_default();
        own.sort_by(|a, b| a.0.cmp(b.0));
        let chars: usize = own.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        let unusable = own.windows(2).any(|pair| pair[0].0 == pair[1].0) || chars > EXEMPLAR_CHARS_MAX;
        let refusal = match labels {
            Err(refusal) => Some(refusal),
            Ok(()) if unusable => Some(Refusal::ExemplarLabels),
            Ok(()) if t > out.admission.latest => Some(Refusal::ExemplarTooFarAhead),
            Ok(()) => None,
        };
        if self.refusal.is_some() {
            self.exemplar_labels.truncate(begin);
        } else if let Some(refusal) = refusal {
            out.tally.refuse(&refusal, &self.labels, 1);
            self.exemplar_labels.truncate(begin);
        } else {
            self.exemplars.push((begin..self.exemplar_labels.len(), t, value));
            if self.exemplars.len() == EXEMPLARS_AT_ONCE {
                self.hand_on(out);
            }
        }
    }

    /// Adds a label to the exemplar that comes next.
    pub fn exemplar_label(&mut self, name: &'a str, value: &'a str) {
        self.exemplar_labels.push((name, value));
    }

    /// Where the labels of the exemplar that comes next begin.
    pub const fn exemplar_begin(&self) -> usize {
        self.exemplar_labels.len()
    }

    /// Ends the series: what is gathered goes to the sink, or what it was refused for into the tally.
    #[inline]
    pub fn finish(&mut self, samples_required: bool, out: &mut Output<'_>) {
        if samples_required && self.samples == 0 {
            self.refuse(Refusal::NoSamples);
        }
        if let Some(refusal) = self.refusal.take() {
            out.tally.refuse(&refusal, &self.labels, self.samples);
            self.clear_samples();
            return;
        }
        if self.too_far_ahead > 0 {
            out.tally.refuse(&Refusal::TooFarAhead, &self.labels, self.too_far_ahead);
        }
        self.hand_on(out);
    }

    fn hand_on(&mut self, out: &mut Output<'_>) {
        let exemplars: Vec<Exemplar<'_>> = self
            .exemplars
            .iter()
            .map(|(labels, t, value)| Exemplar {
                labels: self.exemplar_labels.get(labels.clone()).unwrap_or_default(),
                t: *t,
                value: *value,
            })
            .collect();
        if self.floats.is_empty() && self.histograms.is_empty() && exemplars.is_empty() {
            return;
        }
        let series = SeriesWrite {
            labels: &self.labels,
            floats: &self.floats,
            histograms: &self.histograms,
            exemplars: &exemplars,
            metadata: self.metadata,
        };
        out.sink.push(self.tenant.unwrap_or(&out.admission.tenant), &series, out.tally);
        self.clear_samples();
    }

    fn clear_samples(&mut self) {
        self.floats.clear();
        self.histograms.clear();
        self.buckets = 0;
        self.exemplar_labels.clear();
        self.exemplars.clear();
    }
}
