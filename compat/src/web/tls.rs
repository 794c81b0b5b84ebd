//! `tls_server_config`: what TLS is spoken with, and the configuration of rustls made of it.
//!
//! Certificate, key and client CA are read again for every handshake; a configuration is made anew only where they changed.
//! A new one knows no session of the one before, so nobody resumes what was agreed with a CA that is gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use serde::Deserialize;

use super::client_auth::ClientVerifier;
use super::file::read_bounded;
use super::names::{self, ClientAuth, TlsVersion};
use super::protocol::Protocol;
use super::secret::Secret;
use crate::yaml::ConfigError;

/// The keys of `tls_server_config`, as they are written.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTls {
    pub cert: Option<String>,
    pub key: Option<Secret>,
    pub client_ca: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub client_auth_type: Option<String>,
    pub client_ca_file: Option<String>,
    pub cipher_suites: Option<Vec<String>>,
    pub curve_preferences: Option<Vec<String>>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub prefer_server_cipher_suites: Option<bool>,
    pub client_allowed_sans: Option<Vec<String>>,
}

/// What is wrong, and which key is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    pub key: &'static str,
    pub message: String,
}

impl KeyError {
    fn new(key: &'static str, message: impl std::fmt::Display) -> Self {
        Self { key, message: message.to_string() }
    }
}

/// Text in PEM, and the key that gives it.
#[derive(Debug, Clone)]
struct Pem {
    key: &'static str,
    place: PemPlace,
}

#[derive(Debug, Clone)]
enum PemPlace {
    Inline(Secret),
    File(PathBuf),
}

