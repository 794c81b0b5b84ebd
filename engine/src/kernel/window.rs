//! The loop over windows that all kernels share.

use storage::model::Timestamp;

use super::Windows;

/// One window that has samples: `lo..hi` of the times it was found in, those in its margin among them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Number of the step.
    pub step: usize,
    /// Last millisecond before.
    pub start: Timestamp,
    /// Last millisecond inside.
    pub end: Timestamp,
    /// First sample that is looked at.
    pub lo: usize,
    /// First sample after those.
    pub hi: usize,
}

impl Window {
    /// Number of samples.
    #[inline]
    pub fn len(&self) -> usize {
        self.hi - self.lo
    }
}

/// One border of a moving window: the first sample beyond it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Boundary {
    /// Its index.
    pub at: usize,
    stride: usize,
}

impl Boundary {
    /// Moves on to the first sample after `limit`. Scrapes are regular, so the border mostly moves as far as it did
    /// before; trying that first costs two looks and no loop, whose end a processor would guess wrong.
    #[inline]
    pub fn advance(&mut self, times: &[Timestamp], limit: Timestamp) {
        let guess = self.at + self.stride;
        if guess < times.len() && times[guess] > limit && (self.stride == 0 || times[guess - 1] <= limit) {
            self.at = guess;
            return;
        }
        let before = self.at;
        while self.at < times.len() && times[self.at] <= limit {
            self.at += 1;
        }
        self.stride = self.at - before;
    }
}

/// Calls `each` for every window that has at least one of `times`, in order.
#[inline]
pub(super) fn for_each_window(times: &[Timestamp], windows: &Windows, mut each: impl FnMut(Window)) {
    let (mut lo, mut hi) = (Boundary::default(), Boundary::default());
    let steps = windows.steps();
    if steps == 0 {
        return;
    }
    let stride = if windows.at.is_some() { 0 } else { windows.grid.step_ms };
    let mut end = windows.end(0);
    for step in 0..steps {
        let start = end.saturating_sub(windows.range_ms);
        lo.advance(times, start.saturating_sub(windows.margin.before_ms));
        hi.advance(times, end.saturating_add(windows.margin.after_ms));
        if lo.at < hi.at {
            each(Window { step, start, end, lo: lo.at, hi: hi.at });
        } else if lo.at == times.len() {
            // windows only move on, and there is nothing ahead
            return;
        }
        end = end.saturating_add(stride);
    }
}

/// Calls `each` with the step and the last sample of every window that has at least one of `times`, in order.
#[inline]
pub(crate) fn for_each_last(times: &[Timestamp], windows: &Windows, mut each: impl FnMut(usize, usize)) {
    let mut hi = Boundary::default();
    let steps = windows.steps();
    if steps == 0 {
        return;
    }
    let stride = if windows.at.is_some() { 0 } else { windows.grid.step_ms };
    let mut end = windows.end(0);
    for step in 0..steps {
        hi.advance(times, end);
        if let Some(last) = hi.at.checked_sub(1) {
            if times[last] > end.saturating_sub(windows.range_ms) {
                each(step, last);
            } else if hi.at == times.len() {
                // windows only move on, and there is nothing ahead
                return;
            }
        }
        end = end.saturating_add(stride);
    }
}
