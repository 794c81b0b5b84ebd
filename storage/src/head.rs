//! The head: the newest samples of all tenants, in memory until they are cut into blocks.
//!
//! ```text
//!              ┌ shard: series ─ open chunk, closed chunks in a log, late samples
//! Appender ──> │        label pairs, each once, with postings         ──> HeadPart (a Store's part)
//!              └ … one lock a shard                                   ──> cut_block ──> truncate
//! ```
//!
//! Series of all tenants share the shards, so that a tenant who writes nothing costs nothing. Locks are held for work in
//! memory only: never over an await or a disk, and no two shards at once.

mod adopt;
mod appender;
mod checkpoint;
mod chunk_log;
mod cut;
mod exemplars;
mod files;
mod head_chunks;
mod journal;
mod metadata;
mod open_bytes;
mod open_chunk;
mod out_of_order;
mod outcome;
mod pairs;
mod part;
mod postings;
mod query;
mod readers;
mod refs;
mod remove;
mod replay;
mod request;
mod round;
mod sample;
mod select;
mod series;
mod settings;
mod shard;
mod snapshot;
mod tenants;
mod truncate;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

pub use adopt::AdoptedLog;
pub use appender::{Appender, Commit};
pub use exemplars::{OwnedExemplar, SeriesExemplars};
pub use files::{HeadFileTotals, HeadFiles};
pub use metadata::{MetadataByFamily, MetadataEntry};
pub use outcome::{Outcome, REJECTIONS_TOLD, RejectedSample, Rejection};
pub use query::{Cardinality, HeadStats, TenantStats};
pub use replay::{HeadReplay, ReplaySources};
pub use settings::{HeadSettings, SeriesLimits, TENANT_LABEL};
pub use snapshot::{Restored, Snapshot};
pub use truncate::Truncated;
pub use write::{Exemplar, FloatSample, HistogramSample, HistogramValue, Metadata, MetricKind, SeriesWrite};

use crate::clock::Clock;
use exemplars::ExemplarRing;
use journal::Journal;
use metadata::{FamilyIndex, MetadataTable};
use readers::Readers;
use request::{KeyHasher, Request};
use shard::Shard;
use tenants::Tenants;

use crate::wal::{Wal, WalError};

/// Requests whose memory is kept for later ones.
const SPARE_REQUESTS: usize = 8;

/// The head of a process.
#[derive(Debug)]
pub struct Head {
    settings: HeadSettings,
    clock: Arc<dyn Clock>,
    hasher: KeyHasher,
    shards: Arc<[RwLock<Shard>]>,
    /// Answers under way.
    readers: Arc<Readers>,
    tenants: Tenants,
    /// Given to the next new series.
    next_reference: AtomicU64,
    metadata: MetadataTable,
    /// Metadata that came for a family, without series.
    families: Mutex<FamilyIndex>,
    exemplars: Mutex<ExemplarRing>,
    journal: Journal,
    spare: Mutex<Vec<Request>>,
    series_limits: RwLock<SeriesLimits>,
}

impl Head {
    /// An empty head.
    #[must_use]
    pub fn new(settings: HeadSettings, clock: Arc<dyn Clock>) -> Self {
        Self::continuing(settings, clock, None)
    }

    /// An empty head that a [replay](Self::replay) can fill from `snapshot`.
    #[must_use]
    pub fn continuing(settings: HeadSettings, clock: Arc<dyn Clock>, snapshot: Option<&Snapshot>) -> Self {
        let settings = HeadSettings {
            shards: settings.shards.clamp(1, 1 << 12),
            block_duration_ms: settings.block_duration_ms.max(1),
            ..settings
        };
        Self {
            hasher: snapshot.and_then(Snapshot::hasher).unwrap_or_default(),
            shards: (0..settings.shards).map(|_| RwLock::default()).collect(),
            tenants: Tenants::default(),
            next_reference: AtomicU64::new(1),
            metadata: MetadataTable::default(),
            families: Mutex::default(),
            readers: Arc::default(),
            exemplars: Mutex::new(ExemplarRing::new(settings.max_exemplars)),
            journal: Journal::default(),
            spare: Mutex::default(),
            series_limits: RwLock::default(),
            settings,
            clock,
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &HeadSettings {
        &self.settings
    }

    /// Takes no new series of a tenant from now on who has as many as this. Those that are there are written on, even where there are more.
    pub fn set_series_limits(&self, limits: SeriesLimits) {
        *self.series_limits.write() = limits;
    }

    /// The limits on series.
    #[must_use]
    pub fn series_limits(&self) -> SeriesLimits {
        self.series_limits.read().clone()
    }

    /// Begins a request of `tenant`, whose name was checked.
    #[must_use]
    pub fn appender(&self, tenant: &str) -> Appender<'_> {
        let request = self.spare.lock().pop().unwrap_or_default();
        Appender::new(self, self.tenants.get(tenant, &self.settings, || self.clock.now()), request)
    }

    /// Logs every write from now on, and nothing before: to be called once, after the replay. False where there is a log already.
    pub fn attach(&self, wal: Arc<Wal>) -> bool {
        self.journal.attach(wal)
    }

    /// Resolves when what was committed may be acknowledged.
    ///
    /// # Errors
    /// As [`Wal::durable`].
    pub async fn durable(&self, commit: &Commit) -> Result<(), WalError> {
        match (self.journal.wal(), commit.lsn) {
            (Some(wal), Some(lsn)) => wal.durable(lsn).await,
            _ => Ok(()),
        }
    }

    fn give_back(&self, request: Request) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_REQUESTS {
            spare.push(request);
        }
    }
}
