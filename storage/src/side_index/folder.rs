//! Writes both files of a side-index into a folder.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::index::SeriesEntry;

use super::checksum::{Checksums, IndexIdentity};
use super::schema::NameCounts;
use super::writer::SideIndexWriter;
use super::{CHECKSUM_FILE, SIDE_INDEX_FILE};

/// Writes `series.parquet` as series come, and `series.crc` at the end.
pub struct SideIndexFolderWriter {
    writer: SideIndexWriter<BufWriter<File>>,
    /// The file that is being written, to read it back.
    file: File,
    path: PathBuf,
    checksum_path: PathBuf,
}

/// Sizes of the files in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideIndexSizes {
    /// Of `series.parquet`.
    pub series: u64,
    /// Of `series.crc`.
    pub checksums: u64,
}

impl SideIndexFolderWriter {
    /// Starts the files in `folder`, over any that are there, with columns for the names that `counts` finds common.
    ///
    /// # Errors
    /// [`Error::Io`]; what Parquet returns.
    pub fn create(folder: &Path, counts: &NameCounts) -> Result<Self> {
        let path = folder.join(SIDE_INDEX_FILE);
        let open = || {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
            Ok((file.try_clone()?, file))
        };
        let (out, file) = open().map_err(|e| Error::io(&path, e))?;
        let writer = SideIndexWriter::try_new(BufWriter::with_capacity(1 << 18, out), counts)?;
        Ok(Self { writer, file, path, checksum_path: folder.join(CHECKSUM_FILE) })
    }

    /// Adds a series, in index order.
    ///
    /// # Errors
    /// As [`SideIndexWriter::write`].
    pub fn write(&mut self, entry: SeriesEntry<'_>) -> Result<()> {
        self.writer.write_entry(entry)
    }

    /// Ends and syncs the files. `identity` is that of the index with these series.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn finish(self, identity: IndexIdentity) -> Result<SideIndexSizes> {
        let Self { writer, file, path, checksum_path } = self;
        let io = |e| Error::io(&path, e);
        let ends = writer.finish()?;
        let series = ends.last().copied().unwrap_or(0);
        file.sync_all().map_err(io)?;
        let read = |range: Range<u64>| {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            file.read_exact_at(&mut bytes, range.start).map_err(io)?;
            Ok(bytes)
        };
        let checksums = Checksums::compute(identity, ends, read)?.encode();
        let write = || {
            let mut file = File::create(&checksum_path)?;
            file.write_all(&checksums)?;
            file.sync_all()
        };
        write().map_err(|e| Error::io(&checksum_path, e))?;
        Ok(SideIndexSizes { series, checksums: checksums.len() as u64 })
    }
}

impl std::fmt::Debug for SideIndexFolderWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SideIndexFolderWriter").field("path", &self.path).finish_non_exhaustive()
    }
}
