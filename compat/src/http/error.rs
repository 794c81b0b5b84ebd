//! Errors as clients of the Prometheus API see them. One table says which status each kind has.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::json::push_string;
use crate::tenant::NoTenant;

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong.
    BadData,
    /// The request is right but cannot be answered on this data or within its limits.
    Execution,
    /// The query took too long.
    Timeout,
    /// The query was given up.
    Canceled,
    /// What was asked for does not exist.
    NotFound,
    /// The path does not know the method.
    MethodNotAllowed,
    /// There is no answer of a type that the client accepts.
    NotAcceptable,
    /// The body is larger than is read.
    TooLarge,
    /// Too many requests wait already.
    TooMany,
    /// The server is starting or stopping.
    Unavailable,
    /// Our fault, or the storage's.
    Internal,
}

impl ErrorKind {
    /// The status and the `errorType`. Thanos answers a canceled query with 503, where Prometheus has 499.
    #[must_use]
    pub const fn status_and_type(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadData => (StatusCode::BAD_REQUEST, "bad_data"),
            Self::Execution => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Self::Canceled => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "bad_data"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not_acceptable"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "bad_data"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "unavailable"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Decides the status and the `errorType`.
    pub kind: ErrorKind,
    /// The `error`.
    pub message: Cow<'static, str>,
}

impl ApiError {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A wrong request.
    pub fn bad_data(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::BadData, message)
    }

    /// A wrong parameter, in Prometheus's words.
    pub fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {message}"))
    }
}

impl From<NoTenant> for ApiError {
    fn from(error: NoTenant) -> Self {
        Self::bad_data(error.to_string())
    }
}

impl From<engine::Error> for ApiError {
    fn from(error: engine::Error) -> Self {
        let kind = match &error {
            engine::Error::BadQuery(message) => return Self::parameter("query", message),
            engine::Error::Storage(storage) => return storage.clone().into(),
            engine::Error::Execution(_) | engine::Error::Limit(_) => ErrorKind::Execution,
            engine::Error::Timeout(_) => ErrorKind::Timeout,
            engine::Error::Canceled(_) => ErrorKind::Canceled,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<storage::Error> for ApiError {
    fn from(error: storage::Error) -> Self {
        let kind = match &error {
            storage::Error::InvalidRequest(_) | storage::Error::Matcher(_) => ErrorKind::BadData,
            storage::Error::Budget(_) => ErrorKind::Execution,
            storage::Error::DeadlineExceeded(_) => ErrorKind::Timeout,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error_type) = self.kind.status_and_type();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self.message, "request failed");
        }
        let mut body = br#"{"status":"error","errorType":"#.to_vec();
        push_string(&mut body, error_type);
        body.extend_from_slice(br#","error":"#);
        push_string(&mut body, &self.message);
        body.push(b'}');
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == ErrorKind::TooMany {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_prometheus_status_and_type() {
        let table: Vec<(ApiError, u16, &str, &str)> = vec![
            (
                engine::Error::BadQuery("1:5: parse error: x".to_owned()).into(),
                400,
                "bad_data",
                "invalid parameter \"query\": 1:5: parse error: x",
            ),
            (engine::Error::Execution("multiple matches".to_owned()).into(), 422, "execution", "multiple matches"),
            (engine::Error::Limit("too many".to_owned()).into(), 422, "execution", "too many"),
            (engine::Error::Timeout("query queue").into(), 503, "timeout", "query timed out in query queue"),
            (
                engine::Error::Canceled("expression evaluation").into(),
                503,
                "canceled",
                "query was canceled in expression evaluation",
            ),
            (engine::Error::Internal("x".to_owned()).into(), 500, "internal", "internal error: x"),
            (
                engine::Error::Storage(storage::Error::Unsupported("chunk encoding 9".to_owned())).into(),
                500,
                "internal",
                "chunk encoding 9 is not supported",
            ),
            (storage::Error::InvalidRequest("x".to_owned()).into(), 400, "bad_data", "x"),
            (
                storage::Error::DeadlineExceeded("listing").into(),
                503,
                "timeout",
                "the deadline of the request passed while listing",
            ),
            (ApiError::new(ErrorKind::NotFound, "gone"), 404, "not_found", "gone"),
        ];
        for (error, status, error_type, message) in table {
            let (got_status, got_type) = error.kind.status_and_type();
            assert_eq!((got_status.as_u16(), got_type, error.message.as_ref()), (status, error_type, message));
        }
    }
}
