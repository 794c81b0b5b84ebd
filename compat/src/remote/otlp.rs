//! `POST /api/v1/otlp/v1/metrics` as in Prometheus, and `POST /api/v1/otlp` as in Thanos: metrics of OpenTelemetry over HTTP.
//!
//! ```text
//! gzip ─> protobuf, or JSON made into protobuf ─> resource ─> metric ─> data point ─> labels ─> SeriesWrite
//! ```
//!
//! A data point is translated as Prometheus 3.14 does it: gauges and sums to floats, histograms to classic ones, exponential
//! histograms to native ones, summaries to quantiles; resources to `job`, `instance` and `target_info`. Only cumulative
//! temporality is taken. What cannot be translated is refused with status 400 and named; the rest is written.

mod attributes;
mod json;
mod labels;
mod names;
mod point;
mod translate;

use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, header};

pub use names::TranslationStrategy;

use super::body::Unpacked;
use super::limits::RequestLimits;
use super::media_type::{WriteVersion, parse};
use super::relabelled::relabelled;
use super::series::{Admission, Output};
use super::target::{SeriesSink, Tally, WriteError, WriteRequest};
use super::wire::Malformed;
use super::write::{Dialect, Failure, Outcome, Writer, status_of};
use crate::tenant::Sender;
use translate::Translation;

/// How OTLP is translated; the defaults are Prometheus's.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// What becomes of names.
    pub strategy: TranslationStrategy,
    /// `--receive.otlp-promote-resource-attributes`: attributes of resources that become labels of every series. With
    /// `promote_all_resource_attributes`, those that do not.
    pub promote_resource_attributes: Vec<String>,
    /// Whether all attributes of resources become labels, but those named above.
    pub promote_all_resource_attributes: bool,
    /// Whether `target_info` repeats what became `job` and `instance`.
    pub keep_identifying_resource_attributes: bool,
    /// `--receive.otlp-enable-target-info`
    pub target_info: bool,
    /// The lookback delta: `target_info` is written twice within it.
    pub lookback_ms: i64,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            strategy: TranslationStrategy::default(),
            promote_resource_attributes: Vec::new(),
            promote_all_resource_attributes: false,
            keep_identifying_resource_attributes: false,
            target_info: true,
            lookback_ms: 300_000,
        }
    }
}

/// What the OTLP handlers share.
pub struct OtlpWriter {
    /// Where series go; its limits hold here too.
    pub writer: Arc<Writer>,
    /// How they are translated.
    pub settings: OtlpSettings,
}

/// `POST /api/v1/otlp/v1/metrics`
pub async fn prometheus(State(otlp): State<Arc<OtlpWriter>>, from: Sender, body: Body) -> Response {
    // OTLP answers 200 in both.
    otlp.writer.answer(Dialect::Thanos, write(&otlp, Dialect::Prometheus, &from, body)).await
}

/// `POST /api/v1/otlp`
pub async fn thanos(State(otlp): State<Arc<OtlpWriter>>, from: Sender, body: Body) -> Response {
    otlp.writer.answer(Dialect::Thanos, write(&otlp, Dialect::Thanos, &from, body)).await
}

/// By how much less JSON is taken than protobuf: parsed, it takes up to so much more memory.
const JSON_FACTOR: usize = 8;

/// A request that is translated while it is written.
struct OtlpRequest<'a> {
    /// Let go of when it was visited.
    body: Option<Unpacked<'a>>,
    settings: &'a OtlpSettings,
    admission: &'a Admission,
    tally: Tally,
    malformed: Option<Malformed>,
}

impl WriteRequest for OtlpRequest<'_> {
    fn visit(&mut self, sink: &mut dyn SeriesSink) -> Result<(), Malformed> {
        let settings = self.settings;
        let body = self.body.take().unwrap_or_else(|| Vec::new().into());
        let visited =
            relabelled(self.admission, sink, &mut self.tally, |out| Translation::new(settings).request(&body, out));
        self.malformed = visited.err();
        visited
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

async fn write(otlp: &OtlpWriter, dialect: Dialect, from: &Sender, body: Body) -> Outcome {
    let writer = &otlp.writer;
    let admission = writer.admission(from, true)?;
    let headers = &from.headers;
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").trim();
    let content_type = text(header::CONTENT_TYPE);
    let media_type = parse(content_type).map_or("", |(media_type, _)| media_type);
    let json = media_type.eq_ignore_ascii_case("application/json");
    if !json && !media_type.eq_ignore_ascii_case("application/x-protobuf") {
        let text =
            format!("unsupported content type: {content_type}, supported: [application/json, application/x-protobuf]");
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into());
    }
    let gzip = match text(header::CONTENT_ENCODING) {
        "" | "identity" => false,
        "gzip" => true,
        other => {
            let text = format!("unsupported compression: {other}. Only \"gzip\" or no compression supported");
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into());
        }
    };
    let _pass = writer.pass().await?;
    let limit = writer.settings.body_max;
    let limits = writer.limits_of(&admission.tenant, headers)?;
    let received = writer.memory.receive(headers, body, limit, limit).await?;
    // what neither tells in advance
    let bytes = if gzip || json { limit } else { received.bytes.len() };
    let unpacked = writer.memory.unpack(received, bytes, |body| message_of(body, gzip, json, limit, limits)).await?;
    limits.check_visit(|sink| {
        let mut out = Output { admission: &admission, sink, tally: &mut Tally::default() };
        // what is wrong with it, writing it tells
        let _ = Translation::new(&otlp.settings).request(&unpacked, &mut out);
    })?;
    let mut request = OtlpRequest {
        body: Some(unpacked),
        settings: &otlp.settings,
        admission: &admission,
        tally: Tally::default(),
        malformed: None,
    };
    let written = writer.target().write(&mut request).await;
    let (mut tally, malformed) = (request.tally, request.malformed);
    if let Err(error) = written {
        return Err(Failure::from(error).into());
    }
    if let Some(malformed) = malformed {
        return Err((WriteError::Malformed(malformed).into(), tally));
    }
    match status_of(&tally, dialect, WriteVersion::V1) {
        None => Ok(tally),
        Some(status) => {
            let text = tally.take_reasons();
            Err((Failure::new(status, text), tally))
        }
    }
}

/// The message in a body, of at most `limit` bytes and within `limits`.
fn message_of(body: Vec<u8>, gzip: bool, json: bool, limit: usize, limits: RequestLimits) -> Result<Vec<u8>, Failure> {
    // a byte more than the tenant may have is enough to refuse it
    let most = usize::try_from(limits.size_bytes).ok().filter(|most| (1..limit).contains(most)).unwrap_or(limit);
    let message = if gzip { unzip(&body, most)? } else { body };
    limits.check_size(message.len() as u64)?;
    if message.len() > limit {
        let text = format!("write request too large: more than the limit of {limit} bytes when decompressed");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    if !json {
        return Ok(message);
    }
    let json_max = limit / JSON_FACTOR;
    if message.len() > json_max {
        let text = format!("write request too large: more than the limit of {json_max} bytes of JSON");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    json::to_protobuf(&message)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("cannot read the JSON: {error}")))
}

/// Unpacks at most one byte more than `most`.
fn unzip(packed: &[u8], most: usize) -> Result<Vec<u8>, Failure> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(packed).take(most as u64 + 1);
    reader
        .read_to_end(&mut unpacked)
        .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("gzip decode error: {error}")))?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests;
