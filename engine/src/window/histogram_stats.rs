//! Samples of which only the counts and sums of histograms are wanted: below `histogram_count` and its like.
//!
//! Histograms lose their buckets. What buckets would show of counter resets goes into the hint instead: where a histogram does not know
//! whether it follows a reset, it is compared with the one before, whole. So functions above see a reset or none where a
//! histogram with buckets leaves it open, as in Prometheus. The first histogram that is read stays without
//! such knowledge, and where windows leave gaps between them the first of each window does.

use std::sync::Arc;

use storage::model::{CounterResetHint, FloatHistogram, SampleBuffer, Timestamp};

use crate::kernel::Windows;

/// Takes buckets out of samples; keeps its memory from series to series.
#[derive(Debug, Default)]
pub(super) struct HistogramStats {
    samples: SampleBuffer,
}

impl HistogramStats {
    /// The same samples without buckets.
    pub fn of<'a>(&'a mut self, samples: &'a SampleBuffer, windows: &Windows) -> &'a SampleBuffer {
        if samples.histograms.is_empty() {
            return samples;
        }
        self.samples.timestamps.clone_from(&samples.timestamps);
        self.samples.floats.clone_from(&samples.floats);
        self.samples.start_times.clone_from(&samples.start_times);
        self.samples.histograms.clear();
        let mut before: Option<(Timestamp, &FloatHistogram)> = None;
        for (index, histogram) in &samples.histograms {
            let t = samples.timestamps[*index as usize];
            let hint = match before.filter(|(before, _)| read_together(windows, *before, t)) {
                Some((_, before)) if histogram.counter_reset_hint == CounterResetHint::Unknown => {
                    if histogram.detect_reset(before) {
                        CounterResetHint::CounterReset
                    } else {
                        CounterResetHint::NotCounterReset
                    }
                }
                _ => histogram.counter_reset_hint,
            };
            before = Some((t, histogram));
            let stats = FloatHistogram {
                counter_reset_hint: hint,
                schema: histogram.schema,
                count: histogram.count,
                sum: histogram.sum,
                ..FloatHistogram::default()
            };
            self.samples.histograms.push((*index, Arc::new(stats)));
        }
        &self.samples
    }
}

/// Whether the window that has the sample at `t` comes upon it from the one at `before`.
fn read_together(windows: &Windows, before: Timestamp, t: Timestamp) -> bool {
    let read_ms = windows.read_end(0).saturating_sub(windows.read_start(0));
    let step_ms = windows.grid.step_ms;
    if windows.at.is_some() || read_ms >= step_ms || windows.steps() == 1 {
        return true;
    }
    let ahead = t.saturating_sub(windows.read_end(0)).max(0);
    let step = usize::try_from(ahead.saturating_add(step_ms - 1) / step_ms).unwrap_or(usize::MAX);
    step < windows.steps() && before > windows.read_start(step)
}

#[cfg(test)]
mod tests {
    use promql::tree::Grid;
    use storage::model::stale_nan;

    use super::*;
    use crate::kernel::Margin;
    use crate::testing::histogram;

    fn hints(range_ms: i64, step_ms: i64) -> Vec<CounterResetHint> {
        let mut samples = SampleBuffer::new();
        samples.push_histogram(0, histogram(4.0, 1.0));
        samples.push_float(5, 1.0);
        samples.push_float(6, stale_nan());
        samples.push_histogram(10, histogram(5.0, 1.0));
        samples.push_histogram(20, histogram(1.0, 1.0));
        let gauge = FloatHistogram { counter_reset_hint: CounterResetHint::Gauge, ..histogram(9.0, 1.0) };
        samples.push_histogram(30, gauge);
        let windows = Windows {
            grid: Grid { start: 10, end: 30, step_ms },
            offset_ms: 0,
            at: None,
            range_ms,
            margin: Margin::default(),
        };
        let mut stats = HistogramStats::default();
        let stats = stats.of(&samples, &windows);
        assert_eq!((&stats.timestamps, stats.len()), (&samples.timestamps, 6));
        stats
            .histograms
            .iter()
            .map(|(index, h)| {
                assert!(h.positive_buckets.is_empty() && h.count > 0.0 && samples.histogram(*index as usize).is_some());
                h.counter_reset_hint
            })
            .collect()
    }

    #[test]
    fn resets_are_found_between_histograms_that_are_read_together() {
        use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
        assert_eq!(hints(10, 10), [Unknown, NotCounterReset, CounterReset, Gauge]);
        assert_eq!(hints(15, 20), [Unknown, NotCounterReset, Unknown, Gauge]);
        assert_eq!(hints(8, 10), [Unknown, Unknown, Unknown, Gauge]);
    }
}
