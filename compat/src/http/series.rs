//! `/api/v1/series`: the label sets of series.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use engine::TRUNCATED;
use futures::TryStreamExt;
use storage::model::{Matcher, TenantScope, TimeInterval};
use storage::store::{SeriesRequest, SeriesSet};

use super::Api;
use super::answer::{require_complete, success};
use super::error::ApiError;
use super::json::push_labels;
use super::labels::metadata_interval;
use super::matchers::parse_matcher_sets;
use super::params::Params;
use super::scope::Scope;
use super::series_keys::merged_keys;
use super::stores::check_store_matchers;

/// The series that any `match[]` selects, sorted by their labels.
pub async fn series(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let interval = metadata_interval(&api, &params)?;
    let matcher_sets = parse_matcher_sets(&params, &api.settings.parse)?;
    check_store_matchers(&api, &scope, &params)?;
    let partial_response = params.flag("partial_response", api.settings.partial_response)?;
    let drop_labels = replica_labels(&api, &params)?;

    let mut set = SeriesSet::default();
    for matchers in matcher_sets {
        let selected = select(&api, &scope, (matchers, interval), &drop_labels, limit).await?;
        set.parts.extend(selected.parts);
        set.warnings.extend(selected.warnings);
    }
    set.warnings.sort();
    set.warnings.dedup();
    let mut warnings = std::mem::take(&mut set.warnings);
    require_complete(partial_response, &warnings)?;

    let mut keys = std::pin::pin!(merged_keys(&set.parts));
    let mut data = vec![b'['];
    let mut shown = 0;
    while let Some(key) = keys.try_next().await? {
        if limit.is_some_and(|limit| shown == limit) {
            warnings.push(TRUNCATED.to_owned());
            break;
        }
        if shown > 0 {
            data.push(b',');
        }
        push_labels(&mut data, &key);
        shown += 1;
    }
    data.push(b']');
    Ok(success(&data, &warnings))
}

/// The labels that dedup takes away.
fn replica_labels(api: &Api, params: &Params) -> Result<Arc<[String]>, ApiError> {
    if !params.flag("dedup", true)? {
        return Ok(Arc::from([]));
    }
    let asked: Vec<String> = params.all("replicaLabels[]").map(str::to_owned).collect();
    Ok(if asked.is_empty() { api.settings.replica_labels.clone().into() } else { asked.into() })
}

/// Selects series without their chunks, of those that `scope` has.
///
/// # Errors
/// As the store's.
pub async fn select(
    api: &Api,
    scope: &TenantScope,
    (matchers, interval): (Arc<[Matcher]>, TimeInterval),
    drop_labels: &Arc<[String]>,
    limit: Option<usize>,
) -> Result<SeriesSet, ApiError> {
    let mut request = SeriesRequest::new(Vec::new(), interval);
    request.tenant = scope.clone();
    request.matchers = matchers;
    request.skip_chunks = true;
    // only labels are shown, and of old data there may be nothing but coarse blocks
    request.max_resolution_ms = i64::MAX;
    request.drop_labels = Arc::clone(drop_labels);
    // one more than is shown, to know whether there are more
    request.limit = limit.map(|limit| limit.saturating_add(1));
    request.budget = api.engine.budget("series lookup");
    request.deadline = Instant::now().checked_add(api.engine.settings().timeout);
    Ok(api.store.series(request).await?)
}
