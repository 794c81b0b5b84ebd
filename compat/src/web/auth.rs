//! Users and passwords, for whatever protocol asks.

use std::sync::Arc;

use super::config::WebConfig;
use super::file::WebFile;
use super::passwords::{Busy, Passwords};
use crate::yaml::ConfigError;

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No such user, another password, or none at all; which is nobody's business.
    #[error("user and password are needed")]
    Refused,
    /// Too many passwords wait to be compared.
    #[error("too many passwords wait to be compared")]
    Busy,
    /// Who may come in cannot be known now.
    #[error("the web configuration cannot be used")]
    Unusable,
}

impl From<Busy> for AuthError {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

/// The users of a web configuration file, as it is now.
#[derive(Debug)]
pub struct WebAuth {
    file: Arc<WebFile>,
    passwords: Passwords,
}

impl WebAuth {
    /// Those of `file`.
    ///
    /// # Errors
    /// [`ConfigError`] where the system has no random numbers.
    pub fn try_new(file: Arc<WebFile>) -> Result<Self, ConfigError> {
        let passwords = Passwords::new();
        let passwords = passwords.ok_or_else(|| ConfigError::unplaced("--http.config", "no random numbers"))?;
        Ok(Self { file, passwords })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &WebFile {
        &self.file
    }

    /// Whether somebody may come in with this name and password. Without users, everybody may.
    ///
    /// # Errors
    /// [`AuthError`] where not.
    pub async fn verify(&self, user: &str, password: &str) -> Result<(), AuthError> {
        self.check(Some((user, password.as_bytes()))).await
    }

    /// Whether somebody may come in with these credentials, or with none.
    ///
    /// # Errors
    /// [`AuthError`] where not.
    pub async fn check(&self, credentials: Option<(&str, &[u8])>) -> Result<(), AuthError> {
        let config = self.file.config().map_err(|_| AuthError::Unusable)?;
        self.check_by(&config, credentials).await
    }

    /// Likewise, by a configuration that was read already.
    pub(super) async fn check_by(
        &self,
        config: &WebConfig,
        credentials: Option<(&str, &[u8])>,
    ) -> Result<(), AuthError> {
        if config.users.is_empty() {
            return Ok(());
        }
        let (user, password) = credentials.ok_or(AuthError::Refused)?;
        if self.passwords.verify(&config.users, user, password).await? { Ok(()) } else { Err(AuthError::Refused) }
    }
}
