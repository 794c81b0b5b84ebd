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

/// How far the other side skips once a sample at `t` was emitted that came after one at `before`.
pub(crate) fn reach(t: i64, before: Option<i64>) -> i64 {
    t.saturating_add(1).saturating_add(penalty_ms(t, before))
}

/// The penalty of the side that was not emitted at `t`, after `before`.
fn penalty_ms(t: i64, before: Option<i64>) -> i64 {
    before.map_or(INITIAL_PENALTY_MS, |before| t.saturating_sub(before).saturating_mul(2))
}

/// One series out of two. `counter` keeps changes of replica from looking like resets.
pub(crate) fn merge(left: &SampleBuffer, right: &SampleBuffer, counter: bool) -> SampleBuffer {
    Merge::new(left, right, counter).run()
}

/// What [`merge`] emits after the first `emitted` samples of `left`, where it is known that these came first, and none of `right`
/// was passed over.
pub(crate) fn tail(left: &SampleBuffer, emitted: usize, right: &SampleBuffer) -> SampleBuffer {
    let mut merge = Merge::new(left, right, false);
    merge.a.next = emitted;
    let at = |back: usize| emitted.checked_sub(back).map(|index| left.timestamps[index]);
    if let Some(last) = at(1) {
        merge.last = Some(last);
        merge.b.penalty_ms = penalty_ms(last, at(2));
    }
    merge.run()
}

/// Two sides, and what was emitted last.
struct Merge<'a> {
    a: Side<'a>,
    b: Side<'a>,
    counter: bool,
    last: Option<i64>,
    on_a: bool,
    out: SampleBuffer,
}

impl<'a> Merge<'a> {
    fn new(left: &'a SampleBuffer, right: &'a SampleBuffer, counter: bool) -> Self {
        let (a, b) = (Side::new(left), Side::new(right));
        Self { a, b, counter, last: None, on_a: true, out: SampleBuffer::new() }
    }

    fn run(mut self) -> SampleBuffer {
        while self.advance() {}
        self.out
    }

    /// Emits the next sample; false where both sides have ended.
    fn advance(&mut self) -> bool {
        let Self { a, b, out, .. } = self;
        let emitted =
            out.len().checked_sub(1).filter(|&index| out.histogram(index).is_none()).map(|index| out.floats[index]);
        let was_on_a = self.on_a;
        match (a.seek(self.last), b.seek(self.last)) {
            (None, None) => return false,
            (Some(ta), Some(tb)) => {
                self.on_a = ta <= tb;
                let (ours, theirs, t) = if self.on_a { (&mut *a, &mut *b, ta) } else { (&mut *b, &mut *a, tb) };
                ours.penalty_ms = 0;
                theirs.penalty_ms = penalty_ms(t, self.last);
                self.last = Some(t);
            }
            (one, other) => {
                self.on_a = one.is_some();
                if self.on_a {
                    a.penalty_ms = 0
                } else {
                    b.penalty_ms = 0
                }
                self.last = one.or(other);
            }
        }
        if let Some(emitted) = emitted.filter(|_| self.counter && self.on_a != was_on_a) {
            a.catch_up(emitted);
            b.catch_up(emitted);
        }
        if self.on_a {
            a.emit(out)
        } else {
            b.emit(out)
        }
        true
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
