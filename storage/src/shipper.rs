//! The shipper: uploads the blocks of a local folder to a bucket, as Thanos's shipper does.
//!
//! ```text
//! <dir>/<ulid>/ ──oldest first──> in the bucket? ──no──> chunks ──> index ──> series.parquet, series.crc ──> meta.json
//!        └──> thanos.shipper.json <── uploaded <───yes──────┘
//! ```
//!
//! A block exists in the bucket from the moment that its `meta.json` does, which is written last, after a look that all else
//! is there. So a sync may be dropped, or the process killed, at any point: the next sync goes on from what the bucket
//! has, and uploads nothing twice that is there at its size. A block that is recorded as uploaded is never looked for
//! again: a compactor may have replaced it since.
//!
//! Only blocks cut from a head are uploaded, unless the settings say otherwise, and none without samples. The
//! uploaded `meta.json` gets the external labels, the source, the list of files, with hashes where the settings say so, and the time of the upload;
//! the local one stays as it is. Tombstones are not uploaded.
//!
//! A sync stops at the first block that the bucket does not take: a compactor that sees a later one first could compact
//! around the gap. A block that is damaged is left out, and others go on: it would hold them back for good.

mod block;
mod folder;
mod hash;
mod object;
mod record;
mod retry;
mod stream;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;

use crate::block::BlockMeta;
use crate::block::meta::META_FILE;
use crate::bucket::MetaSync;
use crate::error::{Error, Result};
use crate::model::{BlockId, ExternalLabels, TimeRange, Timestamp};

use block::Shipped;
use record::Record;

pub use hash::HashFunction;
pub use retry::Retry;
pub use stream::{BlockUpload, UploadSettings};

/// The name of the file that lists the uploaded blocks.
pub const SHIPPER_FILE: &str = "thanos.shipper.json";
/// `meta.json` files that are read from the bucket at once.
const META_READS: usize = 32;

/// Which component uploads, as the `thanos` section names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSource {
    /// What takes remote write.
    Receive,
    /// What stands beside a Prometheus.
    Sidecar,
    /// Somebody by hand.
    BucketUpload,
}

impl BlockSource {
    /// As `meta.json` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Sidecar => "sidecar",
            Self::BucketUpload => "bucket.upload",
        }
    }

    /// What Thanos says where there are no external labels.
    fn without_labels(self) -> &'static str {
        match self {
            Self::Receive => {
                "no external labels configured for receive, uniquely identifying external labels must be configured \
                 (ideally with `receive_` prefix); see https://thanos.io/tip/thanos/storage.md#external-labels for details."
            }
            Self::BucketUpload => {
                "no external labels configured, uniquely identifying external labels must be configured; see \
                 https://thanos.io/tip/thanos/storage.md#external-labels for details."
            }
            Self::Sidecar => {
                "no external labels configured on Prometheus server, uniquely identifying external labels must be \
                 configured; see https://thanos.io/tip/thanos/storage.md#external-labels for details."
            }
        }
    }
}

/// How a [`Shipper`] uploads.
#[derive(Debug, Clone)]
pub struct ShipperSettings {
    /// Where in the object store the blocks go.
    pub prefix: object_store::path::Path,
    /// Which component this is.
    pub source: BlockSource,
    /// Whether compacted blocks are uploaded too.
    pub upload_compacted: bool,
    /// Whether a sync goes on after a block that the bucket did not take, and compacted blocks may overlap others.
    pub allow_out_of_order: bool,
    /// Files of a block that are uploaded at once.
    pub concurrency: usize,
    /// Files larger than this are uploaded in parts of it, in bytes. S3 wants 5 MiB at least.
    pub part_size: u64,
    /// The name of the file that lists the uploaded blocks.
    pub file_name: String,
    /// How requests are tried again.
    pub retry: Retry,
    /// How files are hashed for `meta.json`; none leaves hashes out.
    pub hash: Option<HashFunction>,
}

impl ShipperSettings {
    /// Blocks cut from a head, to the root of the store, in order, two files at once, in parts of 8 MiB.
    #[must_use]
    pub fn new(source: BlockSource) -> Self {
        Self {
            prefix: object_store::path::Path::default(),
            source,
            upload_compacted: false,
            allow_out_of_order: false,
            concurrency: 2,
            part_size: 8 << 20,
            file_name: SHIPPER_FILE.to_owned(),
            retry: Retry::default(),
            hash: None,
        }
    }
}

/// Uploads the blocks of one folder.
pub struct Shipper {
    dir: PathBuf,
    store: Arc<dyn ObjectStore>,
    external_labels: ExternalLabels,
    settings: ShipperSettings,
    record: Record,
    /// Held by the sync that is under way.
    syncing: tokio::sync::Mutex<()>,
}

