//! What the head keeps in files beside the log: closed chunks, which need not be in memory, and snapshots, which make a restart short.
//!
//! ```text
//! wal/head/chunks-00000007    full segments of chunk logs, some megabytes, behind one another; mapped
//! wal/head/snapshot-00000042  all the rest, as it was when segment 42 of the log began, see `snapshot.rs`
//! ```
//!
//! The log of writes has everything that is in these files, and goes on having it: they save memory and time, and nothing is lost with
//! them. So they are checked as a whole at start, and where anything is not as it was written, none of them is used and the log is
//! read from its beginning. Every chunk has a checksum of its own, which every read compares.
//!
//! A file of chunks never changes. It goes when no segment in memory is in it any more, nor one of the newest snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Head;
use super::chunk_log::FiledSegment;
use super::snapshot::{self, Snapshot};
use crate::error::{Error, Result};
use crate::mmap::map_file;
use crate::pieces::read_pieces;
use crate::wal::SegmentNumber;

/// The folder within that of the log. A Prometheus that goes on with the log passes it over.
pub(crate) const HEAD_DIR: &str = "head";
const CHUNKS: &str = "chunks-";
const SNAPSHOT: &str = "snapshot-";
const UNFINISHED: &str = ".tmp";
/// Full segments that are worth a file.
const MOVE_BYTES: usize = 16 << 20;
/// Bytes of a file of chunks at which another one begins.
const FILE_BYTES: usize = 64 << 20;

/// A file of chunks.
#[derive(Debug)]
pub(super) struct ChunkFile {
    pub number: u32,
    path: PathBuf,
    pub bytes: Bytes,
    /// Of the whole file.
    pub checksum: u32,
}

impl ChunkFile {
    pub fn open(folder: &Path, number: u32, checksum: u32) -> Result<Self> {
        let path = folder.join(format!("{CHUNKS}{number:08}"));
        Ok(Self { number, bytes: map_file(&path)?, path, checksum })
    }

    /// Compares the whole of it with its checksum. It is read for that, not paged in: few of its chunks will be asked for.
    pub fn check(&self) -> Result<()> {
        let mut checksum = 0;
        read_pieces(&self.path, |piece| checksum = crc32c::crc32c_append(checksum, piece))?;
        match checksum == self.checksum {
            true => Ok(()),
            false => Err(self.corrupt(0, "checksum of the file")),
        }
    }

    pub fn corrupt(&self, offset: usize, reason: &str) -> Error {
        let name = self.path.file_name().unwrap_or_default();
        Error::Corrupt {
            place: "the head".to_owned(),
            file: name.to_string_lossy().into_owned(),
            offset: offset as u64,
            reason: reason.to_owned(),
        }
    }
}

/// What the files of a head take up, and what went wrong with them since they were opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadFileTotals {
    /// Bytes of all files of chunks.
    pub chunk_bytes: u64,
    /// Bytes of the newest snapshot.
    pub snapshot_bytes: u64,
    /// Files of chunks and snapshots that could not be written.
    pub failures: u64,
}

/// The files of a head.
#[derive(Debug)]
pub struct HeadFiles {
    folder: PathBuf,
    /// One at a time moves chunks to files.
    moving: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u32,
    files: BTreeMap<u32, Arc<ChunkFile>>,
    /// Bytes that a replay read: they were written before the log was opened, and are in no snapshot either.
    replayed_bytes: u64,
    /// Where the log ended at the newest snapshot that was written since.
    log_end: u64,
    snapshot_bytes: u64,
    failures: u64,
}

