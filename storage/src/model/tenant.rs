//! Whose series a request may see.

use std::sync::Arc;

/// The scope that a request carries to the scan; there is no request without one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TenantScope {
    /// Every series: tenancy is not enforced on this listener.
    All,
    /// Only series that carry `label = tenant`.
    Only {
        /// The label that names the tenant, `tenant_id` unless set otherwise.
        label: Arc<str>,
        /// The tenant's checked name.
        tenant: Arc<str>,
    },
}
