//! `POST /api/v1/write` as Prometheus answers it, and `POST /api/v1/receive` as Thanos does.
//!
//! Both take both versions. They differ in what they answer: Prometheus says 204 where Thanos says 200, and what contradicts earlier
//! samples is a 400 to Prometheus and, in version 1.0, a 409 to Thanos. Every answer tells in three headers how much was
//! written. What is worth another try is a 503 or 429 with `Retry-After`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::RwLock;
use storage::Clock;
use storage::model::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::BodyMemory;
use super::decode::{BodyError, DecodedLater};
use super::limits::{RequestLimits, WriteLimits};
use super::media_type::{WriteVersion, negotiate};
use super::series::Admission;
use super::snappy::{SnappyError, declared_len, decompress};
use super::target::{RefusalKind, Tally, WriteError, WriteTarget};
use crate::relabel::Relabel;
use crate::tenant::{NoTenant, Sender, TenantRule};

/// Bytes of a symbol in the table.
const SYMBOL_BYTES: usize = 16;
/// Up to how many times the size of its body a table may have.
const SYMBOLS_FACTOR: usize = 2;
/// Symbols that a body may have, however small it is.
const SYMBOLS_MIN: usize = 1_024;

/// What the flags decide about writing.
#[derive(Debug, Clone)]
pub struct WriteSettings {
    /// `--receive.tenant-header`, `--receive.tenant-certificate-field` and `--receive.default-tenant-id`
    pub tenants: TenantRule,
    /// `--receive.split-tenant-label-name`
    pub split_label: Option<String>,
    /// Largest body, decompressed, in bytes.
    pub body_max: usize,
    /// `--receive.relabel-config`
    pub relabel: Option<Arc<Relabel>>,
    /// How far ahead of the clock a sample may be; nothing where it may be anywhere.
    pub ahead_max: Option<Duration>,
    /// How long a request may take until it is durable, from its first byte on.
    pub timeout: Duration,
    /// Most requests in hand at once; more wait.
    pub concurrency: usize,
    /// What a client is told to wait before it tries again.
    pub retry_after: Duration,
}

impl Default for WriteSettings {
    /// Prometheus's limits: bodies of 32 MiB, and ten minutes ahead of the clock.
    fn default() -> Self {
        Self {
            tenants: TenantRule::default(),
            split_label: None,
            relabel: None,
            body_max: 32 << 20,
            ahead_max: Some(Duration::from_mins(10)),
            timeout: Duration::from_secs(30),
            concurrency: 64,
            retry_after: Duration::from_secs(5),
        }
    }
}

/// Whose answers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Those of Prometheus's `/api/v1/write`.
    Prometheus,
    /// Those of Thanos's `/api/v1/receive`.
    Thanos,
}

/// What the write handlers share.
pub struct Writer {
    target: Arc<dyn WriteTarget>,
    clock: Arc<dyn Clock>,
    /// The flags.
    pub settings: WriteSettings,
    /// What bodies take, those of OTLP too.
    pub memory: BodyMemory,
    /// Those of now: they can be set anew.
    limits: RwLock<(Arc<WriteLimits>, Arc<Semaphore>)>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes to `target`.
    #[must_use]
    pub fn new(target: Arc<dyn WriteTarget>, clock: Arc<dyn Clock>, settings: WriteSettings) -> Self {
        let limits = RwLock::new((Arc::default(), passes(settings.concurrency)));
        let memory = BodyMemory::new(settings.body_max);
        Self { target, clock, settings, memory, limits }
    }

    /// Holds requests from now on to these limits; those on the head are the head's.
    pub fn set_limits(&self, limits: WriteLimits) {
        let mut current = self.limits.write();
        if limits.max_concurrency != current.0.max_concurrency {
            let most = if limits.max_concurrency > 0 { limits.max_concurrency } else { self.settings.concurrency };
            current.1 = passes(most);
        }
        current.0 = Arc::new(limits);
    }

