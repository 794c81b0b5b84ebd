//! One series in, one row out.

use std::sync::Arc;

use storage::model::{FloatHistogram, METRIC_NAME, SampleBuffer, Timestamp, is_stale_nan, label_key};

use super::histogram_stats::HistogramStats;
use super::{WindowFunction, WindowSpec};
use crate::context::QueryContext;
use crate::error::Result;
use crate::kernel::{KernelContext, PerTimes, RangeKernel, ScalarArg, Series, WindowLayout, Windows, for_each_last};
use crate::vector::{Row, VectorBuilder};

/// Evaluates a [`WindowSpec`] series by series.
#[derive(Debug)]
pub(super) struct Evaluator {
    spec: WindowSpec,
    args: Vec<ScalarArg>,
    query: QueryContext,
    position: String,
    stats: HistogramStats,
    split: SplitSamples,
    layout: WindowLayout,
    /// Step and sample of each window that has one, for [`select`].
    last: PerTimes<(usize, usize)>,
    labels: String,
}

impl Evaluator {
    pub(super) fn new(spec: WindowSpec, args: Vec<ScalarArg>, query: QueryContext) -> Self {
        let position = query.position(spec.span.start);
        let (stats, split) = (HistogramStats::default(), SplitSamples::default());
        let (layout, last) = (WindowLayout::default(), PerTimes::default());
        Self { spec, args, query, position, stats, split, layout, last, labels: String::new() }
    }

    pub(super) fn steps(&self) -> usize {
        self.spec.windows.steps()
    }

    /// Appends the row of the series `key` to `builder`, if it has a sample at any step.
    pub(super) fn evaluate(&mut self, key: &str, samples: &SampleBuffer, builder: &mut VectorBuilder) -> Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        let mut stats = std::mem::take(&mut self.stats);
        let samples = match self.spec.histogram_stats {
            true => stats.of(samples, &self.spec.windows),
            false => samples,
        };
        let mut row = builder.start_row();
        match &self.spec.function {
            WindowFunction::Select => select(samples, &self.spec.windows, &self.last, &mut row),
            WindowFunction::Timestamp => timestamps(samples, &self.spec.windows, &mut row),
            WindowFunction::StartTime => start_times(samples, &self.spec.windows, &mut row),
            WindowFunction::SampleTimes => float_times(samples, &self.spec.windows, &mut row),
            WindowFunction::Range(kernel) => {
                let kernel = Arc::clone(kernel);
                self.run_kernel(kernel.as_ref(), key, samples, &mut row)?;
            }
        }
        self.stats = stats;
        let labels = self.spec.labels.write(key, self.query.name_removal, &mut self.labels);
        let count = builder.finish_row(labels);
        self.query.samples.add(count)
    }

    fn run_kernel(
        &mut self,
        kernel: &dyn RangeKernel,
        key: &str,
        samples: &SampleBuffer,
        row: &mut Row<'_>,
    ) -> Result<()> {
        let series = self.split.split(samples, self.spec.start_times);
        let name = label_key::get(key, METRIC_NAME).map(label_key::Escaped::text).unwrap_or_default();
        let typed = || label_key::get(key, "__type__").map(label_key::Escaped::text).unwrap_or_default();
        let type_label = self.query.type_labels.then(typed);
        let context = KernelContext {
            windows: self.spec.windows,
            args: &self.args,
            annotations: &self.query.annotations,
            metric_name: &name,
            type_label: type_label.as_deref(),
            layout: &self.layout,
            position: &self.position,
        };
        kernel.evaluate(&series, &context, row)
    }
}

