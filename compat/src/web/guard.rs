//! What stands before one port: the handshake of its connections, and what a request has to pass before the router sees it.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::auth::{AuthError, WebAuth};
use super::certificate::{ClientCertificate, Names};
use super::config::WebConfig;
use super::protocol::Protocol;
use super::rate::Bucket;
use super::tls::{ServerTls, TlsPort};
use crate::yaml::ConfigError;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;

/// What Go's server says to who speaks HTTP to a port of TLS.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Most of such a request that is read after the answer.
const NOT_TLS_BYTES_MAX: u64 = 64 << 10;

/// One port.
#[derive(Debug, Default)]
pub struct PortGuard {
    auth: Option<Arc<WebAuth>>,
    /// TLS by flags of this port's own, instead of that of the file.
    tls: Option<TlsPort>,
    protocol: Protocol,
    bucket: Mutex<Option<Bucket>>,
}

/// A connection that is ready for the port's protocol.
#[derive(Debug)]
pub enum Accepted {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS, and who the client is where its certificate was verified.
    Tls(Box<TlsStream<TcpStream>>, Option<ClientCertificate>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// TLS cannot be spoken now.
    #[error(transparent)]
    Unusable(#[from] ConfigError),
    /// The client does not speak TLS.
    #[error("the client sent something other than TLS")]
    NotTls,
    /// A certificate whose names cannot be read.
    #[error("the names in the client's certificate cannot be read")]
    Unreadable,
    /// The handshake failed, or the network did.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl PortGuard {
    /// By the file where there is one; `tls` of the port's own goes before what the file says of TLS.
    #[must_use]
    pub fn new(auth: Option<Arc<WebAuth>>, tls: Option<TlsPort>, protocol: Protocol) -> Self {
        Self { auth, tls, protocol, bucket: Mutex::default() }
    }

    /// What is spoken behind it.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What a handshake needs now; nothing where TLS is not spoken.
    fn tls(&self) -> Result<Option<ServerTls>, ConfigError> {
        match (&self.tls, &self.auth) {
            (Some(port), _) => port.current().map(Some),
            (None, Some(auth)) => auth.file().tls(),
            (None, None) => Ok(None),
        }
    }

    /// Whether TLS is spoken.
    ///
    /// # Errors
    /// As a handshake's.
    pub fn speaks_tls(&self) -> Result<bool, ConfigError> {
        Ok(self.tls()?.is_some())
    }

    /// Whether client certificates are verified. What a file promised once it cannot take back while the process runs.
    ///
    /// # Errors
    /// As a handshake's.
    pub fn verifies_clients(&self) -> Result<bool, ConfigError> {
        Ok(self.tls()?.is_some_and(|tls| tls.verifies_clients))
    }

    /// Whether users and passwords are asked for.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub fn asks_for_users(&self) -> Result<bool, ConfigError> {
        let config = self.auth.as_ref().map(|auth| auth.file().config()).transpose()?;
        Ok(config.is_some_and(|config| !config.users.is_empty()))
    }

    /// Does the handshake, where there is one. The caller bounds the time that it may take.
    ///
    /// # Errors
    /// [`AcceptError`], and then the connection is closed.
    pub async fn accept(&self, stream: TcpStream) -> Result<Accepted, AcceptError> {
        let Some(tls) = self.tls()? else { return Ok(Accepted::Plain(stream)) };
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            refuse_plain(stream).await?;
            return Err(AcceptError::NotTls);
        }
        let config = Arc::clone(tls.config(self.protocol));
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let client = match shown.filter(|_| tls.verifies_clients) {
            Some(leaf) => Some(ClientCertificate::verified(Names::of(leaf).ok_or(AcceptError::Unreadable)?)),
            None => None,
        };
        Ok(Accepted::Tls(Box::new(stream), client))
    }

    /// Puts the guard before everything that `router` answers, paths that it does not know included.
    pub fn protect(self: &Arc<Self>, router: Router) -> Router {
        if self.auth.is_none() {
            return router;
        }
        Router::new().fallback_service(router).layer(from_fn_with_state(Arc::clone(self), guard))
    }

    /// Whether the rate limit lets another request through.
    fn admits(&self, config: &WebConfig) -> bool {
        let mut bucket = self.bucket.lock();
        let Some(limit) = config.rate_limit else {
            *bucket = None;
            return true;
        };
        let now = Instant::now();
        if bucket.as_ref().is_none_or(|bucket| bucket.limit() != limit) {
            *bucket = Some(Bucket::new(limit, now));
        }
        bucket.as_mut().is_none_or(|bucket| bucket.take(now))
    }
}

/// Answers who does not speak TLS. The system would reset a connection that is closed while something on it was not read, and the answer
/// could be lost.
async fn refuse_plain(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(NOT_TLS).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(NOT_TLS_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

async fn guard(State(guard): State<Arc<PortGuard>>, request: Request, next: Next) -> Response {
    let Some(auth) = &guard.auth else { return next.run(request).await };
    let Ok(config) = auth.file().config() else { return refusal(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut response = if guard.admits(&config) {
        let credentials = basic_credentials(request.headers());
        let named = credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_slice()));
        match auth.check_by(&config, named).await {
            Ok(()) => next.run(request).await,
            Err(error) => unauthorized(&error),
        }
    } else {
        refusal(StatusCode::TOO_MANY_REQUESTS)
    };
    for (name, value) in &config.headers {
        // as in Go, what a page says of itself stays
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

fn unauthorized(error: &AuthError) -> Response {
    match error {
        AuthError::Refused => {
            let mut response = refusal(StatusCode::UNAUTHORIZED);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            response
        }
        AuthError::Busy => {
            let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
        AuthError::Unusable => refusal(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// A status and its name, as Go's `http.Error` writes them.
fn refusal(status: StatusCode) -> Response {
    let mut response = (status, format!("{}\n", status.canonical_reason().unwrap_or_default())).into_response();
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// User and password of the header `Authorization`, where it is of the kind `Basic`.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (kind, encoded) = value.split_at_checked(6)?;
    if !kind.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let user = std::str::from_utf8(&decoded[..colon]).ok()?.to_owned();
    Some((user, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests;
