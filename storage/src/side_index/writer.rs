//! Writes `series.parquet` and `series.crc`.
//!
//! ```text
//! rows in index order ──> batch of one page ──> ArrowWriter ──> file ──> CRC32C of every page ──> series.crc
//!        └ one row is held back, since where its last chunk ends shows only with the next row
//! ```
//!
//! Memory is bounded by one row group of encoded pages.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, RecordBatch, StringBuilder, StringDictionaryBuilder, UInt64Builder,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use parquet::arrow::ArrowWriter;

use crate::error::{Error, Result};
use crate::index::SeriesEntry;
use crate::model::label_key;

use super::checksum::{Checksums, IndexIdentity, range_ends};
use super::chunk_list::{self, ChunkSpan};
use super::schema::{self, NameCounts, PAGE_ROWS};

/// Writes one side-index.
pub struct SideIndexWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    schema: SchemaRef,
    names: Vec<String>,
    batch: RowBuilder,
    pending: PendingRow,
    /// Scratch of [`write_entry`](Self::write_entry).
    entry: (String, Vec<ChunkSpan>),
}

/// The row that waits for the next one.
#[derive(Debug, Default)]
struct PendingRow {
    labels: String,
    series_ref: u64,
    chunks: Vec<ChunkSpan>,
    filled: bool,
}

impl<W: Write + Send> SideIndexWriter<W> {
    /// Starts a file on `out` whose label columns are those that `counts` finds common.
    ///
    /// # Errors
    /// What `out` or Parquet returns.
    pub fn try_new(out: W, counts: &NameCounts) -> Result<Self> {
        let names = counts.common();
        let schema = schema::schema(&names);
        let properties = schema::writer_properties(counts.listed().as_deref())?;
        let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?;
        let batch = RowBuilder::new(names.len());
        Ok(Self { writer, schema, batch, names, pending: PendingRow::default(), entry: Default::default() })
    }

    /// Adds one series. Where a chunk's `span` is 0 and the chunk after it, of this or the next series, lies further on
    /// in the same segment, the distance is taken. Series come in index order, which nothing here relies on.
    ///
    /// # Errors
    /// What the output or Parquet returns.
    pub fn write(&mut self, labels: &str, series_ref: u64, chunks: &[ChunkSpan]) -> Result<()> {
        if self.pending.filled {
            let next = chunks.first().map(|chunk| chunk.chunk_ref);
            self.flush_pending(next)?;
        }
        self.pending.labels.clear();
        self.pending.labels.push_str(labels);
        self.pending.series_ref = series_ref;
        self.pending.chunks.clear();
        self.pending.chunks.extend_from_slice(chunks);
        self.pending.filled = true;
        Ok(())
    }

    /// Adds one series as an index lists it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_entry(&mut self, entry: SeriesEntry<'_>) -> Result<()> {
        let (mut key, mut chunks) = std::mem::take(&mut self.entry);
        fill_key(&mut key, entry.labels);
        chunks.clear();
        chunks.extend(entry.chunks.iter().map(|chunk| ChunkSpan {
            mint: chunk.mint,
            maxt: chunk.maxt,
            chunk_ref: chunk.chunk.0,
            span: 0,
        }));
        let written = self.write(&key, u64::from(entry.series.0), &chunks);
        self.entry = (key, chunks);
        written
    }

    /// Writes footer and page indexes, and flushes the output. Returns where the ranges of the file's checksums end, the
    /// last of them at the end of the file.
    ///
    /// # Errors
    /// What the output or Parquet returns.
    pub fn finish(mut self) -> Result<Vec<u64>> {
        if self.pending.filled {
            self.flush_pending(None)?;
        }
        self.flush_batch()?;
        let metadata = self.writer.finish()?;
        let size = self.writer.bytes_written() as u64;
        range_ends(&metadata, size)
    }

    fn flush_pending(&mut self, next: Option<u64>) -> Result<()> {
        let row = &mut self.pending;
        for i in 0..row.chunks.len() {
            let after = row.chunks.get(i + 1).map(|chunk| chunk.chunk_ref).or(next);
            let chunk = &mut row.chunks[i];
            if let (0, Some(after)) = (chunk.span, after)
                && after >> 32 == chunk.chunk_ref >> 32
            {
                chunk.span = after.checked_sub(chunk.chunk_ref).and_then(|d| u32::try_from(d).ok()).unwrap_or(0);
            }
        }
        self.batch.push(&self.names, row)?;
        if self.batch.len() == PAGE_ROWS { self.flush_batch() } else { Ok(()) }
    }

    fn flush_batch(&mut self) -> Result<()> {
        if self.batch.len() > 0 {
            let batch = self.batch.finish(&self.schema)?;
            self.writer.write(&batch)?;
        }
        Ok(())
    }
}

/// Sets `key` to the label key of `labels`.
pub(super) fn fill_key(key: &mut String, labels: &[(&str, &str)]) {
    key.clear();
    labels.iter().for_each(|(name, value)| label_key::push_pair(key, name, value));
}

/// Checksums of a side-index that lies in memory.
///
/// # Errors
/// As [`SideIndexWriter`].
pub fn checksums_of(contents: &[u8], ends: Vec<u64>, identity: IndexIdentity) -> Result<Checksums> {
    Checksums::compute(identity, ends, |range: Range<u64>| {
        let at = |v: u64| usize::try_from(v).unwrap_or(usize::MAX);
        let bytes = contents.get(at(range.start)..at(range.end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| Error::Internal("side-index shorter than its ranges".to_owned()))
    })
}

/// The columns of one batch.
struct RowBuilder {
    labels: StringBuilder,
    columns: Vec<StringDictionaryBuilder<Int32Type>>,
    mint: Int64Builder,
    maxt: Int64Builder,
    series_ref: UInt64Builder,
    chunks: BinaryBuilder,
    list: Vec<u8>,
    rows: usize,
}

impl RowBuilder {
    fn new(columns: usize) -> Self {
        Self {
            labels: StringBuilder::new(),
            columns: (0..columns).map(|_| StringDictionaryBuilder::new()).collect(),
            mint: Int64Builder::new(),
            maxt: Int64Builder::new(),
            series_ref: UInt64Builder::new(),
            chunks: BinaryBuilder::new(),
            list: Vec::new(),
            rows: 0,
        }
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn push(&mut self, names: &[String], row: &PendingRow) -> Result<()> {
        let mut next = 0;
        for pair in label_key::pairs(&row.labels) {
            let name = pair.name.text();
            while next < names.len() && names[next].as_str() < name.as_ref() {
                self.columns[next].append_null();
                next += 1;
            }
            if next < names.len() && names[next] == name {
                self.columns[next].append(pair.value.text())?;
                next += 1;
            }
        }
        self.columns[next..].iter_mut().for_each(StringDictionaryBuilder::append_null);
        self.labels.append_value(&row.labels);
        self.mint.append_value(row.chunks.iter().map(|c| c.mint).min().unwrap_or(i64::MAX));
        self.maxt.append_value(row.chunks.iter().map(|c| c.maxt).max().unwrap_or(i64::MIN));
        self.series_ref.append_value(row.series_ref);
        self.list.clear();
        chunk_list::encode(&row.chunks, &mut self.list);
        self.chunks.append_value(&self.list);
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.labels.finish())];
        columns.extend(self.columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        columns.extend([
            Arc::new(self.mint.finish()) as ArrayRef,
            Arc::new(self.maxt.finish()),
            Arc::new(self.series_ref.finish()),
            Arc::new(self.chunks.finish()),
        ]);
        self.rows = 0;
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}
