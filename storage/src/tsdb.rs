//! A folder of data that is written here: the head, its log, and the blocks of every tenant that were cut out of it.
//!
//! ```text
//! <folder>/wal/              the log of all tenants
//! <folder>/wal/head/         closed chunks of the head, and snapshots of it
//! <folder>/<tenant>/<ulid>/  blocks of a tenant, as Thanos receive keeps them
//! <folder>/<ulid>/, chunks_head/, wbl/
//!                            what a Prometheus left whose folder this is: the default tenant's
//!
//! write ──> Head ──2 h──> cut ──> block visible ──> readers done ──> truncate ──> checkpoint
//!                                    └──> uploaded, past the retention ──> deleted
//! ```
//!
//! A tenant of whom nothing came for the retention goes with its last blocks, and is there again when something comes. Until then
//! its newest block stays: where it ends tells a replay which samples of the log are in blocks.
//!
//! A Prometheus's folder is taken as it stands: its log is replayed and gone on with, its blocks are served and never changed.
//! What is in its head chunks and its log of late samples is read at each start, and these are removed when all of it is in
//! blocks. So is what a Thanos receive left, which has a log of its own in each tenant's folder.

mod adopted;
mod blocks;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;
use ulid::Ulid;

use crate::block::BlockMeta;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::head::{Head, HeadFiles, HeadReplay, HeadSettings, ReplaySources};
use crate::model::{BlockId, ExternalLabels, TimeRange, Timestamp};
use crate::side_index::SideIndexCache;
use crate::store::{BlockStore, LabelRequest, LabelSet, SeriesRequest, SeriesSet, Store, StoreInfo, UnionStore};
use crate::wal::{Disk, Wal, WalError, WalSettings};

use adopted::Adopted;
use blocks::TenantBlocks;
pub use blocks::can_be_tenant;

/// The folder of the log.
pub const WAL_DIR: &str = "wal";
/// Prometheus's log of late samples.
const WBL_DIR: &str = "wbl";
/// Prometheus's chunks of the head that are closed.
const CHUNKS_HEAD_DIR: &str = "chunks_head";
/// A log that is longer than this is not left to the next start alone.
const SNAPSHOT_AT_STOP_BYTES: u64 = 4 << 20;
/// How long a cut waits for those who still read what goes out of the head.
const READERS_WAIT: Duration = Duration::from_secs(60);

/// What a [`Tsdb`] is opened with.
#[derive(Debug, Clone)]
pub struct TsdbSettings {
    /// The head's.
    pub head: HeadSettings,
    /// The log's.
    pub wal: WalSettings,
    /// Whose a Prometheus's data is whose folder this is.
    pub default_tenant: String,
    /// How long blocks are kept here, in milliseconds; 0 keeps them.
    pub retention_ms: i64,
    /// Most bytes of blocks of one tenant here; 0 is no limit.
    pub max_bytes: u64,
    /// Bytes of the log after which a [snapshot](Tsdb::snapshot) is due; 0 is at every call.
    pub snapshot_log_bytes: u64,
}

/// The head, its log and its blocks.
#[derive(Debug)]
pub struct Tsdb {
    folder: PathBuf,
    settings: TsdbSettings,
    head: Arc<Head>,
    wal: Arc<Wal>,
    files: Arc<HeadFiles>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    blocks: TenantBlocks,
    /// Files of other servers.
    adopted: Adopted,
    /// One cut at a time; the work on a block that nobody waits for any more has it, too.
    cutting: Arc<tokio::sync::Mutex<()>>,
    /// Whether a cut was given up before what it had written was seen.
    is_half_cut: AtomicBool,
}

/// A block that was cut.
#[derive(Debug, Clone)]
pub struct CutBlock {
    /// Whose it is.
    pub tenant: String,
    /// Its `meta.json`.
    pub meta: BlockMeta,
}

/// Which ranges are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Those that are complete, and all of tenants who stopped writing.
    Due,
    /// All, the last of them up to the newest sample: what comes after it is taken.
    Everything,
}

