//! Writing into the head: a request is collected, then committed shard by shard.
//!
//! ```text
//! push … push ──> copied, hashed, sorted by shard
//! commit ──> each shard, under its lock: look up ──> check ──> log ──> apply
//!        ──> Commit ──> Head::durable
//! ```
//!
//! The log takes a shard's records (it only copies them) before anything changes in memory, and under the lock, so that it
//! holds the samples of every series in the order in which they were applied: replay then comes to the same end. Good samples
//! are kept where others are refused. Where the log refuses, the commit ends; shards before it have their samples, which were
//! not acknowledged, and take them as known when the sender repeats the request.

use std::sync::Arc;

use super::Head;
use super::outcome::Outcome;
use super::request::Request;
use super::round::{Limits, Rounds};
use super::tenants::Tenant;
use super::write::{Metadata, SeriesWrite};
use crate::model::{TimeInterval, Timestamp};
use crate::wal::{Lsn, WalError};

/// What was committed and up to where the log must be on disk before it may be acknowledged.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "samples may be acknowledged only when they are durable"]
pub struct Commit {
    /// What was taken and what was not.
    pub outcome: Outcome,
    /// The last record; none where nothing was logged.
    pub(super) lsn: Option<Lsn>,
}

/// Collects the series of one request of one tenant.
#[derive(Debug)]
pub struct Appender<'h> {
    head: &'h Head,
    tenant: Arc<Tenant>,
    request: Request,
    rounds: Rounds<'h>,
    /// The number of the metadata seen last: neighbours often have the same.
    metadata: Option<(super::MetadataEntry, u32)>,
    /// Why the log refused; nothing is taken after that.
    failed: Option<WalError>,
}

impl<'h> Appender<'h> {
    pub(super) fn new(head: &'h Head, tenant: Arc<Tenant>, mut request: Request) -> Self {
        request.reset(head.shards.len());
        let limits = Limits {
            newest: tenant.newest(),
            max_t: match head.settings.max_future_ms {
                0 => Timestamp::MAX,
                max_future_ms => head.clock.now().saturating_add(max_future_ms),
            },
            max_series: Some(head.series_limits.read().of(&tenant.name)).filter(|limit| *limit > 0),
        };
        let rounds = Rounds::new(head, Arc::clone(&tenant), limits);
        Self { head, tenant, request, rounds, metadata: None, failed: None }
    }

    /// Adds a series. What becomes of it [`commit`](Self::commit) tells. One series may come several times.
    ///
    /// A long request is applied in parts of some thousand series, so that it takes no more memory than these.
    pub fn push(&mut self, write: &SeriesWrite<'_>) {
        let is_empty = write.floats.is_empty() && write.histograms.is_empty() && write.exemplars.is_empty();
        if is_empty || self.failed.is_some() {
            return;
        }
        let metadata = write.metadata.map_or(0, |metadata| self.metadata_number(metadata));
        let (hasher, tenant) = (&self.head.hasher, self.tenant.number);
        if !self.request.push(write, tenant, hasher, metadata) || self.request.is_long() {
            self.apply();
        }
    }

    fn metadata_number(&mut self, metadata: Metadata<'_>) -> u32 {
        if let Some((entry, number)) = &self.metadata
            && entry.borrow() == metadata
        {
            return *number;
        }
        let number = self.head.metadata.intern(metadata);
        self.metadata = Some((metadata.into(), number));
        number
    }

    /// Applies what was pushed and says what became of it.
    ///
    /// # Errors
    /// [`WalError`] where the log takes nothing now, because its disk fails or is too slow; repeat the request later.
    pub fn commit(mut self) -> Result<Commit, WalError> {
        self.apply();
        let Self { head, tenant, request, rounds, failed, .. } = self;
        head.give_back(request);
        let (commit, times) = rounds.finish();
        if times != EMPTY {
            tenant.saw(times);
            tenant.wrote(head.clock.now());
        }
        failed.map_or(Ok(commit), Err)
    }

    fn apply(&mut self) {
        let shards = self.head.shards.len();
        for shard in 0..shards {
            let list = self.request.take_shard(shard);
            if !list.is_empty() && self.failed.is_none() {
                self.failed = self.rounds.commit_shard(shard, &list, &self.request).err();
            }
            self.request.put_back(shard, list);
        }
        self.request.reset(shards);
    }
}

/// No time at all.
pub(super) const EMPTY: TimeInterval = TimeInterval::new(Timestamp::MAX, Timestamp::MIN);
