//! What this server has none of: rules, alerts, scrape targets and exemplars. Clients ask all the same.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::answer::success;
use super::error::ApiError;
use super::params::Params;
use crate::instant::{MAX_TIME, MIN_TIME};

/// No rule groups.
pub async fn rules() -> Response {
    success(br#"{"groups":[]}"#, &[])
}

/// No alerts.
pub async fn alerts() -> Response {
    success(br#"{"alerts":[]}"#, &[])
}

/// No targets.
pub async fn targets() -> Response {
    success(br#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#, &[])
}

/// No exemplars, but wrong parameters are still told.
pub async fn exemplars(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let (start, end) = (params.time_or("start", MIN_TIME)?, params.time_or("end", MAX_TIME)?);
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    promql::parse(params.get("query"), &api.settings.parse).map_err(|error| ApiError::bad_data(error.to_string()))?;
    Ok(success(b"[]", &[]))
}
