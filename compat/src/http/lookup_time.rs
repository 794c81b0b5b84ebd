//! The time that a lookup of series or labels may take: as long as a query, `--query.timeout`.
//!
//! As in Prometheus and Thanos, lookups do not wait for a pass of the [`QueryGate`](super::QueryGate): an editor that completes
//! a name is answered while heavy queries run. What they hold in memory is charged to the pool of the queries.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::error::ApiError;

/// Gives a request up when its time has passed. The store was told the same deadline, but looks at it only between reads.
pub async fn limit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(api.engine.settings().timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::from(storage::Error::DeadlineExceeded("looking up series or labels")).into_response(),
    }
}
