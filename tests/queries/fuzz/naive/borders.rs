//! Selectors that are `anchored` or `smoothed`: what a series has at the borders of a window, and between two samples.

use std::sync::Arc;

use promql::ast::VectorSelector;
use promql::tree::Border;
use storage::model::{CounterResetHint, FloatHistogram};

use super::numbers::seconds;
use super::select::Window;
use super::{Failure, Naive, Naively, Row, Samples, Value, Vector, notes};

/// A value at a time.
type At<T> = (i64, T);

impl Naive<'_> {
    /// An instant selector that is `smoothed`.
    pub(super) fn smoothed_instant(&self, selector: &VectorSelector, steps: &[i64]) -> Naively<Vec<Vector>> {
        let (offset, at) = (self.offset(selector.offset.as_ref())?, self.at(selector.at));
        let mut vectors = vec![Vector::new(); steps.len()];
        for (labels, samples) in self.matching(&selector.matchers) {
            let samples = self.read(selector.span, samples);
            for (vector, t) in vectors.iter_mut().zip(steps) {
                let t = at.unwrap_or(*t) - offset;
                let near = |(at, value): &&At<Value>| {
                    (at - t).abs() <= self.lookback_ms && *at > t - self.lookback_ms && !value.is_stale()
                };
                let near: Samples = samples.iter().filter(near).cloned().collect();
                if let Some(value) = self.smoothed_at(&near, t) {
                    vector.push(Row::new(labels.clone(), value));
                }
            }
        }
        Ok(vectors)
    }

    fn smoothed_at(&self, samples: &Samples, t: i64) -> Option<Value> {
        let (floats, histograms) = parts(samples);
        if !floats.is_empty() && !histograms.is_empty() {
            self.note(notes::MIXED);
            return None;
        }
        if let Some((before, after)) = around(&floats, t) {
            return Some(Value::Float(match after {
                Some(after) if before.0 < t => self.rounded(between(before, after, t, false)),
                _ => before.1,
            }));
        }
        let (before, after) = around(&histograms, t)?;
        let Some(after) = after.filter(|_| before.0 < t) else { return Some(Value::Histogram(before.1)) };
        let gauges = is_gauge(&before.1) && is_gauge(&after.1);
        Some(Value::Histogram(self.between_histograms(&before, &after, t, !gauges)?))
    }

    /// `rate`, `increase` and `delta` of a window with a border.
    pub(super) fn extended(&self, window: &Window, counter: bool, per_second: bool) -> Option<Value> {
        let (floats, histograms) = parts(&window.samples);
        if !floats.is_empty() && !histograms.is_empty() {
            self.note(notes::MIXED);
            return None;
        }
        let by = if per_second { seconds(window.until - window.after) } else { 1.0 };
        if histograms.is_empty() {
            let (left, inside, right) = self.float_borders(window, &floats, counter)?;
            let (mut lost, mut before) = (0.0, left);
            for value in inside.iter().map(|(_, value)| *value).chain([right]).filter(|_| counter) {
                if value < before {
                    lost += before;
                }
                before = value;
            }
            return Some(Value::Float(self.rounded((right - left + lost) / by)));
        }
        let mut increase = self.extended_histograms(window, &histograms, counter)?;
        increase.div(by);
        increase.counter_reset_hint = CounterResetHint::Gauge;
        increase.compact(0);
        Some(Value::Histogram(increase.into()))
    }

    /// The values at both borders and the samples between.
    fn float_borders(&self, window: &Window, floats: &[At<f64>], counter: bool) -> Option<(f64, Vec<At<f64>>, f64)> {
        let used = used(window, floats)?;
        let (first, last) = (used[0], used[used.len() - 1]);
        let smoothed = window.border == Border::Smoothed;
        let left =
            if smoothed && first.0 < window.after { between(first, used[1], window.after, counter) } else { first.1 };
        let right = if smoothed && last.0 > window.until && used.len() > 1 {
            between(used[used.len() - 2], last, window.until, counter)
        } else {
            last.1
        };
        let inside = used.iter().filter(|(t, _)| *t > window.after && *t < window.until).copied().collect();
        Some((left, inside, right))
    }

    fn extended_histograms(
        &self,
        window: &Window,
        histograms: &[At<Arc<FloatHistogram>>],
        counter: bool,
    ) -> Option<FloatHistogram> {
        let used = used(window, histograms)?;
        let (first, last) = (&used[0], &used[used.len() - 1]);
        let smoothed = window.border == Border::Smoothed;
        for (_, histogram) in &used {
            if histogram.uses_custom_buckets() != first.1.uses_custom_buckets() {
                self.note(notes::SCHEMAS);
                return None;
            }
            if counter && is_gauge(histogram) {
                self.note(notes::NOT_COUNTER);
            }
        }
        let left_between = smoothed && first.0 < window.after;
        let left = match left_between {
            true => self.between_histograms(first, &used[1], window.after, counter)?,
            false => Arc::clone(&first.1),
        };
        let right = match smoothed && last.0 > window.until && used.len() > 1 {
            true => self.between_histograms(&used[used.len() - 2], last, window.until, counter)?,
            false => Arc::clone(&last.1),
        };
        if !counter && [&left, &right].iter().any(|histogram| !is_gauge(histogram)) {
            self.note(notes::NOT_GAUGE);
        }
        let mut increase = (*right).clone();
        self.combine(&mut increase, &left, false)?;
        if !counter || used.len() == 1 {
            return Some(increase);
        }
        // a reset that the left border lies in has been seen there
        let seen = left_between && used[1].1.detect_reset(&first.1);
        if seen && used.len() == 2 {
            return Some(increase);
        }
        let (mut before, inner) = if seen { (&used[1].1, &used[2..]) } else { (&left, &used[1..]) };
        for (_, histogram) in &inner[..inner.len() - 1] {
            if histogram.detect_reset(before) {
                self.combine(&mut increase, before, true)?;
            }
            before = histogram;
        }
        if right.detect_reset(before) {
            self.combine(&mut increase, before, true)?;
        }
        Some(increase)
    }

    /// The histogram on the line between two.
    fn between_histograms(
        &self,
        before: &At<Arc<FloatHistogram>>,
        after: &At<Arc<FloatHistogram>>,
        t: i64,
        counter: bool,
    ) -> Option<Arc<FloatHistogram>> {
        if t == after.0 {
            return Some(Arc::clone(&after.1));
        }
        let share = seconds(t - before.0) / seconds(after.0 - before.0);
        let mut result = (*after.1).clone();
        if before.1.uses_custom_buckets() != after.1.uses_custom_buckets() {
            self.note(notes::SCHEMAS);
            return None;
        }
        if counter && after.1.detect_reset(&before.1) {
            result.mul(share);
            return Some(result.into());
        }
        self.combine(&mut result, &before.1, false)?;
        result.mul(share);
        self.combine(&mut result, &before.1, true)?;
        Some(result.into())
    }

    /// Adds a histogram, or takes it away, and tells what came of their buckets; none where they do not fit.
    pub(super) fn combine(&self, to: &mut FloatHistogram, other: &FloatHistogram, add: bool) -> Option<()> {
        match if add { to.add(other) } else { to.sub(other) } {
            Ok(combined) if combined.bounds_reconciled => self.note(notes::RECONCILED),
            Ok(_) => {}
            Err(_) => {
                self.note(notes::SCHEMAS);
                return None;
            }
        }
        Some(())
    }

    /// The samples that `changes` and `resets` look at: of an anchored window, the last one at or before its start too, if any
    /// follows.
    pub(super) fn anchored<'w>(&self, window: &'w Window) -> &'w [(i64, Value)] {
        let samples = &window.samples[..];
        let before = samples.iter().take_while(|(t, _)| *t <= window.after).count();
        match window.border {
            Border::Anchored if before == samples.len() => &[],
            Border::Anchored => &samples[before.saturating_sub(1)..],
            _ => samples,
        }
    }

    /// A window as a query whose result it is shows it: with values at its borders where it is extended to them.
    pub(super) fn shown(&self, window: Window) -> Naively<Samples> {
        if window.border == Border::Plain {
            return Ok(window.samples);
        }
        let (floats, histograms) = parts(&window.samples);
        if !histograms.is_empty() {
            return Err(Failure::new("modifier is not supported with histograms"));
        }
        let alone = |after: &At<f64>| after.0 > window.until;
        let borders = match floats.first().filter(|first| window.border == Border::Smoothed && alone(first)) {
            // the only case in which a rate has no value, and a window has
            Some(first) => Some((first.1, Vec::new(), first.1)),
            None => self.float_borders(&window, &floats, false),
        };
        let Some((left, inside, right)) = borders else { return Ok(Samples::new()) };
        let points = [(window.after, left)].into_iter().chain(inside).chain([(window.until, right)]);
        Ok(points.map(|(t, value)| (t, Value::Float(value))).collect())
    }
}

