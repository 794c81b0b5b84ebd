//! Builds a side-index from a block's `index`.
//!
//! Two passes over the series: the first counts label names to choose columns, the second writes. Besides symbols, memory holds one row
//! group, and of `index` all of it or, where a folder is built into, the part that is read just now: it may be larger than memory.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::index::{INDEX_FILE, IndexReader, SeriesRef};
use crate::mmap::MappedFile;
use crate::side_index::schema::NameCounts;
use crate::side_index::writer::fill_key;
use crate::side_index::{CHECKSUM_FILE, IndexIdentity, SideIndexFolderWriter, SideIndexWriter, checksums_of};
use crate::store::BlockFiles;

/// How the name of a folder ends that is being written.
pub(super) const UNFINISHED: &str = ".tmp";
/// Numbers builds, so that none writes into another's folder.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
/// Largest index that is read.
const INDEX_SIZE_MAX: u64 = 64 << 30;
/// Bytes of a mapped index that stay in memory after they were read.
const READ_BYTES_KEPT: usize = 8 << 20;

/// A side-index in memory.
#[derive(Debug, Clone)]
pub struct BuiltSideIndex {
    /// What goes into `series.parquet`.
    pub contents: Bytes,
    /// What goes into `series.crc`.
    pub checksums: Bytes,
}

/// Writes the `series.parquet` of `index` to `out`; returns where the ranges of its checksums end.
///
/// # Errors
/// [`Error::Corrupt`] where the index is damaged; what `out` returns.
pub fn write_side_index(index: &IndexReader, out: impl Write + Send) -> Result<Vec<u64>> {
    let mut writer = SideIndexWriter::try_new(out, &count_names(index, |_| ())?)?;
    let mut series = index.all_series();
    while let Some(entry) = series.next()? {
        writer.write_entry(entry)?;
    }
    writer.finish()
}

/// Counts label names; `behind` is told of every series that has been read.
fn count_names(index: &IndexReader, mut behind: impl FnMut(SeriesRef)) -> Result<NameCounts> {
    let (mut counts, mut key) = (NameCounts::default(), String::new());
    let mut series = index.all_series();
    while let Some(entry) = series.next()? {
        fill_key(&mut key, entry.labels);
        counts.observe(&key);
        behind(entry.series);
    }
    Ok(counts)
}

/// Lets go of the part of a mapped index that has been read, some MB at a time.
struct Behind<'a> {
    file: &'a MappedFile,
    start: usize,
}

impl<'a> Behind<'a> {
    fn new(file: &'a MappedFile) -> Self {
        Self { file, start: 0 }
    }

    fn read(&mut self, series: SeriesRef) {
        let at = usize::try_from(series.offset()).unwrap_or(usize::MAX);
        if at - self.start >= READ_BYTES_KEPT {
            self.file.let_go(self.start..at);
            self.start = at;
        }
    }
}

/// Builds the side-index of a block in memory.
///
/// # Errors
/// What reading the block's `index` returns.
pub async fn build_into_memory(files: &BlockFiles) -> Result<BuiltSideIndex> {
    let index = read_index(files).await?;
    let place = files.id().to_string();
    blocking(move || {
        let index = IndexReader::try_open(index, place)?;
        let mut contents = Vec::new();
        let ends = write_side_index(&index, &mut contents)?;
        let checksums = checksums_of(&contents, ends, identity(&index))?.encode();
        Ok(BuiltSideIndex { contents: contents.into(), checksums: checksums.into() })
    })
    .await
}

/// Builds the side-index of a block into `<folder>/<ulid>/`; returns its size in bytes.
///
/// # Errors
/// What reading the block's `index` or writing returns.
pub async fn build_into_folder(files: &BlockFiles, folder: &Path) -> Result<u64> {
    let (place, folder) = (files.id().to_string(), folder.to_owned());
    // a name of its own: a build whose caller went away may still be writing
    let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let (aside, target) = (folder.join(format!("{place}.{attempt}{UNFINISHED}")), folder.join(&place));
    std::fs::create_dir_all(&aside).map_err(io(&aside))?;
    let mapped = match files.local_path() {
        Some(path) if path.join(INDEX_FILE).exists() => MappedFile::open(&path.join(INDEX_FILE))?,
        _ => {
            let copy = aside.join(INDEX_FILE);
            files.copy_to(INDEX_FILE, &copy).await?;
            let mapped = MappedFile::open(&copy)?;
            // the mapping outlives the name
            std::fs::remove_file(&copy).map_err(io(&copy))?;
            mapped
        }
    };
    blocking(move || {
        let index = IndexReader::try_open(mapped.bytes(), place.as_str())?;
        let mut behind = Behind::new(&mapped);
        let names = count_names(&index, |series| behind.read(series))?;
        let mut writer = SideIndexFolderWriter::create(&aside, &names)?;
        let (mut series, mut behind) = (index.all_series(), Behind::new(&mapped));
        while let Some(entry) = series.next()? {
            writer.write(entry)?;
            behind.read(entry.series);
        }
        let sizes = writer.finish(identity(&index))?;
        if target.exists() {
            std::fs::remove_dir_all(&target).map_err(io(&target))?;
        }
        if let Err(error) = std::fs::rename(&aside, &target) {
            // another build of the same index was faster
            let finished = target.join(CHECKSUM_FILE).exists();
            std::fs::remove_dir_all(&aside).map_err(io(&aside))?;
            if !finished {
                return Err(Error::io(&target, error));
            }
        }
        Ok(sizes.series + sizes.checksums)
    })
    .await
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::io(&path, error)
}

fn identity(index: &IndexReader) -> IndexIdentity {
    IndexIdentity { size: index.size(), toc_crc: index.toc().checksum }
}

async fn read_index(files: &BlockFiles) -> Result<Bytes> {
    files.read(INDEX_FILE, INDEX_SIZE_MAX).await?.ok_or_else(|| files.missing(INDEX_FILE))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(format!("building a side-index: {error}")))?
}
