//! `POST /api/v1/read`: raw samples of the series that match, for other programs.
//!
//! ```text
//! Store::series ─> parts ─> SeriesMerge ─┬─> samples ─> one message, snappy            (SAMPLES)
//!                                        └─> chunks as stored ─> a frame of 1 MiB each (STREAMED_XOR_CHUNKS)
//! ```
//!
//! External labels are labels like others: they are matched and sent, as Prometheus does with its own. Replicas are not
//! deduplicated, since their labels tell them apart. Chunks that overlap are merged and encoded anew, because readers expect
//! ascending time; all others are sent as they are stored, even where they reach past the interval.

mod merge;
mod message;
mod samples;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::Engine;
use http::{HeaderValue, StatusCode, header};
use storage::Store;
use storage::chunk::{SAMPLES_PER_CHUNK, encode_series};
use storage::model::{Labels, Matcher, Reservation, TenantScope, TimeInterval};
use storage::store::{SeriesRequest, SeriesSet};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use merge::SeriesMerge;
pub use samples::{SampleValue, decode};

use super::body::read_body;
use super::snappy::{SnappyError, decompress};
use super::wire_writer::push_bytes;
use super::write::Failure;
use crate::tenant::{NoTenant, ReadTenants, Sender};
use merge::{Chunk, Series};
use message::{
    Query, ReadRequest, ResponseType, frame, push_encoded_chunk, push_labels, push_samples, push_stored_chunk,
};

/// Largest request, decompressed.
const REQUEST_MAX: usize = 32 << 20;

/// What the flags decide about reading.
#[derive(Debug, Clone)]
pub struct ReadSettings {
    /// Whose series a request may read.
    pub tenants: ReadTenants,
    /// Most samples of an answer that is sent as samples; 0 is no limit.
    pub sample_limit: usize,
    /// Most reads at once; more wait.
    pub concurrency: usize,
    /// About how large a frame of the stream is, in bytes.
    pub frame_bytes: usize,
    /// How long a read may take.
    pub timeout: Duration,
}

impl Default for ReadSettings {
    /// Prometheus's limits.
    fn default() -> Self {
        Self {
            tenants: ReadTenants::All,
            sample_limit: 50_000_000,
            concurrency: 10,
            frame_bytes: 1 << 20,
            timeout: Duration::from_mins(2),
        }
    }
}

/// What the handlers that read share.
pub struct Reader {
    engine: Arc<Engine>,
    store: Arc<dyn Store>,
    settings: ReadSettings,
    passes: Arc<Semaphore>,
}

impl Reader {
    /// Reads from `store`, with memory from the engine's pool.
    #[must_use]
    pub fn new(engine: Arc<Engine>, store: Arc<dyn Store>, settings: ReadSettings) -> Self {
        let passes = Arc::new(Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        Self { engine, store, settings, passes }
    }

    /// Whose series a request may read.
    ///
    /// # Errors
    /// Where it is no tenant's.
    pub fn scope(&self, from: &Sender) -> Result<TenantScope, NoTenant> {
        self.settings.tenants.scope(&from.headers, from.certificate.as_ref())
    }

    /// Selects the series of `scope` that pass `matchers`.
    ///
    /// # Errors
    /// As the store's, and where an answer would lack something that it should have.
    pub async fn select(
        &self,
        scope: &TenantScope,
        matchers: Vec<Matcher>,
        interval: TimeInterval,
    ) -> Result<SeriesSet, ReadError> {
        let mut request = SeriesRequest::new(matchers, interval);
        request.tenant = scope.clone();
        request.budget = self.engine.budget("remote read");
        request.deadline = Instant::now().checked_add(self.settings.timeout);
        let set = self.store.series(request).await?;
        match set.warnings.first() {
            Some(warning) => Err(ReadError::Incomplete(warning.clone())),
            None => Ok(set),
        }
    }

    /// The engine that lends memory.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    async fn pass(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let stopping = |_| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping".to_owned());
        Arc::clone(&self.passes).acquire_owned().await.map_err(stopping)
    }
}

