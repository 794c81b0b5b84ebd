//! Why a job failed, and what that means for the next one.

use storage::model::BlockId;

use super::checked_part::OUT_OF_ORDER;
use crate::error::Error;

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Its chunks are out of order, or overlap within a series.
    OutOfOrder,
    /// Bytes that are not what the format or their checksum says, or a time outside of the block's.
    Corrupt,
}

/// Why blocks could not be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompactError {
    /// A block is damaged: the same job will fail again, one without this block may not.
    #[error("block {block} is damaged: {reason}")]
    Damaged {
        /// The block.
        block: BlockId,
        /// In what way.
        damage: Damage,
        /// In words.
        reason: String,
    },
    /// The input as a whole cannot be merged, and nobody knows which block is to blame.
    #[error("cannot be compacted: {0}")]
    Halt(String),
    /// Something failed that may not fail the next time.
    #[error(transparent)]
    Retry(storage::Error),
    /// There is not enough memory, or our bug.
    #[error("{0}")]
    Internal(String),
}

impl CompactError {
    /// What an error of storage means to a job over `blocks`.
    pub(super) fn of_storage(error: storage::Error, blocks: &[BlockId]) -> Self {
        use storage::Error as E;
        match error {
            E::Corrupt { ref place, ref reason, .. } => match place.parse::<BlockId>() {
                Ok(block) if blocks.contains(&block) => {
                    let damage = if reason.starts_with(OUT_OF_ORDER) { Damage::OutOfOrder } else { Damage::Corrupt };
                    Self::Damaged { block, damage, reason: error.to_string() }
                }
                _ => Self::Halt(error.to_string()),
            },
            E::Unsupported(_) | E::Arrow(_) => Self::Halt(error.to_string()),
            // a file that is not there may be one that another compactor has just deleted
            E::ObjectStore { .. } | E::Upload { .. } | E::BlockGone(_) | E::NotFound { .. } | E::Io { .. } => {
                Self::Retry(error)
            }
            error => Self::Internal(error.to_string()),
        }
    }

    /// What an error of the plan means to a job over `blocks`.
    pub(super) fn of_plan(error: Error, blocks: &[BlockId]) -> Self {
        match error {
            Error::Storage(error) => Self::of_storage(error, blocks),
            error @ Error::Chunk { .. } => match blocks {
                [block] => Self::Damaged { block: *block, damage: Damage::Corrupt, reason: error.to_string() },
                _ => Self::Halt(error.to_string()),
            },
            error => Self::Internal(error.to_string()),
        }
    }
}
