//! Penalty deduplication of many chunks, as a compactor does it.
//!
//! Thanos folds the chunks of an overlap in order of time: the first with the second, the result with the third, and so on, each fold by
//! [`penalty`](crate::dedup) over all that came before. What a fold does differs from copying only near its chunk: as long as the next
//! sample of the result so far is not later than the chunk's first, and the penalty does not reach that either, the result's sample is
//! taken, and the chunk stays where it is. The first sample where this may not hold is found by bisection over the furthest reach of any
//! penalty so far, so a fold costs what it overlaps, not what came before: all folds together are linear where Thanos's are quadratic.

use storage::model::{SampleBuffer, Timestamp};

use crate::dedup::penalty;

/// The result so far.
#[derive(Debug, Default)]
pub(super) struct PenaltyFold {
    merged: SampleBuffer,
    /// For each sample, the furthest time that the other side's penalty made it skip to, of all samples up to it.
    reach: Vec<Timestamp>,
}

impl PenaltyFold {
    /// Folds in the samples of the next chunk, in order of time. Chunks come in order of their first sample.
    pub(super) fn push(&mut self, chunk: &SampleBuffer) {
        let Some(&first) = chunk.timestamps.first() else { return };
        // the first sample at which the other side is asked for something later than its first, or has its turn
        let turn = self.merged.timestamps.partition_point(|&t| t <= first);
        let from = self.reach.partition_point(|&reach| reach <= first).min(turn);
        let tail = penalty::tail(&self.merged, from, chunk);
        self.merged.truncate(from);
        self.reach.truncate(from);
        for index in 0..tail.len() {
            self.merged.push_from(&tail, index);
        }
        self.extend_reach();
    }

    /// All samples, in order of time.
    pub(super) fn finish(self) -> SampleBuffer {
        self.merged
    }

    fn extend_reach(&mut self) {
        let times = &self.merged.timestamps;
        let mut furthest = self.reach.last().copied().unwrap_or(Timestamp::MIN);
        for index in self.reach.len()..times.len() {
            let before = index.checked_sub(1).map(|index| times[index]);
            furthest = furthest.max(penalty::reach(times[index], before));
            self.reach.push(furthest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(times: &[i64], value: f64) -> SampleBuffer {
        let mut buffer = SampleBuffer::new();
        times.iter().for_each(|&t| buffer.push_float(t, value));
        buffer
    }

    proptest! {
        #[test]
        fn agrees_with_folding_everything(
            chunks in prop::collection::vec((0_i64..400, prop::collection::vec(1_i64..60, 1..20)), 1..12),
            stretch in prop::sample::select(vec![1_i64, 7, 1_000]),
        ) {
            let mut chunks: Vec<Vec<i64>> = chunks
                .into_iter()
                .map(|(start, steps)| {
                    let times = steps.into_iter().scan(start, |t, step| { *t += step; Some(*t * stretch) });
                    times.collect()
                })
                .collect();
            chunks.sort_by_key(|times| times[0]);
            let chunks: Vec<SampleBuffer> = chunks.iter().enumerate().map(|(n, times)| chunk(times, n as f64)).collect();
            let whole = chunks.iter().cloned().reduce(|merged, next| penalty::merge(&merged, &next, false)).unwrap();
            let mut fold = PenaltyFold::default();
            chunks.iter().for_each(|chunk| fold.push(chunk));
            prop_assert_eq!(fold.finish(), whole);
        }
    }
}