/// Why nothing is read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// There is no way to say in the answer that something is missing.
    #[error("the answer would be incomplete: {0}")]
    Incomplete(String),
    /// A chunk does not decode.
    #[error("series {labels}: {source}")]
    Chunk {
        /// Whose chunk.
        labels: Labels,
        /// What is wrong with it.
        source: storage::chunk::ChunkError,
    },
    /// Too many samples.
    #[error("exceeded sample limit ({0})")]
    SampleLimit(usize),
}

impl ReadError {
    /// A chunk of series `key` that does not decode.
    pub fn chunk(key: &str, source: storage::chunk::ChunkError) -> Self {
        Self::Chunk { labels: Labels::from_key(key), source }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let status = match &error {
            ReadError::SampleLimit(_) => StatusCode::BAD_REQUEST,
            ReadError::Storage(storage::Error::InvalidRequest(_) | storage::Error::Matcher(_)) => {
                StatusCode::BAD_REQUEST
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::new(status, error.to_string())
    }
}

/// `POST /api/v1/read`
pub async fn read(State(reader): State<Arc<Reader>>, from: Sender, body: Body) -> Response {
    match answer(reader, &from, body).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn answer(reader: Arc<Reader>, from: &Sender, body: Body) -> Result<Response, Failure> {
    let scope = reader.scope(from)?;
    let pass = reader.pass().await?;
    let compressed = read_body(&from.headers, body, snap::raw::max_compress_len(REQUEST_MAX), REQUEST_MAX).await?;
    let bad = |text: String| Failure::new(StatusCode::BAD_REQUEST, text);
    let decompressed = decompress(&compressed, REQUEST_MAX).map_err(|error| match error {
        SnappyError::TooLarge { .. } => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        SnappyError::Corrupt(_) => bad(error.to_string()),
    })?;
    let request = ReadRequest::decode(&decompressed).map_err(|error| bad(error.to_string()))?;
    match request.response_type {
        ResponseType::Samples => samples_response(&reader, &scope, request.queries).await,
        ResponseType::StreamedChunks => streamed_response(reader, &scope, request.queries, pass).await,
    }
}

async fn samples_response(reader: &Reader, scope: &TenantScope, queries: Vec<Query>) -> Result<Response, Failure> {
    let timed = tokio::time::timeout(reader.settings.timeout, read_samples(reader, scope, queries)).await;
    let (message, _reserved) = timed.map_err(|_| {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the read took longer than a query may".to_owned())
    })??;
    let compressed = snap::raw::Encoder::new()
        .compress_vec(&message)
        .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut response = compressed.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    Ok(response)
}

/// The `ReadResponse`, and the memory that it and its compressed form are reserved from.
async fn read_samples(
    reader: &Reader,
    scope: &TenantScope,
    queries: Vec<Query>,
) -> Result<(Vec<u8>, Reservation), ReadError> {
    let mut reserved = Reservation::new(reader.engine.budget("remote read"));
    let (mut message, mut count) = (Vec::new(), 0_usize);
    let (mut result, mut series_message) = (Vec::new(), Vec::new());
    for query in queries {
        result.clear();
        let set = reader.select(scope, query.matchers, query.interval).await?;
        let mut merge = SeriesMerge::new(&set.parts);
        while let Some(Series { key, chunks }) = merge.next().await? {
            let samples = decode(&chunks, query.interval).map_err(|error| ReadError::chunk(&key, error))?;
            if samples.is_empty() {
                continue;
            }
            count += samples.len();
            if reader.settings.sample_limit > 0 && count > reader.settings.sample_limit {
                return Err(ReadError::SampleLimit(reader.settings.sample_limit));
            }
            series_message.clear();
            push_labels(&mut series_message, &key);
            push_samples(&mut series_message, &samples);
            push_bytes(&mut result, 1, &series_message);
            // the message, its copy within the response, and the compressed form
            reserved.try_resize(message.capacity() * 2 + result.capacity() * 3).map_err(storage::Error::from)?;
        }
        push_bytes(&mut message, 1, &result);
    }
    Ok((message, reserved))
}

async fn streamed_response(
    reader: Arc<Reader>,
    scope: &TenantScope,
    queries: Vec<Query>,
    pass: OwnedSemaphorePermit,
) -> Result<Response, Failure> {
    // What cannot be selected is told with a status; what fails later can only break the stream off.
    let mut selected = Vec::with_capacity(queries.len());
    for query in queries {
        let set = reader.select(scope, query.matchers, query.interval).await?;
        selected.push((query.interval, SeriesMerge::new(&set.parts)));
    }
    let frames = Frames { frame_bytes: reader.settings.frame_bytes, selected, query: 0, rest: Vec::new(), _pass: pass };
    let stream = futures::stream::try_unfold(frames, |mut frames| async move {
        let next = frames.next().await.inspect_err(|error| tracing::error!(%error, "a remote read broke off"))?;
        Ok::<_, ReadError>(next.map(|frame| (Bytes::from(frame), frames)))
    });
    let mut response = Body::from_stream(stream).into_response();
    let content_type =
        HeaderValue::from_static("application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// The frames that are still to be sent.
struct Frames {
    frame_bytes: usize,
    selected: Vec<(TimeInterval, SeriesMerge)>,
    query: usize,
    /// Finished frames of the series at hand, the next one last.
    rest: Vec<Vec<u8>>,
    _pass: OwnedSemaphorePermit,
}

impl Frames {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            if let Some(frame) = self.rest.pop() {
                return Ok(Some(frame));
            }
            let Some((interval, merge)) = self.selected.get_mut(self.query) else { return Ok(None) };
            match merge.next().await? {
                None => self.query += 1,
                Some(series) => {
                    self.rest = frames_of(&series, *interval, self.query, self.frame_bytes)?;
                    self.rest.reverse();
                }
            }
        }
    }
}

/// The frames of one series, each of about `frame_bytes`.
fn frames_of(
    series: &Series,
    interval: TimeInterval,
    query: usize,
    frame_bytes: usize,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut labels = Vec::new();
    push_labels(&mut labels, &series.key);
    let (mut frames, mut message) = (Vec::new(), labels.clone());
    let mut close = |message: &mut Vec<u8>, at_least: usize| {
        if message.len() > labels.len() && message.len() >= at_least {
            frames.push(frame(message, query));
            message.truncate(labels.len());
        }
    };
    let touched: Vec<Chunk> =
        series.chunks.iter().filter(|chunk| chunk.interval().overlaps(interval)).cloned().collect();
    let mut rest = &touched[..];
    while !rest.is_empty() {
        let (run, after) = rest.split_at(overlapping(rest));
        rest = after;
        if let [chunk] = run {
            push_stored_chunk(&mut message, chunk);
            close(&mut message, frame_bytes);
            continue;
        }
        let failed = |error| ReadError::chunk(&series.key, error);
        let merged = decode(run, TimeInterval::ALL).map_err(failed)?;
        for chunk in encode_series(&samples::to_buffer(&merged), SAMPLES_PER_CHUNK).map_err(failed)? {
            push_encoded_chunk(&mut message, &chunk);
            close(&mut message, frame_bytes);
        }
    }
    close(&mut message, 0);
    Ok(frames)
}

/// How many of the first chunks hang together, each beginning before all the others ended.
fn overlapping(chunks: &[Chunk]) -> usize {
    let mut end = i64::MIN;
    let mut count = 0;
    for chunk in chunks {
        if count > 0 && chunk.mint() > end {
            break;
        }
        end = end.max(chunk.interval().maxt);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests;
