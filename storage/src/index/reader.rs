//! Reading an index whose bytes are at hand.
//!
//! Opening verifies the table of contents, the symbol table and the postings offset table; a series entry and a
//! postings list are verified each time that they are read. Nothing that was read is believed before its checksum
//! matched, and no count is believed before the bytes for it are there, so hostile bytes end in
//! [`Error::Corrupt`](crate::Error::Corrupt).

use std::sync::Arc;

use bytes::Bytes;

use super::postings::{PostingsTable, parse_list};
use super::{
    CRC_LEN, ChunkMeta, ChunkRef, INDEX_FILE, MAGIC, SERIES_ALIGN, SeriesEntry, SeriesRef, Symbols, TOC_LEN, Toc,
    VERSION, checksum,
};
use crate::cursor::{Cursor, Malformed, Origin};
use crate::error::{Error, Result};

/// An opened index.
#[derive(Debug)]
pub struct IndexReader {
    data: Bytes,
    origin: Origin,
    toc: Toc,
    symbols: Symbols,
    postings: PostingsTable,
    /// Where the body of the postings offset table lies; empty where there is no such table.
    postings_body: std::ops::Range<usize>,
}

impl IndexReader {
    /// Opens the index `data`, the whole file; `place` names the block in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where one of the sections that are read now is damaged, [`Error::Unsupported`] for
    /// another version of the format.
    pub fn try_open(data: Bytes, place: impl Into<Arc<str>>) -> Result<Self> {
        let origin = Origin::new(place, INDEX_FILE);
        let toc = Toc::parse(&data, data.len() as u64, &origin)?;
        let mut header = Cursor::new(&data);
        let magic = header.u32_be().map_err(|malformed| origin.malformed(0, malformed))?;
        let version = header.u8().map_err(|malformed| origin.malformed(0, malformed))?;
        if magic != MAGIC {
            return Err(origin.corrupt(0, format!("magic number is {magic:#010x}, not {MAGIC:#010x}")));
        }
        if version != VERSION {
            // version 1 is known to exist; any other is likelier damage than news
            return Err(match version {
                1 => Error::Unsupported("index version 1".to_owned()),
                _ => origin.corrupt(4, format!("index version is {version}")),
            });
        }
        let mut reader = Self {
            data,
            origin,
            toc,
            symbols: Symbols::default(),
            postings: PostingsTable::default(),
            postings_body: 0..0,
        };
        if toc.symbols != 0 {
            let (base, body) = reader.section(toc.symbols)?;
            let symbols = Symbols::parse(body).map_err(|malformed| reader.origin.malformed(base, malformed))?;
            reader.symbols = symbols;
        }
        if toc.postings_table != 0 {
            let (base, body) = reader.section(toc.postings_table)?;
            let range = base..base + body.len();
            let table = PostingsTable::parse(body).map_err(|malformed| reader.origin.malformed(base, malformed))?;
            reader.postings = table;
            reader.postings_body = range;
        }
        Ok(reader)
    }

