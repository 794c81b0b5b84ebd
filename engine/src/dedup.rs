//! Deduplication: one series out of what several replicas have.
//!
//! | function | for | what comes out |
//! |---|---|---|
//! | [`Penalty`](Deduplication::Penalty) | replicas that scrape by themselves, at times of their own | the samples of one replica at a time; another one's only where that has a gap of two intervals |
//! | [`Chain`](Deduplication::Chain) | copies of the same samples, as receivers and remote writers keep them | every time that any replica has, once |
//!
//! Penalty deduplication leaves samples out by design, those of the gap that it waits through first of all: whether a sample is another
//! replica's copy or its own scrape, it cannot know. Copies of which some are missing are complete again only when they are chained.

mod chain;
pub(crate) mod penalty;

use promql::Function;
use storage::model::SampleBuffer;

pub(crate) use chain::chain;

/// How replicas become one series: Thanos's two ways, `--deduplication.func`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deduplication {
    /// One replica at a time.
    #[default]
    Penalty,
    /// Sample by sample.
    Chain,
}

/// How the replicas of a series are merged for one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ReplicaMerge {
    /// Which way.
    pub(crate) deduplication: Deduplication,
    /// Whether a change of replica must not look like a counter reset. Copies of samples look like none.
    pub(crate) counter: bool,
}

impl ReplicaMerge {
    /// Folds `replicas` into one series, each given in time order.
    pub(crate) fn merge(self, replicas: Vec<SampleBuffer>) -> SampleBuffer {
        let merge = |merged: SampleBuffer, next: SampleBuffer| match self.deduplication {
            Deduplication::Penalty => penalty::merge(&merged, &next, self.counter),
            Deduplication::Chain => chain(&merged, &next),
        };
        replicas.into_iter().reduce(merge).unwrap_or_default()
    }
}

/// Whether `function` takes its samples for those of a counter, so that a merge has to. Thanos's list.
pub(crate) fn reads_counter(function: Function) -> bool {
    matches!(function, Function::Rate | Function::Irate | Function::Increase | Function::Resets)
}
