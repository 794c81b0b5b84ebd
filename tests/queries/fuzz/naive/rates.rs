//! `rate`, `increase`, `delta`, `irate` and `idelta`.

use std::sync::Arc;

use promql::tree::Border;
use storage::model::{CounterResetHint, FloatHistogram};

use super::numbers::{count, seconds};
use super::select::Window;
use super::windows::began_between;
use super::{Naive, Value, notes};

impl Naive<'_> {
    /// The increase between the first and the last sample, extrapolated to the window's borders.
    pub(super) fn extrapolated(&self, window: &Window, counter: bool, per_second: bool) -> Option<Value> {
        if window.border != Border::Plain {
            return self.extended(window, counter, per_second);
        }
        let samples = &window.samples;
        let (floats, histograms) = (window.floats(), window.histograms());
        if !floats.is_empty() && !histograms.is_empty() {
            self.note(notes::MIXED);
            return None;
        }
        let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
        let resets: Vec<bool> =
            (1..samples.len()).map(|i| counter && began_between(&window.starts, samples, i - 1)).collect();
        // a counter that began inside the window was zero then
        let start = window.starts[0];
        let began = counter && start != 0 && start > window.after && start < first;
        if samples.len() < 2 && !began {
            return None;
        }
        self.note_overlap(window, counter);
        let increase = match (&samples[0].1, samples.len()) {
            (Value::Histogram(only), 1) => Value::Histogram(Arc::clone(only)),
            (Value::Float(zero), _) => {
                let from = if began { *zero } else { 0.0 };
                Value::Float(float_increase(&floats, &resets, counter) + from)
            }
            (Value::Histogram(zero), _) => {
                let mut increase = self.histogram_increase(&histograms, &resets, counter)?;
                if began {
                    self.combine(&mut increase, zero, true)?;
                }
                Value::Histogram(increase.into())
            }
        };
        let sampled = seconds(last - if began { start } else { first });
        let average = if samples.len() < 2 { 0.0 } else { seconds(last - first) / (count(samples.len()) - 1.0) };
        let mut to_start = if began { 0.0 } else { seconds(first - window.after) };
        let mut to_end = seconds(window.until - last);
        if !began && to_start >= average * 1.1 {
            to_start = average / 2.0;
        }
        if counter && !began {
            let (first, whole) = match (&samples[0].1, &increase) {
                (Value::Histogram(first), Value::Histogram(whole)) => (first.count, whole.count),
                (Value::Float(first), Value::Float(whole)) => (*first, *whole),
                _ => unreachable!("mixed windows were left out"),
            };
            // a counter does not begin below zero
            if whole > 0.0 && first >= 0.0 {
                to_start = to_start.min(sampled * (first / whole));
            }
        }
        if to_end >= average * 1.1 {
            to_end = average / 2.0;
        }
        let mut factor = (sampled + to_start + to_end) / sampled;
        if per_second {
            factor /= seconds(window.until - window.after);
        }
        Some(match increase {
            Value::Float(value) => Value::Float(self.rounded(value * factor)),
            Value::Histogram(histogram) => {
                let mut scaled = (*histogram).clone();
                scaled.mul(factor);
                Value::Histogram(scaled.into())
            }
        })
    }

    /// Tells of samples that began to count before the one before them, and not with it.
    fn note_overlap(&self, window: &Window, counter: bool) {
        let overlaps = |i: usize| {
            let (before, start) = (window.starts[i - 1], window.starts[i]);
            start != 0 && start < window.samples[i - 1].0 && start != before
        };
        if counter && (1..window.samples.len()).any(overlaps) {
            self.note(notes::OVERLAP);
        }
    }

    fn histogram_increase(
        &self,
        histograms: &[Arc<FloatHistogram>],
        resets: &[bool],
        counter: bool,
    ) -> Option<FloatHistogram> {
        let mut first = (*histograms[0]).clone();
        let last = &histograms[histograms.len() - 1];
        let gauge = |histogram: &FloatHistogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
        if counter && histograms.iter().any(|histogram| gauge(histogram)) {
            self.note(notes::NOT_COUNTER);
        }
        if counter && (resets[0] || histograms[1].detect_reset(&first)) {
            // what came before the reset does not matter, not even its layout
            first = FloatHistogram {
                schema: histograms[1].schema,
                custom_values: histograms[1].custom_values.clone(),
                ..FloatHistogram::default()
            };
        }
        let custom = first.uses_custom_buckets();
        let inner = &histograms[1..histograms.len() - 1];
        if last.uses_custom_buckets() != custom || counter && inner.iter().any(|h| h.uses_custom_buckets() != custom) {
            self.note(notes::SCHEMAS);
            return None;
        }
        let mut lowest = last.schema.min(first.schema);
        if counter {
            lowest = inner.iter().map(|histogram| histogram.schema).fold(lowest, i32::min);
        }
        let mut increase = last.copy_to_schema(lowest);
        let mut combined = vec![increase.sub(&first).ok()?];
        if counter {
            let mut before = &first;
            for (histogram, reset) in histograms[1..].iter().zip(resets) {
                if *reset || histogram.detect_reset(before) {
                    combined.push(increase.add(before).ok()?);
                }
                before = histogram;
            }
        } else if !gauge(&histograms[0]) || !gauge(last) {
            self.note(notes::NOT_GAUGE);
        }
        if combined.iter().any(|combined| combined.bounds_reconciled) {
            self.note(notes::RECONCILED);
        }
        increase.counter_reset_hint = CounterResetHint::Gauge;
        increase.compact(0);
        Some(increase)
    }

    /// The difference of the last two samples, by the time between them for a rate.
    pub(super) fn last_two(&self, window: &Window, rate: bool) -> Option<Value> {
        let [.., before, last] = window.samples.as_slice() else { return None };
        let interval = seconds(last.0 - before.0);
        let began = rate && began_between(&window.starts, &window.samples, window.samples.len() - 2);
        match (&before.1, &last.1) {
            (Value::Float(a), Value::Float(b)) => {
                let difference = if rate && (began || b < a) { *b } else { b - a };
                Some(Value::Float(self.rounded(if rate { difference / interval } else { difference })))
            }
            (Value::Histogram(a), Value::Histogram(b)) => {
                let gauges = [a, b].map(|h| h.counter_reset_hint == CounterResetHint::Gauge);
                if rate && gauges.contains(&true) {
                    self.note(notes::NOT_COUNTER);
                }
                if !rate && gauges.contains(&false) {
                    self.note(notes::NOT_GAUGE);
                }
                let mut difference = (**b).clone();
                if !rate || !began && !b.detect_reset(a) {
                    self.combine(&mut difference, a, false)?;
                }
                difference.counter_reset_hint = CounterResetHint::Gauge;
                difference.compact(0);
                if rate {
                    difference.div(interval);
                }
                Some(Value::Histogram(difference.into()))
            }
            _ => {
                self.note(notes::MIXED);
                None
            }
        }
    }
}

/// What a counter gained, or by how much a gauge differs.
fn float_increase(values: &[f64], resets: &[bool], counter: bool) -> f64 {
    let mut increase = values[values.len() - 1] - values[0];
    if counter {
        for (pair, reset) in values.windows(2).zip(resets) {
            if *reset || pair[1] < pair[0] {
                increase += pair[0];
            }
        }
    }
    increase
}
