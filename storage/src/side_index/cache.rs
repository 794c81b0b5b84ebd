//! Opened side-indexes, and those that had to be built.
//!
//! ```text
//! memory ──miss──> series.parquet of the block ──none──> cache folder ──none──> build from index
//! ```
//!
//! A block's own file is used where it fits its `index`, otherwise one that was built on first touch into
//! `<folder>/<ulid>/`, written aside and renamed. At most one task builds or opens a block's. Both memory and folder have
//! a size limit and give up what was not used for longest. What turns out damaged is [discarded](SideIndexCache::discard)
//! and built again; the block's own file is not believed after that.

mod build;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::model::BlockId;
use crate::store::BlockFiles;

use super::reader::SideIndex;
use super::source::VerifiedSource;
use super::{CHECKSUM_FILE, SIDE_INDEX_FILE};

pub use build::{BuiltSideIndex, build_into_folder, build_into_memory, write_side_index};

/// Limits and place of a [`SideIndexCache`].
#[derive(Debug, Clone)]
pub struct SideIndexSettings {
    /// Where built side-indexes are kept; none keeps them in memory.
    pub folder: Option<PathBuf>,
    /// Most bytes in the folder.
    pub folder_bytes_max: u64,
    /// Most bytes of opened side-indexes in memory.
    pub memory_bytes_max: usize,
}

impl Default for SideIndexSettings {
    /// No folder, 256 MiB of memory.
    fn default() -> Self {
        Self { folder: None, folder_bytes_max: 64 << 30, memory_bytes_max: 256 << 20 }
    }
}

/// Shared by all blocks of a process.
#[derive(Debug)]
pub struct SideIndexCache {
    settings: SideIndexSettings,
    state: Mutex<State>,
    opening: Mutex<HashMap<BlockId, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct State {
    opened: HashMap<BlockId, Opened>,
    opened_bytes: usize,
    stored: HashMap<BlockId, Stored>,
    stored_bytes: u64,
    distrusted: HashSet<BlockId>,
    /// Counts uses, to tell what was not used for longest.
    clock: u64,
}

#[derive(Debug)]
struct Opened {
    index: Arc<SideIndex>,
    bytes: usize,
    used: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    bytes: u64,
    used: u64,
}

impl SideIndexCache {
    /// A cache over what the folder holds already.
    #[must_use]
    pub fn new(settings: SideIndexSettings) -> Arc<Self> {
        let mut state = State::default();
        if let Some(folder) = &settings.folder {
            state.stored = stored_in(folder);
            state.clock = state.stored.len() as u64;
            state.stored_bytes = state.stored.values().map(|stored| stored.bytes).sum();
        }
        Arc::new(Self { settings, state: Mutex::new(state), opening: Mutex::default() })
    }

    /// The side-index of a block, opened, and built where there is none.
    ///
    /// # Errors
    /// What reading the block's `index` returns.
    pub async fn open(&self, files: &BlockFiles) -> Result<Arc<SideIndex>> {
        let id = files.id();
        if let Some(index) = self.opened(id) {
            return Ok(index);
        }
        let gate = Arc::clone(self.opening.lock().entry(id).or_default());
        let _guard = gate.lock().await;
        if let Some(index) = self.opened(id) {
            return Ok(index);
        }
        let index = self.open_missing(files).await;
        self.opening.lock().remove(&id);
        let index = Arc::new(index?);
        self.keep(id, Arc::clone(&index));
        Ok(index)
    }

    /// Forgets a side-index that turned out damaged, so that the next [`open`](Self::open) builds it.
    pub fn discard(&self, id: BlockId) {
        let mut state = self.state.lock();
        state.distrusted.insert(id);
        state.forget(id);
        state.stored_bytes -= state.stored.remove(&id).map_or(0, |stored| stored.bytes);
        drop(state);
        self.remove_folder(id);
    }

    /// Forgets a block that is gone.
    pub fn remove(&self, id: BlockId) {
        self.discard(id);
        self.state.lock().distrusted.remove(&id);
    }

    /// Bytes of opened side-indexes, and of the folder.
    #[must_use]
    pub fn sizes(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.opened_bytes, state.stored_bytes)
    }

    fn opened(&self, id: BlockId) -> Option<Arc<SideIndex>> {
        let mut state = self.state.lock();
        state.clock += 1;
        let now = state.clock;
        if let Some(stored) = state.stored.get_mut(&id) {
            stored.used = now;
        }
        let opened = state.opened.get_mut(&id)?;
        opened.used = now;
        Some(Arc::clone(&opened.index))
    }

    async fn open_missing(&self, files: &BlockFiles) -> Result<SideIndex> {
        let id = files.id();
        let distrusted = self.state.lock().distrusted.contains(&id);
        if !distrusted && let Some(index) = open_fitting(files, files).await? {
            return Ok(index);
        }
        let Some(folder) = &self.settings.folder else {
            let built = build_into_memory(files).await?;
            let contents =
                vec![(SIDE_INDEX_FILE.to_owned(), built.contents), (CHECKSUM_FILE.to_owned(), built.checksums)];
            return open_at(BlockFiles::memory(id, contents)).await?.ok_or_else(|| files.missing(CHECKSUM_FILE));
        };
        let cached = BlockFiles::local(id, folder.join(id.to_string()));
        if self.state.lock().stored.contains_key(&id) {
            if let Some(index) = open_fitting(&cached, files).await? {
                return Ok(index);
            }
            self.remove_folder(id);
        }
        let bytes = build_into_folder(files, folder).await?;
        self.store(id, bytes);
        open_at(cached).await?.ok_or_else(|| files.missing(CHECKSUM_FILE))
    }

