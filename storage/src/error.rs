//! The one error type of storage.
//!
//! A variant exists only where somebody branches on it: a caller retries, marks a block, or answers a client
//! with another status. Everything expected is the world's fault; [`Error::Internal`] is ours.

use std::sync::Arc;

use crate::model::{BlockId, BudgetExceeded, MatcherError};

/// Result of storage.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with bytes at rest.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are not what the format or their checksum says; never retried.
    #[error("corrupt {file} of {place} at offset {offset}: {reason}")]
    Corrupt {
        /// The block's ULID, or the folder of a local directory.
        place: String,
        /// The file inside the block: `index`, `chunks/000001`, `series.parquet`.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What was expected and what was found.
        reason: String,
    },
    /// A file or object that should be there is not.
    #[error("{file} of {place} does not exist")]
    NotFound {
        /// The block's ULID, or the folder.
        place: String,
        /// The file that is missing.
        file: String,
    },
    /// An encoding or version that this build does not read.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A request that no store could answer.
    #[error("{0}")]
    InvalidRequest(String),
    /// A matcher that does not compile.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// The query's share of memory is used up.
    #[error(transparent)]
    Budget(#[from] BudgetExceeded),
    /// The request's deadline passed.
    #[error("the deadline of the request passed while {0}")]
    DeadlineExceeded(&'static str),
    /// A block that was selected is gone: it was deleted after its replacement became readable.
    #[error("block {0} is gone from the bucket")]
    BlockGone(BlockId),
    /// The object store failed.
    #[error("cannot read {what}: {source}")]
    ObjectStore {
        /// What was read: a file and its block, or the list of blocks.
        what: String,
        /// The object store's error.
        source: Arc<object_store::Error>,
    },
    /// The object store did not take a file.
    #[error("cannot upload {what}: {source}")]
    Upload {
        /// The file and its block.
        what: String,
        /// The object store's error.
        source: Arc<object_store::Error>,
    },
    /// The local file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The path that was touched.
        path: String,
        /// The system's error.
        source: Arc<std::io::Error>,
    },
    /// Arrow or Parquet refused bytes that passed their checksum, or a batch that we built.
    #[error("arrow: {0}")]
    Arrow(String),
    /// Our bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Whether the same call may succeed later without anybody mending anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::ObjectStore { .. } | Error::Upload { .. } | Error::BlockGone(_))
    }

    /// What the object store answered when `file` of `place` was read.
    #[must_use]
    pub fn object_store(place: impl std::fmt::Display, file: &str, source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => Error::NotFound { place: place.to_string(), file: file.to_owned() },
            source => Error::ObjectStore { what: format!("{file} of {place}"), source: Arc::new(source) },
        }
    }

    /// What the object store answered when `file` of `place` was written.
    #[must_use]
    pub fn upload(place: impl std::fmt::Display, file: &str, source: object_store::Error) -> Self {
        Error::Upload { what: format!("{file} of {place}"), source: Arc::new(source) }
    }

    /// An I/O error with the path that it happened on.
    #[must_use]
    pub fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Error::Io { path: path.display().to_string(), source: Arc::new(source) }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::Arrow(error.to_string())
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Error::Arrow(error.to_string())
    }
}
