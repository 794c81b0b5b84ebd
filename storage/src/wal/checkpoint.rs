//! Checkpoints: what is still needed of many segments, in their place.
//!
//! A checkpoint is a folder of segments. It is written beside and renamed when all of it is on disk, so there is never half
//! of one; what is older goes afterwards, and what remains of that after a crash is passed over by the next replay.

use std::path::Path;

use super::compress::Compression;
use super::disk::Disk;
use super::frame::Framer;
use super::segments::{self, SegmentNumber};
use crate::error::{Error, Result};

const SEGMENT_BYTES: u64 = 128 << 20;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;

/// Writes `records`, which replace everything in the segments of `dir` through `through_segment`, as a checkpoint, and removes
/// older checkpoints. The segments themselves go with [`Wal::truncate_below`](super::Wal::truncate_below). Blocks.
///
/// Where the log has this checkpoint already, nothing is written.
///
/// # Errors
/// The disk's; then the log is as it was.
pub fn write_checkpoint(
    dir: &Path,
    disk: &dyn Disk,
    through_segment: SegmentNumber,
    records: impl Iterator<Item = Vec<u8>>,
) -> Result<()> {
    try_write_checkpoint(dir, disk, through_segment, records.map(Ok))
}

/// As [`write_checkpoint`], of records that may turn out not to come.
///
/// # Errors
/// The disk's and that of a record; then the log is as it was.
pub fn try_write_checkpoint(
    dir: &Path,
    disk: &dyn Disk,
    through_segment: SegmentNumber,
    records: impl Iterator<Item = Result<Vec<u8>>>,
) -> Result<()> {
    let checkpoints = segments::list_checkpoints(disk, dir)?;
    if checkpoints.iter().all(|(number, _)| *number != through_segment) {
        let finished = segments::checkpoint_path(dir, through_segment);
        let tmp = finished.with_extension(format!("{through_segment:08}.tmp"));
        segments::remove_folder_if_there(disk, &tmp)?;
        disk.create_dir_all(&tmp).map_err(|e| Error::io(&tmp, e))?;
        write_segments(disk, &tmp, records)?;
        disk.sync_dir(&tmp).map_err(|e| Error::io(&tmp, e))?;
        disk.rename(&tmp, &finished).map_err(|e| Error::io(&tmp, e))?;
        disk.sync_dir(dir).map_err(|e| Error::io(dir, e))?;
    }
    for (number, path) in checkpoints {
        if number < through_segment {
            segments::remove_folder(disk, &path)?;
        }
    }
    Ok(())
}

fn write_segments(disk: &dyn Disk, folder: &Path, records: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let mut records = records.peekable();
    let mut frames = Vec::with_capacity(WRITE_BYTES);
    for number in 0.. {
        let path = folder.join(segments::segment_name(number));
        let failed = |e| Error::io(&path, e);
        let mut file = disk.create(&path).map_err(failed)?;
        let mut framer = Framer::new(Compression::None);
        while let Some(record) = records.peek() {
            match record {
                Ok(record) if framer.push(record, SEGMENT_BYTES, &mut frames) => {}
                Ok(_) => break,
                Err(error) => return Err(error.clone()),
            }
            records.next();
            if frames.len() >= WRITE_BYTES {
                file.write_all(&frames).map_err(failed)?;
                frames.clear();
            }
        }
        framer.pad_page(&mut frames);
        file.write_all(&frames).map_err(failed)?;
        frames.clear();
        file.sync_data().map_err(failed)?;
        if records.peek().is_none() {
            break;
        }
    }
    Ok(())
}
