//! Reading a log at start: the newest checkpoint, then the segments after it, in order.
//!
//! Who knows what the log had when a segment began reads from that one on; what stands before it is neither read nor mended.
//!
//! 1. What an interrupted start or checkpoint left is tidied up.
//! 2. Where the newest checkpoint is damaged and an older one is there, the older is read first, and the segments from it on,
//!    as far as they are there: what they repeat is harmless, what they add was lost.
//! 3. Files are read a megabyte at a time, a thread ahead of the records; a record that lies in one fragment and is not
//!    compressed is handed out where it stands.
//! 4. A file with damage is repaired: see [`repair`](super::repair). What a crash cut off at the end of the last segment is no
//!    damage; the segment is cut there, so that the next start finds nothing to mend.
//!
//! That a file cannot be mended, on a full disk say, is logged and ends nothing: the next start finds the same records again.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::disk::Disk;
use super::frame::PAGE;
use super::repair;
use super::salvage::{Findings, Salvage, Visit};
use super::segments::{self, SegmentNumber};
use crate::error::{Error, Result};

/// Bytes that are read at once; whole pages.
const CHUNK: usize = 32 * PAGE;

/// Chunks that the reading thread may be ahead.
const CHUNKS_AHEAD: usize = 3;

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// The number with which the log goes on.
    pub next_segment: SegmentNumber,
    /// The newest checkpoint: it stands for the segments through this one.
    pub checkpoint: Option<SegmentNumber>,
    /// What was no record; the files were repaired.
    pub damage: Vec<Damage>,
    /// What a crash cut off at the end of the last segment: nothing in it was acknowledged.
    pub torn_tail: Option<Damage>,
    /// Records that were handed out.
    pub records: u64,
    /// Their bytes, not compressed.
    pub bytes: u64,
}

/// Bytes of a log that are no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, as it is called in the log.
    pub file: PathBuf,
    /// Where in the original file, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// What was wrong at the first of them.
    pub reason: &'static str,
    /// Where the original is now; nothing where it could not be moved or only a torn tail was cut off.
    pub quarantined: Option<PathBuf>,
}

/// Hands all records of the log in `dir` to `visit`, each with the segment that it stands in (those of a checkpoint with the
/// checkpoint's number), from segment `from` on where that is given, and mends what is damaged. A folder that does not exist is an
/// empty log.
///
/// # Errors
/// A file that cannot be read, and what `visit` returns. Damage is no error.
pub fn replay(
    dir: &Path,
    from: Option<SegmentNumber>,
    disk: &dyn Disk,
    visit: &mut dyn FnMut(SegmentNumber, &[u8]) -> Result<()>,
) -> Result<Replay> {
    repair::finish_interrupted(disk, dir)?;
    let checkpoints = segments::list_checkpoints(disk, dir)?;
    let segments = segments::list_segments(disk, dir)?;
    let newest = |list: &[(SegmentNumber, PathBuf)]| list.last().map(|(number, _)| *number);
    let mut result = Replay { checkpoint: newest(&checkpoints), ..Replay::default() };
    result.next_segment = newest(&segments).max(result.checkpoint).map_or(0, |last| last + 1);

    if let Some(from) = from {
        replay_segments(dir, disk, &segments, from, &mut result, visit)?;
        return Ok(result);
    }
    let mut first_used = checkpoints.len().saturating_sub(1);
    while first_used > 0 && !is_undamaged(disk, &checkpoints[first_used].1)? {
        first_used -= 1;
    }
    for (number, folder) in checkpoints.iter().skip(first_used) {
        repair::finish_interrupted(disk, folder)?;
        for (_, file) in segments::list_segments(disk, folder)? {
            replay_file(dir, disk, &file, false, &mut result, &mut |record| visit(*number, record))?;
        }
    }
    let after = checkpoints.get(first_used).map(|(number, _)| *number);
    replay_segments(dir, disk, &segments, after.map_or(0, |after| after + 1), &mut result, visit)?;
    Ok(result)
}

/// Replays those of the segments of a log that are `from` or later.
fn replay_segments(
    dir: &Path,
    disk: &dyn Disk,
    segments: &[(SegmentNumber, PathBuf)],
    from: SegmentNumber,
    result: &mut Replay,
    visit: &mut dyn FnMut(SegmentNumber, &[u8]) -> Result<()>,
) -> Result<()> {
    let last = segments.last().map(|(number, _)| *number);
    segments.iter().filter(|(number, _)| *number >= from).try_for_each(|(number, file)| {
        replay_file(dir, disk, file, Some(*number) == last, result, &mut |record| visit(*number, record))
    })
}

/// Whether the log in `dir` goes on with segment `from`, or has all that come after what stands before it.
///
/// # Errors
/// The folder cannot be listed.
pub fn can_begin_at(dir: &Path, disk: &dyn Disk, from: SegmentNumber) -> Result<bool> {
    let numbers: Vec<SegmentNumber> =
        segments::list_segments(disk, dir)?.into_iter().map(|(number, _)| number).collect();
    let checkpoint = segments::list_checkpoints(disk, dir)?.last().map(|(number, _)| *number);
    // a checkpoint stands for segments that were read into no snapshot
    let is_newer = checkpoint.is_none_or(|checkpoint| checkpoint < from);
    Ok(is_newer && numbers.last().is_some_and(|last| numbers.contains(&from) || last + 1 == from))
}

