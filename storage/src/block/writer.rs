//! Writing a block to a local folder.
//!
//! ```text
//! push …  ──> chunks/00000N          payloads, as they come
//!         └─> series.spool           labels and references, until symbols and common names are known
//! finish: series.spool ─┬─> index
//!                       └─> series.parquet ──> series.crc ──> meta.json ──> rename to <ulid>
//! ```
//!
//! All of it happens in `<ulid>.tmp-for-creation`, the name that Prometheus too clears away when it starts. Every
//! file is synced before `meta.json` is written, and that before the rename, so a folder with the block's name is
//! a whole block. A writer that is dropped unfinished takes its folder with it.
//!
//! In memory are the distinct strings of the labels, and while series are written the postings of the index
//! ([`IndexWriter`]) and one row group of the side-index ([`SideIndexFolderWriter`]).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BlockMeta;
use super::meta::{BlockFile, BlockStats, IndexStats, META_FILE};
use super::segment_files::{LocalSegments, SegmentFiles};
use super::segments::{CHUNKS_DIR, SEGMENT_LEN_MAX, SegmentsWriter, sync_dir};
use super::spool::Spool;
use crate::chunk::{EncodedChunk, Encoding, sample_count};
use crate::error::{Error, Result};
use crate::index::{ChunkMeta, INDEX_FILE, IndexWriter, SeriesEntry, SeriesRef, Toc};
use crate::model::{Labels, Timestamp};
use crate::side_index::{
    CHECKSUM_FILE, IndexIdentity, NameCounts, SIDE_INDEX_FILE, SideIndexFolderWriter, SideIndexSizes,
};

/// Series entries of an index start at multiples of this, in bytes.
const SERIES_ALIGN: u64 = 16;

/// A chunk to be written.
#[derive(Debug, Clone, Copy)]
pub struct ChunkPayload<'a> {
    /// Time of the first sample.
    pub mint: Timestamp,
    /// Time of the last sample.
    pub maxt: Timestamp,
    /// The encoding byte.
    pub encoding: u8,
    /// The payload.
    pub data: &'a [u8],
}

impl<'a> From<&'a EncodedChunk> for ChunkPayload<'a> {
    fn from(chunk: &'a EncodedChunk) -> Self {
        Self { mint: chunk.mint, maxt: chunk.maxt, encoding: chunk.encoding as u8, data: &chunk.data }
    }
}

/// What a block is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockWriterSettings {
    /// Whether the side-index is written too. Without it a reader builds one from `index`.
    pub side_index: bool,
    /// Where segments are cut, in bytes.
    pub segment_len_max: u64,
}

impl Default for BlockWriterSettings {
    /// With the side-index, and segments as Prometheus and Thanos cut them.
    fn default() -> Self {
        Self { side_index: true, segment_len_max: SEGMENT_LEN_MAX }
    }
}

/// Writes one block.
#[derive(Debug)]
pub struct BlockWriter {
    partial: PartialDir,
    target: PathBuf,
    segments: SegmentsWriter,
    spool: Spool,
    /// The block's meta, its counts filled in as series come.
    meta: BlockMeta,
    /// Label names so far, where there will be a side-index.
    names: Option<NameCounts>,
    chunk_max_size: u64,
    last: Option<Labels>,
    chunks: Vec<ChunkMeta>,
}

impl BlockWriter {
    /// Starts the block `meta.ulid` in the folder `parent`. What is left there of an earlier attempt is removed.
    ///
    /// `meta` is what [`finish`](Self::finish) will write, but for the counts and, in its `thanos` section, if it has
    /// one, the files and their sizes: these are set.
    ///
    /// # Errors
    /// [`Error::Io`], also where the block is already there.
    pub fn create(parent: &Path, meta: BlockMeta, settings: BlockWriterSettings) -> Result<Self> {
        Self::create_with(parent, meta, settings, |dir| Ok(Box::new(LocalSegments::create(&dir.join(CHUNKS_DIR))?)))
    }