impl HeadFiles {
    /// The files in the log's folder `wal`, and the newest snapshot. What cannot be used is told and passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(wal: &Path) -> Result<(Self, Option<Snapshot>)> {
        let folder = wal.join(HEAD_DIR);
        let newest = numbers(&folder, SNAPSHOT)?.into_iter().next_back();
        let snapshot = newest.and_then(|number| {
            let path = folder.join(format!("{SNAPSHOT}{number:08}"));
            let opened = Snapshot::open(&folder, &path);
            opened.inspect_err(|error| tracing::warn!(%error, "no snapshot: the log is read as a whole")).ok()
        });
        let last = numbers(&folder, CHUNKS)?.into_iter().next_back().and_then(|last| u32::try_from(last).ok());
        let state = State { next: last.map_or(0, |last| last.wrapping_add(1)), ..State::default() };
        Ok((Self { folder, moving: Mutex::default(), state: Mutex::new(state) }, snapshot))
    }

    /// Goes on after a replay of `replayed_bytes` of log: with the files of the snapshot where it was `used`, and without any else.
    /// All others are removed.
    pub fn begin(&self, used: Option<&Snapshot>, replayed_bytes: u64) {
        let mut state = self.state.lock();
        if let Some(snapshot) = used {
            state.files = snapshot.files().map(|file| (file.number, Arc::clone(file))).collect();
            state.snapshot_bytes = snapshot.size();
        }
        state.replayed_bytes = replayed_bytes;
        let kept = state.files.keys().copied().collect();
        drop(state);
        let newest = used.map(Snapshot::segment);
        self.remove_others(&kept, newest);
    }

    /// Removes what is neither a file in `kept` nor the snapshot `newest`.
    fn remove_others(&self, kept: &BTreeSet<u32>, newest: Option<SegmentNumber>) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let number = |prefix| name.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
            let is_kept = match (number(CHUNKS), number(SNAPSHOT)) {
                (Some(file), _) => u32::try_from(file).is_ok_and(|file| kept.contains(&file)),
                (_, Some(snapshot)) => newest == Some(snapshot),
                _ => !name.ends_with(UNFINISHED),
            };
            if !is_kept && let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove a file of the head; it is tried again");
            }
        }
    }

    /// What they take up.
    #[must_use]
    pub fn totals(&self) -> HeadFileTotals {
        let state = self.state.lock();
        let chunk_bytes = state.files.values().map(|file| file.bytes.len() as u64).sum();
        HeadFileTotals { chunk_bytes, snapshot_bytes: state.snapshot_bytes, failures: state.failures }
    }

    /// Moves closed chunks out of memory, where enough of them are in it. Blocks.
    ///
    /// # Errors
    /// The disk's: then they stay in memory.
    pub fn move_chunks(&self, head: &Head) -> Result<()> {
        let full: usize = head.shards.iter().map(|shard| shard.read().log.full_bytes()).sum();
        if full < MOVE_BYTES { Ok(()) } else { self.move_full(head).inspect_err(|_| self.count_failure()) }
    }

    /// Counts a snapshot or a file that could not be written.
    pub fn count_failure(&self) {
        self.state.lock().failures += 1;
    }

    /// Moves the segments of all shards that are full.
    pub(super) fn move_full(&self, head: &Head) -> Result<()> {
        let _alone = self.moving.lock();
        let mut writing: Vec<(usize, u32, Bytes)> = Vec::new();
        let mut bytes = 0;
        for (shard, lock) in head.shards.iter().enumerate() {
            let full: Vec<(u32, Bytes)> = lock.read().log.full().collect();
            for (number, content) in full {
                bytes += content.len();
                writing.push((shard, number, content));
                if bytes >= FILE_BYTES {
                    self.write(head, std::mem::take(&mut writing))?;
                    bytes = 0;
                }
            }
        }
        if writing.is_empty() { Ok(()) } else { self.write(head, writing) }
    }

    /// Writes segments to a new file, and has their shards read them there.
    fn write(&self, head: &Head, segments: Vec<(usize, u32, Bytes)>) -> Result<()> {
        let number = {
            let mut state = self.state.lock();
            let number = state.next;
            state.next = number.wrapping_add(1);
            number
        };
        let path = self.folder.join(format!("{CHUNKS}{number:08}"));
        let written = (|| {
            // not when it is opened: on a full disk a head does without files
            std::fs::create_dir_all(&self.folder)?;
            let mut file = File::create(&path)?;
            let mut checksum = 0;
            for (_, _, content) in &segments {
                file.write_all(content)?;
                checksum = crc32c::crc32c_append(checksum, content);
            }
            file.sync_data()?;
            Ok(checksum)
        })();
        let checksum = written.map_err(|error| {
            // what is left of it goes with the next start, if not now
            let _ = std::fs::remove_file(&path);
            Error::io(&path, error)
        })?;
        let file = Arc::new(ChunkFile::open(&self.folder, number, checksum)?);
        self.state.lock().files.insert(number, Arc::clone(&file));
        let mut start = 0;
        for (shard, segment, content) in segments {
            let len = content.len();
            let filed = FiledSegment { file: Arc::clone(&file), start, len };
            head.shards[shard].write().log.move_to_file(segment, filed);
            start += len;
        }
        Ok(())
    }

    /// Bytes by which the log grew since the last snapshot, up to `log_end`.
    #[must_use]
    pub fn log_since_snapshot(&self, log_end: u64) -> u64 {
        let state = self.state.lock();
        state.replayed_bytes + log_end.saturating_sub(state.log_end)
    }

    /// Whether the log grew by `log_bytes` or more since the last snapshot, up to `log_end`, and by twice what that takes up: one that is
    /// large must not be most of what is written. With 0 for `log_bytes` always.
    #[must_use]
    pub fn is_snapshot_due(&self, log_end: u64, log_bytes: u64) -> bool {
        let snapshot_bytes = self.state.lock().snapshot_bytes;
        log_bytes == 0 || self.log_since_snapshot(log_end) >= log_bytes.max(snapshot_bytes.saturating_mul(2))
    }

    /// Writes a snapshot of the head, from which a replay goes on with `segment` of the log. Everything in the log before that segment
    /// must have been applied, and nothing may be cut or truncated meanwhile. Blocks.
    ///
    /// # Errors
    /// The disk's; then the one before stays.
    pub fn write_snapshot(&self, head: &Head, segment: SegmentNumber, log_end: u64) -> Result<()> {
        head.shards.iter().for_each(|shard| shard.write().log.seal());
        self.move_full(head)?;
        std::fs::create_dir_all(&self.folder).map_err(|error| Error::io(&self.folder, error))?;
        let unfinished = self.folder.join(format!("{SNAPSHOT}{segment:08}{UNFINISHED}"));
        let path = self.folder.join(format!("{SNAPSHOT}{segment:08}"));
        let written = snapshot::write(head, segment, &unfinished).inspect_err(|_| {
            // what is left of it goes with the next one, if not now
            let _ = std::fs::remove_file(&unfinished);
        })?;
        std::fs::rename(&unfinished, &path).map_err(|error| Error::io(&path, error))?;
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| Error::io(&self.folder, error))?;
        // nobody writes a file while others are removed
        let _alone = self.moving.lock();
        let mut state = self.state.lock();
        (state.replayed_bytes, state.log_end, state.snapshot_bytes) = (0, log_end, written.bytes);
        state.files.retain(|number, file| written.files.contains(number) || Arc::strong_count(file) > 1);
        let kept = state.files.keys().copied().collect();
        drop(state);
        self.remove_others(&kept, Some(segment));
        Ok(())
    }
}

/// The numbers of the files whose names begin with `prefix`, ascending; none where there is no folder.
fn numbers(folder: &Path, prefix: &str) -> Result<BTreeSet<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(|error| Error::io(folder, error))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect())
}
