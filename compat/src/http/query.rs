//! `/api/v1/query` and `/api/v1/query_range`.

mod request;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use engine::QueryRequest;

use super::Api;
use super::answer::{require_complete, stream_answer};
use super::error::ApiError;
use super::gate::GatePass;
use super::json::AnswerJson;
use super::params::Params;
use super::scope::Scope;
pub use request::{instant_request, range_request};

/// Evaluates an expression at one time.
pub async fn instant(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    let request = instant_request(&api, scope, &params)?;
    respond(&api, &params, request).await
}

/// Evaluates an expression at every step of a range.
pub async fn range(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    let request = range_request(&api, scope, &params)?;
    respond(&api, &params, request).await
}

async fn respond(api: &Api, params: &Params, mut request: QueryRequest) -> Result<Response, ApiError> {
    let partial_response = params.flag("partial_response", api.settings.partial_response)?;
    let pass = enter_gate(api, &mut request).await?;
    let mut answer = api.engine.query(request).await?;
    drop(pass);
    require_complete(partial_response, &answer.warnings)?;
    let stats = params.get("stats");
    if !matches!(stats, "" | "true" | "all") {
        answer.warnings.push(format!(
            "value {stats:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \
             \"true\" or \"all\""
        ));
    }
    let with_analysis = matches!(params.get("analyze"), "true" | "1");
    let warnings = answer.warnings.clone();
    Ok(stream_answer(AnswerJson::try_new(answer, !stats.is_empty(), with_analysis)?, &warnings))
}

/// Waits at the gate. What that leaves of the request's time is the engine's.
///
/// # Errors
/// As [`QueryGate::enter`](super::QueryGate::enter).
pub async fn enter_gate<'a>(api: &'a Api, request: &mut QueryRequest) -> Result<GatePass<'a>, ApiError> {
    let began = Instant::now();
    let allowed = api.engine.time_allowed(request.timeout);
    let pass = api.gate.enter(allowed).await?;
    request.timeout = Some(allowed.saturating_sub(began.elapsed()));
    Ok(pass)
}
