//! How far a run over a bucket is, for whoever watches: each group and all of them, in merges, bytes and samples.
//!
//! What there is to do is found out at the start, by [`storage::compact::Progress`]. What a merge has read is taken from what it has
//! written, which is about as much and never counted for more; when it ends, all of its inputs count.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::compact::{GroupProgress, Progress};

use super::Todo;

/// Merges, their blocks, bytes and samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Merges.
    pub compactions: u64,
    /// Blocks that go into them.
    pub blocks: u64,
    /// Bytes of these blocks.
    pub bytes: u64,
    /// Samples in these blocks.
    pub samples: u64,
}

/// One group, or all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// What is done.
    pub done: Amount,
    /// What there was to do.
    pub all: Amount,
}

/// A run at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Groups in which there is, or was, anything to do, by their keys.
    pub groups: BTreeMap<String, Share>,
    /// All groups.
    pub overall: Share,
    /// How long the run has taken.
    pub elapsed: Duration,
}

impl Snapshot {
    /// How long the rest may take, if it goes on as it did; none before anything is done.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let (done, all) = (self.overall.done.bytes, self.overall.all.bytes);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rest = (done > 0).then(|| all.saturating_sub(done) as f64 / done as f64)?;
        Duration::try_from_secs_f64(self.elapsed.as_secs_f64() * rest).ok()
    }

    /// Samples a second so far.
    #[must_use]
    pub fn samples_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let done = self.overall.done.samples as f64;
        done / self.elapsed.as_secs_f64().max(1e-3)
    }
}

/// The run that is under way. Shared by its groups and whoever watches.
#[derive(Debug, Default)]
pub struct RunProgress {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    groups: BTreeMap<String, Watched>,
    /// Of the look at the start: what is not of groups.
    rest: Todo,
}

#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    share: Share,
    /// Inputs of the merge under way.
    merging: Amount,
    /// Bytes that it has written.
    written: u64,
}

impl Watched {
    fn share(&self) -> Share {
        let mut share = self.share;
        let bytes = self.written.min(self.merging.bytes);
        share.done.bytes += bytes;
        let samples = u128::from(self.merging.samples) * u128::from(bytes) / u128::from(self.merging.bytes.max(1));
        share.done.samples += u64::try_from(samples).unwrap_or(u64::MAX);
        share.done.bytes = share.done.bytes.min(share.all.bytes);
        share.done.samples = share.done.samples.min(share.all.samples);
        share
    }
}

impl RunProgress {
    /// A run begins.
    pub(super) fn begin(&self, progress: &Progress) {
        let watched = |(key, group): (&String, &GroupProgress)| {
            let all = Amount {
                compactions: group.compactions,
                blocks: group.compaction_blocks,
                bytes: group.bytes,
                samples: group.samples,
            };
            (key.clone(), Watched { share: Share { all, ..Share::default() }, ..Watched::default() })
        };
        let groups = progress.groups.iter().filter(|(_, group)| group.compactions > 0).map(watched).collect();
        let rest = Todo {
            downsample_blocks: progress.downsample_blocks(),
            deletion_blocks: progress.deletion_blocks(),
            ..Todo::default()
        };
        *self.state.lock() = State { began: Some(Instant::now()), groups, rest };
    }

    /// A merge of a group begins.
    pub(super) fn merge_began(&self, group: &str, inputs: Amount) {
        if let Some(group) = self.state.lock().groups.get_mut(group) {
            (group.merging, group.written) = (inputs, 0);
        }
    }

    /// It has written so many bytes more.
    pub(super) fn written(&self, group: &str, bytes: u64) {
        if let Some(group) = self.state.lock().groups.get_mut(group) {
            group.written = group.written.saturating_add(bytes);
        }
    }

    /// It ended, with a new block or not.
    pub(super) fn merge_ended(&self, group: &str, made: bool) {
        if let Some(group) = self.state.lock().groups.get_mut(group) {
            let inputs = std::mem::take(&mut group.merging);
            group.written = 0;
            if made {
                let done = &mut group.share.done;
                done.compactions += inputs.compactions;
                done.blocks += inputs.blocks;
                done.bytes = done.bytes.saturating_add(inputs.bytes).min(group.share.all.bytes);
                done.samples = done.samples.saturating_add(inputs.samples).min(group.share.all.samples);
            }
        }
    }

    /// How far it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        let groups: BTreeMap<String, Share> =
            state.groups.iter().map(|(key, group)| (key.clone(), group.share())).collect();
        let sum = |of: fn(&Share) -> Amount| {
            groups.values().map(of).fold(Amount::default(), |a, b| Amount {
                compactions: a.compactions + b.compactions,
                blocks: a.blocks + b.blocks,
                bytes: a.bytes.saturating_add(b.bytes),
                samples: a.samples.saturating_add(b.samples),
            })
        };
        let overall = Share { done: sum(|share| share.done), all: sum(|share| share.all) };
        Snapshot { overall, elapsed: state.began.map(|began| began.elapsed()).unwrap_or_default(), groups }
    }

    /// What is left to do now.
    #[must_use]
    pub fn todo(&self) -> Todo {
        let (snapshot, rest) = (self.snapshot(), self.state.lock().rest);
        let Share { done, all } = snapshot.overall;
        Todo {
            compactions: all.compactions.saturating_sub(done.compactions),
            compaction_blocks: all.blocks.saturating_sub(done.blocks),
            samples: all.samples.saturating_sub(done.samples),
            bytes: all.bytes.saturating_sub(done.bytes),
            seconds_left: snapshot.time_left().map_or(0, |left| left.as_secs()),
            ..rest
        }
    }
}

/// Tells of what a job writes.
pub(super) struct GroupWritten<'a> {
    /// The run.
    pub run: &'a RunProgress,
    /// The group that the job is of.
    pub group: &'a str,
}

impl crate::compact::Progress for GroupWritten<'_> {
    fn written(&self, _series: u64, bytes: u64) {
        self.run.written(self.group, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(compactions: u64, bytes: u64) -> Progress {
        let group =
            GroupProgress { compactions, compaction_blocks: 3, bytes, samples: 10 * bytes, ..GroupProgress::default() };
        Progress { groups: [("0@1".to_owned(), group)].into(), ..Progress::default() }
    }

    #[test]
    fn a_merge_counts_while_it_is_written_and_never_for_more_than_its_inputs() {
        let run = RunProgress::default();
        run.begin(&progress(2, 300));
        assert!(run.snapshot().time_left().is_none());
        let inputs = Amount { compactions: 1, blocks: 2, bytes: 100, samples: 1_000 };
        run.merge_began("0@1", inputs);
        run.written("0@1", 50);
        let share = run.snapshot().groups["0@1"];
        assert_eq!((share.done.compactions, share.done.bytes, share.done.samples), (0, 50, 500));
        run.written("0@1", 500);
        assert_eq!(run.snapshot().overall.done.bytes, 100);
        run.merge_ended("0@1", true);
        let todo = run.todo();
        assert_eq!((todo.compactions, todo.compaction_blocks, todo.bytes, todo.samples), (1, 1, 200, 2_000));
        assert!(run.snapshot().time_left().is_some());
        // one that failed is still to be done
        run.merge_began("0@1", inputs);
        run.written("0@1", 70);
        run.merge_ended("0@1", false);
        assert_eq!(run.todo(), Todo { seconds_left: run.todo().seconds_left, ..todo });
        // and a group without anything to do is not watched
        run.merge_began("0@2", inputs);
        assert_eq!(run.snapshot().groups.len(), 1);
    }
}
