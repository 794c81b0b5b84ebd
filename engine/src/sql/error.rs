//! What DataFusion says of a statement, as the engine's errors.

use datafusion::error::DataFusionError;

use crate::error::Error;

/// The engine's error for what went wrong while a statement was parsed, planned or run: of the statement, of its data, of a limit,
/// or of ourselves.
#[expect(clippy::needless_pass_by_value, reason = "it is handed over to map_err")]
pub(crate) fn sql_error(error: DataFusionError) -> Error {
    match Error::from_source(&error) {
        // not every operator says which limit it has met
        Some(Error::Limit(text)) if !text.contains("--query.max-memory") => {
            Error::Limit(format!("the query needs more memory than it may use, see --query.max-memory: {text}"))
        }
        Some(ours) => ours,
        None => by_kind(&error),
    }
}

fn by_kind(error: &DataFusionError) -> Error {
    let text = || error.strip_backtrace();
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => by_kind(inner),
        DataFusionError::Shared(inner) => by_kind(inner),
        DataFusionError::Collection(errors) => errors.first().map_or_else(|| Error::Internal(text()), by_kind),
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_) => Error::BadQuery(text()),
        // a cast that fails, a division by zero, a number that overflows
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => Error::Execution(text()),
        DataFusionError::ResourcesExhausted(message) => Error::Limit(message.clone()),
        _ => Error::Internal(text()),
    }
}
