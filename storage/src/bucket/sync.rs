//! Reads what a bucket says of its blocks.
//!
//! ```text
//! one deep listing ──> folders named like blocks ──> meta.json (cached until it changes), deletion mark,
//!                                                    for a compactor the other marks too
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
use crate::block::marker::{DeletionMark, Marker, NoCompactMark, NoDownsampleMark};
use crate::block::meta::META_FILE;
use crate::error::{Error, Result};
use crate::model::{BlockId, Timestamp};
use crate::whole_read::whole;

/// Largest `meta.json` or mark that is read, in bytes.
const FILE_SIZE_MAX: u64 = 64 << 20;

/// Everything that a bucket says of its blocks.
#[derive(Debug, Clone, Default)]
pub struct FoundBlocks {
    /// Blocks whose `meta.json` was read, now or in an earlier look.
    pub metas: BTreeMap<BlockId, Arc<BlockMeta>>,
    /// Folders named like blocks without `meta.json`, with when the newest file in each was written.
    pub without_meta: BTreeMap<BlockId, Timestamp>,
    /// Blocks of which a file could not be read now. Those in `metas` can be served all the same.
    pub unreadable: BTreeMap<BlockId, Unreadable>,
    /// Deletion marks, read now or in an earlier look; those of blocks without `meta.json` only
    /// [for a compactor](MetaSync::for_compactor).
    pub deletion_marks: BTreeMap<BlockId, DeletionMark>,
    /// Blocks that must not be compacted. Only [for a compactor](MetaSync::for_compactor). A mark that is there but cannot
    /// be read counts, with [`UNREADABLE_MARK`] as its reason: whoever set it meant the block to be left alone.
    pub no_compact_marks: BTreeMap<BlockId, NoCompactMark>,
    /// Blocks that must not be downsampled; as `no_compact_marks`.
    pub no_downsample_marks: BTreeMap<BlockId, NoDownsampleMark>,
}

/// The reason of a mark whose file is there but cannot be read.
pub const UNREADABLE_MARK: &str = "unreadable";

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
    every_mark: bool,
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
    /// When the newest file was written.
    modified: Timestamp,
    deletion_mark: bool,
    no_compact_mark: bool,
    no_downsample_mark: bool,
}

/// What was read of one block.
struct FetchedBlock {
    id: BlockId,
    /// When the newest file of the folder was written.
    modified: Timestamp,
    /// Absent where there is no `meta.json`.
    meta: Option<Result<CachedMeta>>,
    /// Marks are absent where there is none, or where nobody asked for them.
    deletion_mark: Option<Result<DeletionMark>>,
    no_compact_mark: Option<Result<NoCompactMark>>,
    no_downsample_mark: Option<Result<NoDownsampleMark>>,
}

impl MetaSync {
    /// For the blocks under `prefix` of `store`, with at most `concurrency` reads at once.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, concurrency: usize) -> Self {
        Self { store, prefix, concurrency: concurrency.max(1), every_mark: false, cached: Mutex::default() }
    }

    /// Reads marks against compaction and downsampling too, and deletion marks of blocks that have no `meta.json`.
    #[must_use]
    pub fn for_compactor(self) -> Self {
        Self { every_mark: true, ..self }
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
            if folder.meta.is_none() && !(self.every_mark && folder.deletion_mark) {
                found.without_meta.insert(id, folder.modified);
                continue;
            }
            let cached = self.cached.lock().metas.get(&id).cloned();
            let cached = cached.filter(|cached| folder.meta.as_ref() == Some(&cached.version));
            let (store, path) = (Arc::clone(&self.store), self.prefix.clone().join(id.to_string()));
            reading.push(fetch_block(store, path, id, folder, cached));
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
            folder.modified = folder.modified.max(object.last_modified.timestamp_millis());
            let (Some(file), None) = (parts.next(), parts.next()) else { continue };
            match file.as_ref() {
                META_FILE => folder.meta = Some(Version::of(&object)),
                DeletionMark::FILE => folder.deletion_mark = true,
                NoCompactMark::FILE => folder.no_compact_mark = self.every_mark,
                NoDownsampleMark::FILE => folder.no_downsample_mark = self.every_mark,
                _ => {}
            }
        }
        Ok(folders)
    }
}

