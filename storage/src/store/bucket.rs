//! A bucket as a store.
//!
//! ```text
//! sync: listing ──> meta.json and marks ──> filters ──> block set        (src: every few minutes)
//! series: block set ──> blocks by time and resolution ──> side-index of each, opened on first touch
//! ```
//!
//! A request sees the block set of one sync. A block that was deleted since is noticed, the bucket is synced and the
//! request begins again, once; any other failure of a block fails the request. A block of which not even `meta.json` can
//! be read is a warning of every answer that may lack its samples.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::RwLock;

use crate::bucket::{BlockFilters, MetaSync, SyncReport, Unreadable};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::model::BlockId;
use crate::side_index::SideIndexCache;

use super::block::label_set;
use super::block_set::BlockSet;
use super::{BlockFiles, BlockStore, LabelRequest, LabelSet, SeriesRequest, SeriesSet, Store, StoreInfo};

/// How a [`BucketStore`] sees its bucket.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// Where in the object store the blocks are.
    pub prefix: Path,
    /// The folder that `prefix` is, where the object store is a local file system: files are then read in place.
    pub local_root: Option<PathBuf>,
    /// Which blocks are served.
    pub filters: BlockFilters,
    /// `meta.json` files and marks that are fetched at once.
    pub sync_concurrency: usize,
}

impl Default for BucketSettings {
    /// All blocks at the root of the store, 32 fetches at once.
    fn default() -> Self {
        Self { prefix: Path::default(), local_root: None, filters: BlockFilters::default(), sync_concurrency: 32 }
    }
}

/// The blocks of a bucket that pass its filters.
pub struct BucketStore {
    store: Arc<dyn ObjectStore>,
    settings: BucketSettings,
    side_indexes: Arc<SideIndexCache>,
    clock: Arc<dyn Clock>,
    metas: MetaSync,
    blocks: RwLock<Arc<BlockSet>>,
    /// Held while syncing: what the last sync could not read.
    unreadable: tokio::sync::Mutex<BTreeMap<BlockId, Unreadable>>,
}

impl BucketStore {
    /// A bucket that is empty until its first [`sync`](Self::sync).
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        settings: BucketSettings,
        side_indexes: Arc<SideIndexCache>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metas = MetaSync::new(Arc::clone(&store), settings.prefix.clone(), settings.sync_concurrency);
        let (blocks, unreadable) = (RwLock::default(), tokio::sync::Mutex::default());
        Self { store, settings, side_indexes, clock, metas, blocks, unreadable }
    }

    /// Looks which blocks there are, and serves those that pass the filters from now on.
    ///
    /// # Errors
    /// Where the bucket cannot be listed; a single block that cannot be read is in the report.
    pub async fn sync(&self) -> Result<SyncReport> {
        let mut unreadable = self.unreadable.lock().await;
        if let Some(root) = &self.settings.local_root {
            // listing a folder that is not there finds nothing, which would look like an empty bucket
            std::fs::read_dir(root).map_err(|error| Error::io(root, error))?;
        }
        let found = self.metas.fetch().await?;
        let (metas, report) = self.settings.filters.apply(found, self.clock.now());
        let before = self.blocks();
        let blocks: Vec<BlockStore> = metas
            .into_iter()
            .map(|(id, meta)| match before.get(id) {
                Some(block) if block.meta() == &meta => block.clone(),
                _ => BlockStore::new(self.files(id), meta, Arc::clone(&self.side_indexes)),
            })
            .collect();
        let unknown = report.unknown().map(|(id, unreadable)| (id, unreadable.clone())).collect();
        let after = Arc::new(BlockSet::new(blocks).with_unknown(unknown));
        *self.blocks.write() = Arc::clone(&after);
        for gone in before.iter().filter(|block| after.get(block.id()).is_none()) {
            self.side_indexes.remove(gone.id());
        }
        if after.is_empty() && !before.is_empty() {
            tracing::warn!(blocks = before.len(), "all blocks that were served are gone from the bucket");
        }
        log_changes(&unreadable, &report);
        unreadable.clone_from(&report.unreadable);
        Ok(report)
    }

    /// The blocks that are served now.
    #[must_use]
    pub fn blocks(&self) -> Arc<BlockSet> {
        Arc::clone(&self.blocks.read())
    }

    fn files(&self, id: BlockId) -> BlockFiles {
        match &self.settings.local_root {
            Some(root) => BlockFiles::local(id, root.join(id.to_string())),
            None => BlockFiles::remote(id, Arc::clone(&self.store), self.settings.prefix.clone().join(id.to_string())),
        }
    }

    /// The blocks to try again with, where `error` is that one of them is gone.
    async fn after_gone(&self, error: Error) -> Result<Arc<BlockSet>> {
        let Error::BlockGone(id) = error else { return Err(error) };
        self.refresh(id).await?;
        Ok(self.blocks())
    }
}

/// Says which blocks could be read at the last sync and cannot any more, or the other way round: once, not at every sync.
fn log_changes(before: &BTreeMap<BlockId, Unreadable>, report: &SyncReport) {
    for (id, Unreadable { file, corrupt, reason, .. }) in &report.unreadable {
        // the reason of a failure may differ from sync to sync: requests have numbers
        if before.get(id).is_some_and(|before| (before.file, before.corrupt) == (file, *corrupt)) {
            continue;
        }
        match report.left_out.get(id) {
            None => {
                tracing::warn!(block = %id, file, reason, "a file of a block cannot be read; it is served as known")
            }
            Some(_) => tracing::warn!(block = %id, file, reason, "a file of a block cannot be read; it is left out"),
        }
    }
    for id in before.keys().filter(|id| !report.unreadable.contains_key(id)) {
        tracing::info!(block = %id, "nothing is unreadable of a block any more");
    }
}

impl fmt::Debug for BucketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketStore")
            .field("store", &format_args!("{}", self.store))
            .field("prefix", &self.settings.prefix)
            .field("blocks", &self.blocks().len())
            .finish()
    }
}

#[async_trait]
impl Store for BucketStore {
    fn info(&self) -> StoreInfo {
        self.blocks().info()
    }

    fn held_blocks(&self) -> Vec<BlockStore> {
        self.blocks().iter().cloned().collect()
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet> {
        let mut blocks = self.blocks();
        let mut parts = blocks.series(&request).await;
        if let Err(error) = parts {
            blocks = self.after_gone(error).await?;
            parts = blocks.series(&request).await;
        }
        Ok(SeriesSet { parts: parts?, warnings: blocks.warnings(request.interval) })
    }

    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet> {
        let mut blocks = self.blocks();
        let mut names = blocks.label_names(&request).await;
        if let Err(error) = names {
            blocks = self.after_gone(error).await?;
            names = blocks.label_names(&request).await;
        }
        Ok(LabelSet { warnings: blocks.warnings(request.interval), ..label_set(names?, request.limit) })
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet> {
        let mut blocks = self.blocks();
        let mut values = blocks.label_values(name, &request).await;
        if let Err(error) = values {
            blocks = self.after_gone(error).await?;
            values = blocks.label_values(name, &request).await;
        }
        Ok(LabelSet { warnings: blocks.warnings(request.interval), ..label_set(values?, request.limit) })
    }

    async fn refresh(&self, block: BlockId) -> Result<()> {
        tracing::info!(%block, "block is gone from the bucket, which is synced again");
        // another request may have done it already
        if self.blocks().get(block).is_some() {
            self.sync().await?;
        }
        Ok(())
    }
}
