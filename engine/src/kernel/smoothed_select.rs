//! A `smoothed` instant selector: at each step the sample at that time, else the value on the line between the samples around it,
//! else the last one before. Nothing before the first sample.
//!
//! The window is the lookback before the step, and as much after it ([`Margin`](super::Margin)); staleness markers do not count.

use storage::model::{CounterResetHint, FloatHistogram, Timestamp};

use super::both_kinds::for_each_window_of_both;
use super::interpolate;
use super::note::{Note, Notes};
use super::{KernelContext, RangeKernel, Series, WindowCursor};
use crate::error::Result;
use crate::vector::Row;

/// The kernel of smoothed instant selectors.
#[derive(Debug)]
pub(crate) struct SmoothedSelect;

/// Where a time lies among samples.
enum Place {
    /// On this one.
    At(usize),
    /// Between this one and the next.
    Between(usize),
    /// After this one, the last that is near.
    After(usize),
}

/// Where `t` lies among the samples of a window; none before the first one. `next` moves forward to the first at or after `t`.
fn place(times: &[Timestamp], window: WindowCursor, t: Timestamp, next: &mut usize) -> Option<Place> {
    *next = (*next).max(window.lo);
    while *next < window.hi && times[*next] < t {
        *next += 1;
    }
    if *next < window.hi && times[*next] == t {
        return Some(Place::At(*next));
    }
    let before = next.checked_sub(1).filter(|before| *before >= window.lo)?;
    Some(if *next < window.hi { Place::Between(before) } else { Place::After(before) })
}

/// The histogram of a step.
fn histogram_at(series: &Series<'_>, place: &Place, t: Timestamp, notes: &mut Notes) -> Option<FloatHistogram> {
    match *place {
        Place::At(i) => Some((*series.histograms[i]).clone()),
        // the hint speaks of the samples, not of the steps
        Place::After(i) => {
            Some(FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..(*series.histograms[i]).clone() })
        }
        Place::Between(i) => {
            let [before, after] = [i, i + 1].map(|i| (series.histogram_t[i], &*series.histograms[i]));
            if before.1.uses_custom_buckets() != after.1.uses_custom_buckets() {
                notes.add(Note::MixedSchemas);
                return None;
            }
            let gauges = [before.1, after.1].iter().all(|h| h.counter_reset_hint == CounterResetHint::Gauge);
            interpolate::histogram([before, after], t, !gauges, notes)
        }
    }
}

impl RangeKernel for SmoothedSelect {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let mut notes = Notes::default();
        let (mut next_float, mut next_histogram) = (0, 0);
        for_each_window_of_both(series, &context.windows, |window| {
            let (floats, histograms) = (window.floats, window.histograms);
            let t = context.windows.end(window.step);
            if histograms.lo == histograms.hi {
                let value = match place(series.float_t, floats, t, &mut next_float) {
                    Some(Place::At(i) | Place::After(i)) => series.floats[i],
                    Some(Place::Between(i)) => {
                        interpolate::float([i, i + 1].map(|i| (series.float_t[i], series.floats[i])), t, false)
                    }
                    None => return,
                };
                row.set(window.step, value);
            } else if floats.lo < floats.hi {
                notes.add(Note::MixedWindow);
            } else if let Some(place) = place(series.histogram_t, histograms, t, &mut next_histogram)
                && let Some(histogram) = histogram_at(series, &place, t, &mut notes)
            {
                row.set_histogram(window.step, histogram);
            }
        });
        notes.report(context);
        Ok(())
    }
}
