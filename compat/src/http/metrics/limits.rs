//! The limits on writing, named as in Thanos.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::remote::{RequestLimits, WriteLimits};

type ByLabels = Family<Vec<(&'static str, String)>, Gauge>;

/// `thanos_receive_write_limits`, `thanos_receive_head_series_limit` and `thanos_receive_limits_config_reload*`.
#[derive(Debug)]
pub struct LimitMetrics {
    /// Times that the file was read again.
    pub reloads: Counter,
    /// Times that it could not be.
    pub failures: Counter,
    request: ByLabels,
    series: ByLabels,
}

impl LimitMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            reloads: Counter::default(),
            failures: Counter::default(),
            request: Family::default(),
            series: Family::default(),
        };
        registry.register(
            "thanos_receive_limits_config_reload",
            "Times that limits were read again",
            metrics.reloads.clone(),
        );
        registry.register(
            "thanos_receive_limits_config_reload_err",
            "Times that limits could not be read again",
            metrics.failures.clone(),
        );
        registry.register("thanos_receive_write_limits", "Limits on a request, 0 is none", metrics.request.clone());
        registry.register(
            "thanos_receive_head_series_limit",
            "Most series in the head, 0 is no limit",
            metrics.series.clone(),
        );
        metrics
    }

    /// Shows these limits; the tenant without a name stands for all that have none of their own.
    pub fn set(&self, limits: &WriteLimits) {
        self.request.clear();
        self.series.clear();
        let tenants = limits.tenants.iter().map(|(tenant, limits)| (tenant.as_str(), *limits));
        for (tenant, RequestLimits { size_bytes, series, samples }) in tenants.chain([("", limits.default)]) {
            for (limit, value) in [("body_size", size_bytes), ("series", series), ("samples", samples)] {
                let labels = vec![("tenant", tenant.to_owned()), ("limit", limit.to_owned())];
                self.request.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
        let tenants = limits.series.tenants.iter().map(|(tenant, most)| (tenant.as_str(), *most));
        for (tenant, most) in tenants.chain([("", limits.series.default)]) {
            let labels = vec![("tenant", tenant.to_owned())];
            self.series.get_or_create(&labels).set(i64::try_from(most).unwrap_or(i64::MAX));
        }
    }
}