    /// As [`create`](Self::create), with the segments where `segments` puts them, which is given the folder that the other files are
    /// written to.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with(
        parent: &Path,
        mut meta: BlockMeta,
        settings: BlockWriterSettings,
        segments: impl FnOnce(&Path) -> Result<Box<dyn SegmentFiles>>,
    ) -> Result<Self> {
        let target = parent.join(meta.ulid.to_string());
        if target.exists() {
            return Err(Error::io(&target, std::io::ErrorKind::AlreadyExists.into()));
        }
        let partial = PartialDir::create(parent.join(format!("{}.tmp-for-creation", meta.ulid)))?;
        let segments = SegmentsWriter::new(segments(&partial.path)?, settings.segment_len_max);
        let spool = Spool::create(partial.path.join("series.spool"))?;
        meta.stats = BlockStats::default();
        Ok(Self {
            partial,
            target,
            segments,
            spool,
            meta,
            names: settings.side_index.then(NameCounts::default),
            chunk_max_size: 0,
            last: None,
            chunks: Vec::new(),
        })
    }

    /// Appends a series. Series come in the order of their labels, chunks in that of time without overlap.
    ///
    /// # Errors
    /// [`Error::Internal`] where they do not, or a payload has no sample count; [`Error::Io`].
    pub fn push<'a>(&mut self, labels: &Labels, chunks: impl IntoIterator<Item = ChunkPayload<'a>>) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| last >= labels) {
            return Err(Error::Internal(format!("block writer: series {labels} is not in order")));
        }
        self.chunks.clear();
        self.segments.begin_series();
        for chunk in chunks {
            let out_of_order = self.chunks.last().is_some_and(|last| chunk.mint <= last.maxt);
            if out_of_order || chunk.maxt < chunk.mint {
                return Err(Error::Internal(format!("block writer: chunks of {labels} are not in order")));
            }
            self.count(&chunk)?;
            let at = self.segments.write(chunk.encoding, chunk.data)?;
            self.chunks.push(ChunkMeta { mint: chunk.mint, maxt: chunk.maxt, chunk: at });
        }
        self.meta.stats.num_series += 1;
        if let Some(names) = &mut self.names {
            names.observe(labels.as_key());
        }
        self.spool.push(labels, &self.chunks)?;
        self.last = Some(labels.clone());
        Ok(())
    }

    /// Counts pushed so far.
    #[must_use]
    pub fn stats(&self) -> &BlockStats {
        &self.meta.stats
    }

    /// Writes index, side-index and `meta.json`, and gives the block its name. Returns its meta.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Unsupported`] where the index outgrows the format.
    pub fn finish(self) -> Result<BlockMeta> {
        let Self { mut partial, target, segments, spool, mut meta, names, chunk_max_size, .. } = self;
        let dir = partial.path.clone();
        let segments = segments.finish()?;
        let written = write_series(&dir, spool, names.as_ref())?;
        if let Some(thanos) = &mut meta.thanos {
            thanos.segment_files = segments.iter().map(|segment| segment.name.clone()).collect();
            let chunks = segments.iter().map(|s| (format!("{CHUNKS_DIR}/{}", s.name), s.size_bytes));
            thanos.files = files(chunks.chain(written.files()));
            thanos.index_stats = IndexStats { series_max_size: written.series_max_size, chunk_max_size };
        }
        write_synced(&dir.join(META_FILE), &meta.to_json()?)?;
        sync_dir(&dir)?;
        std::fs::rename(&dir, &target).map_err(|e| Error::io(&target, e))?;
        partial.done = true;
        if let Some(parent) = target.parent() {
            sync_dir(parent)?;
        }
        Ok(meta)
    }

    /// Samples of aggregates count once, as Thanos counts them, and are neither floats nor histograms.
    fn count(&mut self, chunk: &ChunkPayload<'_>) -> Result<()> {
        let wrong = |e: crate::chunk::ChunkError| Error::Internal(format!("block writer: {e}"));
        let samples = sample_count(chunk.encoding, chunk.data).map_err(wrong)? as u64;
        let stats = &mut self.meta.stats;
        stats.num_chunks += 1;
        stats.num_samples += samples;
        match Encoding::try_from(chunk.encoding).map_err(wrong)? {
            Encoding::Xor | Encoding::Xor2 => stats.num_float_samples += samples,
            Encoding::Aggr => {}
            _ => stats.num_histogram_samples += samples,
        }
        // length, encoding, checksum
        let len_len = (usize::BITS - chunk.data.len().leading_zeros()).div_ceil(7).max(1);
        self.chunk_max_size = self.chunk_max_size.max(chunk.data.len() as u64 + u64::from(len_len) + 5);
        Ok(())
    }
}

