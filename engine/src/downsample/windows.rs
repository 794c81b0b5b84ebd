//! Where windows end, and how many chunks a series becomes.

use storage::model::{TimeInterval, Timestamp};

/// Windows that a chunk should not exceed, on average.
const WINDOWS_PER_CHUNK: usize = 140;
/// Most windows of a chunk: it counts in 16 bits, and the counter has two samples more.
pub(super) const WINDOWS_MAX: usize = 65_000;

/// The last millisecond of the window that `t` lies in. Windows of times before 1970 are as long as others; Thanos has none there.
#[inline]
pub(super) fn window_end(t: Timestamp, resolution_ms: i64) -> Timestamp {
    t.saturating_add(resolution_ms - 1 - t.rem_euclid(resolution_ms))
}

/// The number of chunks for `samples` samples in `interval` that are `input_ms` apart where none is missing: the least with at most
/// [`WINDOWS_PER_CHUNK`] windows each, as far as can be estimated.
pub(super) fn chunk_count(interval: TimeInterval, input_ms: i64, output_ms: i64, samples: usize) -> usize {
    let span_ms = interval.maxt.saturating_sub(interval.mint);
    let windows_max = (span_ms / output_ms) as f64;
    // infinite where there is but one time
    let fullness = (samples as f64 / (span_ms as f64 / input_ms as f64)).min(1.0);
    let windows = (windows_max * fullness) as usize + 1;
    windows / (WINDOWS_PER_CHUNK + 1) + 1
}

/// The index of the first of `times` after `end`, looked for from `guess` on. `times[from]` is not after it.
#[inline]
pub(super) fn reach(times: &[Timestamp], from: usize, guess: usize, end: Timestamp) -> usize {
    let mut to = guess.clamp(from + 1, times.len());
    while to < times.len() && times[to] <= end {
        to += 1;
    }
    while to > from + 1 && times[to - 1] > end {
        to -= 1;
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_before_a_multiple() {
        for (t, end) in [(0, 299), (1, 299), (299, 299), (300, 599), (-1, -1), (-300, -1), (-301, -301)] {
            assert_eq!(window_end(t, 300), end, "{t}");
        }
        assert_eq!(window_end(i64::MAX - 1, 300), i64::MAX);
    }

    #[test]
    fn chunks_are_as_many_as_thanos_makes() {
        const DAY_MS: i64 = 86_400_000;
        // two days of samples a minute apart, every 15 s, every 7 minutes; one sample
        let check = |span_ms, input_ms, output_ms, samples, expected| {
            let interval = TimeInterval::new(0, span_ms);
            assert_eq!(chunk_count(interval, input_ms, output_ms, samples), expected);
        };
        check(2 * DAY_MS, 60_000, 300_000, 2_880, 5);
        check(2 * DAY_MS, 60_000, 300_000, 11_520, 5);
        check(2 * DAY_MS, 60_000, 300_000, 412, 1);
        check(0, 60_000, 300_000, 1, 1);
        check(14 * DAY_MS, 300_000, 3_600_000, 4_032, 3);
        // 140 windows fit one chunk, one more does not
        check(139 * 300_000, 60_000, 300_000, 1_000, 1);
        check(140 * 300_000, 60_000, 300_000, 1_000, 2);
    }

    #[test]
    fn a_wrong_guess_does_not_matter() {
        let times = [0, 5, 5, 9, 20, 21];
        for guess in 0..10 {
            assert_eq!(reach(&times, 1, guess, 9), 4);
            assert_eq!(reach(&times, 4, guess, 20), 5);
            assert_eq!(reach(&times, 5, guess, 99), 6);
        }
    }
}
