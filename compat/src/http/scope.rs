//! Whose series a request may see, which every handler that reads takes from its headers and its client's certificate.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use storage::model::TenantScope;

use super::Api;
use super::error::ApiError;

/// The scope, as an argument of a handler.
#[derive(Debug)]
pub struct Scope(pub TenantScope);

/// The scope of a request.
///
/// # Errors
/// Where it is no tenant's and has to be one's.
pub fn scope_of(parts: &Parts, api: &Api) -> Result<TenantScope, ApiError> {
    Ok(api.settings.tenants.scope(&parts.headers, parts.extensions.get())?)
}

impl FromRequestParts<Arc<Api>> for Scope {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        scope_of(parts, api).map(Self)
    }
}
