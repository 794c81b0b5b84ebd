//! Chunk segments: the files `chunks/000001`, `chunks/000002`, … that hold the payloads.
//!
//! A segment is a header and chunks one after the other: length, encoding byte, payload, checksum of the last two.
//! The index says where a chunk starts but not how long it is, so a reader of an object store fetches a range
//! that probably holds it and learns from [`SegmentName::read_chunk`] whether it has to come back for more.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::cursor::{Cursor, Malformed, Origin, put_uvarint};
use crate::error::{Error, Result};
use crate::index::{ChunkRef, checksum};

use super::segment_files::SegmentFiles;

/// The folder of the segments in a block.
pub const CHUNKS_DIR: &str = "chunks";
/// Bytes before the first chunk of a segment.
pub const SEGMENT_HEADER_LEN: usize = 8;
/// Where a segment ends and the next begins, in bytes: as Prometheus and Thanos cut them.
pub const SEGMENT_LEN_MAX: u64 = 512 << 20;
/// Bytes of the longest payload that is believed to be one: what a damaged length can make a reader fetch.
pub const CHUNK_LEN_MAX: usize = 64 << 20;

const MAGIC: u32 = 0x85BD_40DD;
const VERSION: u8 = 1;
/// Longest length field, encoding byte and checksum.
const CHUNK_OVERHEAD_MAX: usize = 5 + 1 + 4;

/// One chunk as stored, its checksum verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChunk {
    /// The encoding byte.
    pub encoding: u8,
    /// The payload: a slice of the fetched range, which it keeps alive.
    pub data: Bytes,
    /// Bytes in the file, with length, encoding and checksum.
    pub stored_len: usize,
}

/// What a fetched range held of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadChunk {
    /// All of it.
    Whole(StoredChunk),
    /// The range ends before the chunk does.
    Short {
        /// Where the chunk ends in the file, or, if not even its length was there, an end at which it will be.
        end: u64,
    },
}

/// A segment of a block, as messages name it. One is made for every chunk that is read, so the text is not, before
/// there is something to say.
#[derive(Debug, Clone)]
pub struct SegmentName {
    place: Arc<str>,
    segment: u32,
}

impl SegmentName {
    /// Segment number `segment`, counted from 0, of the block `place`.
    #[must_use]
    pub fn new(place: impl Into<Arc<str>>, segment: u32) -> Self {
        Self { place: place.into(), segment }
    }

    /// The path below the block's folder.
    #[must_use]
    pub fn rel_path(&self) -> String {
        format!("{CHUNKS_DIR}/{}", file_name(self.segment))
    }

    fn origin(&self) -> Origin {
        Origin::new(Arc::clone(&self.place), self.rel_path())
    }

    /// Checks the first [`SEGMENT_HEADER_LEN`] bytes of the file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they are not those of a segment.
    pub fn check_header(&self, head: &[u8]) -> Result<()> {
        let mut cursor = Cursor::new(head);
        let mut read = || {
            let header = (cursor.u32_be()?, cursor.u8()?);
            cursor.bytes(SEGMENT_HEADER_LEN - 5)?;
            Ok::<_, Malformed>(header)
        };
        match read().map_err(|malformed| self.origin().malformed(0, malformed))? {
            (MAGIC, VERSION) => Ok(()),
            (MAGIC, version) => Err(self.origin().corrupt(4, format!("segment version is {version}, not {VERSION}"))),
            (magic, _) => Err(self.origin().corrupt(0, format!("magic number is {magic:#010x}, not {MAGIC:#010x}"))),
        }
    }

    /// Takes the chunk at `offset` of the file out of `range`, the file's bytes from `range_start` on, without
    /// copying it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its checksum does not match, its length is impossible, or it does not start in
    /// `range`.
    pub fn read_chunk(&self, range: &Bytes, range_start: u64, offset: u32) -> Result<ReadChunk> {
        let offset = u64::from(offset);
        let at = offset.checked_sub(range_start).and_then(|at| usize::try_from(at).ok());
        let Some((at, rest)) = at.and_then(|at| Some((at, range.get(at..)?))) else {
            return Err(self.corrupt(offset, "chunk starts outside the segment"));
        };
        if offset < SEGMENT_HEADER_LEN as u64 {
            return Err(self.corrupt(offset, "chunk starts inside the header"));
        }
        let mut cursor = Cursor::new(rest);
        let len = match cursor.uvarint() {
            Ok(len) => usize::try_from(len).ok().filter(|len| *len <= CHUNK_LEN_MAX),
            Err(_) if rest.len() < 5 => return Ok(ReadChunk::Short { end: offset + CHUNK_OVERHEAD_MAX as u64 }),
            Err(_) => None,
        };
        let Some(len) = len else {
            return Err(self.corrupt(offset, format!("chunk is longer than {CHUNK_LEN_MAX} bytes")));
        };
        let body = cursor.position()..cursor.position() + 1 + len;
        let stored_len = body.end + 4;
        let (Some(summed), Some(&[a, b, c, d])) = (rest.get(body.clone()), rest.get(body.end..stored_len)) else {
            return Ok(ReadChunk::Short { end: offset + stored_len as u64 });
        };
        if checksum(summed) != u32::from_be_bytes([a, b, c, d]) {
            return Err(self.corrupt(offset, "checksum of the chunk does not match"));
        }
        let data = range.slice(at + body.start + 1..at + body.end);
        Ok(ReadChunk::Whole(StoredChunk { encoding: summed[0], data, stored_len }))
    }

