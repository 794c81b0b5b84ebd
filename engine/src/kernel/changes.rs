//! `changes` and `resets`: pairs of neighbouring samples that differ, or of which the second is a counter reset.
//!
//! Which pairs do is found once a series; a window counts those of which it holds both samples. A float beside a
//! histogram is a change and a reset. Where the selector is `anchored`, the last sample at or before the window's start
//! counts as held, and a window of nothing but that one has no answer.

use std::sync::Arc;

use storage::model::{FloatHistogram, Timestamp};

use super::positions::Positions;
use super::start_time::Started;
use super::window::{Boundary, for_each_window};
use super::{KernelContext, RangeKernel, Series};
use crate::error::Result;
use crate::vector::{Row, Sample};

/// `changes`.
#[derive(Debug)]
pub(super) struct Changes {
    /// Whether the sample before the window counts.
    pub anchored: bool,
}

/// `resets`.
#[derive(Debug)]
pub(super) struct Resets {
    /// Whether the sample before the window counts.
    pub anchored: bool,
}

fn changed(before: f64, value: f64) -> bool {
    value != before && !(value.is_nan() && before.is_nan())
}

/// Writes how many pairs of each window `float` or `histogram` accept, given the earlier sample first.
fn count_pairs(
    series: &Series<'_>,
    context: &KernelContext<'_>,
    row: &mut Row<'_>,
    anchored: bool,
    float: impl Fn(f64, f64) -> bool,
    histogram: impl Fn(&FloatHistogram, &FloatHistogram) -> bool,
) {
    if series.histograms.is_empty() && series.float_starts.is_empty() {
        let pairs = Positions::of_pairs(series.floats, |before, value| float(*before, *value));
        return write_counts(series.float_t, context, pairs, anchored, row);
    }
    let (times, samples) = merged(series);
    // without start timestamps, which `changes` is not given, no sample started anew
    let pairs = Positions::of_pairs(&samples, |(started_before, before), (started, sample)| match (before, sample) {
        (Sample::Float(before), Sample::Float(value)) => {
            float(*before, *value) | started.is_reset_after(*started_before)
        }
        (Sample::Histogram(before), Sample::Histogram(value)) => {
            started.is_reset_after(*started_before) || histogram(before, value)
        }
        _ => true,
    });
    write_counts(&times, context, pairs, anchored, row);
}

/// All samples in time.
fn merged<'a>(series: &Series<'a>) -> (Vec<Timestamp>, Vec<(Started, Sample<'a>)>) {
    let float = |(i, value)| (Started::of(series.float_t, series.float_starts, i), Sample::Float(value));
    let floats = series.floats.iter().copied().enumerate().map(float);
    let histogram = |(i, h): (usize, &'a Arc<FloatHistogram>)| {
        (Started::of(series.histogram_t, series.histogram_starts, i), Sample::Histogram(h))
    };
    let histograms = series.histograms.iter().enumerate().map(histogram);
    let mut all: Vec<(Started, Sample<'a>)> = floats.chain(histograms).collect();
    all.sort_by_key(|(sample, _)| sample.t);
    (all.iter().map(|(sample, _)| sample.t).collect(), all)
}

fn write_counts(
    times: &[Timestamp],
    context: &KernelContext<'_>,
    mut pairs: Positions,
    anchored: bool,
    row: &mut Row<'_>,
) {
    let mut inside = Boundary::default();
    for_each_window(times, &context.windows, |window| {
        let mut first = window.lo;
        if anchored {
            inside.advance(times, window.start);
            if inside.at == window.hi {
                return;
            }
            first = inside.at.saturating_sub(1).max(first);
        }
        row.set(window.step, pairs.within(first + 1, window.hi).len() as f64);
    });
}

impl RangeKernel for Changes {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        count_pairs(series, context, row, self.anchored, changed, |before, value| !value.equals(before));
        Ok(())
    }
}

impl RangeKernel for Resets {
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()> {
        count_pairs(
            series,
            context,
            row,
            self.anchored,
            |before, value| value < before,
            |before, value| value.detect_reset(before),
        );
        Ok(())
    }
}
