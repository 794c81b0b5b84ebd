//! Functions that only ask which samples a window has: the first, the last, how many.

use super::both_kinds::for_each_window_of_both;
use super::minmax::epoch_seconds;
use super::{KernelContext, RangeKernel, Series};
use crate::error::Result;
use crate::vector::Row;

/// `count_over_time`.
#[derive(Debug)]
pub(super) struct Count;

/// `present_over_time`.
#[derive(Debug)]
pub(super) struct Present;

/// `first_over_time`.
#[derive(Debug)]
pub(super) struct First;

/// `last_over_time`.
#[derive(Debug)]
pub(super) struct Last;

/// `ts_of_first_over_time`.
#[derive(Debug)]
pub(super) struct TimeOfFirst;

/// `ts_of_last_over_time`.
#[derive(Debug)]
pub(super) struct TimeOfLast;

impl RangeKernel for Count {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each_window_of_both(series, &context.windows, |window| row.set(window.step, window.count()));
        Ok(())
    }
}

impl RangeKernel for Present {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each_window_of_both(series, &context.windows, |window| row.set(window.step, 1.0));
        Ok(())
    }
}

impl RangeKernel for First {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each_window_of_both(series, &context.windows, |window| {
            window.first(series).write(series, window.step, row)
        });
        Ok(())
    }
}

impl RangeKernel for Last {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each_window_of_both(series, &context.windows, |window| window.last(series).write(series, window.step, row));
        Ok(())
    }
}

impl RangeKernel for TimeOfFirst {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each_window_of_both(series, &context.windows, |window| {
            row.set(window.step, epoch_seconds(window.first(series).time(series)))
        });
        Ok(())
    }
}

impl RangeKernel for TimeOfLast {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        for_each_window_of_both(series, &context.windows, |window| {
            row.set(window.step, epoch_seconds(window.last(series).time(series)))
        });
        Ok(())
    }
}