/// The last sample of each window, unless it is a staleness marker.
fn select(samples: &SampleBuffer, windows: &Windows, last: &PerTimes<(usize, usize)>, row: &mut Row<'_>) {
    if samples.histograms.is_empty() {
        let times = &samples.timestamps;
        let make = |last: &mut Vec<_>| for_each_last(times, windows, |step, index| last.push((step, index)));
        let mut put = |step, index| {
            let value: f64 = samples.floats[index];
            if !is_stale_nan(value) {
                row.set(step, value);
            }
        };
        return last.with(times, make, |last| match last {
            Some(last) => last.iter().for_each(|(step, index)| put(*step, *index)),
            None => for_each_last(times, windows, put),
        });
    }
    last_of_each(samples, windows, |step, index| match samples.histogram(index) {
        Some(histogram) => row.set_histogram(step, FloatHistogram::clone(histogram)),
        None => row.set(step, samples.floats[index]),
    });
}

/// The time of the last sample of each window in seconds, unless it is a staleness marker.
fn timestamps(samples: &SampleBuffer, windows: &Windows, row: &mut Row<'_>) {
    last_of_each(samples, windows, |step, index| row.set(step, seconds(samples.timestamps[index])));
}

/// The start timestamp of the last sample of each window in seconds, 0 where it has none.
fn start_times(samples: &SampleBuffer, windows: &Windows, row: &mut Row<'_>) {
    last_of_each(samples, windows, |step, index| row.set(step, seconds(samples.start_time(index))));
}

/// As [`timestamps`] for floats, as [`select`] for histograms.
fn float_times(samples: &SampleBuffer, windows: &Windows, row: &mut Row<'_>) {
    last_of_each(samples, windows, |step, index| match samples.histogram(index) {
        Some(histogram) => row.set_histogram(step, FloatHistogram::clone(histogram)),
        None => row.set(step, seconds(samples.timestamps[index])),
    });
}

#[expect(clippy::cast_precision_loss, reason = "PromQL's times are floats")]
fn seconds(time: Timestamp) -> f64 {
    time as f64 / 1000.0
}

/// Calls `found` with the step and the index of its window's last sample, where there is one that is not stale.
#[inline]
fn last_of_each(samples: &SampleBuffer, windows: &Windows, mut found: impl FnMut(usize, usize)) {
    for_each_last(&samples.timestamps, windows, |step, index| {
        if !is_stale_nan(samples.floats[index]) {
            found(step, index);
        }
    });
}

/// A series without its staleness markers, floats and histograms apart. Copies only where there is something to take out.
#[derive(Debug, Default)]
pub(super) struct SplitSamples {
    float_t: Vec<Timestamp>,
    floats: Vec<f64>,
    histogram_t: Vec<Timestamp>,
    histograms: Vec<Arc<FloatHistogram>>,
    float_starts: Vec<Timestamp>,
    histogram_starts: Vec<Timestamp>,
}

impl SplitSamples {
    /// `start_times`: start timestamps are wanted.
    fn split<'a>(&'a mut self, samples: &'a SampleBuffer, start_times: bool) -> Series<'a> {
        let stale = samples.floats.iter().any(|&value| is_stale_nan(value));
        let started = start_times && !samples.start_times.is_empty();
        if !stale && !started && samples.histograms.is_empty() {
            return Series { float_t: &samples.timestamps, floats: &samples.floats, ..Series::default() };
        }
        self.float_t.clear();
        self.floats.clear();
        self.histogram_t.clear();
        self.histograms.clear();
        self.float_starts.clear();
        self.histogram_starts.clear();
        let mut histograms = samples.histograms.iter().peekable();
        for (index, (&t, &value)) in samples.timestamps.iter().zip(&samples.floats).enumerate() {
            if let Some((_, histogram)) = histograms.next_if(|(i, _)| *i as usize == index) {
                self.histogram_t.push(t);
                self.histograms.push(Arc::clone(histogram));
                self.histogram_starts.extend(started.then(|| samples.start_time(index)));
            } else if !is_stale_nan(value) {
                self.float_t.push(t);
                self.floats.push(value);
                self.float_starts.extend(started.then(|| samples.start_time(index)));
            }
        }
        Series {
            float_t: &self.float_t,
            floats: &self.floats,
            histogram_t: &self.histogram_t,
            histograms: &self.histograms,
            float_starts: &self.float_starts,
            histogram_starts: &self.histogram_starts,
        }
    }
}
