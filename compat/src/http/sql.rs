//! `POST /api/v1/sql`: SQL over HTTP, for curl and the UI; the twin of Flight SQL.
//!
//! ```text
//! body (SQL, form or JSON) ─> gate ─> plan ─> first batch ─> status ─> Arrow, Parquet, CSV or JSON as it is read
//! ```
//!
//! An answer can be larger than memory, so it is sent while it is read. What goes wrong before the first batch has a status; what goes
//! wrong later breaks the connection off, so that no client takes a part for the whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::sql::{OutputFormat, OutputWriter, ScalarValue, SqlRequest, SqlStream};
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;

use super::Api;
use super::answer::require_complete;
use super::error::{ApiError, ErrorKind};
use super::gate::OwnedGatePass;
use super::params::Params;
use super::scope::scope_of;
use crate::remote::media_type;

/// Largest body that is read, in bytes: a statement, and its parameters.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A body of JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody {
    query: String,
    /// Of `$1` and on.
    #[serde(default)]
    parameters: Vec<serde_json::Value>,
}

/// Runs a statement.
pub async fn sql(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let format = accepted(&parts.headers)?;
    let tenant = scope_of(&parts, &api)?;
    let body = read_body(body).await?;
    let (text, parameters, params) = statement(&parts.headers, &body, parts.uri.query().unwrap_or(""))?;
    let partial_response = params.flag("partial_response", api.settings.partial_response)?;
    let replica_labels: Vec<String> = params.all("replicaLabels[]").map(str::to_owned).collect();
    let timeout = params.span_ns("timeout")?.map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or(0)));
    let began = Instant::now();
    let allowed = api.engine.time_allowed(timeout);
    let pass = Arc::clone(&api.gate).enter_owned(allowed).await?;
    let request = SqlRequest {
        parameters,
        tenant,
        dedup: params.flag("dedup", true)?,
        replica_labels: (!replica_labels.is_empty()).then_some(replica_labels),
        timeout: Some(allowed.saturating_sub(began.elapsed())),
        ..SqlRequest::new(text, api.clock.now())
    };
    let answer = api.sql.run(request).await?;
    require_complete(partial_response, &answer.warnings)?;
    respond(format, answer.batches, answer.warnings, pass)
}

/// Starts the answer: what its first batch becomes is known before there is a status.
fn respond(
    format: OutputFormat,
    batches: SqlStream,
    warnings: Vec<String>,
    pass: OwnedGatePass,
) -> Result<Response, ApiError> {
    let writer = OutputWriter::try_new(format, &batches.schema(), warnings.clone())?;
    let pieces = stream::try_unfold((Some(writer), batches, pass), |(writer, mut batches, pass)| async move {
        let Some(mut writer) = writer else { return Ok::<_, engine::Error>(None) };
        let (piece, writer) = match batches.next().await {
            Some(batch) => (writer.write(&batch?)?, Some(writer)),
            None => (writer.finish()?, None),
        };
        Ok(Some((Bytes::from(piece), (writer, batches, pass))))
    });
    let pieces = pieces.inspect(|piece| {
        if let Err(error) = piece {
            tracing::warn!(%error, "an answer of SQL was broken off");
        }
    });
    let mut response = Body::from_stream(pieces.boxed()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
    for warning in warnings {
        // in JSON they stand in the body as well; what no header can hold is only there
        if let Ok(value) = HeaderValue::try_from(format!("299 quiver \"{}\"", warning.replace(['"', '\\'], "'"))) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(response)
}

async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::new(ErrorKind::TooLarge, format!("the body is larger than {BODY_BYTES_MAX} bytes")))
        }
        Err(error) => Err(ApiError::bad_data(format!("the body cannot be read: {error}"))),
    }
}

/// The statement, its parameters, and the parameters of the request.
fn statement(headers: &HeaderMap, body: &[u8], query: &str) -> Result<(String, Vec<ScalarValue>, Params), ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = media_type::parse(content_type).map_or("", |(essence, _)| essence).to_ascii_lowercase();
    match essence.as_str() {
        // what curl says of `-d`, which is most often plain SQL
        "application/x-www-form-urlencoded" => {
            let params = Params::new(body, query);
            match params.non_empty("query") {
                Some(text) => Ok((text.to_owned(), Vec::new(), params)),
                None => Ok((utf8(body)?, Vec::new(), Params::new(b"", query))),
            }
        }
        "application/json" => {
            let body: JsonBody = serde_json::from_slice(body).map_err(|error| {
                ApiError::bad_data(format!("the body is not {{\"query\": …, \"parameters\": […]}}: {error}"))
            })?;
            let parameters = body.parameters.iter().map(parameter).collect::<Result<_, _>>()?;
            Ok((body.query, parameters, Params::new(b"", query)))
        }
        "" | "application/sql" | "text/plain" => Ok((utf8(body)?, Vec::new(), Params::new(b"", query))),
        other => Err(ApiError::bad_data(format!(
            "a body of {other} is not read: send application/sql, application/json, or a form with query"
        ))),
    }
}

