//! `changes` and `resets`: pairs of neighbouring samples that differ, or of which the second is a counter reset.

use super::positions::Positions;
use super::window::for_each_window;
use super::{KernelContext, RangeKernel, Series};
use crate::error::Result;
use crate::vector::Row;

/// `changes`.
#[derive(Debug)]
pub(super) struct Changes;

/// `resets`.
#[derive(Debug)]
pub(super) struct Resets;

fn changed(before: f64, value: f64) -> bool {
    value != before && !(value.is_nan() && before.is_nan())
}

#[expect(clippy::cast_precision_loss, reason = "a window has fewer samples than a float has digits")]
fn count(
    times: &[storage::model::Timestamp],
    context: &KernelContext<'_>,
    positions: &mut Positions,
    row: &mut Row<'_>,
) {
    for_each_window(times, &context.windows, |window| {
        row.set(window.step, positions.within(window.lo + 1, window.hi).len() as f64);
    });
}

impl RangeKernel for Changes {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let mut positions = Positions::of_pairs(series.floats, |before, value| changed(*before, *value));
        count(series.float_t, context, &mut positions, row);
        Ok(())
    }
}

impl RangeKernel for Resets {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        let mut positions = Positions::of_pairs(series.floats, |before, value| value < before);
        count(series.float_t, context, &mut positions, row);
        Ok(())
    }
}
