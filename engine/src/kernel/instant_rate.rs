//! `irate` and `idelta`: the last two samples of each window.

use super::both_kinds::{Found, for_each_window_of_both};
use super::histogram_rate::instant_rate;
use super::note::{Note, Notes};
use super::{KernelContext, RangeKernel, Series};
use crate::error::Result;
use crate::vector::Row;

/// `irate`, which minds resets and divides by time, or `idelta`.
#[derive(Debug)]
pub(super) struct InstantRate {
    /// `irate`.
    pub counter: bool,
}

impl InstantRate {
    #[inline]
    fn floats(&self, [before, last]: [f64; 2], elapsed_ms: i64, started_anew: bool) -> f64 {
        if !self.counter {
            return last - before;
        }
        let growth = if started_anew || last < before { last } else { last - before };
        growth / (elapsed_ms as f64 / 1000.0)
    }
}

impl RangeKernel for InstantRate {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let mut notes = Notes::default();
        for_each_window_of_both(series, &context.windows, |window| {
            let Some([before, last]) = window.last_two(series) else {
                return;
            };
            let elapsed_ms = last.time(series) - before.time(series);
            if elapsed_ms == 0 {
                return;
            }
            let started_anew = self.counter && last.started(series).is_reset_after(before.started(series));
            match (before, last) {
                (Found::Float(before), Found::Float(last)) => {
                    let pair = [series.floats[before], series.floats[last]];
                    row.set(window.step, self.floats(pair, elapsed_ms, started_anew));
                }
                (Found::Histogram(before), Found::Histogram(last)) => {
                    let pair = [&*series.histograms[before], &*series.histograms[last]];
                    let elapsed = elapsed_ms as f64 / 1000.0;
                    if let Some(growth) = instant_rate(pair, elapsed, self.counter, started_anew, &mut notes) {
                        row.set_histogram(window.step, growth);
                    }
                }
                _ => notes.add(Note::MixedWindow),
            }
        });
        notes.report(context);
        Ok(())
    }
}
