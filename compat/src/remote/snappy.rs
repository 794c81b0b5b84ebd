//! Snappy's block format, bounded: a block says in its first bytes how long it becomes, and that is believed only up to a limit.

/// A body that cannot be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// Not a snappy block.
    #[error("snappy decode error: {0}")]
    Corrupt(#[from] snap::Error),
    /// It would become longer than is read.
    #[error("the request has {declared} bytes when decompressed, more than the limit of {limit}")]
    TooLarge {
        /// What the block says of itself.
        declared: u64,
        /// What is read at most.
        limit: usize,
    },
}

/// How long a block becomes, as it says of itself: believed up to `limit`, and where the block is long enough for it.
///
/// # Errors
/// Where the block is not one, or is too large.
pub fn declared_len(block: &[u8], limit: usize) -> Result<usize, SnappyError> {
    let declared = match snap::raw::decompress_len(block) {
        Ok(declared) => declared,
        Err(snap::Error::TooBig { given, .. }) => return Err(SnappyError::TooLarge { declared: given, limit }),
        Err(error) => return Err(error.into()),
    };
    if declared > limit {
        return Err(SnappyError::TooLarge { declared: declared as u64, limit });
    }
    // A copy of snappy's makes at most 64 bytes of 3, so that a short block which declares much is no block.
    if declared / 32 > block.len() {
        return Err(snap::Error::HeaderMismatch { expected_len: declared as u64, got_len: block.len() as u64 }.into());
    }
    Ok(declared)
}

/// Decompresses a block into at most `limit` bytes. The length that the block declares is checked before memory is taken.
///
/// # Errors
/// Where the block is not one, or is too large.
pub fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    declared_len(block, limit)?;
    Ok(snap::raw::Decoder::new().decompress_vec(block)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed() {
        for text in [vec![], b"abc".to_vec(), vec![7; 100_000]] {
            let block = snap::raw::Encoder::new().compress_vec(&text).unwrap();
            assert_eq!(decompress(&block, text.len()), Ok(text.clone()));
            if let Some(less) = text.len().checked_sub(1) {
                let declared = text.len() as u64;
                assert_eq!(decompress(&block, less), Err(SnappyError::TooLarge { declared, limit: less }));
            }
        }
    }

    #[test]
    fn nothing_is_allocated_for_a_lie() {
        let four_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        let error = decompress(&four_gib, 32 << 20).unwrap_err();
        assert_eq!(error, SnappyError::TooLarge { declared: u64::from(u32::MAX), limit: 32 << 20 });
        let sixteen_mib = [0x80, 0x80, 0x80, 0x08, 0];
        assert!(matches!(decompress(&sixteen_mib, 32 << 20), Err(SnappyError::Corrupt(_))));
        assert!(matches!(decompress(&[], 100), Err(SnappyError::Corrupt(_)) | Ok(_)));
        assert!(matches!(decompress(&[0xff; 20], 100), Err(SnappyError::Corrupt(_) | SnappyError::TooLarge { .. })));
        assert!(matches!(decompress(&[4, 0xff, 1, 2], 100), Err(SnappyError::Corrupt(_))));
    }
}
