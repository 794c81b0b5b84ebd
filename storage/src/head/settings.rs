//! What a head is made with.

use std::collections::BTreeMap;

use crate::model::ExternalLabels;

/// The label that names the tenant unless set otherwise, as in Thanos.
pub const TENANT_LABEL: &str = "tenant_id";

/// The settings of a [`Head`](super::Head).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSettings {
    /// How far before the newest sample of its tenant a sample may lie that is older than its series' newest; 0 takes none.
    pub out_of_order_window_ms: i64,
    /// How far after now a sample may lie; 0 takes any.
    pub max_future_ms: i64,
    /// The time that a block covers.
    pub block_duration_ms: i64,
    /// The external label that names the tenant. Empty where there is none.
    pub tenant_label: String,
    /// The other external labels of all series.
    pub external_labels: ExternalLabels,
    /// How many parts with locks of their own the head has: more let more requests go on at once.
    pub shards: usize,
    /// Exemplars kept, of all tenants; 0 keeps none.
    pub max_exemplars: usize,
}

/// How many series a tenant may have in the head. 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Of tenants that are not named.
    pub default: u64,
    /// Of those that are.
    pub tenants: BTreeMap<String, u64>,
}

impl SeriesLimits {
    /// That of a tenant.
    #[must_use]
    pub fn of(&self, tenant: &str) -> u64 {
        self.tenants.get(tenant).copied().unwrap_or(self.default)
    }
}

impl Default for HeadSettings {
    /// Blocks of two hours, nothing out of order, no exemplars: what Thanos receive has.
    fn default() -> Self {
        Self {
            out_of_order_window_ms: 0,
            max_future_ms: 0,
            block_duration_ms: 2 * 60 * 60 * 1_000,
            tenant_label: TENANT_LABEL.to_owned(),
            external_labels: ExternalLabels::default(),
            shards: 16,
            max_exemplars: 0,
        }
    }
}
