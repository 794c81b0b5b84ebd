//! YAML with errors that say where.

mod error;

use serde::de::DeserializeOwned;

pub use error::ConfigError;

/// One file, or the value of one flag.
pub struct Document<'a> {
    text: &'a str,
    source: &'a str,
}

impl<'a> Document<'a> {
    /// `source` names the text in errors.
    pub fn new(text: &'a str, source: &'a str) -> Self {
        Self { text, source }
    }

    /// Reads the whole text.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_saphyr::from_str::<T>(self.text).map_err(|error| {
            let error = error.without_snippet();
            let place = match error.location() {
                Some(at) if at.line() > 0 => format!("{}:{}:{}", self.source, at.line(), at.column()),
                _ => self.source.to_owned(),
            };
            ConfigError { place, message: error.to_string().replace('\n', " ") }
        })
    }

    /// An error about the value of `key`, placed at the first line that sets it.
    pub fn wrong(&self, key: &str, message: impl std::fmt::Display) -> ConfigError {
        let sets_key = |line: &str| {
            let line = line.trim_start().trim_start_matches(['"', '\'', '{']);
            line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
        };
        let place = match self.text.lines().position(sets_key) {
            Some(line) => format!("{}:{}", self.source, line + 1),
            None => self.source.to_owned(),
        };
        ConfigError { place, message: format!("{key}: {message}") }
    }

    /// An error that no one key is to blame for.
    pub fn unusable(&self, message: impl std::fmt::Display) -> ConfigError {
        ConfigError::unplaced(self.source, message)
    }
}
