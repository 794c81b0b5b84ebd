//! `/api/v1/format_query`: a query in its canonical form.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::answer::success_json;
use super::error::ApiError;
use super::params::Params;

/// Formats `query`.
pub async fn format_query(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let expr =
        promql::parse(params.get("query"), &api.settings.parse).map_err(|error| ApiError::parameter("query", error))?;
    success_json(&promql::pretty(&expr))
}
