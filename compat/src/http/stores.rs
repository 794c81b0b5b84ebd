//! `/api/v1/stores`: what this server reads from; and `storeMatch[]`, which chooses among stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;
use storage::model::{TenantScope, TimeInterval};
use storage::store::StoreInfo;

use super::Api;
use super::answer::success_json;
use super::error::ApiError;
use super::params::Params;
use super::scope::Scope;
use crate::instant::{MAX_TIME, MIN_TIME, format_rfc3339};

/// The address under which the store inside this process is known.
const LOCAL_ADDRESS: &str = "local";

/// The one store, in Thanos's shape.
pub async fn stores(State(api): State<Arc<Api>>, Scope(scope): Scope) -> Result<Response, ApiError> {
    let info = visible(api.store.info(), &scope);
    let label_sets: Vec<BTreeMap<&str, &str>> = info.external_labels.iter().map(|set| set.iter().collect()).collect();
    success_json(&json!({
        "store": [{
            "name": LOCAL_ADDRESS,
            "lastCheck": format_rfc3339(api.clock.now()),
            "lastError": null,
            "labelSets": label_sets,
            "minTime": info.interval.mint,
            "maxTime": info.interval.maxt,
        }]
    }))
}

/// What a tenant may know of a store: the external labels that name it, and not when others have samples.
fn visible(mut info: StoreInfo, scope: &TenantScope) -> StoreInfo {
    if *scope == TenantScope::All {
        return info;
    }
    info.external_labels.retain(|labels| match scope {
        TenantScope::Only { label, tenant } => labels.get(label) == Some(&**tenant),
        _ => false,
    });
    info.interval = TimeInterval::new(MIN_TIME, MAX_TIME);
    info
}

/// Checks `storeMatch[]`: selectors over `__address__` and the external labels of stores. There is one store, so a request that
/// leaves it out asks for nothing that this server could answer.
///
/// # Errors
/// Where a selector does not parse, or none selects the store.
pub fn check_store_matchers(api: &Api, scope: &TenantScope, params: &Params) -> Result<(), ApiError> {
    let mut sets = Vec::new();
    for text in params.all("storeMatch[]") {
        let matchers = promql::parse_selector(text, &api.settings.parse);
        sets.push(matchers.map_err(|error| ApiError::bad_data(error.to_string()))?);
    }
    if sets.is_empty() {
        return Ok(());
    }
    let external_labels = visible(api.store.info(), scope).external_labels;
    let selects = |label: &dyn Fn(&str) -> Option<String>| {
        sets.iter().any(|set| set.iter().all(|matcher| matcher.matches(&label(matcher.name()).unwrap_or_default())))
    };
    let of = |name: &str, value: Option<&str>| match name {
        "__address__" => Some(LOCAL_ADDRESS.to_owned()),
        _ => value.map(str::to_owned),
    };
    let found = external_labels.iter().any(|labels| selects(&|name| of(name, labels.get(name))))
        || (external_labels.is_empty() && selects(&|name| of(name, None)));
    if found {
        return Ok(());
    }
    Err(ApiError::bad_data(format!(
        "storeMatch[] selects no store: this server has one, with __address__={LOCAL_ADDRESS:?}"
    )))
}
