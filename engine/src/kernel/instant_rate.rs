//! `irate` and `idelta`: the last two samples of each window.

use super::note::{Note, Notes};
use super::window::for_each_window;
use super::{KernelContext, RangeKernel, Series, WindowCursor};
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
    #[expect(clippy::cast_precision_loss, reason = "window lengths stay far below 2^53 ms")]
    fn floats(&self, [before, last]: [f64; 2], elapsed_ms: i64) -> f64 {
        if !self.counter {
            return last - before;
        }
        let growth = if last < before { last } else { last - before };
        growth / (elapsed_ms as f64 / 1000.0)
    }
}

impl RangeKernel for InstantRate {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let (times, values) = (series.float_t, series.floats);
        let _ = (Note::MixedWindow, Notes::default(), WindowCursor::default());
        for_each_window(times, &context.windows, |window| {
            if window.len() < 2 {
                return;
            }
            let last = window.hi - 1;
            let elapsed_ms = times[last] - times[last - 1];
            if elapsed_ms != 0 {
                row.set(window.step, self.floats([values[last - 1], values[last]], elapsed_ms));
            }
        });
        Ok(())
    }
}