    /// As [`read_chunk`](Self::read_chunk), of a range after which there is no more to fetch.
    ///
    /// # Errors
    /// Also where the chunk is cut short.
    pub fn whole_chunk(&self, range: &Bytes, range_start: u64, offset: u32) -> Result<StoredChunk> {
        match self.read_chunk(range, range_start, offset)? {
            ReadChunk::Whole(chunk) => Ok(chunk),
            ReadChunk::Short { end } => {
                let reason = format!("chunk ends at {end}, the segment before it");
                Err(self.corrupt(u64::from(offset), reason))
            }
        }
    }

    fn corrupt(&self, offset: u64, reason: impl Into<String>) -> Error {
        self.origin().corrupt(usize::try_from(offset).unwrap_or(usize::MAX), reason)
    }
}

/// The file name of a segment counted from 0: `000001` is segment 0.
#[must_use]
pub fn file_name(segment: u32) -> String {
    format!("{:06}", u64::from(segment) + 1)
}

/// The segment that a file name stands for, if it stands for one.
#[must_use]
pub fn segment_of(file_name: &str) -> Option<u32> {
    let digits = file_name.len() >= 6 && file_name.bytes().all(|b| b.is_ascii_digit());
    if digits { file_name.parse::<u32>().ok()?.checked_sub(1) } else { None }
}

/// A segment that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// The name in the `chunks` folder.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Writes segments.
#[derive(Debug)]
pub struct SegmentsWriter {
    files: Box<dyn SegmentFiles>,
    segment_len_max: u64,
    done: Vec<SegmentFile>,
    is_open: bool,
    /// Where the open segment ends, 0 before the first.
    at: u64,
    /// Where it would end if every length field of the current series were as long as can be.
    reserved: u64,
    header: Vec<u8>,
}

impl SegmentsWriter {
    /// Writes into `files`, and cuts segments at `segment_len_max` bytes.
    #[must_use]
    pub fn new(files: Box<dyn SegmentFiles>, segment_len_max: u64) -> Self {
        Self { files, segment_len_max, done: Vec::new(), is_open: false, at: 0, reserved: 0, header: Vec::new() }
    }

    /// Says that the chunks to come are of another series. Only where segments are cut depends on it: Prometheus
    /// estimates the space for the chunks of one series together.
    pub fn begin_series(&mut self) {
        self.reserved = self.at;
    }

    /// Appends a chunk and answers where it stands.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Unsupported`] for a payload over [`CHUNK_LEN_MAX`].
    pub fn write(&mut self, encoding: u8, data: &[u8]) -> Result<ChunkRef> {
        if data.len() > CHUNK_LEN_MAX {
            return Err(Error::Unsupported(format!("a chunk of {} bytes", data.len())));
        }
        let room = (data.len() + CHUNK_OVERHEAD_MAX) as u64;
        let has_chunks = self.at > SEGMENT_HEADER_LEN as u64;
        if !self.is_open || (has_chunks && self.reserved + room > self.segment_len_max) {
            self.cut()?;
        }
        self.reserved += room;
        let segment = u32::try_from(self.done.len()).map_err(|_| too_many_segments())?;
        let chunk = ChunkRef::new(segment, u32::try_from(self.at).map_err(|_| too_many_segments())?);

        let mut header = std::mem::take(&mut self.header);
        header.clear();
        put_uvarint(&mut header, data.len() as u64);
        header.push(encoding);
        let crc = crc32c::crc32c_append(checksum(&[encoding]), data);
        self.put(&header)?;
        self.put(data)?;
        self.put(&crc.to_be_bytes())?;
        self.header = header;
        Ok(chunk)
    }

    /// Ends the last segment, and lists the files in order.
    ///
    /// # Errors
    /// [`Error::Io`], or what else the files have.
    pub fn finish(mut self) -> Result<Vec<SegmentFile>> {
        self.close()?;
        self.files.finish()?;
        Ok(self.done)
    }

    fn cut(&mut self) -> Result<()> {
        self.close()?;
        let segment = u32::try_from(self.done.len()).map_err(|_| too_many_segments())?;
        self.files.begin(&file_name(segment))?;
        self.is_open = true;
        self.at = 0;
        let [a, b, c, d] = MAGIC.to_be_bytes();
        self.put(&[a, b, c, d, VERSION, 0, 0, 0])?;
        self.reserved = self.at;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.files.write(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        self.files.end()?;
        self.is_open = false;
        let segment = u32::try_from(self.done.len()).map_err(|_| too_many_segments())?;
        self.done.push(SegmentFile { name: file_name(segment), size_bytes: self.at });
        Ok(())
    }
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io(dir, e))
}