    /// The limits of a tenant, which the size in the headers is within.
    ///
    /// # Errors
    /// 413 where it is not.
    pub fn limits_of(&self, tenant: &str, headers: &HeaderMap) -> Result<RequestLimits, Failure> {
        let limits = self.limits.read().0.of(tenant);
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        limits.check_size(declared.unwrap_or(0))?;
        Ok(limits)
    }

    /// The latest timestamp that is taken now.
    pub fn latest(&self) -> Timestamp {
        let ahead = |ahead: Duration| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
        self.settings.ahead_max.map_or(i64::MAX, |max| self.clock.now().saturating_add(ahead(max)))
    }

    /// Whose request it is and what its series are checked against.
    ///
    /// # Errors
    /// Where its headers name a tenant that cannot be, or its certificate has to and does not.
    pub fn admission(&self, from: &Sender, name_required: bool) -> Result<Admission, Failure> {
        let settings = &self.settings;
        let tenant = settings.tenants.writer(&from.headers, from.certificate.as_ref())?;
        let (split_label, relabel) = (settings.split_label.clone(), settings.relabel.clone());
        Ok(Admission { tenant, split_label, latest: self.latest(), name_required, relabel })
    }

    /// Waits until a request may be taken in hand.
    ///
    /// # Errors
    /// When the server stops.
    pub async fn pass(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let stopping = |_| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping".to_owned());
        let passes = Arc::clone(&self.limits.read().1);
        passes.acquire_owned().await.map_err(stopping)
    }

    /// Where requests go.
    pub fn target(&self) -> &dyn WriteTarget {
        &*self.target
    }

    /// Runs `work` within the time that a request may take, and answers.
    pub async fn answer(&self, dialect: Dialect, work: impl Future<Output = Outcome>) -> Response {
        let (failure, tally) = match tokio::time::timeout(self.settings.timeout, work).await {
            Ok(Ok(tally)) => (None, tally),
            Ok(Err((failure, tally))) => (Some(failure), tally),
            Err(_) => {
                let text = format!("the write took longer than {:?} and is not acknowledged", self.settings.timeout);
                (Some(Failure::new(StatusCode::SERVICE_UNAVAILABLE, text)), Tally::default())
            }
        };
        let status = failure.as_ref().map(|failure| failure.status);
        let mut response = match failure {
            None if dialect == Dialect::Prometheus => StatusCode::NO_CONTENT.into_response(),
            None => StatusCode::OK.into_response(),
            Some(failure) => {
                let server = failure.status.is_server_error();
                if server {
                    tracing::error!(error = %failure.text, "a write failed");
                } else {
                    tracing::debug!(error = %failure.text, "a write was refused");
                }
                failure.into_response()
            }
        };
        let headers = response.headers_mut();
        headers.insert(SAMPLES_WRITTEN, tally.floats.into());
        headers.insert(HISTOGRAMS_WRITTEN, tally.histograms.into());
        headers.insert(EXEMPLARS_WRITTEN, tally.exemplars.into());
        if matches!(status, Some(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)) {
            headers.insert(header::RETRY_AFTER, self.settings.retry_after.as_secs().max(1).into());
        }
        response
    }
}

fn passes(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)))
}

/// How much was written, and why not all where a status says so.
pub type Outcome = Result<Tally, (Failure, Tally)>;

