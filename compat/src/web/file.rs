//! The web configuration file as it is in effect: read again each time that it is asked for.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::config::WebConfig;
use super::tls::{ServerTls, TlsCache, fingerprint};
use crate::yaml::{ConfigError, Document};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file behind `--http.config`. All ports share it.
#[derive(Debug)]
pub struct WebFile {
    path: PathBuf,
    /// The path, for messages.
    source: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of the text that was parsed last.
    fingerprint: [u8; 32],
    config: Result<Arc<WebConfig>, ConfigError>,
    tls: TlsCache,
    promised: Protection,
}

/// What keeps strangers out.
#[derive(Debug, Clone, Copy, Default)]
struct Protection {
    tls: bool,
    verified_clients: bool,
    users: bool,
}

impl WebFile {
    /// Reads the file, and the files that it names.
    ///
    /// # Errors
    /// [`ConfigError`] with the place of what is wrong.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let source = path.display().to_string();
        let state = State {
            fingerprint: [0; 32],
            config: Err(ConfigError::unplaced(&source, "not read yet")),
            tls: TlsCache::default(),
            promised: Protection::default(),
        };
        let file = Self { path: path.to_owned(), source, state: Mutex::new(state) };
        let mut state = file.state.lock();
        let (config, _, text) = file.refresh(&mut state);
        let config = config?;
        file.refresh_tls(&mut state, &config, &text).0?;
        drop(state);
        Ok(file)
    }

    /// What the file says now.
    ///
    /// # Errors
    /// [`ConfigError`] while it cannot be used, which is logged once.
    pub(super) fn config(&self) -> Result<Arc<WebConfig>, ConfigError> {
        let mut state = self.state.lock();
        self.told(&mut state).0
    }

    /// What a handshake needs now; nothing where TLS is not spoken.
    ///
    /// # Errors
    /// [`ConfigError`] while the file or a certificate cannot be used, which is logged once.
    pub(super) fn tls(&self) -> Result<Option<ServerTls>, ConfigError> {
        let mut state = self.state.lock();
        let (config, text) = self.told(&mut state);
        let config = config?;
        let (made, changed) = self.refresh_tls(&mut state, &config, &text);
        if changed {
            match &made {
                Ok(_) => tracing::info!(file = self.source, "the certificates are in use as they are now"),
                Err(error) => tracing::error!(%error, "TLS handshakes fail until it is mended"),
            }
        }
        made
    }

    fn told(&self, state: &mut State) -> (Result<Arc<WebConfig>, ConfigError>, String) {
        let (config, changed, text) = self.refresh(state);
        if changed {
            match &config {
                Ok(_) => tracing::info!(file = self.source, "the web configuration is in effect as it is now"),
                Err(error) => tracing::error!(%error, "requests are refused until it is mended"),
            }
        }
        (config, text)
    }

    /// Reads the file; whether it is other than the last time, and its text.
    fn refresh(&self, state: &mut State) -> (Result<Arc<WebConfig>, ConfigError>, bool, String) {
        let read =
            read_bounded(&self.path).and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
        let hash = match &read {
            Ok(text) => fingerprint([text.as_bytes()]),
            Err(error) => fingerprint([b"", error.as_bytes()]),
        };
        let changed = hash != state.fingerprint;
        if changed {
            state.fingerprint = hash;
            state.tls = TlsCache::default();
            state.config = match &read {
                Ok(text) => self.parse(text, &mut state.promised).map(Arc::new),
                Err(error) => Err(ConfigError::unplaced(&self.source, error)),
            };
        }
        (state.config.clone(), changed, read.unwrap_or_default())
    }

    fn parse(&self, text: &str, promised: &mut Protection) -> Result<WebConfig, ConfigError> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let config = WebConfig::from_yaml(text, &self.source, folder)?;
        let now = Protection::of(&config);
        if let Some(lost) = promised.lost(now) {
            let advice = format!("{lost} went away; a restart takes a file without");
            return Err(ConfigError::unplaced(&self.source, advice));
        }
        *promised = now;
        Ok(config)
    }

    fn refresh_tls(
        &self,
        state: &mut State,
        config: &WebConfig,
        text: &str,
    ) -> (Result<Option<ServerTls>, ConfigError>, bool) {
        let Some(settings) = &config.tls else { return (Ok(None), false) };
        let (made, changed) = state.tls.get(settings);
        let place = |error: super::tls::KeyError| Document::new(text, &self.source).wrong(error.key, error.message);
        (made.map(Some).map_err(place), changed)
    }
}

impl Protection {
    fn of(config: &WebConfig) -> Self {
        Self {
            tls: config.tls.is_some(),
            verified_clients: config.tls.as_ref().is_some_and(|tls| tls.client_auth.verifies()),
            users: !config.users.is_empty(),
        }
    }

    /// What there was and is not `now`.
    fn lost(self, now: Self) -> Option<&'static str> {
        let kinds = [
            (self.tls, now.tls, "tls_server_config"),
            (self.verified_clients, now.verified_clients, "the verification of client certificates"),
            (self.users, now.users, "basic_auth_users"),
        ];
        kinds.into_iter().find(|(before, now, _)| *before && !now).map(|(_, _, what)| what)
    }
}

/// Reads a file of a sensible size. It is small and near: reading it takes less than handing that to another thread.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
