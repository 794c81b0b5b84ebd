//! Series on their way into an index: kept in a file until the symbols are known.
//!
//! An index starts with its sorted symbols, but a writer that is handed series one by one knows them only after the
//! last. So entries are spooled with provisional symbol numbers, in the order in which strings were first seen, and
//! read back once, when each number has got its place in the sorted table.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::cursor::{Cursor, Malformed, put_uvarint, put_varint};
use crate::error::{Error, Result};
use crate::index::{ChunkMeta, ChunkRef, Symbols};
use crate::model::Labels;

/// Writes entries to a scratch file; the distinct strings of their labels stay in memory.
#[derive(Debug)]
pub(super) struct Spool {
    out: BufWriter<File>,
    path: PathBuf,
    numbers: HashMap<String, u32>,
    record: Vec<u8>,
}

impl Spool {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| Error::io(&path, e))?;
        Ok(Self { out: BufWriter::with_capacity(1 << 18, file), path, numbers: HashMap::new(), record: Vec::new() })
    }

    pub(super) fn push(&mut self, labels: &Labels, chunks: &[ChunkMeta]) -> Result<()> {
        let mut record = std::mem::take(&mut self.record);
        // the length goes in front when it is known
        record.clear();
        record.extend_from_slice(&[0; 4]);
        put_uvarint(&mut record, labels.iter().count() as u64);
        for (name, value) in labels.iter() {
            put_uvarint(&mut record, u64::from(self.number(&name)?));
            put_uvarint(&mut record, u64::from(self.number(&value)?));
        }
        for chunk in chunks {
            put_varint(&mut record, chunk.mint);
            put_varint(&mut record, chunk.maxt);
            put_uvarint(&mut record, chunk.chunk.0);
        }
        let len = u32::try_from(record.len() - 4).map_err(|_| Error::Unsupported("a series over 4 GiB".to_owned()))?;
        record[..4].copy_from_slice(&len.to_le_bytes());
        self.out.write_all(&record).map_err(|e| Error::io(&self.path, e))?;
        self.record = record;
        Ok(())
    }

    fn number(&mut self, text: &str) -> Result<u32> {
        if let Some(&number) = self.numbers.get(text) {
            return Ok(number);
        }
        let number = u32::try_from(self.numbers.len()).map_err(|_| Error::Unsupported("2^32 symbols".to_owned()))?;
        self.numbers.insert(text.to_owned(), number);
        Ok(number)
    }

    /// The sorted symbols, and a reader of the entries that speaks in their numbers.
    pub(super) fn finish(self) -> Result<(Symbols, SpoolReader)> {
        let mut texts: Vec<(String, u32)> = self.numbers.into_iter().collect();
        texts.sort_unstable();
        let mut places = vec![0; texts.len()];
        for (place, (_, number)) in (0u32..).zip(&texts) {
            places[*number as usize] = place;
        }
        let symbols = Symbols::try_from_sorted(texts.iter().map(|(text, _)| text))?;
        let mut file = self.out.into_inner().map_err(|e| Error::io(&self.path, e.into_error()))?;
        file.rewind().map_err(|e| Error::io(&self.path, e))?;
        let input = BufReader::with_capacity(1 << 18, file);
        let reader =
            SpoolReader { input, path: self.path, places, record: Vec::new(), labels: Vec::new(), chunks: Vec::new() };
        Ok((symbols, reader))
    }
}

/// Reads entries back.
#[derive(Debug)]
pub(super) struct SpoolReader {
    input: BufReader<File>,
    path: PathBuf,
    /// Place in the sorted table of each provisional number.
    places: Vec<u32>,
    record: Vec<u8>,
    pub(super) labels: Vec<(u32, u32)>,
    pub(super) chunks: Vec<ChunkMeta>,
}

impl SpoolReader {
    /// Reads the next entry into `labels` and `chunks`; false after the last.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.input.fill_buf().map_err(|e| Error::io(&self.path, e))?.is_empty() {
            return Ok(false);
        }
        let mut len = [0; 4];
        self.read_exact_into(&mut len)?;
        let mut record = std::mem::take(&mut self.record);
        record.resize(u32::from_le_bytes(len) as usize, 0);
        self.read_exact_into(&mut record)?;
        let decoded = self.decode(&record);
        self.record = record;
        decoded.map_err(|malformed| Error::Internal(format!("series spool: {}", malformed.reason)))?;
        Ok(true)
    }

    fn read_exact_into(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.input.read_exact(bytes).map_err(|e| Error::io(&self.path, e))
    }

    fn decode(&mut self, record: &[u8]) -> Result<(), Malformed> {
        self.labels.clear();
        self.chunks.clear();
        let mut cursor = Cursor::new(record);
        let count = cursor.uvarint()?;
        for _ in 0..count {
            let malformed = cursor.malformed("symbol number is out of range");
            let (name, value) = (cursor.uvarint32()?, cursor.uvarint32()?);
            let place = |number: u32| self.places.get(number as usize).copied().ok_or(malformed);
            self.labels.push((place(name)?, place(value)?));
        }
        while !cursor.is_empty() {
            let (mint, maxt) = (cursor.varint()?, cursor.varint()?);
            self.chunks.push(ChunkMeta { mint, maxt, chunk: ChunkRef(cursor.uvarint()?) });
        }
        Ok(())
    }

    /// Removes the scratch file.
    pub(super) fn remove(self) -> Result<()> {
        let path: &Path = &self.path;
        std::fs::remove_file(path).map_err(|e| Error::io(path, e))
    }
}
