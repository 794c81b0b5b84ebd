//! What this server has none of: rules, alerts and scrape targets. Clients ask all the same.

use axum::response::Response;

use super::answer::success;

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