fn is_gauge(histogram: &FloatHistogram) -> bool {
    histogram.counter_reset_hint == CounterResetHint::Gauge
}

fn parts(samples: &Samples) -> (Vec<At<f64>>, Vec<At<Arc<FloatHistogram>>>) {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for (t, value) in samples {
        match value {
            Value::Float(value) => floats.push((*t, *value)),
            Value::Histogram(histogram) => histograms.push((*t, Arc::clone(histogram))),
        }
    }
    (floats, histograms)
}

/// The last sample at or before `t`, and the first one after.
fn around<T: Clone>(samples: &[At<T>], t: i64) -> Option<(At<T>, Option<At<T>>)> {
    let before = samples.iter().rev().find(|(at, _)| *at <= t)?.clone();
    Some((before, samples.iter().find(|(at, _)| *at > t).cloned()))
}

/// From the last sample at or before the window's start to the first one at or after its end, or the last inside. None
/// where nothing lies behind the start, or nothing before the end.
fn used<T: Clone>(window: &Window, samples: &[At<T>]) -> Option<Vec<At<T>>> {
    let from = samples.iter().filter(|(t, _)| *t <= window.after).count().saturating_sub(1);
    let inside = samples.iter().filter(|(t, _)| *t < window.until).count();
    let to = if window.border == Border::Smoothed { (inside + 1).min(samples.len()) } else { samples.len() };
    let used = samples.get(from..to)?;
    let (first, last) = (used.first()?, used.last()?);
    (last.0 > window.after && first.0 <= window.until).then(|| used.to_vec())
}

/// The value on the line between two samples; a counter that was reset comes from zero.
#[expect(clippy::cast_precision_loss, reason = "differences of times are small")]
fn between(before: At<f64>, after: At<f64>, t: i64, counter: bool) -> f64 {
    let from = if counter && after.1 < before.1 { 0.0 } else { before.1 };
    from + (after.1 - from) * (t - before.0) as f64 / (after.0 - before.0) as f64
}
