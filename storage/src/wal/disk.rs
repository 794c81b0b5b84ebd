//! The few operations on files that a log needs, as a seam: tests put a disk behind it that fails, hangs, or loses power.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// A file system, as far as a log uses it. All paths are under the log's folder.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Creates the folder and those above it; one that is there is fine.
    ///
    /// # Errors
    /// The system's.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// A new, empty file.
    ///
    /// # Errors
    /// The system's; `AlreadyExists` where there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// An existing file, to be written at its end.
    ///
    /// # Errors
    /// The system's.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// An existing file, to be read from its beginning.
    ///
    /// # Errors
    /// The system's.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// Gives a file or a folder another name; a file there is replaced.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// The system's.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a folder, in any order.
    ///
    /// # Errors
    /// The system's; `NotFound` where there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Returns when the folder's entries (files created, renamed and removed) survive a power cut.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is written from one end to the other.
pub trait DiskFile: Send + std::fmt::Debug {
    /// Appends all of `bytes`, or some of them and an error.
    ///
    /// # Errors
    /// The system's.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when the file's content survives a power cut.
    ///
    /// # Errors
    /// The system's; then nothing is known of any byte since the last call that succeeded.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().append(true).create_new(true).open(path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().append(true).open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // a name that is not UTF-8 is none of ours
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
}
