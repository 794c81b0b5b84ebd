//! Reading a snapshot back. Everything is checked before anything of it is used, and what does not parse although it is as it was
//! written leaves an empty head: then the log is read as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{FOOTER_BYTES, Kind, MAGIC};
use crate::cursor::{Cursor, Malformed};
use crate::error::{Error, Result};
use crate::head::Head;
use crate::head::chunk_log::FiledSegment;
use crate::head::files::ChunkFile;
use crate::head::metadata::MetadataEntry;
use crate::head::pairs::Pairs;
use crate::head::request::KeyHasher;
use crate::head::series::Restoring;
use crate::head::shard::Shard;
use crate::head::write::MetricKind;
use crate::mmap::map_file;
use crate::model::Timestamp;
use crate::wal::SegmentNumber;

/// A snapshot in its file.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    bytes: Bytes,
    sections: Vec<Section>,
    segment: SegmentNumber,
    next_reference: u64,
    secret: Vec<u8>,
    tenants: Vec<(u32, String)>,
    next_tenant: u32,
    metadata: Vec<MetadataEntry>,
    files: BTreeMap<u32, Arc<ChunkFile>>,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    kind: u8,
    shard: u32,
    start: usize,
    len: usize,
    checksum: u32,
}

/// What a replay took from a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// The segment with which the log goes on.
    pub segment: SegmentNumber,
    /// Series.
    pub series: u64,
    /// Their chunks, open ones too.
    pub chunks: u64,
}

impl Snapshot {
    /// Opens the snapshot at `path`, and the files that it names in `folder`.
    pub(in crate::head) fn open(folder: &Path, path: &Path) -> Result<Self> {
        let bytes = map_file(path)?;
        let mut snapshot = Self {
            path: path.to_owned(),
            bytes,
            sections: Vec::new(),
            segment: 0,
            next_reference: 0,
            secret: Vec::new(),
            tenants: Vec::new(),
            next_tenant: 0,
            metadata: Vec::new(),
            files: BTreeMap::new(),
        };
        snapshot.sections = snapshot.table().map_err(|malformed| snapshot.corrupt(malformed))?;
        let head = snapshot.section(Kind::Head, 0)?.to_vec();
        let files = snapshot.head(&head).map_err(|malformed| snapshot.corrupt(malformed))?;
        for (number, (len, checksum)) in files {
            let file = ChunkFile::open(folder, number, checksum)?;
            if file.bytes.len() != len {
                return Err(file.corrupt(file.bytes.len(), "length of the file"));
            }
            snapshot.files.insert(number, Arc::new(file));
        }
        Ok(snapshot)
    }

    /// The segment of the log that began when it was written.
    #[must_use]
    pub fn segment(&self) -> SegmentNumber {
        self.segment
    }

    pub(in crate::head) fn files(&self) -> impl Iterator<Item = &Arc<ChunkFile>> {
        self.files.values()
    }

    pub(in crate::head) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What makes the keys that its series have.
    pub(in crate::head) fn hasher(&self) -> Option<KeyHasher> {
        KeyHasher::from_secret(&self.secret)
    }

    fn corrupt(&self, malformed: Malformed) -> Error {
        Error::Corrupt {
            place: "the head".to_owned(),
            file: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            offset: malformed.at as u64,
            reason: malformed.reason.to_owned(),
        }
    }

    fn table(&self) -> std::result::Result<Vec<Section>, Malformed> {
        let at = self.bytes.len();
        let cut = Malformed { at, reason: "not a snapshot of a head, or not all of one" };
        let footer = at.checked_sub(FOOTER_BYTES).ok_or(cut)?;
        let mut cursor = Cursor::new(&self.bytes[footer..]);
        let (len, checksum) = (cursor.u32_be()? as usize, cursor.u32_be()?);
        let start = footer.checked_sub(len).filter(|start| *start >= MAGIC.len()).ok_or(cut)?;
        let table = &self.bytes[start..footer];
        if cursor.bytes(MAGIC.len())? != MAGIC || !self.bytes.starts_with(MAGIC) || crc32c::crc32c(table) != checksum {
            return Err(cut);
        }
        let mut cursor = Cursor::new(table);
        let count = cursor.uvarint()?;
        let count = cursor.count(count, 8)?;
        let mut sections = Vec::with_capacity(count);
        for _ in 0..count {
            let (kind, shard) = (cursor.u8()?, cursor.uvarint32()?);
            let (at, len) = (cursor.uvarint()?, cursor.uvarint()?);
            let checksum = cursor.u32_be()?;
            let end = at.checked_add(len).ok_or(cut)?;
            if end > start as u64 {
                return Err(cut);
            }
            sections.push(Section { kind, shard, start: at as usize, len: len as usize, checksum });
        }
        Ok(sections)
    }

