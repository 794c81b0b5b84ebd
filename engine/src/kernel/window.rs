//! The loop over windows that all kernels share.

use storage::model::Timestamp;

use super::{WindowCursor, Windows};

/// One window that has samples: `lo..hi` of the times it was found in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Number of the step.
    pub step: usize,
    /// Last millisecond before.
    pub start: Timestamp,
    /// Last millisecond inside.
    pub end: Timestamp,
    /// First sample inside.
    pub lo: usize,
    /// First sample after.
    pub hi: usize,
}

impl Window {
    /// Number of samples.
    #[inline]
    pub fn len(&self) -> usize {
        self.hi - self.lo
    }
}

/// Calls `each` for every window that has at least one of `times`, in order.
#[inline]
pub(super) fn for_each_window(times: &[Timestamp], windows: &Windows, mut each: impl FnMut(Window)) {
    let mut cursor = WindowCursor::default();
    let steps = windows.steps();
    if steps == 0 {
        return;
    }
    let stride = if windows.at.is_some() { 0 } else { windows.grid.step_ms };
    let mut end = windows.end(0);
    for step in 0..steps {
        let start = end.saturating_sub(windows.range_ms);
        cursor.advance(times, start, end);
        if cursor.lo < cursor.hi {
            each(Window { step, start, end, lo: cursor.lo, hi: cursor.hi });
        } else if cursor.lo == times.len() {
            // windows only move on, and there is nothing ahead
            return;
        }
        end = end.saturating_add(stride);
    }
}