    /// The table of contents.
    #[must_use]
    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.data.len() as u64
    }

    /// The symbol table.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// The label names that series have, in order.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.postings.names()
    }

    /// The values of label `name`, in order; none where no series has it.
    ///
    /// # Errors
    /// [`Error::Corrupt`], but not for bytes that passed their check when the index was opened.
    pub fn label_values(&self, name: &str) -> Result<Vec<&str>> {
        let entries = self.postings.entries(self.postings_body(), name);
        entries.map(|entry| Ok(entry.map_err(|malformed| self.postings_malformed(malformed))?.value)).collect()
    }

    /// The series that have label `name` with `value`, ascending; both empty, all series.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the list is damaged.
    pub fn postings(&self, name: &str, value: &str) -> Result<Vec<SeriesRef>> {
        let found = self.postings.find(self.postings_body(), name, value);
        let Some(offset) = found.map_err(|malformed| self.postings_malformed(malformed))? else {
            return Ok(Vec::new());
        };
        let (base, body) = self.section(offset)?;
        parse_list(body).map_err(|malformed| self.origin.malformed(base, malformed))
    }

    /// All series in the order of the index, which is that of their labels.
    #[must_use]
    pub fn all_series(&self) -> SeriesCursor<'_> {
        SeriesCursor { reader: self, rest: self.series_section(), buffers: Buffers::default(), last: None }
    }

    /// Where the series entries lie in the file.
    fn series_section(&self) -> std::ops::Range<usize> {
        let limit = self.data.len().saturating_sub(TOC_LEN);
        match self.toc.series {
            0 => 0..0,
            start => as_usize(start)..as_usize(self.toc.section_end(start, limit as u64)).min(limit),
        }
    }

    /// A cursor that reads single series by their reference, reusing its buffers.
    #[must_use]
    pub fn cursor(&self) -> SeriesCursor<'_> {
        self.all_series()
    }

    /// That something is wrong with a series.
    pub(super) fn corrupt_series(&self, series: SeriesRef, reason: &str) -> Error {
        self.origin.corrupt(as_usize(series.offset()), reason)
    }

    fn postings_body(&self) -> &[u8] {
        &self.data[self.postings_body.clone()]
    }

    fn postings_malformed(&self, malformed: Malformed) -> Error {
        self.origin.malformed(self.postings_body.start, malformed)
    }

    /// The body of the section at `offset`, which starts with its length in four bytes and is followed by its
    /// checksum, and the body's own offset.
    fn section(&self, offset: u64) -> Result<(usize, &[u8])> {
        let at = as_usize(offset);
        let early = || self.origin.corrupt(at, "section does not fit the file");
        let limit = self.data.len().saturating_sub(TOC_LEN);
        let rest = self.data.get(at..limit).ok_or_else(early)?;
        let mut cursor = Cursor::new(rest);
        let mut read = || {
            let len = cursor.u32_be()?;
            let body = cursor.bytes(len as usize)?;
            Ok::<_, Malformed>((body, cursor.u32_be()?))
        };
        let (body, crc) = read().map_err(|_| early())?;
        if checksum(body) != crc {
            return Err(self.origin.corrupt(at, "checksum of the section does not match"));
        }
        Ok((at + 4, body))
    }
}

/// Offsets were checked against a file that is in memory, so they fit; one that does not lies past every slice.
fn as_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// One series entry, decoded.
#[derive(Debug, Default)]
struct Buffers<'r> {
    labels: Vec<(&'r str, &'r str)>,
    chunks: Vec<ChunkMeta>,
    /// The labels as symbol numbers, which compare as the labels do.
    numbers: Vec<(u32, u32)>,
}

/// Walks the series of an index, or jumps to one. Each entry borrows the cursor's buffers until the next call.
#[derive(Debug)]
pub struct SeriesCursor<'r> {
    reader: &'r IndexReader,
    /// What is not yet walked.
    rest: std::ops::Range<usize>,
    buffers: Buffers<'r>,
    /// The labels of the entry that was walked last, as symbol numbers.
    last: Option<Vec<(u32, u32)>>,
}

impl SeriesCursor<'_> {
    /// The next series in order, or none after the last. After an error there is nothing more to read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the entry is damaged or not after the one before in label order.
    #[expect(clippy::should_implement_trait, reason = "entries borrow the cursor, which no Iterator can say")]
    pub fn next(&mut self) -> Result<Option<SeriesEntry<'_>>> {
        let at = self.rest.start.next_multiple_of(SERIES_ALIGN);
        if at >= self.rest.end {
            return Ok(None);
        }
        // an error leaves nothing to walk
        let end = std::mem::take(&mut self.rest).end;
        let (series, after) = self.buffers.read(self.reader, at..end)?;
        match &mut self.last {
            Some(last) if *last >= self.buffers.numbers => {
                return Err(self.reader.origin.corrupt(at, "series are out of order"));
            }
            Some(last) => last.clone_from(&self.buffers.numbers),
            None => self.last = Some(self.buffers.numbers.clone()),
        }
        self.rest = after..end;
        Ok(Some(self.buffers.entry(series)))
    }

    /// The series at `series`; where the walk stands does not change.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where no undamaged entry stands there.
    pub fn get(&mut self, series: SeriesRef) -> Result<SeriesEntry<'_>> {
        let (at, section) = (as_usize(series.offset()), self.reader.series_section());
        if !section.contains(&at) {
            return Err(self.reader.origin.corrupt(at, "series reference lies outside the series"));
        }
        let (series, _) = self.buffers.read(self.reader, at..section.end)?;
        Ok(self.buffers.entry(series))
    }
}

