//! Files that are read from front to back and not kept: they need neither a mapping nor memory of their size.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Hands the content of the file at `path` to `visit`, in order.
///
/// # Errors
/// [`Error::Io`] where it cannot be read.
pub(crate) fn read_pieces(path: &Path, mut visit: impl FnMut(&[u8])) -> Result<()> {
    let io = |error| Error::io(path, error);
    let mut file = File::open(path).map_err(io)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(len) => visit(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
}
