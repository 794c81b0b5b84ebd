//! Who answers for which time, where several blocks hold the same series at different resolutions.
//!
//! ```text
//! 1h       ├──────────┤             the coarsest that will do come first
//! 5m  ├──┤ ├───┤                    what they leave open is filled from the next finer resolution,
//! raw           ├────────────┤      and what that leaves open from the next one, down to raw samples
//!     5m···1h·········raw····
//! ```
//!
//! Blocks are half-open, so every instant is answered for at one resolution only: no sample counts twice, once by itself and
//! once in an aggregate. Blocks of one resolution that overlap all answer; whoever merges them takes one sample at a time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::tombstones::{Deleted, Intervals};
use crate::model::{TimeInterval, TimeRange};

/// A block, or the part of one, that could answer.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// How coarse it is, in milliseconds; 0 for raw samples.
    pub resolution_ms: i64,
    /// What it covers.
    pub range: TimeRange,
}

/// Whether a candidate that was chosen is to be cut: what is left of it, or nothing where all of it is.
pub type Cut = Option<Arc<Intervals>>;

/// Chooses among candidates of equal external labels for `interval`: their indices, ascending, each with how it is cut.
#[must_use]
pub fn choose(candidates: &[Candidate], interval: TimeInterval) -> BTreeMap<usize, Cut> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&i| (Reverse(candidates[i].resolution_ms), candidates[i].range.mint));
    let levels: Vec<&[usize]> =
        order.chunk_by(|&a, &b| candidates[a].resolution_ms == candidates[b].resolution_ms).collect();
    let mut chosen = BTreeMap::new();
    fill(candidates, &levels, interval, &mut chosen);
    chosen.into_iter().map(|(i, answers_for)| (i, cut(candidates[i].range, interval, answers_for))).collect()
}

/// Chooses candidates of the first level that overlap `interval`, and of the others for what these leave open.
fn fill(
    candidates: &[Candidate],
    levels: &[&[usize]],
    interval: TimeInterval,
    chosen: &mut BTreeMap<usize, Intervals>,
) {
    let Some((level, finer)) = levels.split_first() else { return };
    if interval.mint > interval.maxt {
        return;
    }
    let mut open_from = interval.mint;
    for &i in level.iter().filter(|&&i| candidates[i].range.overlaps(interval)) {
        let range = candidates[i].range;
        if let Some(until) = range.mint.checked_sub(1) {
            fill(candidates, finer, TimeInterval::new(open_from, until.min(interval.maxt)), chosen);
        }
        // two gaps beside one coarse block can need the same finer block
        chosen.entry(i).or_default().add(interval);
        open_from = open_from.max(range.maxt);
    }
    fill(candidates, finer, TimeInterval::new(open_from, interval.maxt), chosen);
}

fn cut(range: TimeRange, interval: TimeInterval, answers_for: Intervals) -> Cut {
    let (mint, maxt) = (range.mint.max(interval.mint), range.maxt.saturating_sub(1).min(interval.maxt));
    let whole = answers_for.deleted(TimeInterval::new(mint, maxt)) == Deleted::Whole;
    (!whole).then(|| Arc::new(answers_for))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates are resolution, first and last millisecond; expected are indices with what they answer for where cut.
    fn check(candidates: &[(i64, i64, i64)], interval: (i64, i64), expected: &[(usize, &[(i64, i64)])]) {
        let candidates: Vec<Candidate> = candidates
            .iter()
            .map(|&(resolution_ms, mint, maxt)| Candidate { resolution_ms, range: TimeRange { mint, maxt } })
            .collect();
        let pieces = |cut: Cut| {
            let intervals = cut.iter().flat_map(|cut| cut.as_slice());
            intervals.map(|interval| (interval.mint, interval.maxt)).collect::<Vec<_>>()
        };
        let chosen = choose(&candidates, TimeInterval::new(interval.0, interval.1));
        let chosen: Vec<_> = chosen.into_iter().map(|(i, cut)| (i, pieces(cut))).collect();
        let expected: Vec<_> = expected.iter().map(|&(i, pieces)| (i, pieces.to_vec())).collect();
        assert_eq!(chosen, expected, "{interval:?} of {candidates:?}");
    }

    #[test]
    fn blocks_that_meet_are_not_cut() {
        let blocks = [(0, 0, 100), (0, 100, 200), (300, 100, 200), (0, 200, 300)];
        check(&blocks, (0, 299), &[(0, &[]), (2, &[]), (3, &[])]);
        check(&blocks, (0, 99), &[(0, &[])]);
        check(&blocks, (99, 100), &[(0, &[]), (2, &[])]);
        check(&blocks, (300, 400), &[]);
        check(&[(0, 0, 100), (0, 50, 150)], (0, 200), &[(0, &[]), (1, &[])]);
    }

    #[test]
    fn finer_blocks_are_cut_to_the_gaps() {
        check(&[(0, 0, 100), (300, 50, 150)], (0, 200), &[(0, &[(0, 49)]), (1, &[])]);
        check(&[(0, 100, 200), (300, 50, 150)], (0, 300), &[(0, &[(150, 300)]), (1, &[])]);
        check(&[(0, 0, 100), (300, 40, 60)], (0, 200), &[(0, &[(0, 39), (60, 200)]), (1, &[])]);
        check(&[(0, 0, 100), (300, 40, 60)], (10, 50), &[(0, &[(10, 39)]), (1, &[])]);
        check(&[(0, 0, 100), (300, 0, 100)], (0, 200), &[(1, &[])]);
        let three = [(0, 0, 300), (300, 80, 220), (3600, 100, 200)];
        check(&three, (0, 299), &[(0, &[(0, 79), (220, 299)]), (1, &[(0, 99), (200, 299)]), (2, &[])]);
    }

    #[test]
    fn the_ends_of_time_are_times() {
        let all = (i64::MIN, i64::MAX);
        check(&[(0, i64::MIN, i64::MAX), (300, i64::MIN, 5)], all, &[(0, &[(5, i64::MAX)]), (1, &[])]);
        check(&[(0, i64::MIN, i64::MAX)], all, &[(0, &[])]);
        check(&[(300, i64::MIN, i64::MAX), (0, 1, 2)], (i64::MIN, 5), &[(0, &[])]);
    }
}
