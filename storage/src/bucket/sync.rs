//! Reads what a bucket says of its blocks.
//!
//! ```text
//! one deep listing ──> folders named like blocks ──> meta.json (cached until it changes), deletion mark
//! ```
//!
//! One listing tells which files each block has, so that only files that exist are asked for: a folder without
//! `meta.json` is an upload that is under way or was cut off. What cannot be read is reported with its reason; of a
//! block that was known before, what was read last counts on, since a block never changes.

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
use crate::model::{BlockId, Timestamp};

/// Largest `meta.json` or mark that is read, in bytes.
const FILE_SIZE_MAX: u64 = 64 << 20;

/// Everything that a bucket says of its blocks.
#[derive(Debug, Clone, Default)]
pub struct FoundBlocks {
    /// Blocks whose `meta.json` was read, now or in an earlier look.
    pub metas: BTreeMap<BlockId, Arc<BlockMeta>>,
    /// Folders named like blocks without `meta.json`.
    pub without_meta: Vec<BlockId>,
    /// Blocks of which a file could not be read now. Those in `metas` can be served all the same.
    pub unreadable: BTreeMap<BlockId, Unreadable>,
    /// Deletion marks, read now or in an earlier look.
    pub deletion_marks: BTreeMap<BlockId, DeletionMark>,
}

/// A file of a block that is there but could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Which one: `meta.json`, or a mark.
    pub file: &'static str,
    /// Whether its contents are wrong; otherwise reading failed, and may succeed later.
    pub corrupt: bool,
    /// The error, in words.
    pub reason: String,
    /// When the block was made or the file written, whichever is later.
    pub made: Timestamp,
}

impl Unreadable {
    fn new(file: &'static str, error: &Error, made: Timestamp) -> Self {
        let corrupt = matches!(error, Error::Corrupt { .. } | Error::Unsupported(_));
        Self { file, corrupt, reason: error.to_string(), made }
    }
}

/// Finds the blocks of a bucket; remembers each `meta.json` until another one was read.
#[derive(Debug)]
pub struct MetaSync {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    concurrency: usize,
    cached: Mutex<Cached>,
}

/// What was read last of the blocks that are there.
#[derive(Debug, Default)]
struct Cached {
    metas: HashMap<BlockId, CachedMeta>,
    marks: HashMap<BlockId, DeletionMark>,
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
    modified: Timestamp,
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
                    let cached = self.cached.lock().metas.get(&id).filter(|cached| cached.version == version).cloned();
                    let (store, folder_path) = (Arc::clone(&self.store), self.prefix.clone().join(id.to_string()));
                    reading.push(fetch_block(store, folder_path, id, version, cached, folder.deletion_mark));
                }
            }
        }
        let fetched: Vec<FetchedBlock> = futures::stream::iter(reading).buffered(self.concurrency).collect().await;
        let mut cached = self.cached.lock();
        let before = std::mem::take(&mut *cached);
        for block in fetched {
            take(block, &before, &mut cached, &mut found);
        }
        Ok(found)
    }

    async fn list(&self) -> Result<BTreeMap<BlockId, Folder>> {
        let mut folders: BTreeMap<BlockId, Folder> = BTreeMap::new();
        let mut objects = self.store.list(Some(&self.prefix));
        while let Some(object) = objects.try_next().await.map_err(cannot_list)? {
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

/// Sorts one block into what was found; where its files cannot be read now, what was read `before` counts.
fn take(block: FetchedBlock, before: &Cached, cached: &mut Cached, found: &mut FoundBlocks) {
    let FetchedBlock { id, modified, meta, mark } = block;
    let made = modified.max(i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX));
    match mark {
        // none, or one that was removed between listing and reading
        None | Some(Err(Error::NotFound { .. })) => {}
        Some(Ok(mark)) => {
            found.deletion_marks.insert(id, mark);
        }
        Some(Err(error)) => {
            found.unreadable.insert(id, Unreadable::new(DeletionMark::FILE, &error, made));
            // unmarked, it is served for longer than it has to be, which is harmless
            found.deletion_marks.extend(before.marks.get(&id).map(|mark| (id, mark.clone())));
        }
    }
    cached.marks.extend(found.deletion_marks.get(&id).map(|mark| (id, mark.clone())));
    let meta = match meta {
        Ok(meta) => Some(meta),
        Err(Error::NotFound { .. }) => {
            found.without_meta.push(id);
            return;
        }
        Err(error) => {
            found.unreadable.insert(id, Unreadable::new(META_FILE, &error, made));
            before.metas.get(&id).cloned()
        }
    };
    if let Some(meta) = meta {
        found.metas.insert(id, Arc::clone(&meta.meta));
        cached.metas.insert(id, meta);
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
    let modified = version.modified_ms;
    let meta = match cached {
        Some(cached) => Ok(cached),
        None => fetch_meta(&store, &folder, id).await.map(|meta| CachedMeta { version, meta: Arc::new(meta) }),
    };
    let mark = match marked {
        true => Some(fetch_mark(&store, &folder, id).await),
        false => None,
    };
    FetchedBlock { id, modified, meta, mark }
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
        Ok(result) => result.bytes().await.map_err(|error| Error::object_store(id, file, error)),
        Err(error) => Err(Error::object_store(id, file, error)),
    }
}

fn cannot_list(error: object_store::Error) -> Error {
    Error::ObjectStore { what: "the list of blocks".to_owned(), source: Arc::new(error) }
}
