//! Chaining: all samples of both sides in time order, of two at one instant the first side's.
//!
//! A histogram's hint speaks of the sample before it on its own side. Where that is not the sample before it in the result, nothing
//! is known, unless it is a gauge.

use storage::model::{CounterResetHint, FloatHistogram, SampleBuffer};

/// Merges two series, each in time order.
pub(crate) fn chain(first: &SampleBuffer, second: &SampleBuffer) -> SampleBuffer {
    let mut merged = SampleBuffer::new();
    let (mut i, mut j) = (0, 0);
    let mut last_is_first = true;
    while i < first.len() || j < second.len() {
        let (a, b) = (first.timestamps.get(i), second.timestamps.get(j));
        let is_first = match (a, b) {
            (Some(a), Some(b)) => a <= b,
            (a, _) => a.is_some(),
        };
        let changed = is_first != last_is_first && !merged.is_empty();
        last_is_first = is_first;
        if is_first {
            push(&mut merged, first, i, changed);
            j += usize::from(a == b);
            i += 1;
        } else {
            push(&mut merged, second, j, changed);
            j += 1;
        }
    }
    merged
}

/// Appends sample `index` of `side`; `changed`: the sample before is the other side's.
fn push(merged: &mut SampleBuffer, side: &SampleBuffer, index: usize, changed: bool) {
    use CounterResetHint::{CounterReset, NotCounterReset, Unknown};
    match side.histogram(index) {
        Some(histogram) if changed && matches!(histogram.counter_reset_hint, CounterReset | NotCounterReset) => {
            let unknown = FloatHistogram { counter_reset_hint: Unknown, ..FloatHistogram::clone(histogram) };
            merged.push_histogram(side.timestamps[index], unknown);
            merged.set_start_time(side.start_time(index));
        }
        _ => merged.push_from(side, index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::histogram;
    use crate::testing::series::samples;

    #[test]
    fn every_time_comes_out_once() {
        let check = |first: &str, second: &str, expected: &str| {
            assert_eq!(chain(&samples(first), &samples(second)), samples(expected));
        };
        check("0:1 30:2 60:3", "15:9 30:9 90:9", "0:1 15:9 30:2 60:3 90:9");
        check("", "1:1", "1:1");
        check("1:1", "", "1:1");
        check("1:1 2:0", "2:5 3:6", "1:1 2:0 3:6");
    }

    #[test]
    fn start_timestamps_come_along() {
        let (mut first, mut second) = (samples("10:1"), samples("10:1 20:2"));
        second.set_start_time(7);
        assert_eq!(chain(&first, &second).start_times, [0, 7]);
        first.set_start_time(3);
        assert_eq!(chain(&first, &second).start_times, [3, 7]);
    }

    #[test]
    fn hints_hold_only_beside_the_sample_that_they_speak_of() {
        use CounterResetHint::{Gauge, NotCounterReset, Unknown};
        let side = |times: &[i64], hint| {
            let mut side = SampleBuffer::new();
            for t in times {
                side.push_histogram(*t, FloatHistogram { counter_reset_hint: hint, ..histogram(1.0, 1.0) });
            }
            side
        };
        let hints = |hint| {
            let merged = chain(&side(&[1, 2, 5, 6], hint), &side(&[2, 3, 4, 6], hint));
            merged.histograms.iter().map(|(_, h)| h.counter_reset_hint).collect::<Vec<_>>()
        };
        let known = NotCounterReset;
        assert_eq!(hints(known), [known, known, Unknown, known, Unknown, known]);
        assert_eq!(hints(Gauge), [Gauge; 6]);
    }
}
