//! Snapshots: the head as it was when a segment of the log began, so that a replay goes on from there.
//!
//! ```text
//! magic │ sections │ table of sections │ its length u32, crc32c u32 │ magic
//!
//! series of a shard   reference uvarint, key 16 bytes, tenant uvarint32, metadata uvarint32, count and numbers of pairs uvarint32,
//!                     chunks, see `series/stored.rs`; by number in the shard
//! shard               its pairs, see `pairs/stored.rs`; count, then its segments in files: number, file, start, length uvarint
//! records             length uvarint and record of the log: late samples that are in no block, exemplars
//! head                segment, next reference uvarint, secret of keys text-like, tenants, metadata, files of chunks
//! table               count; kind u8, shard uvarint32, start, length uvarint, crc32c u32 of each
//! ```
//!
//! A shard is copied some thousand series at a time, under its lock, while others write: what comes after the log's segment began is in
//! the snapshot or not, and in the log either way. A replay drops what it finds twice, as it always does. Only cutting and truncating
//! must wait, since they give series other numbers. What all series of a shard share is written behind them, and so has all that they name.

mod read;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::Ordering;

pub use read::{Restored, Snapshot};

use super::Head;
use super::shard::Shard;
use crate::cursor::{put_text, put_uvarint};
use crate::error::{Error, Result};
use crate::wal::SegmentNumber;
use crate::wal::record::ExemplarsEncoder;

/// Begins and ends the file; the last digit is the version of the format.
const MAGIC: &[u8; 8] = b"QVRHEAD1";
/// Of the footer behind the table.
const FOOTER_BYTES: usize = 16;
/// Series that are copied under a lock at once: a few milliseconds.
const SERIES_AT_ONCE: usize = 1 << 11;

/// What a section is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Series = 1,
    Shard = 2,
    Records = 3,
    Head = 4,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub bytes: u64,
    /// The files of chunks that it names.
    pub files: BTreeSet<u32>,
}

/// Writes a snapshot to `path` and syncs it. Chunks that are in no file are in the snapshot itself.
pub(super) fn write(head: &Head, segment: SegmentNumber, path: &Path) -> Result<Written> {
    let io = |error| Error::io(path, error);
    let mut writer = Writer::new(File::create(path).map_err(io)?).map_err(io)?;
    let mut files = std::collections::BTreeMap::new();
    for (number, shard) in head.shards.iter().enumerate() {
        writer.series(shard, number as u32).map_err(io)?;
        let shard = shard.read();
        let mut bytes = Vec::new();
        shard.pairs.store(&mut bytes);
        let filed: Vec<_> = shard.log.filed().map(|(number, filed)| (number, filed.clone())).collect();
        drop(shard);
        put_uvarint(&mut bytes, filed.len() as u64);
        for (number, filed) in filed {
            let place = [u64::from(number), u64::from(filed.file.number), filed.start as u64, filed.len as u64];
            place.into_iter().for_each(|value| put_uvarint(&mut bytes, value));
            files.insert(filed.file.number, (filed.file.bytes.len(), filed.file.checksum));
        }
        writer.whole(Kind::Shard, number as u32, &bytes).map_err(io)?;
    }
    writer.whole(Kind::Records, 0, &records(head)).map_err(io)?;
    let mut bytes = Vec::new();
    put_uvarint(&mut bytes, segment);
    put_uvarint(&mut bytes, head.next_reference.load(Ordering::SeqCst));
    put_uvarint(&mut bytes, head.hasher.secret().len() as u64);
    bytes.extend_from_slice(head.hasher.secret());
    let (tenants, next) = head.tenants.numbered();
    put_uvarint(&mut bytes, tenants.len() as u64);
    for tenant in &tenants {
        put_uvarint(&mut bytes, u64::from(tenant.number));
        put_text(&mut bytes, &tenant.name);
    }
    put_uvarint(&mut bytes, u64::from(next));
    let metadata: Vec<_> = (1..).map_while(|number| head.metadata.get(number)).collect();
    put_uvarint(&mut bytes, metadata.len() as u64);
    for entry in &metadata {
        bytes.push(entry.kind as u8);
        put_text(&mut bytes, &entry.unit);
        put_text(&mut bytes, &entry.help);
    }
    put_uvarint(&mut bytes, files.len() as u64);
    for (number, (len, checksum)) in &files {
        put_uvarint(&mut bytes, u64::from(*number));
        put_uvarint(&mut bytes, *len as u64);
        bytes.extend(checksum.to_be_bytes());
    }
    writer.whole(Kind::Head, 0, &bytes).map_err(io)?;
    Ok(Written { bytes: writer.finish().map_err(io)?, files: files.into_keys().collect() })
}