/// What a sync did. Blocks that are not to be uploaded, or that it did not come to, are in none of the lists.
#[derive(Debug, Default)]
pub struct SyncOutcome {
    /// Uploaded now, oldest first.
    pub uploaded: Vec<BlockId>,
    /// Recorded as uploaded, or found in the bucket.
    pub already: Vec<BlockId>,
    /// Not uploaded, and why.
    pub failed: Vec<(BlockId, Error)>,
    /// Why the sync could not even look: the folder cannot be read.
    pub error: Option<Error>,
    /// What metrics count.
    pub counts: ShipperCounts,
}

impl SyncOutcome {
    /// Whether all that is to be uploaded is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.error.is_none()
    }
}

/// What one sync adds to `thanos_shipper_…`; `upload_compacted_done` is a gauge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShipperCounts {
    /// 1 for a sync that came to its end.
    pub dir_syncs_total: u64,
    /// 1 for one that did not.
    pub dir_sync_failures_total: u64,
    /// Blocks that were uploaded.
    pub uploads_total: u64,
    /// Blocks that the bucket did not take.
    pub upload_failures_total: u64,
    /// Blocks that are damaged.
    pub corrupted_blocks_total: u64,
    /// 1 where compacted blocks are uploaded too and all are.
    pub upload_compacted_done: u64,
}

impl Shipper {
    /// Uploads the blocks in `dir` to `store`, with these external labels.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] without external labels: nobody could tell these blocks from those of others.
    pub fn try_new(
        dir: impl Into<PathBuf>,
        store: Arc<dyn ObjectStore>,
        external_labels: ExternalLabels,
        settings: ShipperSettings,
    ) -> Result<Self> {
        if external_labels.is_empty() {
            return Err(Error::InvalidRequest(settings.source.without_labels().to_owned()));
        }
        let dir = dir.into();
        let record = Record::new(dir.join(&settings.file_name));
        record.load();
        Ok(Self { dir, store, external_labels, settings, record, syncing: tokio::sync::Mutex::default() })
    }

    /// The local blocks that are known to be in the bucket, or to have been there: those that may be deleted.
    #[must_use]
    pub fn uploaded(&self) -> BTreeSet<BlockId> {
        self.record.uploaded()
    }

    /// Whether a block is one to upload: not empty, and not compacted unless these are uploaded too.
    #[must_use]
    pub fn wants(&self, meta: &BlockMeta) -> bool {
        meta.stats.num_samples > 0 && (meta.compaction.level <= 1 || self.settings.upload_compacted)
    }

