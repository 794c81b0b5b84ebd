//! `/api/v1/status/…`: what is running, with which flags, since when.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::Api;
use super::answer::success_json;
use super::error::ApiError;
use crate::instant::format_rfc3339;

/// The build. It has no `features`: Grafana would take a server that has some for one whose rules it can edit.
pub async fn build_info(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let build = &api.settings.build;
    success_json(&json!({
        "version": build.version,
        "revision": build.revision,
        "branch": build.branch,
        "buildUser": build.build_user,
        "buildDate": build.build_date,
        "goVersion": build.compiler,
    }))
}

/// The flags. That they are told at all makes Grafana take this server for Thanos, as it should.
pub async fn flags(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    success_json(&api.settings.flags)
}

/// The process. Neither its folder nor its environment is told.
pub async fn runtime_info(State(api): State<Arc<Api>>) -> Result<Response, ApiError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    success_json(&json!({
        "startTime": format_rfc3339(api.settings.started),
        "serverTime": format_rfc3339(api.clock.now()),
        "CWD": "",
        "GoroutineCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": threads,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "reloadConfigSuccess": true,
        "storageRetention": "",
    }))
}
