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
use super::journal::{Lsn, Unwritable};
use super::outcome::Outcome;
use super::request::Request;
use super::round::{Limits, Rounds};
use super::tenants::Tenant;
use super::write::{Metadata, SeriesWrite};
use crate::model::{TimeInterval, Timestamp};

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
    /// The number of the metadata seen last: neighbours often have the same.
    metadata: Option<(super::MetadataEntry, u32)>,
    too_large: bool,
}

impl<'h> Appender<'h> {
    pub(super) fn new(head: &'h Head, tenant: Arc<Tenant>, mut request: Request) -> Self {
        request.reset(head.shards.len());
        Self { head, tenant, request, metadata: None, too_large: false }
    }

    /// Adds a series; nothing is decided before [`commit`](Self::commit). One series may come several times.
    pub fn push(&mut self, write: &SeriesWrite<'_>) {
        let metadata = write.metadata.map_or(0, |metadata| self.metadata_number(metadata));
        self.too_large |= !self.request.push(write, self.tenant.number, &self.head.hasher, metadata);
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

    /// Applies what was pushed.
    ///
    /// # Errors
    /// [`Unwritable`] where the log takes nothing now, because its disk fails or is too slow; repeat the request later.
    pub fn commit(self) -> Result<Commit, Unwritable> {
        let Self { head, tenant, mut request, too_large, .. } = self;
        if too_large {
            head.give_back(request);
            return Err(Unwritable::new("the request is too large"));
        }
        let now = head.clock.now();
        let limits = Limits {
            newest: tenant.newest(),
            max_t: match head.settings.max_future_ms {
                0 => Timestamp::MAX,
                max_future_ms => now.saturating_add(max_future_ms),
            },
        };
        let mut rounds = Rounds::new(head, &tenant, limits);
        let result = (0..head.shards.len()).try_for_each(|shard| {
            let list = request.take_shard(shard);
            let result = if list.is_empty() { Ok(()) } else { rounds.commit_shard(shard, &list, &request) };
            request.put_back(shard, list);
            result
        });
        let (commit, times) = rounds.finish();
        if times != EMPTY {
            tenant.saw(times);
            tenant.wrote(now);
        }
        head.give_back(request);
        result.map(|()| commit)
    }
}

/// No time at all.
pub(super) const EMPTY: TimeInterval = TimeInterval::new(Timestamp::MAX, Timestamp::MIN);
