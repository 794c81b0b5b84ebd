//! Writing an index front to back.
//!
//! ```text
//! try_new: header, symbols ──> add_series …: entries, postings kept ──> finish: postings, offset table, TOC
//! ```
//!
//! The bytes are those that Prometheus 3 writes for the same symbols and series: no label indices, whose two
//! offsets in the table of contents are then the ends of the sections before them.
//!
//! Postings are kept in memory until the end as deltas, at about a byte for each label of each series, and 60 bytes
//! for each distinct label pair. Prometheus reads the series back instead, several times, to use less.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use smallvec::SmallVec;

use super::{CRC_LEN, ChunkMeta, MAGIC, SERIES_ALIGN, SeriesRef, Symbols, Toc, VERSION, checksum};
use crate::cursor::{Cursor, put_text, put_uvarint, put_varint};
use crate::error::{Error, Result};

/// The largest file whose entries a [`SeriesRef`] reaches, in bytes.
const FILE_LEN_MAX: u64 = (SERIES_ALIGN as u64) * (u32::MAX as u64);

/// The ascending references of the series that have one label pair, as varint deltas.
#[derive(Debug, Default)]
struct List {
    last: u32,
    count: u32,
    deltas: SmallVec<[u8; 16]>,
}

/// Writes one index. What it wrote before an error is of no use.
#[derive(Debug)]
pub struct IndexWriter<W: Write> {
    out: W,
    path: PathBuf,
    at: u64,
    toc: Toc,
    symbols: Arc<Symbols>,
    all: List,
    /// By the symbol numbers of name and value.
    pairs: HashMap<(u32, u32), List>,
    last_labels: Option<Vec<(u32, u32)>>,
    last_chunk: u64,
    entry: Vec<u8>,
}

impl<W: Write> IndexWriter<W> {
    /// Starts an index on `out`; `path` names it in errors. `symbols` holds every label name and value to come, and
    /// may hold more.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Unsupported`] where the symbols outgrow the format.
    pub fn try_new(out: W, path: &Path, symbols: impl Into<Arc<Symbols>>) -> Result<Self> {
        let mut writer = Self {
            out,
            path: path.to_owned(),
            at: 0,
            toc: Toc::default(),
            symbols: symbols.into(),
            all: List::default(),
            pairs: HashMap::new(),
            last_labels: None,
            last_chunk: 0,
            entry: Vec::new(),
        };
        writer.write(&MAGIC.to_be_bytes())?;
        writer.write(&[VERSION])?;
        writer.toc.symbols = writer.at;
        let section = writer.symbols.encode()?;
        writer.write(&section)?;
        writer.toc.series = writer.at;
        Ok(writer)
    }

    /// The symbols that it was made with.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Appends a series: its name and value pairs as symbol numbers, and its chunks.
    ///
    /// # Errors
    /// [`Error::Internal`] where labels, series or chunks are not in order, or a number is not of a symbol;
    /// [`Error::Unsupported`] past 64 GiB; [`Error::Io`].
    pub fn add_series(&mut self, labels: &[(u32, u32)], chunks: &[ChunkMeta]) -> Result<SeriesRef> {
        self.check_order(labels, chunks)?;
        self.pad(SERIES_ALIGN)?;
        let series = u32::try_from(self.at / SERIES_ALIGN as u64).map_err(|_| too_large())?;

        let mut entry = std::mem::take(&mut self.entry);
        entry.clear();
        put_uvarint(&mut entry, labels.len() as u64);
        for &(name, value) in labels {
            put_uvarint(&mut entry, u64::from(name));
            put_uvarint(&mut entry, u64::from(value));
        }
        put_chunks(&mut entry, chunks);
        let mut len = Vec::with_capacity(4);
        put_uvarint(&mut len, entry.len() as u64);
        let crc = checksum(&entry);
        entry.extend_from_slice(&crc.to_be_bytes());
        self.write(&len)?;
        self.write(&entry)?;
        self.entry = entry;

        self.all.push(series);
        for pair in labels {
            self.pairs.entry(*pair).or_default().push(series);
        }
        match &mut self.last_labels {
            Some(last) => labels.clone_into(last),
            None => self.last_labels = Some(labels.to_vec()),
        }
        Ok(SeriesRef(series))
    }

