//! A local TSDB directory: a folder with a folder for each block, as Prometheus keeps it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::model::{BlockId, ExternalLabels};
use crate::side_index::SideIndexCache;

use super::block::label_set;
use super::block_set::BlockSet;
use super::{BlockFiles, BlockStore, LabelRequest, LabelSet, SeriesRequest, SeriesSet, Store, StoreInfo};

/// The blocks of a local directory; tombstones are applied, a `thanos` section is not needed.
#[derive(Debug)]
pub struct LocalDirStore {
    path: PathBuf,
    /// Those of blocks that have no `thanos` section.
    labels: ExternalLabels,
    side_indexes: Arc<SideIndexCache>,
    blocks: RwLock<Arc<BlockSet>>,
}

impl LocalDirStore {
    /// The directory at `path`, as it is now.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub async fn open(path: impl Into<PathBuf>, side_indexes: Arc<SideIndexCache>) -> Result<Self> {
        Self::open_labelled(path, ExternalLabels::default(), side_indexes).await
    }

    /// As [`open`](Self::open), with external labels for the blocks that have no `thanos` section.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub async fn open_labelled(
        path: impl Into<PathBuf>,
        labels: ExternalLabels,
        side_indexes: Arc<SideIndexCache>,
    ) -> Result<Self> {
        let store = Self { path: path.into(), labels, side_indexes, blocks: RwLock::default() };
        store.reload().await?;
        Ok(store)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks again which blocks there are. Folders without a `meta.json` are not yet, or no longer, blocks.
    ///
    /// # Errors
    /// [`Error::Io`] where the directory cannot be read, [`Error::Corrupt`] for a damaged `meta.json`.
    pub async fn reload(&self) -> Result<()> {
        let before = self.blocks();
        let mut blocks = Vec::new();
        for id in block_folders(&self.path)? {
            if let Some(block) = before.get(id) {
                blocks.push(block.clone());
                continue;
            }
            let files = BlockFiles::local(id, self.path.join(id.to_string()));
            match BlockStore::open(files, Arc::clone(&self.side_indexes)).await {
                Ok(block) => blocks.push(block.or_labelled(&self.labels)),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        *self.blocks.write() = Arc::new(BlockSet::new(blocks));
        Ok(())
    }

    /// The blocks that were there at the last look.
    #[must_use]
    pub fn blocks(&self) -> Arc<BlockSet> {
        Arc::clone(&self.blocks.read())
    }
}

#[async_trait]
impl Store for LocalDirStore {
    fn info(&self) -> StoreInfo {
        self.blocks().info()
    }

    fn held_blocks(&self) -> Vec<BlockStore> {
        self.blocks().iter().cloned().collect()
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet> {
        Ok(SeriesSet { parts: self.blocks().series(&request).await?, warnings: Vec::new() })
    }

    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet> {
        Ok(label_set(self.blocks().label_names(&request).await?, request.limit))
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet> {
        Ok(label_set(self.blocks().label_values(name, &request).await?, request.limit))
    }

    async fn refresh(&self, block: BlockId) -> Result<()> {
        // another request may have done it already
        if self.blocks().get(block).is_some() {
            self.reload().await?;
        }
        Ok(())
    }
}

/// The folders of `path` that are named like blocks, in order.
fn block_folders(path: &Path) -> Result<Vec<BlockId>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let entry = entry.map_err(|e| Error::io(path, e))?;
        ids.extend(entry.file_name().to_str().and_then(|name| name.parse::<BlockId>().ok()));
    }
    ids.sort();
    Ok(ids)
}
