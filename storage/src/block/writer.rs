//! Writing a block to a local folder.
//!
//! ```text
//! push …  ──> chunks/00000N          payloads, as they come
//!         └─> series.spool           labels and references, until the symbols are known
//! finish  ──> index ──> observer ──> meta.json ──> rename to <ulid>
//! ```
//!
//! All of it happens in `<ulid>.tmp-for-creation`, the name that Prometheus too clears away when it starts. Every
//! file is synced before `meta.json` is written, and that before the rename, so a folder with the block's name is
//! a whole block. A writer that is dropped unfinished takes its folder with it.
//!
//! In memory are the distinct strings of the labels, and while the index is written its postings
//! ([`IndexWriter`]).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::BlockMeta;
use super::meta::{BlockFile, BlockStats, IndexStats, META_FILE};
use super::segments::{CHUNKS_DIR, SEGMENT_LEN_MAX, SegmentFile, SegmentsWriter, sync_dir};
use super::spool::Spool;
use crate::chunk::{Encoding, sample_count};
use crate::error::{Error, Result};
use crate::index::{ChunkMeta, INDEX_FILE, IndexWriter, SeriesEntry, SeriesRef, Toc};
use crate::model::{Labels, Timestamp};

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

/// Sees each series of a block as its index is written, so that what is derived from the index takes no second pass.
pub trait SeriesObserver {
    /// A series, in the order of the index.
    ///
    /// # Errors
    /// Any error abandons the block.
    fn series(&mut self, entry: SeriesEntry<'_>) -> Result<()>;

    /// The index is written. Files of the observer go into `index.dir`; it syncs them itself.
    ///
    /// # Errors
    /// Any error abandons the block.
    fn finish(&mut self, index: &WrittenIndex<'_>) -> Result<()>;
}

/// An index that was just written.
#[derive(Debug, Clone, Copy)]
pub struct WrittenIndex<'a> {
    /// The folder of the unfinished block.
    pub dir: &'a Path,
    /// Size of the index file in bytes.
    pub size_bytes: u64,
    /// Its table of contents.
    pub toc: &'a Toc,
    /// The block's meta, its counts filled in.
    pub meta: &'a BlockMeta,
}

/// Observes nothing.
impl SeriesObserver for () {
    fn series(&mut self, _: SeriesEntry<'_>) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &WrittenIndex<'_>) -> Result<()> {
        Ok(())
    }
}

/// Writes one block.
#[derive(Debug)]
pub struct BlockWriter {
    partial: PartialDir,
    target: PathBuf,
    segments: SegmentsWriter,
    spool: Spool,
    stats: BlockStats,
    chunk_max_size: u64,
    last: Option<Labels>,
    chunks: Vec<ChunkMeta>,
}

impl BlockWriter {
    /// Starts the block `meta.ulid` in the folder `parent`. What is left there of an earlier attempt is removed.
    ///
    /// # Errors
    /// [`Error::Io`], also where the block is already there.
    pub fn create(parent: &Path, meta: &BlockMeta) -> Result<Self> {
        Self::with_segment_len(parent, meta, SEGMENT_LEN_MAX)
    }

    /// As [`create`](Self::create), cutting segments at `segment_len_max` bytes.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn with_segment_len(parent: &Path, meta: &BlockMeta, segment_len_max: u64) -> Result<Self> {
        let target = parent.join(meta.ulid.to_string());
        if target.exists() {
            return Err(Error::io(&target, std::io::ErrorKind::AlreadyExists.into()));
        }
        let partial = PartialDir::create(parent.join(format!("{}.tmp-for-creation", meta.ulid)))?;
        let segments = SegmentsWriter::create(&partial.path.join(CHUNKS_DIR), segment_len_max)?;
        let spool = Spool::create(partial.path.join("series.spool"))?;
        Ok(Self {
            partial,
            target,
            segments,
            spool,
            stats: BlockStats::default(),
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
        self.stats.num_series += 1;
        self.spool.push(labels, &self.chunks)?;
        self.last = Some(labels.clone());
        Ok(())
    }

    /// Counts pushed so far.
    #[must_use]
    pub fn stats(&self) -> &BlockStats {
        &self.stats
    }

    /// Writes index and `meta.json`, and gives the block its name. `meta` is the caller's but for the counts, which
    /// are set, and in its `thanos` section, if it has one, the files and their sizes.
    ///
    /// # Errors
    /// [`Error::Io`], the observer's, or [`Error::Unsupported`] where the index outgrows the format.
    pub fn finish(self, mut meta: BlockMeta, observer: &mut dyn SeriesObserver) -> Result<BlockMeta> {
        let Self { mut partial, target, segments, spool, stats, chunk_max_size, .. } = self;
        let dir = partial.path.clone();
        let segments = segments.finish()?;
        meta.stats = stats;

        let (symbols, mut entries) = spool.finish()?;
        let symbols = Arc::new(symbols);
        let path = dir.join(INDEX_FILE);
        let file = File::create_new(&path).map_err(|e| Error::io(&path, e))?;
        let out = BufWriter::with_capacity(1 << 20, file);
        let mut index = IndexWriter::try_new(out, &path, Arc::clone(&symbols))?;
        let mut labels: Vec<(&str, &str)> = Vec::new();
        let mut series_max_size = SeriesSize::default();
        while entries.advance()? {
            let series = index.add_series(&entries.labels, &entries.chunks)?;
            series_max_size.next(series);
            let text = |number| symbols.get(number).unwrap_or_default();
            labels.clear();
            labels.extend(entries.labels.iter().map(|&(name, value)| (text(name), text(value))));
            observer.series(SeriesEntry { series, labels: &labels, chunks: &entries.chunks })?;
        }
        entries.remove()?;
        let (out, toc, size_bytes) = index.finish()?;
        let file = out.into_inner().map_err(|e| Error::io(&path, e.into_error()))?;
        file.sync_all().map_err(|e| Error::io(&path, e))?;

        let index_stats = IndexStats { series_max_size: series_max_size.largest(&toc), chunk_max_size };
        describe_files(&mut meta, &segments, size_bytes, index_stats);
        observer.finish(&WrittenIndex { dir: &dir, size_bytes, toc: &toc, meta: &meta })?;
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
        self.stats.num_chunks += 1;
        self.stats.num_samples += samples;
        match Encoding::try_from(chunk.encoding).map_err(wrong)? {
            Encoding::Xor | Encoding::Xor2 => self.stats.num_float_samples += samples,
            Encoding::Aggr => {}
            _ => self.stats.num_histogram_samples += samples,
        }
        // length, encoding, checksum
        let len_len = (usize::BITS - chunk.data.len().leading_zeros()).div_ceil(7).max(1);
        self.chunk_max_size = self.chunk_max_size.max(chunk.data.len() as u64 + u64::from(len_len) + 5);
        Ok(())
    }
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

fn describe_files(meta: &mut BlockMeta, segments: &[SegmentFile], index_size_bytes: u64, index_stats: IndexStats) {
    let Some(thanos) = &mut meta.thanos else { return };
    let file = |rel_path: String, size_bytes| BlockFile { rel_path, size_bytes, hash: None };
    thanos.segment_files = segments.iter().map(|segment| segment.name.clone()).collect();
    // in the order of their paths
    thanos.files = segments.iter().map(|s| file(format!("{CHUNKS_DIR}/{}", s.name), s.size_bytes)).collect::<Vec<_>>();
    thanos.files.push(file(INDEX_FILE.to_owned(), index_size_bytes));
    thanos.files.push(file(META_FILE.to_owned(), 0));
    thanos.index_stats = index_stats;
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
