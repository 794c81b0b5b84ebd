//! From an answer to a response: one place for content type, caching, warnings and streaming.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::TRUNCATED;
use futures::stream;
use http::{HeaderValue, header};

use super::error::{ApiError, ErrorKind};
use super::json::{AnswerJson, push_annotations};

/// A success whose `data` is `data`, JSON already.
pub fn success(data: &[u8], warnings: &[String]) -> Response {
    let mut body = Vec::with_capacity(data.len() + 64);
    body.extend_from_slice(br#"{"status":"success","data":"#);
    body.extend_from_slice(data);
    push_annotations(&mut body, warnings, &[]);
    body.push(b'}');
    with_headers(Body::from(body), warnings)
}

/// A success whose `data` is made of `value`.
///
/// # Errors
/// [`ErrorKind::Internal`] where it does not turn into JSON.
pub fn success_json(value: &impl serde::Serialize) -> Result<Response, ApiError> {
    let data = serde_json::to_vec(value).map_err(|e| ApiError::new(ErrorKind::Internal, e.to_string()))?;
    Ok(success(&data, &[]))
}

/// A query's answer: whole where it is small, otherwise piece by piece.
pub fn stream_answer(mut json: AnswerJson, warnings: &[String]) -> Response {
    let first = json.next().unwrap_or_default();
    let body = match json.next() {
        None => Body::from(first),
        Some(second) => {
            let pieces = [first, second].into_iter().chain(json);
            Body::from_stream(stream::iter(pieces.map(Ok::<Bytes, std::convert::Infallible>)))
        }
    };
    with_headers(body, warnings)
}

fn with_headers(body: Body, warnings: &[String]) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if warnings.iter().any(|warning| !is_promql(warning)) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Whether a warning speaks of the query rather than of data that could not be read.
fn is_promql(warning: &str) -> bool {
    warning.starts_with("PromQL warning") || warning.starts_with("PromQL info") || warning == TRUNCATED
}

/// Refuses an incomplete answer where the client wants none.
///
/// # Errors
/// [`ErrorKind::Execution`] with what could not be read.
pub fn require_complete(partial_response: bool, warnings: &[String]) -> Result<(), ApiError> {
    match warnings.iter().find(|warning| !is_promql(warning)) {
        Some(missing) if !partial_response => Err(ApiError::new(ErrorKind::Execution, missing.clone())),
        _ => Ok(()),
    }
}
