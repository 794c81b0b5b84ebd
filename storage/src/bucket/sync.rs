//! Reads what a bucket says of its blocks.
//!
//! ```text
//! one deep listing ──> folders named like blocks ──> meta.json (cached until it changes), deletion mark
//! ```
//!
//! One listing tells which files each block has, so that only files that exist are asked for: a folder without
//! `meta.json` is an upload that is under way or was cut off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore};
use parking_lot::Mutex;

use crate::block::BlockMeta;
use crate::block::marker::{DeletionMark, Marker};
use crate::block::meta::META_FILE;
use crate::error::{Error, Result};
use crate::model::BlockId;

/// Largest `meta.json` or mark that is read, in bytes.
const FILE_SIZE_MAX: u64 = 64 << 20;

/// Everything that a bucket says of its blocks.
#[derive(Debug, Clone, Default)]
pub struct FoundBlocks {
    /// Blocks whose `meta.json` was read.
    pub metas: BTreeMap<BlockId, Arc<BlockMeta>>,
    /// Folders named like blocks without `meta.json`.
    pub without_meta: Vec<BlockId>,
    /// Blocks whose `meta.json` is not one, and why.
    pub corrupt: Vec<(BlockId, Error)>,
    /// Blocks of which a file could not be read, and why.
    pub failed: Vec<(BlockId, Error)>,
    /// Deletion marks.
    pub deletion_marks: BTreeMap<BlockId, DeletionMark>,
}

/// Finds the blocks of a bucket; remembers each `meta.json` until it changes.
#[derive(Debug)]
pub struct MetaSync {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    concurrency: usize,
    cached: Mutex<HashMap<BlockId, CachedMeta>>,
}

#[derive(Debug, Clone)]
struct CachedMeta {
    version: Version,
    meta: Arc<BlockMeta>,
}

/// What tells one content of an object from another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    size: u64,
    modified_ms: i64,
    e_tag: Option<String>,
}

impl Version {
    fn of(object: &ObjectMeta) -> Self {
        let modified_ms = object.last_modified.timestamp_millis();
        Self { size: object.size, modified_ms, e_tag: object.e_tag.clone() }
    }
}

/// What the listing shows of one block's folder.
#[derive(Debug, Default)]
struct Folder {
    meta: Option<Version>,
    deletion_mark: bool,
}

/// What was read of one block.
struct FetchedBlock {
    id: BlockId,
    meta: Result<CachedMeta>,
    mark: Option<Result<DeletionMark>>,
}

impl MetaSync {
    /// For the blocks under `prefix` of `store`, with at most `concurrency` reads at once.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, concurrency: usize) -> Self {
        Self { store, prefix, concurrency: concurrency.max(1), cached: Mutex::default() }
    }

    /// Looks into the bucket.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub async fn fetch(&self) -> Result<FoundBlocks> {
        let folders = self.list().await?;
        let mut found = FoundBlocks::default();
        let mut reading = Vec::new();
        for (id, folder) in folders {
            match folder.meta {
                None => found.without_meta.push(id),
                Some(version) => {
                    let cached = self.cached.lock().get(&id).filter(|cached| cached.version == version).cloned();
                    let (store, folder_path) = (Arc::clone(&self.store), self.prefix.clone().join(id.to_string()));
                    reading.push(fetch_block(store, folder_path, id, version, cached, folder.deletion_mark));
                }
            }
        }
        let fetched: Vec<FetchedBlock> = futures::stream::iter(reading).buffered(self.concurrency).collect().await;
        let mut cached = HashMap::with_capacity(fetched.len());
        for block in fetched {
            match block.meta {
                Ok(meta) => {
                    found.metas.insert(block.id, Arc::clone(&meta.meta));
                    cached.insert(block.id, meta);
                }
                // deleted between listing and reading
                Err(Error::NotFound { .. }) => found.without_meta.push(block.id),
                Err(error @ (Error::Corrupt { .. } | Error::Unsupported(_))) => found.corrupt.push((block.id, error)),
                Err(error) => found.failed.push((block.id, error)),
            }
            match block.mark {
                Some(Ok(mark)) => {
                    found.deletion_marks.insert(block.id, mark);
                }
                // one that is being written or removed is none
                Some(Err(error @ (Error::Corrupt { .. } | Error::NotFound { .. }))) => {
                    tracing::warn!(block = %block.id, %error, "deletion mark is not readable and is ignored");
                }
                Some(Err(error)) => {
                    found.metas.remove(&block.id);
                    found.failed.push((block.id, error));
                }
                None => {}
            }
        }
        *self.cached.lock() = cached;
        Ok(found)
    }

    async fn list(&self) -> Result<BTreeMap<BlockId, Folder>> {
        let mut folders: BTreeMap<BlockId, Folder> = BTreeMap::new();
        let mut objects = self.store.list(Some(&self.prefix));
        while let Some(object) = objects.try_next().await? {
            let Some(mut parts) = object.location.prefix_match(&self.prefix) else { continue };
            let Some(id) = parts.next().and_then(|part| part.as_ref().parse::<BlockId>().ok()) else { continue };
            let folder = folders.entry(id).or_default();
            match (parts.next(), parts.next()) {
                (Some(file), None) if file.as_ref() == META_FILE => folder.meta = Some(Version::of(&object)),
                (Some(file), None) if file.as_ref() == DeletionMark::FILE => folder.deletion_mark = true,
                _ => {}
            }
        }
        Ok(folders)
    }
}

async fn fetch_block(
    store: Arc<dyn ObjectStore>,
    folder: Path,
    id: BlockId,
    version: Version,
    cached: Option<CachedMeta>,
    marked: bool,
) -> FetchedBlock {
    let meta = match cached {
        Some(cached) => Ok(cached),
        None => fetch_meta(&store, &folder, id).await.map(|meta| CachedMeta { version, meta: Arc::new(meta) }),
    };
    let mark = match marked {
        true => Some(fetch_mark(&store, &folder, id).await),
        false => None,
    };
    FetchedBlock { id, meta, mark }
}

async fn fetch_meta(store: &Arc<dyn ObjectStore>, folder: &Path, id: BlockId) -> Result<BlockMeta> {
    let json = get(store, folder, id, META_FILE).await?;
    let meta = BlockMeta::try_parse(&json, id.to_string())?;
    if meta.id() == id {
        return Ok(meta);
    }
    let reason = format!("names another block, {}", meta.id());
    Err(Error::Corrupt { place: id.to_string(), file: META_FILE.to_owned(), offset: 0, reason })
}

async fn fetch_mark(store: &Arc<dyn ObjectStore>, folder: &Path, id: BlockId) -> Result<DeletionMark> {
    DeletionMark::try_parse(&get(store, folder, id, DeletionMark::FILE).await?, id.to_string())
}

async fn get(store: &Arc<dyn ObjectStore>, folder: &Path, id: BlockId, file: &str) -> Result<Bytes> {
    match store.get_opts(&folder.clone().join(file), GetOptions::default()).await {
        Ok(result) if result.meta.size > FILE_SIZE_MAX => {
            let reason = format!("{} bytes, at most {FILE_SIZE_MAX} expected", result.meta.size);
            Err(Error::Corrupt { place: id.to_string(), file: file.to_owned(), offset: FILE_SIZE_MAX, reason })
        }
        Ok(result) => Ok(result.bytes().await?),
        Err(object_store::Error::NotFound { .. }) => {
            Err(Error::NotFound { place: id.to_string(), file: file.to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}
