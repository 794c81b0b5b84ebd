//! `/api/v1/metadata`: blocks do not keep the types and help texts of metrics, so there are none to tell.

use axum::response::Response;

use super::answer::success;
use super::error::ApiError;
use super::params::{Params, parse_integer};

/// No metadata, but wrong parameters are still told.
pub async fn metadata(params: Params) -> Result<Response, ApiError> {
    for name in ["limit", "limit_per_metric"] {
        if let Some(text) = params.non_empty(name) {
            parse_integer(text).map_err(|_| ApiError::bad_data(format!("{name} must be a number")))?;
        }
    }
    Ok(success(b"{}", &[]))
}