/// Sorts one block into what was found; where its files cannot be read now, what was read `before` counts.
fn take(block: FetchedBlock, before: &Cached, cached: &mut Cached, found: &mut FoundBlocks) {
    let FetchedBlock { id, modified, meta, deletion_mark, no_compact_mark, no_downsample_mark } = block;
    let made = modified.max(i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX));
    match deletion_mark {
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
    let unreadable = &mut found.unreadable;
    let or_assumed = |error: &Error, file, unreadable: &mut BTreeMap<_, _>| {
        unreadable.entry(id).or_insert_with(|| Unreadable::new(file, error, made));
        error.to_string()
    };
    match no_compact_mark {
        None | Some(Err(Error::NotFound { .. })) => {}
        Some(mark) => {
            let mark = mark.unwrap_or_else(|error| {
                NoCompactMark::new(id, 0, UNREADABLE_MARK, or_assumed(&error, NoCompactMark::FILE, unreadable))
            });
            found.no_compact_marks.insert(id, mark);
        }
    }
    match no_downsample_mark {
        None | Some(Err(Error::NotFound { .. })) => {}
        Some(mark) => {
            let mark = mark.unwrap_or_else(|error| {
                let details = or_assumed(&error, NoDownsampleMark::FILE, unreadable);
                NoDownsampleMark { reason: UNREADABLE_MARK.to_owned(), ..NoDownsampleMark::new(id, 0, details) }
            });
            found.no_downsample_marks.insert(id, mark);
        }
    }
    let meta = match meta {
        Some(Ok(meta)) => Some(meta),
        None | Some(Err(Error::NotFound { .. })) => {
            found.without_meta.insert(id, modified);
            // nothing is to be known of it but that it is there
            found.unreadable.remove(&id);
            return;
        }
        Some(Err(error)) => {
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
    path: Path,
    id: BlockId,
    folder: Folder,
    cached: Option<CachedMeta>,
) -> FetchedBlock {
    let Folder { meta: version, modified, deletion_mark, no_compact_mark, no_downsample_mark } = folder;
    let meta = match (version, cached) {
        (None, _) => None,
        (Some(_), Some(cached)) => Some(Ok(cached)),
        (Some(version), None) => {
            Some(fetch_meta(&store, &path, id).await.map(|meta| CachedMeta { version, meta: Arc::new(meta) }))
        }
    };
    let deletion_mark = fetch_mark(&store, &path, id, deletion_mark).await;
    let no_compact_mark = fetch_mark(&store, &path, id, no_compact_mark).await;
    let no_downsample_mark = fetch_mark(&store, &path, id, no_downsample_mark).await;
    FetchedBlock { id, modified, meta, deletion_mark, no_compact_mark, no_downsample_mark }
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

async fn fetch_mark<M: Marker>(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
    id: BlockId,
    listed: bool,
) -> Option<Result<M>> {
    if !listed {
        return None;
    }
    let json = get(store, folder, id, M::FILE).await;
    Some(json.and_then(|json| M::try_parse(&json, id.to_string())))
}

async fn get(store: &Arc<dyn ObjectStore>, folder: &Path, id: BlockId, file: &str) -> Result<Bytes> {
    match store.get_opts(&folder.clone().join(file), GetOptions::default()).await {
        Ok(result) if result.meta.size > FILE_SIZE_MAX => {
            let reason = format!("{} bytes, at most {FILE_SIZE_MAX} expected", result.meta.size);
            Err(Error::Corrupt { place: id.to_string(), file: file.to_owned(), offset: FILE_SIZE_MAX, reason })
        }
        Ok(result) => whole(result).await.map_err(|error| Error::object_store(id, file, error)),
        Err(error) => Err(Error::object_store(id, file, error)),
    }
}

fn cannot_list(error: object_store::Error) -> Error {
    Error::ObjectStore { what: "the list of blocks".to_owned(), source: Arc::new(error) }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;
    use crate::block::marker::{NO_COMPACT_INDEX_SIZE, REASON_MANUAL};
    use crate::model::TimeRange;

    fn id(n: u64) -> BlockId {
        BlockId::new(ulid::Ulid::from_parts(n, 0))
    }

    #[tokio::test]
    async fn a_compactor_sees_every_mark() {
        let store = Arc::new(InMemory::new());
        let put = async |n: u64, file: &str, bytes: Vec<u8>| {
            store.put(&Path::from(format!("{}/{file}", id(n))), bytes.into()).await.unwrap();
        };
        for n in 1..4 {
            let meta = BlockMeta::new(id(n), TimeRange { mint: 0, maxt: 1 });
            put(n, META_FILE, meta.to_json().unwrap()).await;
        }
        let no_compact = NoCompactMark::new(id(1), 5, NO_COMPACT_INDEX_SIZE, "");
        put(1, NoCompactMark::FILE, no_compact.to_json().unwrap()).await;
        let no_downsample = NoDownsampleMark::new(id(2), 6, "");
        put(2, NoDownsampleMark::FILE, no_downsample.to_json().unwrap()).await;
        put(3, NoCompactMark::FILE, b"{".to_vec()).await;
        put(3, NoDownsampleMark::FILE, b"{".to_vec()).await;
        put(4, DeletionMark::FILE, DeletionMark::new(id(4), 7, "").to_json().unwrap()).await;
        put(5, "index", b"x".to_vec()).await;
        put(6, DeletionMark::FILE, b"{".to_vec()).await;

        let reader = MetaSync::new(Arc::clone(&store) as _, Path::default(), 2).fetch().await.unwrap();
        assert!(reader.no_compact_marks.is_empty() && reader.deletion_marks.is_empty() && reader.unreadable.is_empty());
        let found = MetaSync::new(Arc::clone(&store) as _, Path::default(), 2).for_compactor().fetch().await.unwrap();
        assert_eq!(found.metas.len(), 3);
        assert_eq!(found.no_compact_marks[&id(1)], no_compact);
        assert_eq!(found.no_compact_marks[&id(3)].reason, UNREADABLE_MARK);
        assert_eq!(found.no_downsample_marks[&id(2)].reason, REASON_MANUAL);
        assert_eq!(found.no_downsample_marks[&id(3)].reason, UNREADABLE_MARK);
        assert_eq!(found.unreadable.keys().copied().collect::<Vec<_>>(), [id(3)]);
        assert_eq!(found.deletion_marks.keys().copied().collect::<Vec<_>>(), [id(4)]);
        assert_eq!(found.without_meta.keys().copied().collect::<Vec<_>>(), [id(4), id(5), id(6)]);
        for (n, modified) in found.without_meta {
            let file = if n == id(5) { "index" } else { DeletionMark::FILE };
            let object = store.head(&Path::from(format!("{n}/{file}"))).await.unwrap();
            assert_eq!(modified, object.last_modified.timestamp_millis());
        }
        assert_eq!(reader.without_meta.len(), 3);
    }
}
