//! Files of other servers that are read at each start and never written to: they go when all that is in them is in blocks.
//!
//! ```text
//! <folder>/{chunks_head,wbl}              of a Prometheus, whose wal is gone on with
//! <folder>/<tenant>/{wal,chunks_head,wbl} of a Thanos receive
//!      newest sample in them < oldest sample of the tenant in the head ──> renamed, then deleted
//! ```
//!
//! A crash loses nothing: until they are renamed they are read again, and what of them is in blocks is known by where the newest block
//! ends, or, of late samples, comes once more into the head, where readers merge it. `wal` goes first: without it the others say nothing.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::blocks::DOOMED;
use super::{CHUNKS_HEAD_DIR, WAL_DIR, WBL_DIR};
use crate::error::{Error, Result};
use crate::head::{AdoptedLog, HeadReplay};
use crate::model::Timestamp;

/// Where a log keeps what it could not read.
const QUARANTINE: &str = "quarantine";
/// What a log with such files is called once it is in blocks.
const KEPT: &str = "wal.adopted";

/// What is read at each start.
#[derive(Debug)]
pub(super) struct Adopted(Mutex<Vec<Source>>);

#[derive(Debug)]
struct Source {
    tenant: String,
    folders: Vec<PathBuf>,
    /// The newest sample in them.
    newest: Option<Timestamp>,
}

/// The logs in the folders of tenants. What an earlier start had begun to delete is deleted.
///
/// # Errors
/// What cannot be read.
pub(super) fn find_logs(tenants: &[(String, PathBuf)]) -> Result<Vec<AdoptedLog>> {
    let mut logs = Vec::new();
    for (tenant, folder) in tenants {
        for name in [WAL_DIR, CHUNKS_HEAD_DIR, WBL_DIR] {
            remove_all(&folder.join(format!("{name}{DOOMED}")))?;
        }
        let existing = |name: &str| Some(folder.join(name)).filter(|folder| folder.is_dir());
        let (tenant, wal) = (tenant.clone(), folder.join(WAL_DIR));
        let (chunks_head, wbl) = (existing(CHUNKS_HEAD_DIR), existing(WBL_DIR));
        // without a log the others are what a removal has left
        if wal.is_dir() || chunks_head.is_some() || wbl.is_some() {
            logs.push(AdoptedLog { tenant, wal, chunks_head, wbl });
        }
    }
    Ok(logs)
}

impl Adopted {
    /// What a replay read: `root`'s of a Prometheus, the `default_tenant`'s, and `logs`.
    pub fn new(root: &Path, default_tenant: &str, logs: &[AdoptedLog], replay: &HeadReplay) -> Self {
        let of_prometheus = replay.adopted_through.map(|newest| Source {
            tenant: default_tenant.to_owned(),
            folders: vec![root.join(CHUNKS_HEAD_DIR), root.join(WBL_DIR)],
            newest: Some(newest),
        });
        let of_receive = logs.iter().zip(&replay.adopted).map(|(log, newest)| {
            let folder = log.wal.with_file_name("");
            let folders = vec![log.wal.clone(), folder.join(CHUNKS_HEAD_DIR), folder.join(WBL_DIR)];
            Source { tenant: log.tenant.clone(), folders, newest: *newest }
        });
        Self(Mutex::new(of_prometheus.into_iter().chain(of_receive).collect()))
    }

    /// Whether there are none, or none any more.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Deletes the files of tenants of whom the head has nothing so old; `oldest` says what it has.
    ///
    /// # Errors
    /// What cannot be removed; it is tried again with the next call.
    pub fn remove_done(&self, oldest: impl Fn(&str) -> Option<Timestamp>) -> Result<()> {
        let mut sources = self.0.lock();
        let mut result = Ok(());
        sources.retain(|source| {
            let is_done =
                oldest(&source.tenant).is_none_or(|oldest| source.newest.is_none_or(|newest| oldest > newest));
            if !is_done {
                return true;
            }
            match source.folders.iter().try_for_each(|folder| remove(folder)) {
                Ok(()) => {
                    tracing::info!(
                        tenant = source.tenant,
                        "what another server left is in blocks; its files are removed"
                    );
                    false
                }
                Err(error) => {
                    result = Err(error);
                    true
                }
            }
        });
        result
    }
}

/// Deletes a folder so that it is there as a whole or not at all. A log in which something could not be read is kept under another name.
fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    if folder.join(QUARANTINE).exists() {
        let kept = folder.with_file_name(KEPT);
        tracing::warn!(kept = %kept.display(), "a log of which some was damaged is not deleted");
        return std::fs::rename(folder, kept).map_err(|error| Error::io(folder, error));
    }
    let mut doomed = folder.as_os_str().to_owned();
    doomed.push(DOOMED);
    let doomed = PathBuf::from(doomed);
    std::fs::rename(folder, &doomed).map_err(|error| Error::io(folder, error))?;
    remove_all(&doomed)
}

fn remove_all(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, error)),
        _ => Ok(()),
    }
}