impl Tsdb {
    /// Opens the folder, makes it where there is none, and fills the head from the log.
    ///
    /// # Errors
    /// What cannot be read or written. Damage of the log is none: what of it is whole is kept, and the replay tells.
    pub async fn open(
        folder: &Path,
        settings: TsdbSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        side_indexes: Arc<SideIndexCache>,
    ) -> Result<(Self, HeadReplay)> {
        let wal_dir = folder.join(WAL_DIR);
        std::fs::create_dir_all(&wal_dir).map_err(|error| Error::io(&wal_dir, error))?;
        let blocks = TenantBlocks::open(folder, &settings, side_indexes).await?;
        let ends = blocks.ends();
        let logs = adopted::find_logs(&blocks.tenants())?;
        let (files, snapshot) = HeadFiles::open(&wal_dir)?;
        let files = Arc::new(files);
        let is_adopting = [CHUNKS_HEAD_DIR, WBL_DIR].iter().any(|name| folder.join(name).is_dir()) || !logs.is_empty();
        let snapshot = snapshot.filter(|_| !is_adopting);
        let head = Head::continuing(settings.head.clone(), Arc::clone(&clock), snapshot.as_ref());
        let head = Arc::new(head);
        let replayed = {
            let (head, disk, folder) = (Arc::clone(&head), Arc::clone(&disk), folder.to_owned());
            let (files, logs) = (Arc::clone(&files), logs.clone());
            let tenant = settings.default_tenant.clone();
            blocking(move || {
                let existing = |name: &str| Some(folder.join(name)).filter(|folder| folder.is_dir());
                let (wal, chunks_head, wbl) = (folder.join(WAL_DIR), existing(CHUNKS_HEAD_DIR), existing(WBL_DIR));
                let sources = ReplaySources {
                    wal: &wal,
                    snapshot: snapshot.as_ref(),
                    chunks_head: chunks_head.as_deref(),
                    wbl: wbl.as_deref(),
                    tenant: &tenant,
                    blocks_end: &|tenant| ends.get(tenant).copied(),
                    adopted: &logs,
                };
                let replayed = head.replay(sources, disk.as_ref())?;
                files.begin(snapshot.as_ref().filter(|_| replayed.restored.is_some()), replayed.wal.bytes);
                Ok::<_, Error>(replayed)
            })
            .await??
        };
        let wal = Wal::open(&wal_dir, Arc::clone(&disk), settings.wal.clone(), replayed.wal.next_segment)?;
        let wal = Arc::new(wal);
        if !head.attach(Arc::clone(&wal)) {
            return Err(Error::Internal("the head has a log already".to_owned()));
        }
        head.log_adopted().await.map_err(|error| Error::Internal(error.to_string()))?;
        let adopted = Adopted::new(folder, &settings.default_tenant, &logs, &replayed);
        let (cutting, is_half_cut) = (Arc::default(), AtomicBool::new(false));
        let folder = folder.to_owned();
        Ok((Self { folder, settings, head, wal, files, disk, clock, blocks, adopted, cutting, is_half_cut }, replayed))
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// The log.
    #[must_use]
    pub fn wal(&self) -> &Arc<Wal> {
        &self.wal
    }

    /// What the head keeps in files.
    #[must_use]
    pub fn files(&self) -> &Arc<HeadFiles> {
        &self.files
    }

    /// The tenants that have a folder, each with the folder and the labels of its blocks.
    #[must_use]
    pub fn tenants(&self) -> Vec<(String, PathBuf, ExternalLabels)> {
        let labels = |tenant: &str| external_labels(&self.settings, tenant);
        self.blocks.tenants().into_iter().map(|(tenant, folder)| (tenant.clone(), folder, labels(&tenant))).collect()
    }

    /// Cuts blocks out of the head, makes them visible, and drops from the head and the log what is in them. May be dropped: the next
    /// call waits until the block under way is written, and goes on behind it.
    ///
    /// # Errors
    /// The first of what cannot be written; what was cut until then stays, the head keeps what was not, and other tenants' blocks are cut.
    pub async fn cut(&self, which: Cut) -> Result<Vec<CutBlock>> {
        let alone = Arc::new(Arc::clone(&self.cutting).lock_owned().await);
        self.finish_half_cut(&alone).await?;
        let (mut cut, mut failed) = (Vec::new(), None);
        for (tenant, ranges) in self.ranges_to_cut(which) {
            if let Err(error) = self.cut_tenant(&tenant, ranges, &alone, &mut cut).await {
                tracing::error!(tenant, %error, "cannot cut a block");
                failed.get_or_insert(error);
            }
        }
        if !cut.is_empty() {
            let (head, disk, folder) = (Arc::clone(&self.head), Arc::clone(&self.disk), self.folder.join(WAL_DIR));
            let held = Arc::clone(&alone);
            blocking(move || {
                let written = head.checkpoint(&folder, disk.as_ref());
                drop(held);
                written
            })
            .await??;
            // the one before may need what the checkpoint stands for
            self.write_snapshot(alone).await;
        }
        self.remove_adopted()?;
        failed.map_or(Ok(cut), Err)
    }

    /// Cuts these ranges of a tenant, ascending, up to the first that fails.
    async fn cut_tenant(
        &self,
        tenant: &str,
        ranges: Vec<TimeRange>,
        alone: &Arc<OwnedMutexGuard<()>>,
        cut: &mut Vec<CutBlock>,
    ) -> Result<()> {
        let folder = self.blocks.folder_of(tenant).await?;
        let (mut end, mut result) = (Timestamp::MIN, Ok(()));
        self.is_half_cut.store(true, Ordering::SeqCst);
        for range in ranges {
            let (head, name, folder) = (Arc::clone(&self.head), tenant.to_owned(), folder.clone());
            let alone = Arc::clone(alone);
            let id = BlockId::new(Ulid::from_datetime(self.clock_time()));
            let meta = blocking(move || {
                let meta = head.cut_block(&name, range, &folder, id);
                drop(alone);
                meta
            });
            match meta.await.flatten() {
                Ok(meta) => cut.extend(meta.map(|meta| CutBlock { tenant: tenant.to_owned(), meta })),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            end = end.max(range.maxt);
        }
        if end > Timestamp::MIN {
            self.blocks.reload(tenant).await?;
            // a reader who takes longer is told to begin anew
            let _ = tokio::time::timeout(READERS_WAIT, self.head.readers_done(end)).await;
            self.truncate(vec![(tenant.to_owned(), end)], alone).await?;
        }
        self.is_half_cut.store(false, Ordering::SeqCst);
        result
    }

    /// Moves closed chunks of the head from memory to files, where enough of them are in it. To be called again and again while samples
    /// come. Where the disk refuses, they stay in memory, and false is returned.
    pub async fn move_chunks(&self) -> bool {
        let (files, head) = (Arc::clone(&self.files), Arc::clone(&self.head));
        let moved = blocking(move || files.move_chunks(&head)).await.flatten();
        moved
            .inspect_err(
                |error| tracing::warn!(%error, "cannot move chunks of the head to a file; they stay in memory"),
            )
            .is_ok()
    }

    /// Writes a snapshot of the head, where the log has grown much since the last one: the next start reads the log from there. That it
    /// cannot be written is told, and costs time at that start, nothing else; then false is returned.
    pub async fn snapshot(&self) -> bool {
        if !self.is_snapshot_due() {
            return true;
        }
        let alone = Arc::new(Arc::clone(&self.cutting).lock_owned().await);
        // a cut that ran meanwhile wrote one
        !self.is_snapshot_due() || self.write_snapshot(alone).await
    }

    fn is_snapshot_due(&self) -> bool {
        self.files.is_snapshot_due(self.wal.end().bytes(), self.settings.snapshot_log_bytes)
    }

    async fn write_snapshot(&self, alone: Arc<OwnedMutexGuard<()>>) -> bool {
        // their files are read at every start, before the log
        if !self.adopted.is_empty() {
            return true;
        }
        let (files, head, wal) = (Arc::clone(&self.files), Arc::clone(&self.head), Arc::clone(&self.wal));
        let written = blocking(move || {
            let log_end = wal.end().bytes();
            let begun = wal.cut().map_err(|error| Error::Internal(error.to_string()));
            let written = begun.and_then(|segment| files.write_snapshot(&head, segment, log_end));
            drop(alone);
            written.inspect_err(|_| files.count_failure())
        });
        let told =
            |error: &Error| tracing::warn!(%error, "cannot write a snapshot of the head; the next start takes longer");
        written.await.flatten().inspect_err(told).is_ok()
    }

    /// Sees what a cut had written that was given up, and drops it from the head: it is not to be cut again.
    async fn finish_half_cut(&self, alone: &Arc<OwnedMutexGuard<()>>) -> Result<()> {
        if !self.is_half_cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        for tenant in self.head.tenants() {
            self.blocks.reload(&tenant.name).await?;
        }
        self.truncate(self.blocks.ends().into_iter().collect(), alone).await?;
        self.is_half_cut.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Drops from the head what blocks have up to these times. The work keeps the lock, whoever waits for it.
    async fn truncate(&self, ends: Vec<(String, Timestamp)>, alone: &Arc<OwnedMutexGuard<()>>) -> Result<()> {
        let (head, held) = (Arc::clone(&self.head), Arc::clone(alone));
        blocking(move || {
            let ends: Vec<(&str, Timestamp)> = ends.iter().map(|(tenant, end)| (tenant.as_str(), *end)).collect();
            head.truncate(&ends);
            drop(held);
        })
        .await
    }

    /// The ranges to cut, by tenant, ascending. A range is complete when the newest sample lies half a block after it. Late samples
    /// that came after their range was cut wait for the next one that is.
    fn ranges_to_cut(&self, which: Cut) -> Vec<(String, Vec<TimeRange>)> {
        let block_ms = self.settings.head.block_duration_ms;
        let now = self.clock.now();
        let mut all = Vec::new();
        for tenant in self.head.tenants() {
            let last = tenant.last_write.max(tenant.interval.maxt);
            let is_idle = last.saturating_add(block_ms.saturating_mul(3) / 2) < now || self.is_past_retention(last);
            let everything = which == Cut::Everything || is_idle;
            let complete_to = tenant.interval.maxt.saturating_sub(block_ms / 2);
            let mut ranges = self.head.ranges(&tenant.name);
            ranges.retain(|range| everything || range.maxt <= complete_to);
            let newest_block = self.blocks.ends().get(&*tenant.name).copied().unwrap_or(Timestamp::MIN);
            if everything || ranges.iter().any(|range| range.maxt > newest_block) {
                let newest = if which == Cut::Everything { tenant.interval.maxt } else { Timestamp::MAX };
                let parts: Vec<TimeRange> =
                    ranges.into_iter().flat_map(|range| parts(range, newest_block, newest)).collect();
                all.push((tenant.name.to_string(), parts));
            }
        }
        all.retain(|(_, ranges)| !ranges.is_empty());
        all
    }

    /// The time before which nothing is kept, where there is one.
    fn retention_start(&self) -> Option<Timestamp> {
        let retention_ms = Some(self.settings.retention_ms).filter(|retention_ms| *retention_ms > 0)?;
        Some(self.clock.now().saturating_sub(retention_ms))
    }

    fn is_past_retention(&self, t: Timestamp) -> bool {
        self.retention_start().is_some_and(|start| t <= start)
    }

    /// Deletes blocks that lie before the retention, and the oldest of a tenant whose blocks are larger than they may be, as long as `may_go` lets them, and returns which. The newest block of a tenant
    /// stays, and blocks in the folder itself that were not cut here.
    ///
    /// # Errors
    /// What cannot be removed.
    pub async fn delete_expired(&self, may_go: impl Fn(&str, &BlockMeta) -> bool) -> Result<Vec<BlockId>> {
        let mut gone = match self.retention_start() {
            Some(start) => self.blocks.delete_before(start, &may_go).await?,
            None => Vec::new(),
        };
        if self.settings.max_bytes > 0 {
            gone.extend(self.blocks.delete_beyond(self.settings.max_bytes, &may_go).await?);
        }
        Ok(gone)
    }

    /// Removes the tenants of whom nothing came for the retention, with their folders, and returns who they were. All that they
    /// wrote must be in blocks, before the retention, and `may_go` must let every one of them.
    ///
    /// A sample that comes meanwhile is kept: either the tenant stays, or it is there again.
    ///
    /// # Errors
    /// Where the log cannot note it. What cannot be removed is told, and goes with the next call.
    pub async fn remove_idle(&self, may_go: impl Fn(&str, &BlockMeta) -> bool) -> Result<Vec<String>> {
        let Some(since) = self.retention_start() else { return Ok(Vec::new()) };
        let _alone = self.cutting.lock().await;
        let known: Vec<String> = self.head.tenants().iter().map(|tenant| tenant.name.to_string()).collect();
        let all: BTreeSet<String> = known.into_iter().chain(self.blocks.names()).collect();
        let mut removed = Vec::new();
        for tenant in all {
            if !self.blocks.may_all_go(&tenant, since, &may_go) {
                continue;
            }
            let unavailable = |error: WalError| Error::Internal(error.to_string());
            let Some(noted) = self.head.retire(&tenant, since).map_err(unavailable)? else { continue };
            self.head.durable(&noted).await.map_err(unavailable)?;
            match self.blocks.remove(&tenant).await {
                Ok(had_folder) => {
                    if self.head.forget(&tenant, since) || had_folder {
                        removed.push(tenant);
                    }
                }
                Err(error) => tracing::error!(tenant, %error, "cannot remove an idle tenant; it is tried again"),
            }
        }
        Ok(removed)
    }

    /// What others left goes when the head has nothing so old.
    fn remove_adopted(&self) -> Result<()> {
        let tenants = self.head.tenants();
        let oldest = |tenant: &str| {
            let tenant = tenants.iter().find(|known| &*known.name == tenant);
            tenant.filter(|tenant| tenant.series > 0).map(|tenant| tenant.interval.mint)
        };
        self.adopted.remove_done(oldest)
    }

    /// Writes the log out and ends it, with a snapshot where that makes the next start shorter; nothing is taken any more.
    ///
    /// # Errors
    /// The disk's.
    pub async fn close(&self) -> Result<()> {
        if self.files.log_since_snapshot(self.wal.end().bytes()) >= SNAPSHOT_AT_STOP_BYTES {
            let alone = Arc::new(Arc::clone(&self.cutting).lock_owned().await);
            self.write_snapshot(alone).await;
        }
        let wal = Arc::clone(&self.wal);
        blocking(move || wal.close()).await?
    }

    fn clock_time(&self) -> std::time::SystemTime {
        let now = u64::try_from(self.clock.now()).unwrap_or(0);
        std::time::UNIX_EPOCH + Duration::from_millis(now)
    }

    fn union(&self) -> UnionStore {
        let head = Arc::clone(&self.head) as Arc<dyn Store>;
        UnionStore::new(std::iter::once(head).chain(self.blocks.stores()).collect())
    }
}

/// The head and the local blocks as one timeline. A sample that is in both counts once.
#[async_trait]
impl Store for Tsdb {
    fn info(&self) -> StoreInfo {
        self.union().info()
    }

    fn held_blocks(&self) -> Vec<BlockStore> {
        self.blocks.stores().iter().flat_map(|store| store.held_blocks()).collect()
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet> {
        self.union().series(request).await
    }

    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet> {
        self.union().label_names(request).await
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet> {
        self.union().label_values(name, request).await
    }
}

/// A range up to the newest sample, in two where a block ends in it: what is in order comes after that, and two blocks that hold
/// nothing late do not overlap.
fn parts(range: TimeRange, block_end: Timestamp, newest: Timestamp) -> impl Iterator<Item = TimeRange> {
    let maxt = range.maxt.min(newest.saturating_add(1)).max(range.mint);
    let middle = block_end.clamp(range.mint, maxt);
    let parts = [TimeRange { mint: range.mint, maxt: middle }, TimeRange { mint: middle, maxt }];
    parts.into_iter().filter(|part| part.mint < part.maxt)
}

/// The labels of a tenant's blocks.
fn external_labels(settings: &TsdbSettings, tenant: &str) -> ExternalLabels {
    let own = (settings.head.tenant_label.as_str(), tenant);
    let tenant = (!settings.head.tenant_label.is_empty()).then_some(own);
    ExternalLabels::from_pairs(settings.head.external_labels.iter().chain(tenant))
}

/// Work that holds its thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Error::Internal(format!("work on the head did not end: {error}")))
}

#[cfg(test)]
mod tests;