    /// A section's bytes, checked.
    fn section(&self, kind: Kind, shard: u32) -> Result<&[u8]> {
        let malformed = |at, reason| self.corrupt(Malformed { at, reason });
        let found = self.sections.iter().find(|section| section.kind == kind as u8 && section.shard == shard);
        let section = found.ok_or_else(|| malformed(0, "a section is missing"))?;
        let bytes = self.bytes.get(section.start..section.start + section.len).unwrap_or_default();
        if crc32c::crc32c(bytes) != section.checksum {
            return Err(malformed(section.start, "checksum of a section"));
        }
        Ok(bytes)
    }

    /// Parses what is of the head as a whole. Returns lengths and checksums of files.
    fn head(&mut self, bytes: &[u8]) -> std::result::Result<BTreeMap<u32, (usize, u32)>, Malformed> {
        let mut cursor = Cursor::new(bytes);
        (self.segment, self.next_reference) = (cursor.uvarint()?, cursor.uvarint()?);
        let len = cursor.uvarint()?;
        let len = cursor.count(len, 1)?;
        self.secret = cursor.bytes(len)?.to_vec();
        let tenants = cursor.uvarint()?;
        for _ in 0..cursor.count(tenants, 2)? {
            self.tenants.push((cursor.uvarint32()?, cursor.text()?.to_owned()));
        }
        self.next_tenant = cursor.uvarint32()?;
        let metadata = cursor.uvarint()?;
        for _ in 0..cursor.count(metadata, 3)? {
            let kind = MetricKind::from_number(cursor.u8()?);
            let (unit, help) = (cursor.text()?.to_owned(), cursor.text()?.to_owned());
            self.metadata.push(MetadataEntry { kind, unit, help });
        }
        let mut files = BTreeMap::new();
        let count = cursor.uvarint()?;
        for _ in 0..cursor.count(count, 6)? {
            let (number, len) = (cursor.uvarint32()?, cursor.uvarint()?);
            let len = usize::try_from(len).map_err(|_| cursor.malformed("length of a file"))?;
            files.insert(number, (len, cursor.u32_be()?));
        }
        Ok(files)
    }

    /// Fills an empty head that has its [hasher](Self::hasher). Samples in order before the end of a tenant's blocks are left out.
    ///
    /// # Errors
    /// Where anything is not as it was written, or of a head with another number of shards; then the head is empty.
    pub(in crate::head) fn restore(
        &self,
        head: &Head,
        blocks_end: &dyn Fn(&str) -> Option<Timestamp>,
    ) -> Result<Restored> {
        self.records(|_| ())?;
        let tenants = self.tenants.iter().map(|(number, name)| (*number, name.as_str()));
        head.tenants.restore(tenants, self.next_tenant, &head.settings);
        let mut floors = BTreeMap::new();
        for tenant in head.tenants.all() {
            if let Some(end) = blocks_end(&tenant.name) {
                tenant.raise_min_valid(end);
                tenant.raise_truncated(end);
            }
            floors.insert(tenant.number, tenant.min_valid());
        }
        let metadata: Vec<u32> = self.metadata.iter().map(|entry| head.metadata.intern(entry.borrow())).collect();
        let restored = self.restore_shards(head, &floors, &metadata);
        if restored.is_err() {
            head.shards.iter().for_each(|shard| *shard.write() = Shard::default());
            head.tenants.clear();
        }
        restored.inspect(|_| {
            head.next_reference.fetch_max(self.next_reference, Ordering::SeqCst);
        })
    }

