//! `http_config` and retries: how the client of a bucket connects.

use std::path::PathBuf;
use std::time::Duration;

use object_store::{Certificate, ClientOptions, RetryConfig};
use serde::Deserialize;

use super::ConfigError;
use crate::parse_duration_flag;
use crate::yaml::Document;

/// The keys of `http_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    idle_conn_timeout: Option<String>,
    response_header_timeout: Option<String>,
    insecure_skip_verify: Option<bool>,
    tls_handshake_timeout: Option<String>,
    expect_continue_timeout: Option<String>,
    max_idle_conns: Option<u32>,
    max_idle_conns_per_host: Option<usize>,
    max_conns_per_host: Option<u32>,
    tls_config: Option<TlsConfig>,
    disable_compression: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsConfig {
    ca_file: Option<PathBuf>,
    cert_file: Option<String>,
    key_file: Option<String>,
    server_name: Option<String>,
    insecure_skip_verify: Option<bool>,
}

/// Client options as `config` asks for them, with Thanos's defaults where it is silent.
pub fn client_options(
    config: Option<&HttpConfig>,
    document: &Document<'_>,
    notes: &mut Vec<String>,
) -> Result<ClientOptions, ConfigError> {
    let nothing = HttpConfig::default();
    let config = config.unwrap_or(&nothing);
    let duration = |key: &str, text: &Option<String>, default: Duration| match given(text) {
        None => Ok(default),
        Some(text) => parse_duration_flag(text).map_err(|error| document.wrong(key, error)),
    };
    let idle = duration("idle_conn_timeout", &config.idle_conn_timeout, Duration::from_secs(90))?;
    let response = duration("response_header_timeout", &config.response_header_timeout, Duration::from_secs(120))?;
    let connect = duration("tls_handshake_timeout", &config.tls_handshake_timeout, Duration::from_secs(10))?;
    duration("expect_continue_timeout", &config.expect_continue_timeout, Duration::ZERO)?;
    let mut options = ClientOptions::new()
        .with_pool_idle_timeout(idle)
        .with_connect_timeout(connect)
        .with_pool_max_idle_per_host(config.max_idle_conns_per_host.filter(|&max| max > 0).unwrap_or(100));
    options = if response.is_zero() { options.with_timeout_disabled() } else { options.with_timeout(response) };
    let mut insecure = config.insecure_skip_verify == Some(true);
    if let Some(tls) = &config.tls_config {
        insecure |= tls.insecure_skip_verify == Some(true);
        options = trusting(options, tls, document)?;
    }
    if insecure {
        options = options.with_allow_invalid_certificates(true);
    }
    let unused = [
        ("expect_continue_timeout", config.expect_continue_timeout.is_some()),
        ("max_idle_conns", config.max_idle_conns.is_some()),
        ("max_conns_per_host", config.max_conns_per_host.is_some_and(|max| max > 0)),
        ("disable_compression", config.disable_compression == Some(true)),
    ];
    note_unused(&unused, notes);
    Ok(options)
}

/// Adds the certificates of `ca_file` to those that are trusted.
fn trusting(
    mut options: ClientOptions,
    tls: &TlsConfig,
    document: &Document<'_>,
) -> Result<ClientOptions, ConfigError> {
    for (key, value) in [("cert_file", &tls.cert_file), ("key_file", &tls.key_file), ("server_name", &tls.server_name)]
    {
        if given(value).is_some() {
            return Err(document.wrong(key, "client certificates and server names are not supported for buckets"));
        }
    }
    if let Some(path) = tls.ca_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
        let wrong = |error: &dyn std::fmt::Display| document.wrong("ca_file", format!("{}: {error}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

/// Retries as `max_retries` asks for them; 0 is the client's default, as in Thanos.
pub fn retries(max_retries: Option<usize>) -> RetryConfig {
    let default = RetryConfig::default();
    RetryConfig { max_retries: max_retries.filter(|&max| max > 0).unwrap_or(default.max_retries), ..default }
}

/// Notes each key that is set and makes no difference.
pub fn note_unused(keys: &[(&str, bool)], notes: &mut Vec<String>) {
    notes.extend(keys.iter().filter(|(_, set)| *set).map(|(key, _)| format!("{key} makes no difference here")));
}

/// A text that is there and not empty.
pub fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}
