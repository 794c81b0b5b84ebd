//! The bucket that a compactor changes. Marks are in [`super::marks`], deletion in [`super::partial`].

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::block::marker::{DeletionMark, Marker};
use crate::block::meta::META_FILE;
use crate::error::{Error, Result};
use crate::model::BlockId;
use crate::shipper::Retry;

/// Blocks under a prefix of an object store, and how often a request is tried.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) retry: Retry,
    pub(super) concurrency: usize,
}

impl Bucket {
    /// The blocks under `prefix` of `store`, with at most `concurrency` requests at once by one call.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, concurrency: usize, retry: Retry) -> Self {
        Self { store, prefix, retry, concurrency: concurrency.max(1) }
    }

    /// Where the objects are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Where in the store the blocks' folders are.
    #[must_use]
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    pub(super) fn file(&self, id: BlockId, file: &str) -> Path {
        self.prefix.clone().join(id.to_string()).join(file)
    }

    /// What the store knows of a file of a block; `None` where there is none.
    pub(super) async fn head(&self, id: BlockId, file: &str) -> Result<Option<ObjectMeta>> {
        let path = self.file(id, file);
        self.retry
            .run(|| async {
                match self.store.head(&path).await {
                    Ok(object) => Ok(Some(object)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(Error::object_store(id, file, error)),
                }
            })
            .await
    }

    /// Whether the block is there now, and not marked for deletion.
    ///
    /// # Errors
    /// Where the bucket does not answer.
    pub async fn stays(&self, id: BlockId) -> Result<bool> {
        let there = self.head(id, META_FILE).await?.is_some();
        Ok(there && self.head(id, DeletionMark::FILE).await?.is_none())
    }

    /// Sizes in bytes of the indexes of these blocks, for [`plan`](super::plan()).
    ///
    /// # Errors
    /// [`Error::NotFound`] for a block without an index; else where the bucket does not answer.
    pub async fn index_sizes(&self, ids: &[BlockId]) -> Result<HashMap<BlockId, u64>> {
        let sizes = futures::stream::iter(ids.to_vec()).map(|id| async move {
            match self.head(id, "index").await? {
                Some(object) => Ok((id, object.size)),
                None => Err(Error::NotFound { place: id.to_string(), file: "index".to_owned() }),
            }
        });
        sizes.buffer_unordered(self.concurrency).try_collect().await
    }
}
