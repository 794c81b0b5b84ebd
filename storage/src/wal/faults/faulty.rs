//! A disk around another one that fails where a test says so.

use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::wal::disk::{Disk, DiskFile};

/// A disk whose writes and syncs fail, hang or run out of space. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct FaultDisk {
    inner: Arc<dyn Disk>,
    faults: Arc<(Mutex<Faults>, Condvar)>,
}

#[derive(Debug, Default)]
struct Faults {
    syncs: Syncs,
    /// Bytes that can still be written; without end where there is none.
    free_bytes: Option<u64>,
    syncs_begun: u64,
    failed: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Syncs {
    #[default]
    Work,
    Fail,
    Hang,
}

#[derive(Debug)]
struct FaultFile {
    inner: Box<dyn DiskFile>,
    faults: Arc<(Mutex<Faults>, Condvar)>,
}

impl FaultDisk {
    /// A disk that works, for now.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, faults: Arc::default() }
    }

    /// From now on `sync_data` fails.
    pub fn fail_syncs(&self) {
        self.change(|faults| faults.syncs = Syncs::Fail);
    }

    /// From now on `sync_data` does not return before the next of these calls.
    pub fn hang_syncs(&self) {
        self.change(|faults| faults.syncs = Syncs::Hang);
    }

    /// After `bytes` more bytes the disk is full: a write puts down what fits and fails.
    pub fn limit_free_bytes(&self, bytes: u64) {
        self.change(|faults| faults.free_bytes = Some(bytes));
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.change(|faults| (faults.syncs, faults.free_bytes) = (Syncs::Work, None));
    }

    /// How many calls of `sync_data` began so far.
    #[must_use]
    pub fn syncs_begun(&self) -> u64 {
        self.faults.0.lock().syncs_begun
    }

    /// How many writes and syncs failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.faults.0.lock().failed
    }

    /// Blocks until `count` calls of `sync_data` have begun.
    pub fn await_syncs_begun(&self, count: u64) {
        self.wait_while(|faults| faults.syncs_begun < count);
    }

    /// Blocks until `count` writes and syncs have failed.
    pub fn await_failed(&self, count: u64) {
        self.wait_while(|faults| faults.failed < count);
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.0.lock());
        self.faults.1.notify_all();
    }

    fn wait_while(&self, condition: impl FnMut(&mut Faults) -> bool) {
        self.faults.1.wait_while(&mut self.faults.0.lock(), condition);
    }

    fn wrap(&self, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultFile { inner, faults: Arc::clone(&self.faults) })
    }
}

impl Disk for FaultDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(self.inner.create(path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(self.inner.open_append(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.inner.open_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
}

impl DiskFile for FaultFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (faults, changed) = &*self.faults;
        let fits = {
            let mut faults = faults.lock();
            match &mut faults.free_bytes {
                None => bytes.len(),
                Some(free) => {
                    let fits = bytes.len().min(usize::try_from(*free).unwrap_or(usize::MAX));
                    *free -= fits as u64;
                    if fits < bytes.len() {
                        faults.failed += 1;
                        changed.notify_all();
                    }
                    fits
                }
            }
        };
        self.inner.write_all(&bytes[..fits])?;
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let (faults, changed) = &*self.faults;
        {
            let mut faults = faults.lock();
            faults.syncs_begun += 1;
            changed.notify_all();
            changed.wait_while(&mut faults, |faults| faults.syncs == Syncs::Hang);
            if faults.syncs == Syncs::Fail {
                faults.failed += 1;
                changed.notify_all();
                return Err(io::Error::other("input/output error"));
            }
        }
        self.inner.sync_data()
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
}