    /// Uploads what is not in the bucket yet. `now` is noted as the time of the upload. May be dropped at any point. A
    /// second call waits for the first.
    pub async fn sync(&self, now: Timestamp) -> SyncOutcome {
        let _alone = self.syncing.lock().await;
        let mut outcome = SyncOutcome::default();
        let stopped = match self.look().await {
            Ok(local) => self.sync_blocks(local, now, &mut outcome).await,
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "cannot look for blocks to upload");
                outcome.error = Some(error);
                true
            }
        };
        self.count(&mut outcome, stopped);
        outcome
    }

    /// Returns whether it stopped before the end.
    async fn sync_blocks(&self, local: LocalBlocks, now: Timestamp, outcome: &mut SyncOutcome) -> bool {
        let LocalBlocks { metas, damaged, mut uploaded } = local;
        let mut in_bucket = None;
        for (id, error) in damaged {
            tracing::error!(block = %id, %error, "a block cannot be uploaded");
            outcome.failed.push((id, error));
        }
        let mut stopped = false;
        for meta in &metas {
            let id = meta.id();
            if uploaded.contains(&id) {
                outcome.already.push(id);
                continue;
            }
            if !self.wants(meta) {
                continue;
            }
            let shipped = match self.check_overlap(meta, &mut in_bucket).await {
                Ok(()) => self.ship(meta, now).await,
                Err(error) => Err(error),
            };
            match shipped {
                Ok(shipped) => {
                    let list = if shipped == Shipped::Now { &mut outcome.uploaded } else { &mut outcome.already };
                    list.push(id);
                    uploaded.insert(id);
                    self.save(&metas, &uploaded).await;
                }
                Err(error) => {
                    tracing::error!(block = %id, %error, "a block cannot be uploaded");
                    stopped = !is_damage(&error) && !self.settings.allow_out_of_order;
                    outcome.failed.push((id, error));
                    if stopped {
                        break;
                    }
                }
            }
        }
        self.save(&metas, &uploaded).await;
        stopped
    }

    /// The local blocks, and which of them are recorded as uploaded.
    async fn look(&self) -> Result<LocalBlocks> {
        let (dir, record) = (self.dir.clone(), self.record.clone());
        blocking(move || {
            // what an earlier sync was about to move to a block
            match std::fs::remove_dir_all(dir.join(block::STAGING_DIR)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(dir = %dir.display(), %error, "cannot clear the staging folder");
                }
                _ => {}
            }
            let mut local = local_blocks(&dir)?;
            local.uploaded = record.load();
            Ok(local)
        })
        .await
    }

    /// Records the blocks that are still here, oldest first. A record that cannot be written costs questions to the bucket.
    async fn save(&self, metas: &[BlockMeta], uploaded: &BTreeSet<BlockId>) {
        let ids = metas.iter().map(BlockMeta::id).filter(|id| uploaded.contains(id));
        if let Err(error) = self.record.save(ids.collect()).await {
            tracing::warn!(%error, "cannot record which blocks are uploaded");
        }
    }

    /// A compacted block must not overlap one of the same labels that the bucket has: samples would be there twice.
    async fn check_overlap(&self, meta: &BlockMeta, in_bucket: &mut Option<Vec<(BlockId, TimeRange)>>) -> Result<()> {
        if meta.compaction.level <= 1 || self.settings.allow_out_of_order {
            return Ok(());
        }
        if in_bucket.is_none() {
            let sync = MetaSync::new(Arc::clone(&self.store), self.settings.prefix.clone(), META_READS);
            let found = sync.fetch().await?;
            let ours = found.metas.values().filter(|meta| meta.external_labels() == self.external_labels);
            *in_bucket = Some(ours.map(|meta| (meta.id(), meta.range())).collect());
        }
        let other = |&&(id, range): &&(BlockId, TimeRange)| id != meta.id() && range.overlaps_range(meta.range());
        match in_bucket.iter().flatten().find(other) {
            None => Ok(()),
            Some((other, _)) => {
                Err(Error::InvalidRequest(format!("compacted block {} overlaps {other} in the bucket", meta.id())))
            }
        }
    }

    fn count(&self, outcome: &mut SyncOutcome, stopped: bool) {
        let damaged = outcome.failed.iter().filter(|(_, error)| is_damage(error)).count() as u64;
        outcome.counts = ShipperCounts {
            dir_syncs_total: u64::from(!stopped),
            dir_sync_failures_total: u64::from(stopped),
            uploads_total: outcome.uploaded.len() as u64,
            upload_failures_total: outcome.failed.len() as u64 - damaged,
            corrupted_blocks_total: damaged,
            upload_compacted_done: u64::from(self.settings.upload_compacted && outcome.is_complete()),
        };
    }
}

impl fmt::Debug for Shipper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shipper")
            .field("dir", &self.dir)
            .field("store", &format_args!("{}", self.store))
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What is in the folder.
#[derive(Debug, Default)]
struct LocalBlocks {
    /// Oldest first.
    metas: Vec<BlockMeta>,
    /// Blocks whose `meta.json` cannot be read.
    damaged: Vec<(BlockId, Error)>,
    /// Those recorded as uploaded.
    uploaded: BTreeSet<BlockId>,
}

/// The blocks in `dir`. A folder without one is not yet, or no longer, a block.
fn local_blocks(dir: &Path) -> Result<LocalBlocks> {
    let LocalBlocks { mut metas, mut damaged, uploaded } = LocalBlocks::default();
    let io = |error| Error::io(dir, error);
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<BlockId>().ok()) else { continue };
        let path = dir.join(name).join(META_FILE);
        let read = match std::fs::read(&path) {
            Ok(json) => BlockMeta::try_parse(&json, id.to_string()),
            // neither a folder nor a file in it
            Err(error) if is_missing(&error) => continue,
            Err(error) => Err(Error::io(&path, error)),
        };
        match read {
            Ok(meta) if meta.id() == id => metas.push(meta),
            Ok(meta) => {
                let (place, reason) = (id.to_string(), format!("names another block, {}", meta.id()));
                damaged.push((id, Error::Corrupt { place, file: META_FILE.to_owned(), offset: 0, reason }));
            }
            Err(error) => damaged.push((id, error)),
        }
    }
    metas.sort_by_key(|meta| (meta.min_time, meta.id()));
    damaged.sort_by_key(|(id, _)| *id);
    Ok(LocalBlocks { metas, damaged, uploaded })
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Whether the local block is at fault, not the bucket.
fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. } | Error::NotFound { .. } | Error::Unsupported(_) | Error::Io { .. } | Error::Arrow(_)
    )
}

/// Runs what blocks on a thread of its own. Once begun it goes on, whoever waits for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(format!("shipper: {error}")))?
}

#[cfg(test)]
pub(crate) mod tests;
