//! `/api/v1/query` and `/api/v1/query_range`.

mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use engine::{Answer, QueryRequest};

use super::Api;
use super::answer::{require_complete, stream_answer};
use super::error::ApiError;
use super::json::AnswerJson;
use super::params::Params;
pub use request::{instant_request, range_request};

/// Evaluates an expression at one time.
pub async fn instant(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let request = instant_request(&api, &params)?;
    respond(&api, &params, request).await
}

/// Evaluates an expression at every step of a range.
pub async fn range(State(api): State<Arc<Api>>, params: Params) -> Result<Response, ApiError> {
    let request = range_request(&api, &params)?;
    respond(&api, &params, request).await
}

async fn respond(api: &Api, params: &Params, request: QueryRequest) -> Result<Response, ApiError> {
    let partial_response = params.flag("partial_response", api.settings.partial_response)?;
    let mut answer = run(api, request).await?;
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

/// Waits at the gate and evaluates, both within the query's time.
async fn run(api: &Api, mut request: QueryRequest) -> Result<Answer, ApiError> {
    let began = Instant::now();
    let allowed = request.timeout.map_or(api.settings.timeout, |asked| asked.min(api.settings.timeout));
    let _pass = api.gate.enter(allowed).await?;
    let left = allowed.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
    request.timeout = Some(left);
    match tokio::time::timeout(left, api.engine.query(request)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(engine::Error::Timeout("expression evaluation").into()),
    }
}