impl Pem {
    /// Of the one of two keys that is set.
    fn of(
        inline: (&'static str, Option<&str>),
        file: (&'static str, Option<&str>),
        folder: &Path,
    ) -> Result<Option<Self>, KeyError> {
        let set = |text: Option<&'_ str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        match (set(inline.1), set(file.1)) {
            (Some(_), Some(_)) => Err(KeyError::new(inline.0, format!("{} is set too; one of them is needed", file.0))),
            (Some(text), None) => {
                Ok(Some(Self { key: inline.0, place: PemPlace::Inline(Secret::from(text.as_str())) }))
            }
            (None, Some(path)) => Ok(Some(Self { key: file.0, place: PemPlace::File(folder.join(path)) })),
            (None, None) => Ok(None),
        }
    }

    fn read(&self) -> Result<Vec<u8>, KeyError> {
        match &self.place {
            PemPlace::Inline(text) => Ok(text.expose().as_bytes().to_vec()),
            PemPlace::File(path) => read_bounded(path).map_err(|error| self.wrong(error)),
        }
    }

    /// An error of what is in it.
    fn wrong(&self, message: impl std::fmt::Display) -> KeyError {
        match &self.place {
            PemPlace::Inline(_) => KeyError::new(self.key, message),
            PemPlace::File(path) => KeyError::new(self.key, format!("{}: {message}", path.display())),
        }
    }

    fn certificates(&self, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, KeyError> {
        let certificates = CertificateDer::pem_slice_iter(text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.wrong(format!("not a certificate in PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(self.wrong("there is no certificate in it"));
        }
        Ok(certificates)
    }
}

/// `tls_server_config`, checked.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    certificate: Pem,
    key: Pem,
    client_ca: Option<Pem>,
    /// How clients are asked for certificates.
    pub client_auth: ClientAuth,
    allowed_sans: Option<Vec<String>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// Of TLS 1.2; all where none are listed.
    suites: Option<Vec<SupportedCipherSuite>>,
    curves: Option<Vec<&'static dyn SupportedKxGroup>>,
    prefer_server_order: bool,
}

impl TlsSettings {
    /// Checks the keys; nothing where no key is set. Paths are relative to `folder`. No file is read yet.
    pub fn try_new(raw: &RawTls, folder: &Path) -> Result<Option<Self>, KeyError> {
        let certificate = Pem::of(("cert", raw.cert.as_deref()), ("cert_file", raw.cert_file.as_deref()), folder)?;
        let key = raw.key.as_ref().map(Secret::expose);
        let key = Pem::of(("key", key), ("key_file", raw.key_file.as_deref()), folder)?;
        let client_ca = Pem::of(
            ("client_ca", raw.client_ca.as_deref()),
            ("client_ca_file", raw.client_ca_file.as_deref()),
            folder,
        )?;
        let kind = given(&raw.client_auth_type);
        if certificate.is_none() && key.is_none() && client_ca.is_none() && kind.is_none() {
            return if raw.asks_for_more() { Err(missing_certificate()) } else { Ok(None) };
        }
        let certificate = certificate.ok_or_else(missing_certificate)?;
        let key = key.ok_or_else(|| KeyError::new("tls_server_config", "one of key and key_file is missing"))?;
        let client_auth = kind.map_or(Ok(ClientAuth::None), ClientAuth::of_name);
        let client_auth = client_auth.map_err(|error| KeyError::new("client_auth_type", error))?;
        if client_auth.verifies() && client_ca.is_none() {
            // Go would trust every CA of the system, which no operator means
            return Err(KeyError::new("client_auth_type", "one of client_ca and client_ca_file is missing"));
        }
        if let Some(ca) = client_ca.as_ref().filter(|_| !client_auth.verifies()) {
            let advice =
                "is not looked at without client_auth_type RequireAndVerifyClientCert or VerifyClientCertIfGiven";
            return Err(KeyError::new(ca.key, advice));
        }
        if raw.client_allowed_sans.is_some() && client_auth == ClientAuth::None {
            let advice = "is not looked at without client_auth_type RequireAndVerifyClientCert";
            return Err(KeyError::new("client_allowed_sans", advice));
        }
        let version = |key, text: &Option<String>, default| {
            given(text).map_or(Ok(default), names::version).map_err(|error| KeyError::new(key, error))
        };
        let least = version("min_version", &raw.min_version, TlsVersion::Tls12)?;
        let most = version("max_version", &raw.max_version, TlsVersion::Tls13)?;
        if least > most {
            return Err(KeyError::new("min_version", "is above max_version"));
        }
        let all = [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
        let list = |names: &Option<Vec<String>>| names.clone().filter(|names| !names.is_empty());
        let suites = list(&raw.cipher_suites).map(|list| names::cipher_suites(&list)).transpose();
        let curves = list(&raw.curve_preferences).map(|list| names::curves(&list)).transpose();
        Ok(Some(Self {
            certificate,
            key,
            client_ca,
            client_auth,
            allowed_sans: raw.client_allowed_sans.clone(),
            versions: all.iter().filter(|(v, _)| (least..=most).contains(v)).map(|(_, version)| *version).collect(),
            suites: suites.map_err(|error| KeyError::new("cipher_suites", error))?,
            curves: curves.map_err(|error| KeyError::new("curve_preferences", error))?,
            prefer_server_order: raw.prefer_server_cipher_suites != Some(false),
        }))
    }

    /// Reads certificate, key and client CA.
    fn read(&self) -> Result<Material, KeyError> {
        Ok(Material {
            certificate: self.certificate.read()?,
            key: self.key.read()?,
            client_ca: self.client_ca.as_ref().map(Pem::read).transpose()?,
        })
    }

    /// Makes rustls's configuration.
    fn server_config(&self, material: &Material) -> Result<ServerConfig, KeyError> {
        let certificates = self.certificate.certificates(&material.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&material.key)
            .map_err(|error| self.key.wrong(format!("not a private key in PEM: {error}")))?;
        let mut provider = default_provider();
        if let Some(suites) = &self.suites {
            let of_13 = [
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS13_AES_256_GCM_SHA384,
                cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ];
            provider.cipher_suites = of_13.into_iter().chain(suites.iter().copied()).collect();
        }
        if let Some(curves) = &self.curves {
            provider.kx_groups.clone_from(curves);
        }
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| KeyError::new("cipher_suites", error))?;
        let builder = if self.client_auth == ClientAuth::None {
            builder.with_no_client_auth()
        } else {
            let roots = match (&self.client_ca, &material.client_ca) {
                (Some(pem), Some(text)) => Some(roots(pem, text)?),
                _ => None,
            };
            let allowed = self.allowed_sans.clone();
            let verifier = ClientVerifier::try_new(roots, self.client_auth.requires(), allowed, provider)
                .map_err(|error| KeyError::new("client_ca_file", error))?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|error| self.certificate.wrong(format!("cannot be used with the key: {error}")))?;
        config.ignore_client_order = self.prefer_server_order && self.suites.is_some();
        if self.client_auth != ClientAuth::None {
            // every handshake is a full one, so that a certificate that expired or lost its CA does not live on
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

impl RawTls {
    /// Whether anything is set beside certificate, key and client certificates.
    fn asks_for_more(&self) -> bool {
        let nothing = Self { cert: None, key: None, client_ca: None, cert_file: None, key_file: None, ..self.clone() };
        Self { client_auth_type: None, client_ca_file: None, ..nothing } != Self::default()
    }
}

fn missing_certificate() -> KeyError {
    KeyError::new("tls_server_config", "one of cert and cert_file is missing")
}

fn roots(pem: &Pem, text: &[u8]) -> Result<RootCertStore, KeyError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem.certificates(text)? {
        roots.add(certificate).map_err(|error| pem.wrong(error))?;
    }
    Ok(roots)
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// What was read for one configuration.
struct Material {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// SHA-256 of the parts, told apart.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What a handshake needs.
#[derive(Debug, Clone)]
pub struct ServerTls {
    http: Arc<ServerConfig>,
    /// The same but for ALPN.
    grpc: Arc<ServerConfig>,
    /// Whether a certificate that the client shows was verified.
    pub verifies_clients: bool,
}

impl ServerTls {
    fn new(config: &ServerConfig, verifies_clients: bool) -> Self {
        let of = |protocol: Protocol| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.alpn().to_vec()];
            Arc::new(config)
        };
        Self { http: of(Protocol::Http), grpc: of(Protocol::Grpc), verifies_clients }
    }

    /// rustls's configuration for a port with this protocol.
    #[must_use]
    pub const fn config(&self, protocol: Protocol) -> &Arc<ServerConfig> {
        match protocol {
            Protocol::Http => &self.http,
            Protocol::Grpc => &self.grpc,
        }
    }
}

/// The configuration that was made last, and of what.
#[derive(Debug, Default)]
pub struct TlsCache {
    made: Option<([u8; 32], Result<ServerTls, KeyError>)>,
}

impl TlsCache {
    /// What a handshake needs now, and whether that is other than the last time.
    pub fn get(&mut self, settings: &TlsSettings) -> (Result<ServerTls, KeyError>, bool) {
        let read = settings.read();
        let hash = match &read {
            Ok(read) => fingerprint([&read.certificate[..], &read.key, read.client_ca.as_deref().unwrap_or_default()]),
            Err(error) => fingerprint([error.message.as_bytes()]),
        };
        if let Some((of, made)) = self.made.as_ref().filter(|(of, _)| *of == hash) {
            debug_assert_eq!(*of, hash);
            return (made.clone(), false);
        }
        let config = read.and_then(|read| settings.server_config(&read));
        let made = config.map(|config| ServerTls::new(&config, settings.client_auth.verifies()));
        self.made = Some((hash, made.clone()));
        (made, true)
    }
}

/// Thanos's flags for the TLS of one port, as they are written; empty is not set.
#[derive(Debug, Clone, Default)]
pub struct TlsFlags {
    /// The certificate's file.
    pub cert: String,
    /// The key's file.
    pub key: String,
    /// The file with the CA of clients; where it is set, they have to show a certificate.
    pub client_ca: String,
    /// `1.2` or `1.3`.
    pub min_version: String,
    /// Go's names of cipher suites.
    pub ciphers: Vec<String>,
    /// Go's names of curves.
    pub curves: Vec<String>,
}

/// What the flags are called, for messages.
#[derive(Debug, Clone, Copy)]
pub struct TlsFlagNames {
    /// That of [`TlsFlags::cert`].
    pub cert: &'static str,
    /// That of [`TlsFlags::key`].
    pub key: &'static str,
    /// That of [`TlsFlags::client_ca`].
    pub client_ca: &'static str,
    /// That of [`TlsFlags::min_version`].
    pub min_version: &'static str,
    /// That of [`TlsFlags::ciphers`].
    pub ciphers: &'static str,
    /// That of [`TlsFlags::curves`].
    pub curves: &'static str,
}

/// The TLS of one port by flags.
#[derive(Debug)]
pub struct TlsPort {
    settings: TlsSettings,
    names: TlsFlagNames,
    cache: Mutex<TlsCache>,
}

impl TlsPort {
    /// Checks the flags and reads the files; nothing where neither certificate nor key is set.
    ///
    /// # Errors
    /// [`ConfigError`] with the flag to blame.
    pub fn open(flags: &TlsFlags, names: TlsFlagNames) -> Result<Option<Self>, ConfigError> {
        if flags.cert.is_empty() && flags.key.is_empty() {
            if flags.client_ca.is_empty() {
                return Ok(None);
            }
            let advice = format!("when a client CA is used, {} and {} must also be provided", names.cert, names.key);
            return Err(ConfigError::unplaced(names.client_ca, advice));
        }
        for (flag, other, value) in [(names.cert, names.key, &flags.cert), (names.key, names.cert, &flags.key)] {
            if value.is_empty() {
                return Err(ConfigError::unplaced(other, format!("{flag} must be provided too")));
            }
        }
        let verified = (!flags.client_ca.is_empty()).then(|| "RequireAndVerifyClientCert".to_owned());
        let raw = RawTls {
            cert_file: Some(flags.cert.clone()),
            key_file: Some(flags.key.clone()),
            client_ca_file: Some(flags.client_ca.clone()),
            client_auth_type: verified,
            cipher_suites: Some(flags.ciphers.clone()),
            curve_preferences: Some(flags.curves.clone()),
            min_version: Some(format!("TLS{}", flags.min_version.replace('.', ""))),
            ..RawTls::default()
        };
        let settings = TlsSettings::try_new(&raw, Path::new("")).map_err(|error| names.blame(error))?;
        let Some(settings) = settings else { return Ok(None) };
        let port = Self { settings, names, cache: Mutex::default() };
        port.cache.lock().get(&port.settings).0.map_err(|error| names.blame(error))?;
        Ok(Some(port))
    }

    /// What a handshake needs now.
    ///
    /// # Errors
    /// [`ConfigError`] where the files cannot be used; it is logged once.
    pub fn current(&self) -> Result<ServerTls, ConfigError> {
        let (made, changed) = self.cache.lock().get(&self.settings);
        let made = made.map_err(|error| self.names.blame(error));
        if changed {
            match &made {
                Ok(_) => tracing::info!(flag = self.names.cert, "the certificates are in use as they are now"),
                Err(error) => tracing::error!(%error, "TLS handshakes fail until it is mended"),
            }
        }
        made
    }

    /// Whether whoever connects has shown a good certificate.
    #[must_use]
    pub fn verifies_clients(&self) -> bool {
        self.settings.client_auth.verifies()
    }
}

impl TlsFlagNames {
    fn blame(&self, error: KeyError) -> ConfigError {
        let flag = match error.key {
            "key_file" => self.key,
            "client_ca_file" | "client_auth_type" => self.client_ca,
            "min_version" => self.min_version,
            "cipher_suites" => self.ciphers,
            "curve_preferences" => self.curves,
            _ => self.cert,
        };
        ConfigError::unplaced(flag, error.message)
    }
}