fn too_many_segments() -> Error {
    Error::Unsupported("a chunk past what a reference can reach".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::segment_files::LocalSegments;

    fn write(segment_len_max: u64, series: &[Vec<Vec<u8>>]) -> (Vec<ChunkRef>, Vec<Bytes>) {
        let dir = tempfile::tempdir().unwrap();
        let chunks = dir.path().join(CHUNKS_DIR);
        let files = LocalSegments::create(&chunks).unwrap();
        let mut writer = SegmentsWriter::new(Box::new(files), segment_len_max);
        let mut refs = Vec::new();
        for payloads in series {
            writer.begin_series();
            refs.extend(payloads.iter().map(|data| writer.write(1, data).unwrap()));
        }
        let files = writer.finish().unwrap();
        let bytes: Vec<_> = files.iter().map(|f| Bytes::from(std::fs::read(chunks.join(&f.name)).unwrap())).collect();
        assert_eq!(
            files.iter().map(|f| f.size_bytes).collect::<Vec<_>>(),
            bytes.iter().map(|b| b.len() as u64).collect::<Vec<_>>()
        );
        (refs, bytes)
    }

    fn read(segments: &[Bytes], chunk: ChunkRef) -> Result<StoredChunk> {
        let name = SegmentName::new("b", chunk.segment());
        name.check_header(&segments[chunk.segment() as usize])?;
        name.whole_chunk(&segments[chunk.segment() as usize], 0, chunk.offset())
    }

    #[test]
    fn chunks_read_back_across_segments() {
        let series: Vec<Vec<Vec<u8>>> = (0..9).map(|s| (0..s).map(|c| vec![c as u8; 10 * s + c]).collect()).collect();
        let (refs, segments) = write(300, &series);
        assert!(segments.len() > 3);
        assert!(segments.iter().all(|segment| segment.len() <= 300));
        assert!(refs.is_sorted());
        for (data, chunk) in series.iter().flatten().zip(refs) {
            assert_eq!(read(&segments, chunk).unwrap().data, data);
        }
    }

    #[test]
    fn a_chunk_larger_than_a_segment_gets_its_own() {
        let (refs, segments) = write(100, &[vec![vec![1; 300], vec![2; 3]]]);
        assert_eq!(refs, [ChunkRef::new(0, 8), ChunkRef::new(1, 8)]);
        assert_eq!(segments.len(), 2);
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let series = [vec![vec![7; 20], vec![8; 150]], vec![vec![9; 3]]];
        let (refs, segments) = write(SEGMENT_LEN_MAX, &series);
        for at in 0..segments[0].len() {
            let mut damaged = segments[0].to_vec();
            damaged[at] ^= 0xff;
            let damaged = [Bytes::from(damaged)];
            let results: Vec<_> = refs.iter().map(|&chunk| read(&damaged, chunk)).collect();
            for (result, data) in results.iter().zip(series.iter().flatten()) {
                match result {
                    Ok(chunk) => assert_eq!(chunk.data, data),
                    Err(Error::Corrupt { file, .. }) => assert_eq!(file, "chunks/000001"),
                    Err(other) => panic!("{other}"),
                }
            }
            let padding = (5..8).contains(&at);
            assert_eq!(results.iter().all(Result::is_ok), padding, "byte {at}");
        }
    }

    #[test]
    fn a_short_range_says_what_it_needs() {
        let (refs, segments) = write(SEGMENT_LEN_MAX, &[vec![vec![7; 200]]]);
        let (file, name) = (&segments[0], SegmentName::new("b", 0));
        for end in 8..file.len() {
            match name.read_chunk(&file.slice(8..end), 8, refs[0].offset()).unwrap() {
                ReadChunk::Short { end: needed } if end < 10 => assert!(needed >= 10 && needed <= file.len() as u64),
                ReadChunk::Short { end: needed } => assert_eq!(needed, file.len() as u64),
                ReadChunk::Whole(_) => panic!("{end} bytes are not the chunk"),
            }
            assert!(matches!(name.whole_chunk(&file.slice(..end), 0, 8), Err(Error::Corrupt { offset: 8, .. })));
        }
        assert!(name.read_chunk(file, 9, 8).is_err(), "before the range");
        assert!(name.read_chunk(file, 0, 4).is_err(), "in the header");
        assert!(name.read_chunk(file, 0, u32::MAX).is_err(), "after the file");
    }

    #[test]
    fn an_impossible_length_is_never_fetched() {
        let huge = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(SegmentName::new("b", 0).read_chunk(&huge, 8, 8), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!((file_name(0), file_name(999_999)), ("000001".to_owned(), "1000000".to_owned()));
        assert_eq!(segment_of("000012"), Some(11));
        for not in ["12", "000000", "00001a", "", "000001.tmp", "99999999999"] {
            assert_eq!(segment_of(not), None, "{not}");
        }
    }
}
