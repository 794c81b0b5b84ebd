//! The one error type of the engine, and its way through DataFusion.

use datafusion::error::DataFusionError;
use storage::model::{Labels, TimeInterval};

/// Result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong while a query is planned and run. compat maps each variant to Prometheus's error type.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The query, or a parameter of it, is wrong: `bad_data`.
    #[error("{0}")]
    BadQuery(String),
    /// The query is right but cannot be evaluated on this data: `execution`.
    #[error("{0}")]
    Execution(String),
    /// The query used more memory or samples than it may: `execution`.
    #[error("{0}")]
    Limit(String),
    /// The query took longer than it may: `timeout`.
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// The client went away, or the server stops: `canceled`.
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// A chunk whose checksum is right does not decode. The planner, which knows the parts of the store, turns it into one
    /// of `Storage` that names the place.
    #[error("corrupt chunk from {} to {} of series {labels}: {reason}", .interval.mint, .interval.maxt)]
    Chunk {
        /// The series, as the query sees it.
        labels: Labels,
        /// From its first to its last sample.
        interval: TimeInterval,
        /// What the decoder says.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Our bug, or DataFusion's: `internal`.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// Two series have the same labels and a sample at the same step.
    pub(crate) fn same_labelset() -> Self {
        Self::Execution("vector cannot contain metrics with the same labelset".to_owned())
    }
}

impl Error {
    /// Our own error, or a memory limit, where `error` has one among its sources.
    pub(crate) fn from_source(error: &DataFusionError) -> Option<Self> {
        from_shared(error)
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

/// Takes our own error back out of what DataFusion made of it.
impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Error::from(*inner),
            DataFusionError::Shared(shared) => {
                from_shared(shared.as_ref()).unwrap_or_else(|| Error::Internal(shared.to_string()))
            }
            DataFusionError::ResourcesExhausted(message) => Error::Limit(message),
            other => from_shared(&other).unwrap_or_else(|| Error::Internal(other.to_string())),
        }
    }
}

/// Finds our error, or a memory limit, anywhere in the chain of sources.
fn from_shared(error: &DataFusionError) -> Option<Error> {
    let mut current: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(source) = current {
        if let Some(ours) = source.downcast_ref::<Error>() {
            return Some(ours.clone());
        }
        if let Some(storage) = source.downcast_ref::<storage::Error>() {
            return Some(Error::Storage(storage.clone()));
        }
        match source.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::ResourcesExhausted(message)) => return Some(Error::Limit(message.clone())),
            Some(DataFusionError::External(inner)) => {
                let inner: &(dyn std::error::Error + 'static) = inner.as_ref();
                current = Some(inner);
            }
            _ => current = source.source(),
        }
    }
    None
}
