//! The data directory: `{bucket,tsdb,cache}` under one lock file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// Where the sample blocks are, which come with the source and not with the program.
const SAMPLE_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bucket");

/// A data directory that this process alone uses.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: FolderLock,
}

/// A folder that this process alone uses. The lock goes with the value, and with the process, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl DataDir {
    /// Takes the directory, and makes it where it does not exist.
    ///
    /// # Errors
    /// Where another process has it, or it cannot be written.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        for folder in ["bucket", "tsdb", "cache"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        Ok(Self { root: root.to_owned(), _lock: FolderLock::take(root)? })
    }

    /// The folder of the bucket.
    pub fn bucket(&self) -> PathBuf {
        self.root.join("bucket")
    }

    /// The folder of what is written.
    pub fn tsdb(&self) -> PathBuf {
        self.root.join("tsdb")
    }

    /// The folder of what can be made again.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Copies the sample blocks into the bucket, where that is empty. Says how many were copied.
    ///
    /// # Errors
    /// Where the sample is not there, or the bucket cannot be written.
    pub fn add_sample(&self) -> anyhow::Result<usize> {
        let bucket = self.bucket();
        if fs::read_dir(&bucket).with_context(|| format!("cannot read {}", bucket.display()))?.next().is_some() {
            tracing::info!(bucket = %bucket.display(), "the bucket is not empty, so no sample is added");
            return Ok(0);
        }
        let sample = Path::new(SAMPLE_DIR);
        let blocks = fs::read_dir(sample).with_context(|| {
            format!("there are no sample blocks in {SAMPLE_DIR}: --sample works where the source of this program is")
        })?;
        let mut copied = 0;
        for block in blocks {
            let block = block.context("cannot read the sample")?;
            if block.file_type().context("cannot read the sample")?.is_dir() {
                // under another name until it is whole, which no reader takes for a block
                let part = bucket.join(format!("sample-{copied}.tmp"));
                copy_folder(&block.path(), &part)?;
                fs::rename(&part, bucket.join(block.file_name())).context("cannot put the sample in place")?;
                copied += 1;
            }
        }
        Ok(copied)
    }
}

impl FolderLock {
    /// Takes the folder, and makes it where it does not exist.
    ///
    /// # Errors
    /// Where another process has it, or it cannot be written.
    pub fn take(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                let mut owner = String::new();
                // only to name it; the lock alone decides
                let _ = lock.take(32).read_to_string(&mut owner);
                bail!("the data directory {} is in use by process {}", folder.display(), owner.trim());
            }
            Err(error) => bail!("cannot lock {}: {}", path.display(), io::Error::from(error)),
        }
        let mut note = || -> io::Result<()> {
            lock.set_len(0)?;
            lock.seek(SeekFrom::Start(0))?;
            writeln!(lock, "{}", std::process::id())
        };
        note().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { _file: lock })
    }
}

impl FolderLock {
    /// Looks whether a Thanos receive has one of the tenants' folders in `folder`, each of which it locks.
    ///
    /// # Errors
    /// Where one has, or that cannot be told.
    pub fn refuse_beside_receive(folder: &Path) -> anyhow::Result<()> {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            let path = entry.path().join("lock");
            let Ok(lock) = File::options().read(true).write(true).open(&path) else { continue };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                    bail!("{} is in use: stop the Thanos receive first", entry.path().display())
                }
                Err(error) => bail!("cannot lock {}: {}", path.display(), io::Error::from(error)),
            }
        }
        Ok(())
    }
}

/// Copies a block's folder, two levels of files.
fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let target = to.join(entry.file_name());
        if entry.file_type().with_context(failed)?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_that_still_runs_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        FolderLock::refuse_beside_receive(&folder.path().join("none")).unwrap();
        let running = FolderLock::take(&folder.path().join("tenant")).unwrap();
        let error = FolderLock::refuse_beside_receive(folder.path()).unwrap_err().to_string();
        assert!(error.contains("tenant is in use"), "{error}");
        drop(running);
        FolderLock::refuse_beside_receive(folder.path()).unwrap();
    }

    #[test]
    fn a_second_user_is_turned_away_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let first = DataDir::open(&root).unwrap();
        assert!(first.bucket().is_dir() && first.cache().is_dir());
        let error = DataDir::open(&root).unwrap_err().to_string();
        assert!(error.contains("in use by process") && error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        DataDir::open(&root).unwrap();
    }
}
