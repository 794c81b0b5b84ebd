//! The files of a log's folder: names of segments and checkpoints.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use crate::error::{Error, Result};

/// The number of a segment; ascending without gaps in a folder.
pub type SegmentNumber = u64;

/// The name of a segment.
pub(super) fn segment_name(number: SegmentNumber) -> String {
    format!("{number:08}")
}

/// The folder of a checkpoint that stands for all segments through `number`.
pub(super) fn checkpoint_path(dir: &Path, number: SegmentNumber) -> PathBuf {
    dir.join(format!("checkpoint.{number:08}"))
}

/// Where damaged originals go.
pub(super) fn quarantine_dir(dir: &Path) -> PathBuf {
    dir.join("quarantine")
}

/// Numbers and paths of the segments in `dir`, ascending; nothing where there is no such folder.
pub(super) fn list_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<(SegmentNumber, PathBuf)>> {
    list(disk, dir, |name| name)
}

/// Numbers and paths of the finished checkpoints in `dir`, ascending.
pub(super) fn list_checkpoints(disk: &dyn Disk, dir: &Path) -> Result<Vec<(SegmentNumber, PathBuf)>> {
    list(disk, dir, |name| name.strip_prefix("checkpoint.").unwrap_or_default())
}

fn list(disk: &dyn Disk, dir: &Path, digits: impl Fn(&str) -> &str) -> Result<Vec<(SegmentNumber, PathBuf)>> {
    let mut found = Vec::new();
    for name in names(disk, dir)? {
        let digits = digits(&name);
        if digits.bytes().all(|b| b.is_ascii_digit())
            && let Ok(number) = digits.parse::<SegmentNumber>()
        {
            found.push((number, dir.join(name)));
        }
    }
    found.sort();
    Ok(found)
}

/// The names in `dir`; nothing where there is no such folder.
pub(super) fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io(dir, e)),
    }
}

/// Removes a folder of files.
pub(super) fn remove_folder(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for name in names(disk, dir)? {
        let path = dir.join(name);
        disk.remove(&path).map_err(|e| Error::io(&path, e))?;
    }
    disk.remove_dir(dir).map_err(|e| Error::io(dir, e))
}

/// Removes a folder of files, if there is one.
pub(super) fn remove_folder_if_there(disk: &dyn Disk, dir: &Path) -> Result<()> {
    match disk.list(dir) {
        Ok(_) => remove_folder(disk, dir),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(dir, e)),
    }
}
