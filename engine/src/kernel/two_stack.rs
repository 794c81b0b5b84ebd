//! Sliding aggregation without subtraction: two stacks.
//!
//! ```text
//! samples   … [lo ─────────── middle) [middle ───────────── hi) …
//!              └ front: an aggregate  └ back: one aggregate,
//!                of i..middle for       grown as samples come
//!                every i
//! ```
//!
//! A window's aggregate is `merge(front[lo], back)`. When the window has left the front behind, the back
//! becomes the new front, from its end to its beginning. Each sample is merged at most twice, and no sample
//! that has left can have spoiled anything.

/// The aggregates of a moving window of `lo..hi` with neither border going back.
#[derive(Debug, Clone)]
pub(super) struct TwoStack<S> {
    /// `front[k]` is the aggregate of `middle - 1 - k .. middle`.
    front: Vec<S>,
    middle: usize,
    back: Option<S>,
    back_end: usize,
}

impl<S: Copy> TwoStack<S> {
    pub fn new() -> Self {
        Self { front: Vec::new(), middle: 0, back: None, back_end: 0 }
    }

    /// The aggregate of `lo..hi`, which is not empty. `merge` takes the earlier aggregate first.
    #[inline]
    pub fn window(&mut self, lo: usize, hi: usize, sample: impl Fn(usize) -> S, merge: impl Fn(S, S) -> S) -> S {
        if lo < self.middle {
            for i in self.back_end..hi {
                self.back = Some(match self.back {
                    Some(back) => merge(back, sample(i)),
                    None => sample(i),
                });
            }
            self.back_end = hi;
        } else {
            self.turn(lo, hi, sample, &merge);
        }
        let front = self.front[self.middle - 1 - lo];
        match self.back {
            Some(back) => merge(front, back),
            None => front,
        }
    }

    /// Makes `lo..hi` the front.
    fn turn(&mut self, lo: usize, hi: usize, sample: impl Fn(usize) -> S, merge: impl Fn(S, S) -> S) {
        self.front.clear();
        let mut after: Option<S> = None;
        for i in (lo..hi).rev() {
            let aggregate = match after {
                Some(after) => merge(sample(i), after),
                None => sample(i),
            };
            self.front.push(aggregate);
            after = Some(aggregate);
        }
        self.middle = hi;
        self.back = None;
        self.back_end = hi;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_is_the_concatenation_of_its_samples() {
        // a monoid that remembers exactly what was merged, in which order
        let mut stack = TwoStack::new();
        let merge = |a: (usize, usize), b: (usize, usize)| {
            assert_eq!(a.1, b.0, "merged what does not follow");
            (a.0, b.1)
        };
        for (lo, hi) in [(0, 1), (0, 5), (2, 5), (4, 9), (6, 9), (9, 12), (20, 22), (20, 40), (39, 40)] {
            assert_eq!(stack.window(lo, hi, |i| (i, i + 1), merge), (lo, hi));
        }
    }
}
