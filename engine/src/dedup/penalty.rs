//! Penalty deduplication: one series out of what several replicas scraped.
//!
//! The algorithm is Thanos's, two replicas at a time, folded from the first replica on:
//!
//! 1. Each side moves to its first sample later than the last emitted one plus its penalty.
//! 2. The earlier of the two is emitted; its side's penalty becomes 0, the other side's twice the interval to
//!    the sample emitted before (5 s for the first).
//! 3. So the output stays on one replica, and changes to the other only where the first has been silent for
//!    two intervals: samples of two replicas never interleave, which would double the rate of samples.
//!
//! For functions of counters, a change of replica must not look like a reset: a side that is behind the last
//! emitted value at a change is raised to it from there on.

use storage::model::SampleBuffer;

/// A side's penalty in milliseconds while no interval is known.
const INITIAL_PENALTY_MS: i64 = 5000;

/// One side of a merge.
struct Side<'a> {
    samples: &'a SampleBuffer,
    next: usize,
    penalty_ms: i64,
    /// Added to every float from now on.
    raise: f64,
}

impl<'a> Side<'a> {
    fn new(samples: &'a SampleBuffer) -> Self {
        Self { samples, next: 0, penalty_ms: 0, raise: 0.0 }
    }

    fn seek(&mut self, last: Option<i64>) -> Option<i64> {
        if let Some(last) = last {
            let earliest = last.saturating_add(1).saturating_add(self.penalty_ms);
            while self.samples.timestamps.get(self.next).is_some_and(|&t| t < earliest) {
                self.next += 1;
            }
        }
        self.samples.timestamps.get(self.next).copied()
    }

    /// The float that this side stands on, raised; none where it stands on a histogram or at its end.
    fn float(&self) -> Option<f64> {
        let value = *self.samples.floats.get(self.next)?;
        self.samples.histogram(self.next).is_none().then_some(value + self.raise)
    }

    /// At a change of replica: catches up with the value emitted last.
    fn catch_up(&mut self, emitted: f64) {
        if let Some(value) = self.float().filter(|&value| emitted > value) {
            self.raise += emitted - value;
        }
    }

    fn emit(&self, out: &mut SampleBuffer) {
        let t = self.samples.timestamps[self.next];
        match self.samples.histogram(self.next) {
            Some(histogram) => out.push_shared_histogram(t, histogram),
            // adding a zero would turn -0 into 0
            None if self.raise == 0.0 => out.push_float(t, self.samples.floats[self.next]),
            None => out.push_float(t, self.samples.floats[self.next] + self.raise),
        }
        out.set_start_time(self.samples.start_time(self.next));
    }
}

/// One series out of two. `counter` keeps changes of replica from looking like resets.
pub(super) fn merge(left: &SampleBuffer, right: &SampleBuffer, counter: bool) -> SampleBuffer {
    let mut out = SampleBuffer::new();
    let (mut a, mut b) = (Side::new(left), Side::new(right));
    let mut last: Option<i64> = None;
    let mut on_a = true;
    loop {
        let emitted = last.and_then(|_| out.histogram(out.len() - 1).is_none().then(|| out.floats[out.len() - 1]));
        let was_on_a = on_a;
        match (a.seek(last), b.seek(last)) {
            (None, None) => return out,
            (Some(ta), Some(tb)) => {
                on_a = ta <= tb;
                let (ours, theirs, t) = if on_a { (&mut a, &mut b, ta) } else { (&mut b, &mut a, tb) };
                ours.penalty_ms = 0;
                theirs.penalty_ms = last.map_or(INITIAL_PENALTY_MS, |last| t.saturating_sub(last).saturating_mul(2));
                last = Some(t);
            }
            (one, other) => {
                on_a = one.is_some();
                if on_a {
                    a.penalty_ms = 0
                } else {
                    b.penalty_ms = 0
                }
                last = one.or(other);
            }
        }
        if let Some(emitted) = emitted.filter(|_| counter && on_a != was_on_a) {
            a.catch_up(emitted);
            b.catch_up(emitted);
        }
        if on_a { a.emit(&mut out) } else { b.emit(&mut out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[(i64, f64)]) -> SampleBuffer {
        let mut buffer = SampleBuffer::new();
        for &(t, value) in samples {
            buffer.push_float(t, value);
        }
        buffer
    }

    fn check(replicas: &[&[(i64, f64)]], counter: bool, expected: &[(i64, f64)]) {
        let replicas = replicas.iter().map(|replica| series(replica));
        let merged = replicas.reduce(|merged, next| merge(&merged, &next, counter)).unwrap();
        assert_eq!(merged, series(expected));
    }

    #[test]
    fn one_replica_passes_untouched() {
        check(&[&[(1, 1.0), (2, -0.0), (9, 0.5)]], true, &[(1, 1.0), (2, -0.0), (9, 0.5)]);
    }

    #[test]
    fn samples_of_two_replicas_do_not_interleave() {
        check(
            &[&[(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)], &[(10_100, 11.0), (20_100, 12.0), (30_100, 13.0)]],
            false,
            &[(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)],
        );
    }

    #[test]
    fn a_gap_is_filled_from_the_other_replica() {
        check(
            &[
                &[(10_000, 1.0), (20_000, 2.0), (70_000, 7.0)],
                &[(10_100, 11.0), (20_100, 12.0), (30_100, 13.0), (40_100, 14.0), (50_100, 15.0), (60_100, 16.0)],
            ],
            false,
            &[(10_000, 1.0), (20_000, 2.0), (40_100, 14.0), (50_100, 15.0), (60_100, 16.0)],
        );
    }

    #[test]
    fn a_counter_does_not_fall_at_a_change_of_replica() {
        let behind: &[(i64, f64)] = &[(10_100, 1.0), (20_100, 2.0), (30_100, 3.0), (40_100, 4.0), (50_100, 5.0)];
        check(
            &[&[(10_000, 101.0), (20_000, 102.0)], behind],
            true,
            &[(10_000, 101.0), (20_000, 102.0), (40_100, 102.0), (50_100, 103.0)],
        );
        check(
            &[&[(10_000, 101.0), (20_000, 102.0)], behind],
            false,
            &[(10_000, 101.0), (20_000, 102.0), (40_100, 4.0), (50_100, 5.0)],
        );
    }
}
