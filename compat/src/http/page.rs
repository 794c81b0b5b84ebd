//! `/`: a page to try queries on, and what is running. One static file without anything from elsewhere.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};

const PAGE: &str = include_str!("page/index.html");

/// Only the page's own script and style run, and it may be framed by nobody.
const POLICY: &str = concat!(
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; ",
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
);

/// Serves the page.
pub async fn page() -> Response {
    let mut response = Html(PAGE).into_response();
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
