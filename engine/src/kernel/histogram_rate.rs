//! `rate`, `increase` and `delta` of native histograms.

use std::borrow::Cow;

use storage::model::{Combined, CounterResetHint, FloatHistogram, HistogramError};

use super::counter::{Extent, extrapolation};
use super::either_kind::HistogramWindow;
use super::note::{Note, Notes};
use super::start_time::{Started, extrapolation_from_start};

/// The growth inside a window, extrapolated to its borders and divided by `divisor`. `counter` minds resets.
pub(super) fn extrapolated_rate(
    samples: &HistogramWindow<'_>,
    counter: bool,
    divisor: Option<f64>,
    notes: &mut Notes,
) -> Option<FloatHistogram> {
    let (Some(first_t), Some(last_t)) = (samples.times.first(), samples.times.last()) else {
        return None;
    };
    let extent = Extent { first_t: *first_t, last_t: *last_t, samples: samples.times.len() };
    let first = Started::of(samples.times, samples.starts, 0);
    let (mut growth, factor) = if counter && first.begins_in(&samples.window) {
        let growth = match samples.histograms {
            [only] => (**only).clone(),
            several => {
                let mut growth = growth(samples, counter, notes)?;
                combine(&growth.add(&several[0]), Note::ReconciledAddition, notes)?;
                growth
            }
        };
        (growth, extrapolation_from_start(&samples.window, extent, first.start))
    } else {
        let growth = growth(samples, counter, notes)?;
        let zero = (counter && growth.count > 0.0).then(|| (samples.histograms[0].count, growth.count));
        let factor = extrapolation(&samples.window, extent, zero);
        (growth, factor)
    };
    growth.mul(divisor.map_or(factor, |divisor| factor / divisor));
    Some(growth)
}

/// The last histogram minus the first, plus what resets lost; none with fewer than two, or of incompatible ones.
fn growth(samples: &HistogramWindow<'_>, counter: bool, notes: &mut Notes) -> Option<FloatHistogram> {
    let histograms = samples.histograms;
    let started = |i| Started::of(samples.times, samples.starts, i);
    let started_anew = |i| !samples.starts.is_empty() && started(i).is_reset_after(started(i - 1));
    // where incompatible histograms turn up only later, nothing else is told of the window
    let mut found = Notes::default();
    let [first, .., last] = histograms else {
        return None;
    };
    let second = &histograms[1];
    let is_gauge = |h: &FloatHistogram| h.counter_reset_hint == CounterResetHint::Gauge;
    if counter && (is_gauge(first) || is_gauge(last)) {
        found.add(Note::NotCounter);
    }
    // what a reset leaves behind counts from zero, whatever its layout was
    let start: Cow<'_, FloatHistogram> = if counter && (started_anew(1) || second.detect_reset(first)) {
        Cow::Owned(FloatHistogram {
            schema: second.schema,
            custom_values: second.custom_values.clone(),
            ..FloatHistogram::default()
        })
    } else {
        Cow::Borrowed(first)
    };
    let custom = start.uses_custom_buckets();
    if last.uses_custom_buckets() != custom {
        notes.merge(&found);
        notes.add(Note::MixedSchemas);
        return None;
    }
    let mut schema = last.schema.min(start.schema);
    if counter {
        for between in &histograms[1..histograms.len() - 1] {
            if is_gauge(between) {
                found.add(Note::NotCounter);
            }
            schema = schema.min(between.schema);
            if between.uses_custom_buckets() != custom {
                notes.add(Note::MixedSchemas);
                return None;
            }
        }
    }
    let mut growth = last.copy_to_schema(schema);
    combine(&growth.sub(&start), Note::ReconciledSubtraction, notes)?;
    if counter {
        let mut previous: &FloatHistogram = &start;
        for (i, current) in histograms.iter().enumerate().skip(1) {
            if !samples.starts.is_empty() && started(i).overlaps(started(i - 1)) {
                found.add(Note::StartsOverlap);
            }
            if started_anew(i) || current.detect_reset(previous) {
                combine(&growth.add(previous), Note::ReconciledAddition, notes)?;
            }
            previous = current;
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        found.add(Note::NotGauge);
    }
    notes.merge(&found);
    growth.counter_reset_hint = CounterResetHint::Gauge;
    growth.compact(0);
    Some(growth)
}

/// Notes what came of adding or subtracting; none where it was not possible.
pub(super) fn combine(outcome: &Result<Combined, HistogramError>, reconciled: Note, notes: &mut Notes) -> Option<()> {
    let Ok(combined) = outcome else {
        notes.add(Note::MixedSchemas);
        return None;
    };
    if combined.bounds_reconciled {
        notes.add(reconciled);
    }
    Some(())
}

/// `irate` (`counter`) or `idelta` of the last two histograms of a window. `started_anew`: there is a reset between them in any case.
pub(super) fn instant_rate(
    [before, last]: [&FloatHistogram; 2],
    elapsed_seconds: f64,
    counter: bool,
    started_anew: bool,
    notes: &mut Notes,
) -> Option<FloatHistogram> {
    let gauges = [before, last].map(|h| h.counter_reset_hint == CounterResetHint::Gauge);
    if counter && gauges != [false, false] {
        notes.add(Note::NotCounter);
    }
    if !counter && gauges != [true, true] {
        notes.add(Note::NotGauge);
    }
    let mut growth = last.clone();
    if !counter || !(started_anew || last.detect_reset(before)) {
        combine(&growth.sub(before), Note::ReconciledSubtraction, notes)?;
    }
    growth.counter_reset_hint = CounterResetHint::Gauge;
    growth.compact(0);
    if counter {
        growth.div(elapsed_seconds);
    }
    Some(growth)
}