impl<'r> Buffers<'r> {
    fn entry(&self, series: SeriesRef) -> SeriesEntry<'_> {
        SeriesEntry { series, labels: &self.labels, chunks: &self.chunks }
    }

    /// Decodes the entry at the start of `span`; answers its reference and where it ended.
    fn read(&mut self, reader: &'r IndexReader, span: std::ops::Range<usize>) -> Result<(SeriesRef, usize)> {
        let (origin, at) = (&reader.origin, span.start);
        let series = u32::try_from(at / SERIES_ALIGN).map_err(|_| origin.corrupt(at, "series past 64 GiB"))?;
        let rest = reader.data.get(span).unwrap_or_default();
        let mut cursor = Cursor::new(rest);
        let mut frame = || {
            let malformed = cursor.malformed("length of the series overflows");
            let len = usize::try_from(cursor.uvarint()?).map_err(|_| malformed)?;
            let base = cursor.position();
            Ok::<_, Malformed>((base, cursor.bytes(len)?, cursor.u32_be()?))
        };
        let (base, body, crc) = frame().map_err(|malformed| origin.malformed(at, malformed))?;
        if checksum(body) != crc {
            return Err(origin.corrupt(at, "checksum of the series does not match"));
        }
        self.decode(&reader.symbols, body).map_err(|malformed| origin.malformed(at + base, malformed))?;
        Ok((SeriesRef(series), at + base + body.len() + CRC_LEN))
    }

    fn decode(&mut self, symbols: &'r Symbols, body: &[u8]) -> Result<(), Malformed> {
        self.labels.clear();
        self.numbers.clear();
        self.chunks.clear();
        let mut cursor = Cursor::new(body);
        let count = cursor.uvarint()?;
        let count = cursor.count(count, 2)?;
        for _ in 0..count {
            let malformed = cursor.malformed("label refers to no symbol");
            let (name, value) = (cursor.uvarint32()?, cursor.uvarint32()?);
            let pair = symbols.get(name).zip(symbols.get(value)).ok_or(malformed)?;
            if self.numbers.last().is_some_and(|last| last.0 >= name) {
                return Err(cursor.malformed("label names are out of order"));
            }
            self.labels.push(pair);
            self.numbers.push((name, value));
        }
        let count = cursor.uvarint()?;
        let count = cursor.count(count, 3)?;
        self.chunks.reserve(count);
        for _ in 0..count {
            let malformed = cursor.malformed("chunk ends before it starts");
            // A chunk that starts before the one before ended has a negative distance, written as a huge one;
            // Prometheus reads it back by wrapping, and so do we: the compactor has to see such chunks.
            let (mint, span, chunk) = match self.chunks.last() {
                None => (cursor.varint()?, cursor.uvarint()?, cursor.uvarint()?),
                Some(last) => (
                    last.maxt.wrapping_add(cursor.uvarint()?.cast_signed()),
                    cursor.uvarint()?,
                    last.chunk.0.wrapping_add(cursor.varint()?.cast_unsigned()),
                ),
            };
            let maxt = mint.wrapping_add(span.cast_signed());
            if maxt < mint {
                return Err(malformed);
            }
            self.chunks.push(ChunkMeta { mint, maxt, chunk: ChunkRef(chunk) });
        }
        if cursor.is_empty() { Ok(()) } else { Err(cursor.malformed("bytes after the last chunk")) }
    }
}
