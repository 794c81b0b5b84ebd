#![expect(unsafe_code, reason = "mapping a file is unsafe: it is only sound while nobody changes the file")]
//! Mapping files of local blocks into memory.
//!
//! The one place where a file becomes bytes without being read. A mapping is sound as long as the file keeps its
//! length and content, which is what a block promises once its `meta.json` stands: it is never written again, and
//! deleting it unlinks the file, which leaves a mapping whole. Somebody who truncates a file of a block under a
//! running process ends the process with SIGBUS; the same holds for Prometheus.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Mmap, UncheckedAdvice};

use crate::error::{Error, Result};

/// The content of the file at `path`, paged in as it is touched. The mapping lives as long as any slice of it.
///
/// # Errors
/// [`Error::Io`] where the file cannot be opened or mapped.
pub(crate) fn map_file(path: &Path) -> Result<Bytes> {
    MappedFile::open(path).map(|file| file.bytes())
}

/// A file that is read from front to back.
#[derive(Debug, Clone)]
pub(crate) struct MappedFile(Option<Pages>);

#[derive(Debug, Clone)]
struct Pages(Arc<Mmap>);

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened or mapped.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: files of a finished block are not changed any more, see above
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self(Some(Pages(Arc::new(map)))))
    }

    /// Its content.
    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone().map_or_else(Bytes::new, Bytes::from_owner)
    }

    /// The pages of `range` no longer count as memory of this process. Who reads them again gets them from the file.
    pub(crate) fn let_go(&self, range: Range<usize>) {
        let Some(pages) = &self.0 else { return };
        // SAFETY: a page that a file is behind, and nobody writes to, comes back as it was
        let advised = unsafe { pages.0.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        if let Err(error) = advised {
            tracing::debug!(%error, "cannot let go of pages");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_let_go_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let bytes = file.bytes();
        assert_eq!(bytes, content);
        file.let_go(0..bytes.len());
        file.let_go(5_000..9_000);
        assert_eq!(bytes, content);
    }

    #[test]
    fn an_empty_file_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let file = MappedFile::open(&path).unwrap();
        file.let_go(0..1);
        assert!(file.bytes().is_empty());
    }
}
