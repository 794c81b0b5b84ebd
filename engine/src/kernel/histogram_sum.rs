//! `sum_over_time` and `avg_over_time` of native histograms, with compensated sums.

use std::sync::Arc;

use storage::model::{CounterResetHint, FloatHistogram};

use super::histogram_rate::combine;
use super::note::{Note, Notes};

/// The sum of `histograms`; none where they are incompatible.
pub(super) fn sum(histograms: &[Arc<FloatHistogram>], notes: &mut Notes) -> Option<FloatHistogram> {
    let (first, rest) = histograms.split_first()?;
    let mut sum = (**first).clone();
    let mut compensation = None;
    for histogram in rest {
        combine(&sum.kahan_add(histogram, &mut compensation), Note::ReconciledAggregation, notes)?;
    }
    note_collision(histograms, notes);
    if let Some(compensation) = compensation {
        combine(&sum.add(&compensation), Note::ReconciledAggregation, notes)?;
    }
    Some(sum)
}

/// The mean of `histograms`: their sum by their number, or, from where the sum would overflow, updated one by one.
#[expect(clippy::cast_precision_loss, reason = "a window has fewer samples than a float has digits")]
pub(super) fn mean(histograms: &[Arc<FloatHistogram>], notes: &mut Notes) -> Option<FloatHistogram> {
    let (first, rest) = histograms.split_first()?;
    let mut total = (**first).clone();
    let mut compensation: Option<FloatHistogram> = None;
    let mut incremental = false;
    for (i, histogram) in rest.iter().enumerate() {
        let count = (i + 2) as f64;
        if !incremental {
            let (mut next, mut next_compensation) = (total.clone(), compensation.clone());
            combine(&next.kahan_add(histogram, &mut next_compensation), Note::ReconciledAggregation, notes)?;
            if !next.has_overflow() {
                (total, compensation) = (next, next_compensation);
                continue;
            }
            incremental = true;
            total.div(count - 1.0);
            if let Some(compensation) = &mut compensation {
                compensation.div(count - 1.0);
            }
        }
        let kept = (count - 1.0) / count;
        if let Some(compensation) = &mut compensation {
            compensation.mul(kept);
        }
        let mut share = (**histogram).clone();
        share.div(count);
        total.mul(kept);
        combine(&total.kahan_add(&share, &mut compensation), Note::ReconciledAggregation, notes)?;
    }
    note_collision(histograms, notes);
    if !incremental {
        let count = histograms.len() as f64;
        total.div(count);
        if let Some(compensation) = &mut compensation {
            compensation.div(count);
        }
    }
    if let Some(compensation) = compensation {
        // a compensation has the layout of its sum
        combine(&total.add(&compensation), Note::ReconciledAggregation, notes)?;
    }
    Some(total)
}

/// Notes that some of `histograms` say they follow a counter reset and others that they do not.
fn note_collision(histograms: &[Arc<FloatHistogram>], notes: &mut Notes) {
    let any = |hint: CounterResetHint| histograms.iter().any(|h| h.counter_reset_hint == hint);
    if any(CounterResetHint::CounterReset) && any(CounterResetHint::NotCounterReset) {
        notes.add(Note::ResetCollision);
    }
}
