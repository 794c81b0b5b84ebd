//! A block in a local folder, its index and segments mapped into memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::BlockMeta;
use super::meta::META_FILE;
use super::segments::{CHUNKS_DIR, SegmentName, StoredChunk, segment_of};
use super::tombstones::{TOMBSTONES_FILE, Tombstones};
use crate::error::{Error, Result};
use crate::index::{ChunkRef, INDEX_FILE, IndexReader};
use crate::mmap::map_file;

/// An opened block. Slices of its files keep their mappings alive, so it may be dropped, and its folder deleted,
/// while they are in use.
#[derive(Debug)]
pub struct LocalBlock {
    dir: PathBuf,
    place: Arc<str>,
    meta: BlockMeta,
    index: IndexReader,
    segments: BTreeMap<u32, (SegmentName, Bytes)>,
    tombstones: Tombstones,
}

impl LocalBlock {
    /// Opens the block in the folder `dir`, which errors name by its last component.
    ///
    /// # Errors
    /// [`Error::NotFound`] where `meta.json`, `index` or a segment is missing, [`Error::Corrupt`] where what is read
    /// now is damaged, [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self> {
        let name = dir.file_name().unwrap_or(dir.as_os_str());
        let place: Arc<str> = name.to_string_lossy().into();
        let meta = BlockMeta::try_parse(&read(dir, META_FILE, &place)?, Arc::clone(&place))?;
        let index = map(dir, INDEX_FILE, &place)?;
        let index = IndexReader::try_open(index, Arc::clone(&place))?;
        let tombstones = match read(dir, TOMBSTONES_FILE, &place) {
            Ok(file) => Tombstones::try_parse(&file, Arc::clone(&place))?,
            Err(Error::NotFound { .. }) => Tombstones::default(),
            Err(error) => return Err(error),
        };
        let mut segments = BTreeMap::new();
        for number in segment_numbers(dir, &meta)? {
            let name = SegmentName::new(Arc::clone(&place), number);
            let bytes = map(dir, &name.rel_path(), &place)?;
            name.check_header(&bytes)?;
            segments.insert(number, (name, bytes));
        }
        Ok(Self { dir: dir.to_owned(), place, meta, index, segments, tombstones })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of the folder, as errors say it.
    #[must_use]
    pub fn place(&self) -> &Arc<str> {
        &self.place
    }

    /// Its `meta.json`.
    #[must_use]
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> &IndexReader {
        &self.index
    }

    /// Its tombstones; empty where it has no such file.
    #[must_use]
    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// The bytes of a segment, counted from 0.
    #[must_use]
    pub fn segment(&self, number: u32) -> Option<&Bytes> {
        self.segments.get(&number).map(|(_, bytes)| bytes)
    }

    /// The chunk at `chunk`, a slice of the mapped segment. Reading it may block on the disk.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such segment, [`Error::Corrupt`] where the chunk is damaged.
    pub fn chunk(&self, chunk: ChunkRef) -> Result<StoredChunk> {
        match self.segments.get(&chunk.segment()) {
            Some((name, bytes)) => name.whole_chunk(bytes, 0, chunk.offset()),
            None => {
                let name = SegmentName::new(Arc::clone(&self.place), chunk.segment());
                Err(Error::NotFound { place: self.place.to_string(), file: name.rel_path() })
            }
        }
    }
}

/// The segments that are there, and those that `meta.json` says should be.
fn segment_numbers(dir: &Path, meta: &BlockMeta) -> Result<std::collections::BTreeSet<u32>> {
    let chunks = dir.join(CHUNKS_DIR);
    let mut numbers: std::collections::BTreeSet<u32> =
        meta.segment_files().iter().flatten().filter_map(|name| segment_of(name)).collect();
    let entries = match std::fs::read_dir(&chunks) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(numbers),
        Err(e) => return Err(Error::io(&chunks, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(&chunks, e))?;
        numbers.extend(entry.file_name().to_str().and_then(segment_of));
    }
    Ok(numbers)
}

fn read(dir: &Path, file: &str, place: &str) -> Result<Vec<u8>> {
    let path = dir.join(file);
    std::fs::read(&path).map_err(|e| missing(Error::io(&path, e), file, place))
}

fn map(dir: &Path, file: &str, place: &str) -> Result<Bytes> {
    map_file(&dir.join(file)).map_err(|error| missing(error, file, place))
}

/// A file that is not there is an error of its own kind.
fn missing(error: Error, file: &str, place: &str) -> Error {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::NotFound { place: place.to_owned(), file: file.to_owned() }
        }
        other => other,
    }
}
