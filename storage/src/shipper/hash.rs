//! Hashes of a block's files, which `meta.json` lists where somebody wants them: Thanos's compactor does not fetch a file again that
//! it has with the same hash.

use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::block::meta::FileHash;
use crate::error::Result;
use crate::pieces::read_pieces;

/// How files are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFunction {
    /// SHA-256, the one that Thanos knows.
    Sha256,
}

impl HashFunction {
    /// As `meta.json` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256",
        }
    }

    /// The hash of a file's bytes.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where it cannot be read.
    pub(super) fn of_file(self, path: &Path) -> Result<FileHash> {
        let mut context = match self {
            Self::Sha256 => Context::new(&SHA256),
        };
        read_pieces(path, |piece| context.update(piece))?;
        let digest = context.finish();
        let value = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(FileHash { func: self.name().to_owned(), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of FIPS 180-2, and a file of several buffers.
    #[test]
    fn hashes_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], expected: &str| {
            let path = folder.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            let hash = HashFunction::Sha256.of_file(&path).unwrap();
            assert_eq!((hash.func.as_str(), hash.value.as_str()), ("SHA256", expected));
        };
        check(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check(&vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
        assert!(HashFunction::Sha256.of_file(&folder.path().join("none")).is_err());
    }
}
