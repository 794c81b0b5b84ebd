#![expect(unsafe_code, reason = "mapping a file is unsafe: it is only sound while nobody changes the file")]
//! Mapping files of local blocks into memory.
//!
//! The one place where a file becomes bytes without being read. A mapping is sound as long as the file keeps its
//! length and content, which is what a block promises once its `meta.json` stands: it is never written again, and
//! deleting it unlinks the file, which leaves a mapping whole. Somebody who truncates a file of a block under a
//! running process ends the process with SIGBUS; the same holds for Prometheus.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

use crate::error::{Error, Result};

/// The content of the file at `path`, paged in as it is touched. The mapping lives as long as any slice of it.
///
/// # Errors
/// [`Error::Io`] where the file cannot be opened or mapped.
pub(crate) fn map_file(path: &Path) -> Result<Bytes> {
    let io = |e| Error::io(path, e);
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: files of a finished block are not changed any more, see above
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    Ok(Bytes::from_owner(map))
}