/// What was written of the series.
#[derive(Debug)]
struct WrittenSeries {
    index_size: u64,
    side_index: Option<SideIndexSizes>,
    series_max_size: u64,
}

impl WrittenSeries {
    fn files(&self) -> impl Iterator<Item = (String, u64)> {
        let side_index = self.side_index.iter().flat_map(|sizes| {
            [(SIDE_INDEX_FILE.to_owned(), sizes.series), (CHECKSUM_FILE.to_owned(), sizes.checksums)]
        });
        std::iter::once((INDEX_FILE.to_owned(), self.index_size)).chain(side_index)
    }
}

/// Writes the spooled series into the index and, with columns chosen by `names`, the side-index, in one pass.
fn write_series(dir: &Path, spool: Spool, names: Option<&NameCounts>) -> Result<WrittenSeries> {
    let (symbols, mut entries) = spool.finish()?;
    let symbols = Arc::new(symbols);
    let path = dir.join(INDEX_FILE);
    let file = File::create_new(&path).map_err(|e| Error::io(&path, e))?;
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut index = IndexWriter::try_new(out, &path, Arc::clone(&symbols))?;
    let mut side_index = names.map(|names| SideIndexFolderWriter::create(dir, names)).transpose()?;
    let mut labels: Vec<(&str, &str)> = Vec::new();
    let mut series_max_size = SeriesSize::default();
    while entries.advance()? {
        let series = index.add_series(&entries.labels, &entries.chunks)?;
        series_max_size.next(series);
        if let Some(side_index) = &mut side_index {
            let text = |number| symbols.get(number).unwrap_or_default();
            labels.clear();
            labels.extend(entries.labels.iter().map(|&(name, value)| (text(name), text(value))));
            side_index.write(SeriesEntry { series, labels: &labels, chunks: &entries.chunks })?;
        }
    }
    entries.remove()?;
    let (out, toc, index_size) = index.finish()?;
    let file = out.into_inner().map_err(|e| Error::io(&path, e.into_error()))?;
    file.sync_all().map_err(|e| Error::io(&path, e))?;
    let identity = IndexIdentity { size: index_size, toc_crc: toc.checksum };
    let side_index = side_index.map(|side_index| side_index.finish(identity)).transpose()?;
    Ok(WrittenSeries { index_size, side_index, series_max_size: series_max_size.largest(&toc) })
}

/// The largest distance from one series entry to the next.
#[derive(Debug, Default)]
struct SeriesSize {
    last: Option<SeriesRef>,
    largest: u64,
}

impl SeriesSize {
    fn next(&mut self, series: SeriesRef) {
        if let Some(last) = self.last.replace(series) {
            self.largest = self.largest.max(series.offset() - last.offset());
        }
    }

    /// With the last entry, which ends where the series do.
    fn largest(&self, toc: &Toc) -> u64 {
        let last = self.last.map_or(0, |last| toc.label_indices.saturating_sub(last.offset()));
        self.largest.max(last.next_multiple_of(SERIES_ALIGN))
    }
}

/// The files of a block as `meta.json` lists them, itself among them without a size, in the order of their paths.
fn files(written: impl Iterator<Item = (String, u64)>) -> Vec<BlockFile> {
    let all = written.chain(std::iter::once((META_FILE.to_owned(), 0)));
    let mut files: Vec<_> = all.map(|(rel_path, size_bytes)| BlockFile { rel_path, size_bytes, hash: None }).collect();
    files.sort_by(|a, b| a.rel_path.cmp(&b.rel_path));
    files
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io(path, e))
}

/// A folder that goes away unless it is done.
#[derive(Debug)]
struct PartialDir {
    path: PathBuf,
    done: bool,
}

impl PartialDir {
    fn create(path: PathBuf) -> Result<Self> {
        match std::fs::remove_dir_all(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path, e)),
            _ => {}
        }
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self { path, done: false })
    }
}

impl Drop for PartialDir {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove an unfinished block");
        }
    }
}