    /// Writes what follows the series, flushes, and hands back `out` with the table of contents and the file's size.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Unsupported`] where a section outgrows the format.
    pub fn finish(mut self) -> Result<(W, Toc, u64)> {
        self.toc.label_indices = self.at;
        self.toc.postings = self.at;
        let mut pairs: Vec<_> = std::mem::take(&mut self.pairs).into_iter().collect();
        pairs.sort_unstable_by_key(|(pair, _)| *pair);

        let mut table = vec![0; 4];
        let count = u32::try_from(pairs.len() + 1).map_err(|_| too_large())?;
        table.extend_from_slice(&count.to_be_bytes());
        let all = std::mem::take(&mut self.all);
        self.write_list(&all)?;
        // the all-postings list starts right after the padding
        put_table_entry(&mut table, "", "", self.at - list_len(&all));
        for ((name, value), list) in &pairs {
            self.write_list(list)?;
            let start = self.at - list_len(list);
            let text = |number| self.symbols.get(number).unwrap_or_default();
            put_table_entry(&mut table, text(*name), text(*value), start);
        }
        self.toc.label_indices_table = self.at;
        self.toc.postings_table = self.at;
        let len = u32::try_from(table.len() - 4).map_err(|_| too_large())?;
        table[..4].copy_from_slice(&len.to_be_bytes());
        let crc = checksum(&table[4..]);
        table.extend_from_slice(&crc.to_be_bytes());
        self.write(&table)?;
        let toc = self.toc.encode();
        self.write(&toc)?;
        self.out.flush().map_err(|e| Error::io(&self.path, e))?;
        Ok((self.out, self.toc, self.at))
    }

    fn check_order(&mut self, labels: &[(u32, u32)], chunks: &[ChunkMeta]) -> Result<()> {
        let internal = |what: &str| Err(Error::Internal(format!("index writer: {what}")));
        let symbols = self.symbols.len() as u64;
        if labels.iter().any(|&(name, value)| u64::from(name.max(value)) >= symbols) {
            return internal("a label is not among the symbols");
        }
        if labels.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return internal("labels are not in order");
        }
        if self.last_labels.as_deref().is_some_and(|last| last >= labels) {
            return internal("series are not in order");
        }
        let mut last: Option<&ChunkMeta> = None;
        for chunk in chunks {
            if chunk.maxt < chunk.mint || last.is_some_and(|last| chunk.mint <= last.maxt) {
                return internal("chunks of a series overlap or are not in order");
            }
            if chunk.chunk.0 < self.last_chunk {
                return internal("chunk references do not ascend");
            }
            self.last_chunk = chunk.chunk.0;
            last = Some(chunk);
        }
        Ok(())
    }

    /// Pads to four bytes and writes a list; the caller knows its length.
    fn write_list(&mut self, list: &List) -> Result<()> {
        self.pad(4)?;
        let len = list_len(list);
        let mut bytes = std::mem::take(&mut self.entry);
        bytes.clear();
        bytes.reserve(usize::try_from(len).map_err(|_| too_large())?);
        let body = u32::try_from(len - 8).map_err(|_| too_large())?;
        bytes.extend_from_slice(&body.to_be_bytes());
        bytes.extend_from_slice(&list.count.to_be_bytes());
        for series in list.iter() {
            bytes.extend_from_slice(&series.to_be_bytes());
        }
        let crc = checksum(&bytes[4..]);
        bytes.extend_from_slice(&crc.to_be_bytes());
        self.write(&bytes)?;
        self.entry = bytes;
        Ok(())
    }

    fn pad(&mut self, align: usize) -> Result<()> {
        let over = (self.at % align as u64) as usize;
        if over == 0 { Ok(()) } else { self.write(&[0; SERIES_ALIGN][..align - over]) }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| Error::io(&self.path, e))?;
        self.at += bytes.len() as u64;
        if self.at > FILE_LEN_MAX { Err(too_large()) } else { Ok(()) }
    }
}

impl List {
    fn push(&mut self, series: u32) {
        let mut delta = series - self.last;
        while delta >= 0x80 {
            self.deltas.push((delta & 0x7f) as u8 | 0x80);
            delta >>= 7;
        }
        self.deltas.push(delta as u8);
        self.last = series;
        self.count += 1;
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let mut cursor = Cursor::new(&self.deltas);
        let mut series = 0u32;
        std::iter::from_fn(move || {
            series += cursor.uvarint32().ok()?;
            Some(series)
        })
    }
}

/// Bytes of a list in the file: length, count, references, checksum.
fn list_len(list: &List) -> u64 {
    8 + 4 * u64::from(list.count) + CRC_LEN as u64
}

fn put_table_entry(table: &mut Vec<u8>, name: &str, value: &str, offset: u64) {
    put_uvarint(table, 2);
    put_text(table, name);
    put_text(table, value);
    put_uvarint(table, offset);
}

fn put_chunks(entry: &mut Vec<u8>, chunks: &[ChunkMeta]) {
    put_uvarint(entry, chunks.len() as u64);
    let mut last: Option<&ChunkMeta> = None;
    for chunk in chunks {
        match last {
            None => put_varint(entry, chunk.mint),
            Some(last) => put_uvarint(entry, chunk.mint.wrapping_sub(last.maxt).cast_unsigned()),
        }
        put_uvarint(entry, chunk.maxt.wrapping_sub(chunk.mint).cast_unsigned());
        match last {
            None => put_uvarint(entry, chunk.chunk.0),
            Some(last) => put_varint(entry, chunk.chunk.0.wrapping_sub(last.chunk.0).cast_signed()),
        }
        last = Some(chunk);
    }
}

fn too_large() -> Error {
    Error::Unsupported("an index over 64 GiB".to_owned())
}
