//! What is wrong with a configuration file, and where.

/// Displays as `file:line:column: what`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// The file, or the flag; with line and column where they are known.
    pub place: String,
    /// What is wrong, on one line.
    pub message: String,
}

impl ConfigError {
    /// An error of the whole file.
    pub(crate) fn unplaced(source: impl std::fmt::Display, message: impl std::fmt::Display) -> Self {
        Self { place: source.to_string(), message: message.to_string() }
    }
}