/// Hands the whole records of the newest checkpoint and of the segments after it through `through`, all of which are finished, to
/// `visit`. This may be done while the log is written. What is damaged is told and mended as by [`replay`]: whoever began with a later
/// segment has not seen it, and these files are about to go.
///
/// # Errors
/// A file that cannot be read, and what `visit` returns.
pub fn finished_records(
    dir: &Path,
    disk: &dyn Disk,
    through: SegmentNumber,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let checkpoint = segments::list_checkpoints(disk, dir)?.into_iter().rfind(|(number, _)| *number <= through);
    let after = checkpoint.as_ref().map(|(number, _)| *number);
    let mut files = match &checkpoint {
        Some((_, folder)) => segments::list_segments(disk, folder)?,
        None => Vec::new(),
    };
    let segments = segments::list_segments(disk, dir)?;
    files.extend(segments.into_iter().filter(|(number, _)| Some(*number) > after && *number <= through));
    let mut read = Replay::default();
    files.iter().try_for_each(|(_, file)| replay_file(dir, disk, file, false, &mut read, visit))
}

/// The number of the oldest segment of the log in `dir`, if it has any.
///
/// # Errors
/// The folder cannot be listed.
pub fn first_segment(dir: &Path, disk: &dyn Disk) -> Result<Option<SegmentNumber>> {
    Ok(segments::list_segments(disk, dir)?.first().map(|(number, _)| *number))
}

/// Whether all files of a checkpoint are as they were written.
fn is_undamaged(disk: &dyn Disk, folder: &Path) -> Result<bool> {
    for (_, file) in segments::list_segments(disk, folder)? {
        if !read_file(disk, &file, &mut |_| Ok(()))?.gaps.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn replay_file(
    dir: &Path,
    disk: &dyn Disk,
    file: &Path,
    is_last: bool,
    result: &mut Replay,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let found = read_file(disk, file, visit)?;
    result.records += found.records;
    result.bytes += found.bytes;
    let Some(tail) = found.gaps.last() else {
        return Ok(());
    };
    let mut damage: Vec<Damage> = found.gaps.iter().map(|gap| gap.of_file(file)).collect();
    if is_last && found.gaps.len() == 1 && tail.only_cut && tail.end == found.len {
        if let Err(error) = repair::cut_tail(disk, file, tail.start) {
            tracing::warn!(%error, "cannot cut off the torn tail of a segment of the write-ahead log");
        }
        let torn = damage.swap_remove(0);
        tracing::info!(file = %file.display(), offset = torn.offset, bytes = torn.bytes, "a crash cut off the write-ahead log here");
        result.torn_tail = Some(torn);
        return Ok(());
    }
    let quarantined = match repair::repair(disk, dir, file, found.compression) {
        Ok(path) => Some(path),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "cannot repair a file of the write-ahead log");
            None
        }
    };
    for damage in &mut damage {
        damage.quarantined.clone_from(&quarantined);
        tracing::error!(
            file = %file.display(), offset = damage.offset, bytes = damage.bytes, reason = damage.reason, ?quarantined,
            "the write-ahead log is damaged; all whole records before and after were kept"
        );
    }
    result.damage.append(&mut damage);
    Ok(())
}

/// Hands the whole records of `file` to `visit`.
pub(super) fn read_file(disk: &dyn Disk, file: &Path, visit: &mut Visit<'_>) -> Result<Findings> {
    let failed = |e| Error::io(file, e);
    let mut source = disk.open_read(file).map_err(failed)?;
    let mut salvage = Salvage::new();
    let mut chunk = vec![0; CHUNK];
    let len = read_chunk(&mut *source, &mut chunk).map_err(failed)?;
    for page in chunk[..len].chunks(PAGE) {
        salvage.page(page, visit)?;
    }
    if len < CHUNK {
        return Ok(salvage.finish());
    }
    let (filled, next) = mpsc::sync_channel::<io::Result<(Vec<u8>, usize)>>(CHUNKS_AHEAD);
    let (empty, reuse) = mpsc::sync_channel::<Vec<u8>>(CHUNKS_AHEAD + 1);
    for spare in std::iter::repeat_with(|| vec![0; CHUNK]).take(CHUNKS_AHEAD - 1).chain([chunk]) {
        // there is room for as many as there are
        let _ = empty.try_send(spare);
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(mut chunk) = reuse.recv() {
                let read = read_chunk(&mut *source, &mut chunk).map(|len| (chunk, len));
                let ends = !matches!(read, Ok((_, CHUNK)));
                if filled.send(read).is_err() || ends {
                    return;
                }
            }
        });
        // both ends of the channels go with this closure, so the thread ends also where `visit` fails
        let (next, empty) = (next, empty);
        while let Ok(read) = next.recv() {
            let (chunk, len) = read.map_err(failed)?;
            for page in chunk[..len].chunks(PAGE) {
                salvage.page(page, visit)?;
            }
            let _ = empty.try_send(chunk);
        }
        Ok(salvage.finish())
    })
}

/// Fills `chunk`, less at the end of the file.
fn read_chunk(source: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < chunk.len() {
        match source.read(&mut chunk[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}
