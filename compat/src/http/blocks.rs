//! `/api/v1/blocks`: which blocks a bucket has, for pages that show them, and `/api/v1/blocks/mark`, which marks one.
//!
//! There are two views, as in Thanos: `global` is everything in the bucket, `loaded` what this process works with.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use parking_lot::RwLock;
use serde::Serialize;
use storage::Clock;
use storage::block::BlockMeta;
use storage::block::marker::{DeletionMark, NoCompactMark, REASON_MANUAL};
use storage::compact::Bucket;
use storage::model::{BlockId, Timestamp};

use super::answer::success_json;
use super::error::ApiError;
use super::params::Params;
use crate::instant::format_rfc3339;
use crate::tenant::ReadTenants;

/// One view, as it was when somebody looked last.
#[derive(Debug, Clone, Default)]
struct View {
    blocks: Vec<Arc<BlockMeta>>,
    refreshed: Timestamp,
    error: Option<String>,
}

/// What is served.
#[derive(Debug)]
pub struct BlocksApi {
    bucket: Bucket,
    clock: Arc<dyn Clock>,
    /// `--bucket-web-label`
    label: String,
    /// `--disable-admin-operations`, turned round.
    may_mark: bool,
    global: RwLock<View>,
    loaded: RwLock<View>,
}

impl BlocksApi {
    /// The blocks of `bucket`; nothing is known of them before [`set_global`](Self::set_global) and [`set_loaded`](Self::set_loaded).
    #[must_use]
    pub fn new(bucket: Bucket, clock: Arc<dyn Clock>, label: String, may_mark: bool) -> Self {
        Self { bucket, clock, label, may_mark, global: RwLock::default(), loaded: RwLock::default() }
    }

    /// Sets everything that is in the bucket, or why it is not known; then what was known before stays.
    pub fn set_global(&self, blocks: Result<Vec<Arc<BlockMeta>>, String>) {
        self.set(&self.global, blocks);
    }

    /// Sets what this process works with, or why it is not known.
    pub fn set_loaded(&self, blocks: Result<Vec<Arc<BlockMeta>>, String>) {
        self.set(&self.loaded, blocks);
    }

    fn set(&self, view: &RwLock<View>, blocks: Result<Vec<Arc<BlockMeta>>, String>) {
        let mut view = view.write();
        view.refreshed = self.clock.now();
        match blocks {
            Ok(blocks) => {
                view.blocks = blocks;
                view.error = None;
            }
            Err(error) => view.error = Some(error),
        }
    }

    /// The two routes, to be put below `/api/v1`. Where tenants are enforced they only refuse: a bucket's blocks are of all tenants, and
    /// so is what a mark does to one.
    pub fn router(self: Arc<Self>, tenants: &ReadTenants) -> Router {
        if tenants.enforced() {
            return Router::new().route("/blocks", get(refused)).route("/blocks/mark", post(refused));
        }
        Router::new().route("/blocks", get(blocks)).route("/blocks/mark", post(mark)).with_state(self)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ViewJson<'a> {
    label: &'a str,
    blocks: Vec<&'a BlockMeta>,
    refreshed_at: String,
    err: Option<&'a str>,
}

async fn refused() -> ApiError {
    ApiError::bad_data(
        "blocks are of all tenants, and this server answers each of its own (--query.enforce-tenancy): ask the bucket with quiver tools",
    )
}

async fn blocks(State(api): State<Arc<BlocksApi>>, params: Params) -> Result<Response, ApiError> {
    let view = if params.get("view") == "loaded" { &api.loaded } else { &api.global };
    let view = view.read();
    success_json(&ViewJson {
        label: &api.label,
        blocks: view.blocks.iter().map(Arc::as_ref).collect(),
        refreshed_at: format_rfc3339(view.refreshed),
        err: view.error.as_deref(),
    })
}

async fn mark(State(api): State<Arc<BlocksApi>>, params: Params) -> Result<Response, ApiError> {
    if !api.may_mark {
        return Err(ApiError::bad_data("Admin operations are disabled"));
    }
    let id = params.non_empty("id").ok_or(ApiError::bad_data("ID cannot be empty"))?;
    let action = params.non_empty("action").ok_or(ApiError::bad_data("Action cannot be empty"))?;
    let id: BlockId = id.parse().map_err(|error| ApiError::bad_data(format!("ULID {id:?} is not valid: {error}")))?;
    let (details, now_s) = (params.get("detail"), api.clock.now().div_euclid(1000));
    let marked = match action {
        "DELETION" => api.bucket.mark(&DeletionMark::new(id, now_s, details)).await,
        "NO_COMPACTION" => api.bucket.mark(&NoCompactMark::new(id, now_s, REASON_MANUAL, details)).await,
        _ => return Err(ApiError::bad_data(format!("not supported marker {action}"))),
    };
    marked.map_err(|error| ApiError::bad_data(error.to_string()))?;
    success_json(&serde_json::Value::Null)
}
