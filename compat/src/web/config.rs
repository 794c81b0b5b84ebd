//! The web configuration file, read and checked: strict keys, errors with file, line and key.

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::rate::RateLimit;
use super::secret::Secret;
use super::tls::{RawTls, TlsSettings};
use super::users::Users;
use crate::parse_duration_flag;
use crate::yaml::{ConfigError, Document};

/// What the file says.
#[derive(Debug, Default)]
pub struct WebConfig {
    /// How TLS is spoken; it is not without.
    pub tls: Option<TlsSettings>,
    /// What every answer carries.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may come in.
    pub users: Users,
    /// How often.
    pub rate_limit: Option<RateLimit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    tls_server_config: Option<RawTls>,
    http_server_config: Option<RawHttp>,
    basic_auth_users: Option<BTreeMap<String, Secret>>,
    rate_limit: Option<RawRateLimit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    /// HTTP/1.1 is spoken whatever it says: with ALPN both sides agree on what both have.
    http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRateLimit {
    interval: Option<String>,
    burst: Option<u32>,
}

/// The headers that may be set, with the values that they may have; any where none are named.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

impl WebConfig {
    /// Reads `text`; `source` names it in errors, and paths in it are relative to `folder`. No other file is read yet.
    pub fn from_yaml(text: &str, source: &str, folder: &Path) -> Result<Self, ConfigError> {
        let document = Document::new(text, source);
        let raw: RawConfig = if is_blank(text) { RawConfig::default() } else { document.parse()? };
        let tls = TlsSettings::try_new(&raw.tls_server_config.unwrap_or_default(), folder)
            .map_err(|error| document.wrong(error.key, error.message))?;
        let users = Users::try_new(raw.basic_auth_users.unwrap_or_default())
            .map_err(|error| document.wrong("basic_auth_users", error))?;
        let headers = raw.http_server_config.unwrap_or_default().headers.unwrap_or_default();
        let headers: Result<Vec<_>, _> = headers
            .iter()
            .map(|(name, value)| header(name, value).map_err(|error| document.wrong(name, error)))
            .collect();
        let headers = headers?.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let rate_limit = rate_limit(&raw.rate_limit.unwrap_or_default(), &document)?;
        Ok(Self { tls, headers, users, rate_limit })
    }
}

/// Whether nothing is configured; an empty file is a good one.
fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#') || line == "---")
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        return Err(format!("cannot be set; headers are {}", HEADERS.map(|(known, _)| known).join(", ")));
    };
    if !allowed.is_empty() && !allowed.contains(&value) {
        return Err(format!("{value:?} is not allowed; it is {}", allowed.join(" or ")));
    }
    let value = HeaderValue::from_str(value).map_err(|_| "not the value of a header".to_owned())?;
    let name = HeaderName::try_from(name.to_ascii_lowercase()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn rate_limit(raw: &RawRateLimit, document: &Document<'_>) -> Result<Option<RateLimit>, ConfigError> {
    let Some(text) = &raw.interval else { return Ok(None) };
    let interval = parse_duration_flag(text).map_err(|error| document.wrong("interval", error))?;
    if interval.is_zero() {
        return Ok(None);
    }
    match raw.burst {
        // as there, which would answer 429 for ever
        None | Some(0) => Err(document.wrong("burst", "at least 1 is needed, or no request is let through")),
        Some(burst) => Ok(Some(RateLimit { interval, burst })),
    }
}

#[cfg(test)]
mod tests;
