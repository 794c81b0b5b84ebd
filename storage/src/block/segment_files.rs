//! Where segments are written to, one after the other.

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::segments::sync_dir;
use crate::error::{Error, Result};

/// Takes the bytes of segments.
pub trait SegmentFiles: Debug + Send {
    /// Begins the segment `name`; the one before has ended.
    ///
    /// # Errors
    /// What the place has against it.
    fn begin(&mut self, name: &str) -> Result<()>;

    /// Appends to the open segment.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends the open segment.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn end(&mut self) -> Result<()>;

    /// No further segment comes.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    fn finish(&mut self) -> Result<()>;
}

/// Files of a local folder; each is synced when it ends, and the folder in the end.
#[derive(Debug)]
pub struct LocalSegments {
    dir: PathBuf,
    open: Option<(BufWriter<File>, PathBuf)>,
}

impl LocalSegments {
    /// Makes the folder `dir`, which must not be there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(dir: &Path) -> Result<Self> {
        std::fs::create_dir(dir).map_err(|e| Error::io(dir, e))?;
        Ok(Self { dir: dir.to_owned(), open: None })
    }
}

impl SegmentFiles for LocalSegments {
    fn begin(&mut self, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        let file = File::create_new(&path).map_err(|e| Error::io(&path, e))?;
        self.open = Some((BufWriter::with_capacity(1 << 20, file), path));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some((out, path)) = &mut self.open else {
            return Err(Error::Internal("no segment is open".to_owned()));
        };
        out.write_all(bytes).map_err(|e| Error::io(path, e))
    }

    fn end(&mut self) -> Result<()> {
        let Some((out, path)) = self.open.take() else { return Ok(()) };
        let file = out.into_inner().map_err(|e| Error::io(&path, e.into_error()))?;
        file.sync_all().map_err(|e| Error::io(&path, e))
    }

    fn finish(&mut self) -> Result<()> {
        sync_dir(&self.dir)
    }
}
