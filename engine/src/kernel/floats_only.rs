//! Functions of floats alone: histograms in their windows are left out, and the user told.

use storage::model::Timestamp;

use super::note::{Note, Notes};
use super::window::for_each_window;
use super::{KernelContext, RangeKernel, Series, WindowCursor};
use crate::error::Result;
use crate::vector::Row;

/// A function of the floats of each window.
pub(super) trait FloatKernel: Send + Sync + std::fmt::Debug {
    /// Calls `emit(step, value)` for each step that has a value, ascending.
    ///
    /// # Errors
    /// As [`RangeKernel::evaluate`].
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        emit: impl FnMut(usize, f64),
    ) -> Result<()>;
}

/// Makes a [`FloatKernel`] a [`RangeKernel`].
#[derive(Debug)]
pub(super) struct FloatsOnly<K>(pub K);

impl<K: FloatKernel> RangeKernel for FloatsOnly<K> {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        if any_window_is_mixed(series, context) {
            let mut notes = Notes::default();
            notes.add(Note::HistogramsIgnored);
            notes.report(context);
        }
        self.0.floats(series.float_t, series.floats, context, |step, value| row.set(step, value))
    }
}

/// Whether a window holds floats and histograms.
fn any_window_is_mixed(series: &Series<'_>, context: &KernelContext<'_>) -> bool {
    if series.histogram_t.is_empty() || series.float_t.is_empty() {
        return false;
    }
    let mut cursor = WindowCursor::default();
    let mut mixed = false;
    for_each_window(series.float_t, &context.windows, |window| {
        cursor.advance(series.histogram_t, window.start, window.end);
        mixed |= cursor.lo < cursor.hi;
    });
    mixed
}
