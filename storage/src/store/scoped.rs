//! A store that answers nobody without a tenant.
//!
//! Where tenants are enforced, everything that reads asks through one of these. A handler that forgets whose its request is then fails,
//! and shows nothing of anybody.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::model::{BlockId, TenantScope};

use super::{BlockStore, LabelRequest, LabelSet, SeriesRequest, SeriesSet, Store, StoreInfo};

/// The store inside, for requests of one tenant. [`info`](Store::info) and [`held_blocks`](Store::held_blocks) carry no request and are
/// handed on as they are: who shows them chooses what of them is the tenant's.
#[derive(Debug)]
pub struct ScopedStore {
    inner: Arc<dyn Store>,
}

impl ScopedStore {
    /// Of this store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner }
    }
}

fn require_tenant(scope: &TenantScope) -> Result<()> {
    match scope {
        TenantScope::Only { .. } => Ok(()),
        TenantScope::All => Err(Error::Internal("a request without a tenant, where tenants are enforced".to_owned())),
    }
}

#[async_trait]
impl Store for ScopedStore {
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet> {
        require_tenant(&request.tenant)?;
        self.inner.series(request).await
    }

    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet> {
        require_tenant(&request.tenant)?;
        self.inner.label_names(request).await
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet> {
        require_tenant(&request.tenant)?;
        self.inner.label_values(name, request).await
    }

    fn held_blocks(&self) -> Vec<BlockStore> {
        self.inner.held_blocks()
    }

    async fn refresh(&self, block: BlockId) -> Result<()> {
        self.inner.refresh(block).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeInterval;
    use crate::store::UnionStore;

    #[tokio::test]
    async fn nobody_is_answered_without_a_tenant() {
        let store = ScopedStore::new(Arc::new(UnionStore::new(Vec::new())));
        let series = SeriesRequest::new(Vec::new(), TimeInterval::ALL);
        let labels = LabelRequest::all(Vec::new(), TimeInterval::ALL);
        assert!(store.series(series.clone()).await.is_err());
        assert!(store.label_names(labels.clone()).await.is_err());
        assert!(store.label_values("job", labels.clone()).await.is_err());
        let tenant = TenantScope::Only { label: "tenant_id".into(), tenant: "a".into() };
        assert!(store.series(SeriesRequest { tenant: tenant.clone(), ..series }).await.is_ok());
        let labels = LabelRequest { tenant, ..labels };
        assert!(store.label_names(labels.clone()).await.is_ok() && store.label_values("job", labels).await.is_ok());
    }
}