    fn keep(&self, id: BlockId, index: Arc<SideIndex>) {
        let mut state = self.state.lock();
        state.clock += 1;
        let (bytes, used) = (index.memory_size(), state.clock);
        state.forget(id);
        state.opened_bytes += bytes;
        state.opened.insert(id, Opened { index, bytes, used });
        while state.opened_bytes > self.settings.memory_bytes_max && state.opened.len() > 1 {
            let Some(oldest) = state.opened.iter().min_by_key(|(_, o)| o.used).map(|(&id, _)| id) else { break };
            state.forget(oldest);
        }
    }

    fn store(&self, id: BlockId, bytes: u64) {
        let mut state = self.state.lock();
        state.clock += 1;
        let used = state.clock;
        state.stored_bytes += bytes;
        state.stored_bytes -= state.stored.insert(id, Stored { bytes, used }).map_or(0, |old| old.bytes);
        let mut evicted = Vec::new();
        while state.stored_bytes > self.settings.folder_bytes_max && state.stored.len() > 1 {
            let Some(oldest) = state.stored.iter().min_by_key(|(_, s)| s.used).map(|(&id, _)| id) else { break };
            state.stored_bytes -= state.stored.remove(&oldest).map_or(0, |stored| stored.bytes);
            state.forget(oldest);
            evicted.push(oldest);
        }
        drop(state);
        evicted.into_iter().for_each(|id| self.remove_folder(id));
    }

    fn remove_folder(&self, id: BlockId) {
        if let Some(folder) = &self.settings.folder {
            // what cannot be removed is overwritten by the next build, and checked before it is used in any case
            let _ = std::fs::remove_dir_all(folder.join(id.to_string()));
        }
    }
}

impl State {
    fn forget(&mut self, id: BlockId) {
        self.opened_bytes -= self.opened.remove(&id).map_or(0, |opened| opened.bytes);
    }
}

/// Opens the side-index in `at` if there is one that is whole and belongs to the `index` of `block`.
async fn open_fitting(at: &BlockFiles, block: &BlockFiles) -> Result<Option<SideIndex>> {
    let index = match open_at(at.clone()).await {
        Ok(Some(index)) => index,
        Ok(None) => return Ok(None),
        Err(error) if is_damage(&error) => {
            tracing::warn!(%error, "side-index is not usable and is built again");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if fits(&index, block).await? {
        return Ok(Some(index));
    }
    tracing::warn!(block = %block.id(), "side-index belongs to another index and is built again");
    Ok(None)
}

async fn open_at(files: BlockFiles) -> Result<Option<SideIndex>> {
    match VerifiedSource::open(files).await? {
        Some(source) => Ok(Some(SideIndex::open(source).await?)),
        None => Ok(None),
    }
}

/// Whether a side-index was made from the block's `index`, told by its size and, where reading it costs nothing, by the
/// checksum of its table of contents. A block never changes after upload, so that size is enough far away.
async fn fits(index: &SideIndex, block: &BlockFiles) -> Result<bool> {
    let identity = index.identity();
    if block.size(crate::index::INDEX_FILE).await? != Some(identity.size) {
        return Ok(false);
    }
    if block.remote_path().is_some() {
        return Ok(true);
    }
    let tail = identity.size.saturating_sub(4)..identity.size;
    let bytes: Vec<Bytes> = block.read_ranges(crate::index::INDEX_FILE, &[tail], 0).await?;
    Ok(bytes.first().is_some_and(|bytes| bytes.len() == 4 && bytes.clone().get_u32() == identity.toc_crc))
}

/// Whether an error is that a side-index is damaged or was evicted, so that building it again helps.
#[must_use]
pub fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { file, .. } | Error::NotFound { file, .. } => file == SIDE_INDEX_FILE || file == CHECKSUM_FILE,
        Error::Arrow(_) => true,
        _ => false,
    }
}

/// What a cache folder holds. What was read last before the restart counts as used last; a file system that does not
/// note reads still tells what was written last.
fn stored_in(folder: &Path) -> HashMap<BlockId, Stored> {
    let Ok(entries) = std::fs::read_dir(folder) else { return HashMap::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name.ends_with(build::UNFINISHED) {
            // left by a build that was cut off; one that cannot be removed does no harm
            let _ = std::fs::remove_dir_all(entry.path());
        }
        let Ok(id) = name.parse::<BlockId>() else { continue };
        let files = [SIDE_INDEX_FILE, CHECKSUM_FILE].map(|file| std::fs::metadata(entry.path().join(file)).ok());
        let bytes = files.iter().flatten().map(std::fs::Metadata::len).sum();
        let touched = files.iter().flatten().flat_map(|m| [m.accessed(), m.modified()]).flatten().max();
        found.push((touched, id, bytes));
    }
    found.sort_unstable();
    (1..).zip(found).map(|(used, (_, id, bytes))| (id, Stored { bytes, used })).collect()
}
