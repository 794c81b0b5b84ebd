//! Errors as gRPC has them. One table says which code each has.

use tonic::{Code, Status};

/// The status of an error of the engine.
#[expect(clippy::needless_pass_by_value, reason = "it is handed over to map_err")]
pub(crate) fn status(error: engine::Error) -> Status {
    let code = match &error {
        engine::Error::BadQuery(_) => Code::InvalidArgument,
        engine::Error::Execution(_) => Code::FailedPrecondition,
        engine::Error::Limit(_) => Code::ResourceExhausted,
        engine::Error::Timeout(_) => Code::DeadlineExceeded,
        engine::Error::Canceled(_) => Code::Cancelled,
        engine::Error::Storage(error) => match error {
            storage::Error::InvalidRequest(_) | storage::Error::Matcher(_) => Code::InvalidArgument,
            storage::Error::Budget(_) => Code::ResourceExhausted,
            storage::Error::DeadlineExceeded(_) => Code::DeadlineExceeded,
            _ => Code::Internal,
        },
        _ => Code::Internal,
    };
    if code == Code::Internal {
        tracing::error!(%error, "a statement failed");
    }
    Status::new(code, error.to_string())
}

/// Our own fault.
pub(crate) fn internal(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "a call failed");
    Status::internal(format!("internal error: {error}"))
}