const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// A status with a line of text, as Go's servers answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    /// A failure.
    pub const fn new(status: StatusCode, text: String) -> Self {
        Self { status, text }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let status = match &error {
            WriteError::Malformed(_) => StatusCode::BAD_REQUEST,
            WriteError::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
            WriteError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            WriteError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<NoTenant> for Failure {
    fn from(error: NoTenant) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<Failure> for (Failure, Tally) {
    fn from(failure: Failure) -> Self {
        (failure, Tally::default())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.text + "\n").into_response();
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// `POST /api/v1/write`
pub async fn prometheus(State(writer): State<Arc<Writer>>, from: Sender, body: Body) -> Response {
    writer.answer(Dialect::Prometheus, write(&writer, Dialect::Prometheus, &from, body)).await
}

/// `POST /api/v1/receive`
pub async fn thanos(State(writer): State<Arc<Writer>>, from: Sender, body: Body) -> Response {
    writer.answer(Dialect::Thanos, write(&writer, Dialect::Thanos, &from, body)).await
}

async fn write(writer: &Writer, dialect: Dialect, from: &Sender, body: Body) -> Outcome {
    // Thanos writes series without a name too.
    let admission = writer.admission(from, dialect == Dialect::Prometheus)?;
    let headers = &from.headers;
    let version = negotiate(headers).map_err(|text| Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))?;
    let _pass = writer.pass().await?;
    let limit = writer.settings.body_max;
    let limits = writer.limits_of(&admission.tenant, headers)?;
    let received = writer.memory.receive(headers, body, snap::raw::max_compress_len(limit).max(limit), limit).await?;
    let len = declared_len(&received.bytes, limit).map_err(not_unpacked)?;
    limits.check_size(len as u64)?;
    let symbols_max = match version {
        WriteVersion::V1 => 0,
        WriteVersion::V2 => (len / SYMBOL_BYTES * SYMBOLS_FACTOR).min(limit / SYMBOL_BYTES).max(SYMBOLS_MIN),
    };
    let decompress = |compressed: Vec<u8>| decompress(&compressed, limit).map_err(not_unpacked);
    let unpacked = writer.memory.unpack(received, len + symbols_max * SYMBOL_BYTES, decompress).await?;
    limits.check_body(&unpacked, version)?;
    let mut request =
        DecodedLater::try_new(unpacked, version, symbols_max, &admission).map_err(|error| match error {
            BodyError::Malformed(_) => Failure::new(StatusCode::BAD_REQUEST, error.to_string()),
            BodyError::TooManySymbols(_) => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        })?;
    let written = writer.target.write(&mut request).await;
    let (mut tally, malformed) = (request.tally, request.malformed);
    if let Err(error) = written {
        return Err((error.into(), Tally::default()));
    }
    if let Some(malformed) = malformed {
        return Err((WriteError::Malformed(malformed).into(), tally));
    }
    match status_of(&tally, dialect, version) {
        None => Ok(tally),
        Some(status) => {
            let text = tally.take_reasons();
            Err((Failure::new(status, text), tally))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn not_unpacked(error: SnappyError) -> Failure {
    let status = match error {
        SnappyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        SnappyError::Corrupt(_) => StatusCode::BAD_REQUEST,
    };
    Failure::new(status, error.to_string())
}

/// The status of a request of which something was refused; nothing where that does not matter.
pub fn status_of(tally: &Tally, dialect: Dialect, version: WriteVersion) -> Option<StatusCode> {
    let [conflicts, exemplars, invalid, over_limit] =
        [RefusalKind::Conflict, RefusalKind::Exemplar, RefusalKind::Invalid, RefusalKind::Limit]
            .map(|kind| tally.refused(kind) > 0);
    let conflict = match (dialect, version) {
        (Dialect::Thanos, WriteVersion::V1) => (conflicts || exemplars).then_some(StatusCode::CONFLICT),
        // Prometheus logs what is wrong with exemplars of version 1.0.
        (Dialect::Prometheus, WriteVersion::V1) => conflicts.then_some(StatusCode::BAD_REQUEST),
        (_, WriteVersion::V2) => (conflicts || exemplars).then_some(StatusCode::BAD_REQUEST),
    };
    let limit = over_limit.then_some(StatusCode::TOO_MANY_REQUESTS);
    limit.or(conflict).or_else(|| invalid.then_some(StatusCode::BAD_REQUEST))
}

#[cfg(test)]
mod tests;
