//! Putting a whole file in the place of a damaged one.
//!
//! ```text
//! 00000005            ──> 00000005.salvaged (whole records, synced)
//! 00000005            ──> quarantine/00000005 (renamed)
//! 00000005.salvaged   ──> 00000005 (renamed)
//! ```
//!
//! At every moment the folder has the original, or a repaired file that was synced before the original went away: so a start
//! that finds a `.salvaged` beside its original begins again, and one that finds it alone finishes the renaming.

use std::path::{Path, PathBuf};

use super::Damage;
use super::compress::Compression;
use super::disk::Disk;
use super::frame::Framer;
use super::replay::read_file;
use super::salvage::Gap;
use super::segments;
use crate::error::{Error, Result};

/// Not `.repair`, which is what Prometheus calls the original while it repairs a log.
const REPAIR_SUFFIX: &str = ".salvaged";
const TMP_SUFFIX: &str = ".tmp";

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;

impl Gap {
    pub(super) fn of_file(&self, file: &Path) -> Damage {
        let (offset, bytes) = (self.start, self.end - self.start);
        Damage { file: file.to_path_buf(), offset, bytes, reason: self.reason, quarantined: None }
    }
}

/// Tidies up what a start, or the writing of a checkpoint, left in `dir` when it was interrupted.
pub(super) fn finish_interrupted(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let names = segments::names(disk, dir)?;
    for name in &names {
        let path = dir.join(name);
        if let Some(original) = name.strip_suffix(REPAIR_SUFFIX) {
            if names.iter().any(|name| name == original) {
                disk.remove(&path).map_err(|e| Error::io(&path, e))?;
            } else {
                disk.rename(&path, &dir.join(original)).map_err(|e| Error::io(&path, e))?;
                disk.sync_dir(dir).map_err(|e| Error::io(dir, e))?;
            }
        } else if name.starts_with("checkpoint.") && name.ends_with(TMP_SUFFIX) {
            segments::remove_folder(disk, &path)?;
        }
    }
    Ok(())
}

/// Cuts `file` to `len` bytes, for good.
pub(super) fn cut_tail(disk: &dyn Disk, file: &Path, len: u64) -> Result<()> {
    let failed = |e| Error::io(file, e);
    let mut open = disk.open_append(file).map_err(failed)?;
    open.set_len(len).map_err(failed)?;
    open.sync_data().map_err(failed)
}

/// Writes the whole records of `file`, in the log at `dir`, to a new file in its place and returns where the original is now.
pub(super) fn repair(disk: &dyn Disk, dir: &Path, file: &Path, compression: Compression) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(dir);
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(REPAIR_SUFFIX);
    let repaired = folder.join(name);
    write_whole_records(disk, file, &repaired, compression)?;
    disk.sync_dir(folder).map_err(|e| Error::io(folder, e))?;

    let quarantine = segments::quarantine_dir(dir);
    disk.create_dir_all(&quarantine).map_err(|e| Error::io(&quarantine, e))?;
    let original = quarantine.join(unused_name(disk, &quarantine, &flat_name(dir, file))?);
    disk.rename(file, &original).map_err(|e| Error::io(file, e))?;
    disk.sync_dir(&quarantine).map_err(|e| Error::io(&quarantine, e))?;
    disk.sync_dir(dir).map_err(|e| Error::io(dir, e))?;
    disk.rename(&repaired, file).map_err(|e| Error::io(&repaired, e))?;
    disk.sync_dir(folder).map_err(|e| Error::io(folder, e))?;
    Ok(original)
}

fn write_whole_records(disk: &dyn Disk, file: &Path, repaired: &Path, compression: Compression) -> Result<()> {
    let failed = |e| Error::io(repaired, e);
    let mut out = disk.create(repaired).map_err(failed)?;
    let mut framer = Framer::new(compression);
    let mut frames = Vec::with_capacity(WRITE_BYTES);
    read_file(disk, file, &mut |record| {
        if !framer.push(record, u64::MAX, &mut frames) {
            return Err(Error::Internal("a record does not fit an unlimited segment".to_owned()));
        }
        if frames.len() >= WRITE_BYTES {
            out.write_all(&frames).map_err(failed)?;
            frames.clear();
        }
        Ok(())
    })?;
    framer.pad_page(&mut frames);
    out.write_all(&frames).map_err(failed)?;
    out.sync_data().map_err(failed)
}

/// The path of `file` below `dir` as one name.
fn flat_name(dir: &Path, file: &Path) -> String {
    let below = file.strip_prefix(dir).unwrap_or(file);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("-")
}

/// `name`, or `name.1` and so on, which is not in `dir` yet.
fn unused_name(disk: &dyn Disk, dir: &Path, name: &str) -> Result<String> {
    let taken = segments::names(disk, dir)?;
    let candidates = (1_u64..).map(|n| format!("{name}.{n}"));
    let unused = std::iter::once(name.to_owned()).chain(candidates).find(|name| !taken.contains(name));
    unused.ok_or_else(|| Error::Internal("no unused name".to_owned()))
}