fn utf8(body: &[u8]) -> Result<String, ApiError> {
    String::from_utf8(body.to_vec()).map_err(|_| ApiError::bad_data("the statement is not UTF-8"))
}

fn parameter(value: &serde_json::Value) -> Result<ScalarValue, ApiError> {
    use serde_json::Value;
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(Some(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => ScalarValue::Int64(Some(whole)),
            None => ScalarValue::Float64(number.as_f64()),
        },
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Array(_) | Value::Object(_) => {
            return Err(ApiError::bad_data("a parameter is a text, a number, true, false or null"));
        }
    })
}

const fn content_type(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Arrow => "application/vnd.apache.arrow.stream",
        OutputFormat::Parquet => "application/vnd.apache.parquet",
        OutputFormat::Csv => "text/csv; charset=utf-8",
        OutputFormat::Json => "application/json",
    }
}

/// The format that `Accept` likes best; JSON where it likes all.
fn accepted(headers: &HeaderMap) -> Result<OutputFormat, ApiError> {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    let mut best: Option<(f64, OutputFormat)> = None;
    for range in accept.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let Some((essence, parameters)) = media_type::parse(range) else { continue };
        let quality = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let quality = quality.map_or(1.0, |(_, quality)| quality.parse().unwrap_or(0.0));
        let format = match essence.to_ascii_lowercase().as_str() {
            "*/*" | "application/*" | "application/json" => OutputFormat::Json,
            "application/vnd.apache.arrow.stream" => OutputFormat::Arrow,
            "application/vnd.apache.parquet" => OutputFormat::Parquet,
            "text/csv" | "text/*" => OutputFormat::Csv,
            _ => continue,
        };
        if quality > best.map_or(0.0, |(best, _)| best) {
            best = Some((quality, format));
        }
    }
    match best {
        Some((_, format)) => Ok(format),
        None if accept.is_empty() => Ok(OutputFormat::Json),
        None => Err(ApiError::new(
            ErrorKind::NotAcceptable,
            "answers are application/json, text/csv, application/vnd.apache.arrow.stream or application/vnd.apache.parquet",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted() {
        for (accept, expected) in [
            (None, Some(OutputFormat::Json)),
            (Some("*/*"), Some(OutputFormat::Json)),
            (Some("text/csv"), Some(OutputFormat::Csv)),
            (Some("text/html, application/vnd.apache.parquet"), Some(OutputFormat::Parquet)),
            (Some("application/json;q=0.5, application/vnd.apache.arrow.stream;q=0.9"), Some(OutputFormat::Arrow)),
            (Some("text/html"), None),
            (Some("text/csv;q=0"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(accepted(&headers).ok(), expected, "{accept:?}");
        }
    }

    #[test]
    fn bodies() {
        let read = |content_type: &str, body: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            statement(&headers, body.as_bytes(), "").map(|(text, parameters, _)| (text, parameters))
        };
        let plain = |text: &str| Ok((text.to_owned(), Vec::new()));
        assert_eq!(read("application/sql", "SELECT 1"), plain("SELECT 1"));
        assert_eq!(read("application/x-www-form-urlencoded", "query=SELECT+2"), plain("SELECT 2"));
        assert_eq!(read("application/x-www-form-urlencoded", "SELECT a FROM b"), plain("SELECT a FROM b"));
        let parameters = vec![ScalarValue::Int64(Some(1)), ScalarValue::Utf8(Some("x".to_owned()))];
        let json = r#"{"query":"SELECT $1, $2","parameters":[1,"x"]}"#;
        assert_eq!(read("application/json; charset=utf-8", json), Ok(("SELECT $1, $2".to_owned(), parameters)));
        for (content_type, body) in
            [("application/json", "{}"), ("image/png", ""), ("application/json", r#"{"query":"","parameters":[[]]}"#)]
        {
            assert!(read(content_type, body).is_err(), "{content_type} {body}");
        }
    }
}