/// What a snapshot has as records of the log.
fn records(head: &Head) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut push = |record: &[u8]| {
        put_uvarint(&mut bytes, record.len() as u64);
        bytes.extend_from_slice(record);
    };
    head.late_records(&mut |record| {
        push(&record);
        true
    });
    for (series, exemplar) in head.exemplars.lock().in_order() {
        let mut record = Vec::new();
        let labels: Vec<_> = exemplar.labels.iter().collect();
        let labels = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        ExemplarsEncoder::new(&mut record).push(series, exemplar.t, exemplar.value, labels);
        push(&record);
    }
    bytes
}

/// A file of sections.
struct Writer {
    file: BufWriter<File>,
    at: u64,
    sections: u64,
    table: Vec<u8>,
}

impl Writer {
    fn new(file: File) -> std::io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(MAGIC)?;
        Ok(Self { file, at: MAGIC.len() as u64, sections: 0, table: Vec::new() })
    }

    /// The series of a shard, copied some at a time.
    fn series(&mut self, shard: &parking_lot::RwLock<Shard>, number: u32) -> std::io::Result<()> {
        let (start, mut checksum, mut next) = (self.at, 0, 0);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            {
                let shard = shard.read();
                let end = shard.series.len().min(next + SERIES_AT_ONCE);
                if next >= end {
                    break;
                }
                (next..end).for_each(|number| store_series(&shard, number, &mut bytes));
                next = end;
            }
            self.file.write_all(&bytes)?;
            self.at += bytes.len() as u64;
            checksum = crc32c::crc32c_append(checksum, &bytes);
        }
        self.end(Kind::Series, number, start, checksum);
        Ok(())
    }

    fn whole(&mut self, kind: Kind, shard: u32, bytes: &[u8]) -> std::io::Result<()> {
        let start = self.at;
        self.file.write_all(bytes)?;
        self.at += bytes.len() as u64;
        self.end(kind, shard, start, crc32c::crc32c(bytes));
        Ok(())
    }

    /// Notes the section that began at `start`.
    fn end(&mut self, kind: Kind, shard: u32, start: u64, checksum: u32) {
        self.sections += 1;
        self.table.push(kind as u8);
        [u64::from(shard), start, self.at - start].into_iter().for_each(|value| put_uvarint(&mut self.table, value));
        self.table.extend(checksum.to_be_bytes());
    }

    /// Ends and syncs the file. Returns its length.
    fn finish(mut self) -> std::io::Result<u64> {
        let mut table = Vec::new();
        put_uvarint(&mut table, self.sections);
        table.append(&mut self.table);
        let checksum = crc32c::crc32c(&table);
        self.file.write_all(&table)?;
        self.file.write_all(&(table.len() as u32).to_be_bytes())?;
        self.file.write_all(&checksum.to_be_bytes())?;
        self.file.write_all(MAGIC)?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_data()?;
        Ok(self.at + (table.len() + FOOTER_BYTES) as u64)
    }
}

fn store_series(shard: &Shard, number: usize, out: &mut Vec<u8>) {
    let Some(series) = shard.series.get(number) else { return };
    put_uvarint(out, series.reference);
    series.key.iter().for_each(|half| out.extend(half.to_be_bytes()));
    put_uvarint(out, u64::from(series.tenant));
    put_uvarint(out, u64::from(series.metadata));
    let pairs: smallvec::SmallVec<[u32; 32]> = super::pairs::Pairs::numbers(shard.label_bytes(series)).collect();
    put_uvarint(out, pairs.len() as u64);
    pairs.iter().for_each(|&pair| put_uvarint(out, u64::from(pair)));
    series.store(&shard.log, out);
}