    /// Checks all files and fills all shards, a thread a core.
    fn restore_shards(&self, head: &Head, floors: &BTreeMap<u32, Timestamp>, metadata: &[u32]) -> Result<Restored> {
        let count = self.sections.iter().filter(|section| section.kind == Kind::Shard as u8).count();
        if count != head.shards.len() {
            return Err(self.corrupt(Malformed { at: 0, reason: "a head with another number of shards" }));
        }
        let files: Vec<&ChunkFile> = self.files.values().map(Arc::as_ref).collect();
        let next = AtomicUsize::new(0);
        let total = Mutex::new(Ok(Restored { segment: self.segment, ..Restored::default() }));
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let done = match number.checked_sub(count) {
                    None => self.restore_shard(head, number as u32, floors, metadata),
                    Some(file) => match files.get(file) {
                        Some(file) => file.check().map(|()| Restored::default()),
                        None => return,
                    },
                };
                let mut total = total.lock();
                match (&mut *total, done) {
                    (Ok(total), Ok(done)) => {
                        total.series += done.series;
                        total.chunks += done.chunks;
                    }
                    (total @ Ok(_), Err(error)) => *total = Err(error),
                    (Err(_), _) => return,
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
        total.into_inner()
    }

    fn restore_shard(
        &self,
        head: &Head,
        number: u32,
        floors: &BTreeMap<u32, Timestamp>,
        metadata: &[u32],
    ) -> Result<Restored> {
        let shared = self.section(Kind::Shard, number)?;
        let series = self.section(Kind::Series, number)?;
        let mut shard = Shard::default();
        self.shared(shared, &mut shard).map_err(|malformed| self.corrupt(malformed))?;
        let (mut restored, mut cursor) = (Restored::default(), Cursor::new(series));
        let mut scratch = Restoring::new(head.settings.block_duration_ms);
        while !cursor.is_empty() {
            let chunks = restore_series(&mut shard, &mut cursor, floors, metadata, &mut scratch);
            restored.chunks += chunks.map_err(|malformed| self.corrupt(malformed))?;
            restored.series += 1;
        }
        shard.log.release();
        *head.shards[number as usize].write() = shard;
        Ok(restored)
    }

    /// Takes over what the series of a shard share.
    fn shared(&self, bytes: &[u8], shard: &mut Shard) -> std::result::Result<(), Malformed> {
        let mut cursor = Cursor::new(bytes);
        shard.pairs = Pairs::restore(&mut cursor)?;
        let count = cursor.uvarint()?;
        let mut segments = Vec::new();
        for _ in 0..cursor.count(count, 4)? {
            let (number, file) = (cursor.uvarint32()?, cursor.uvarint32()?);
            let (start, len) = (cursor.uvarint()?, cursor.uvarint()?);
            let unknown = cursor.malformed("a segment that is in no file");
            let file = self.files.get(&file).ok_or(unknown)?;
            if start.checked_add(len).is_none_or(|end| end > file.bytes.len() as u64) {
                return Err(unknown);
            }
            segments.push((number, FiledSegment { file: Arc::clone(file), start: start as usize, len: len as usize }));
        }
        if shard.log.restore(segments) { Ok(()) } else { Err(cursor.malformed("the order of segments")) }
    }

    /// Visits its records of the log.
    ///
    /// # Errors
    /// Where they are not as they were written.
    pub(in crate::head) fn records(&self, mut visit: impl FnMut(&[u8])) -> Result<()> {
        let mut cursor = Cursor::new(self.section(Kind::Records, 0)?);
        while !cursor.is_empty() {
            let record = record(&mut cursor).map_err(|malformed| self.corrupt(malformed))?;
            visit(record);
        }
        Ok(())
    }
}

fn record<'a>(cursor: &mut Cursor<'a>) -> std::result::Result<&'a [u8], Malformed> {
    let len = cursor.uvarint()?;
    let len = cursor.count(len, 1)?;
    cursor.bytes(len)
}

/// Adds the next series. Returns how many chunks it has.
fn restore_series(
    shard: &mut Shard,
    cursor: &mut Cursor<'_>,
    floors: &BTreeMap<u32, Timestamp>,
    metadata: &[u32],
    scratch: &mut Restoring,
) -> std::result::Result<u64, Malformed> {
    let reference = cursor.uvarint()?;
    let key = [cursor.u64_be()?, cursor.u64_be()?];
    let (tenant, about) = (cursor.uvarint32()?, cursor.uvarint32()?);
    let count = cursor.uvarint()?;
    let count = cursor.count(count, 1)?;
    let mut pairs = SmallVec::<[u32; 32]>::new();
    for _ in 0..count {
        pairs.push(cursor.uvarint32()?);
    }
    let unknown = cursor.malformed("labels that the shard has not");
    let number = shard.add_known(key, reference, tenant, &pairs).ok_or(unknown)?;
    // a series of a tenant who was forgotten meanwhile has no samples
    let floor = floors.get(&tenant).copied().unwrap_or(Timestamp::MIN);
    let Shard { series, log, .. } = &mut *shard;
    let chunks = match series.get_mut(number as usize) {
        Some(series) => series.restore(log, cursor, floor, scratch)?,
        None => 0,
    };
    if let Some(&about) = (about as usize).checked_sub(1).and_then(|about| metadata.get(about)) {
        shard.set_metadata(number, about);
    }
    Ok(chunks)
}
