//! Limits on what a tenant may write: the file of Thanos's `--receive.limits-config-file`.
//!
//! ```yaml
//! write:
//!   global:
//!     max_concurrency: 30           # requests in hand at once
//!   default:
//!     request:
//!       size_bytes_limit: 1048576   # packed and unpacked; 413
//!       series_limit: 1000          # of a request; 413
//!       samples_limit: 10000        # of a request, without histograms; 413
//!     head_series_limit: 1000000    # in the head; further ones get 429
//!   tenants:
//!     team-a:
//!       request:
//!         samples_limit: 50000      # the others are those of default
//! ```
//!
//! 0 is no limit. Where the head is asked itself, nobody needs a `meta_monitoring_url`: it is read and passed over.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use storage::head::{Metadata, SeriesLimits, SeriesWrite};

use super::media_type::WriteVersion;
use super::target::{SeriesSink, Tally};
use super::wire::{Fields, Malformed};
use super::write::Failure;
use crate::yaml::{ConfigError, Document};

/// The limits of all tenants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteLimits {
    /// Requests in hand at once; 0 leaves that to the server.
    pub max_concurrency: usize,
    /// Of tenants that are not named.
    pub default: RequestLimits,
    /// Of those that are.
    pub tenants: BTreeMap<String, RequestLimits>,
    /// Of the head.
    pub series: SeriesLimits,
}

/// Limits on one request. 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes, packed and unpacked.
    pub size_bytes: u64,
    /// Series.
    pub series: u64,
    /// Float samples.
    pub samples: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RootYaml {
    write: WriteYaml,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WriteYaml {
    global: GlobalYaml,
    default: LimitsYaml,
    tenants: BTreeMap<String, Option<LimitsYaml>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GlobalYaml {
    max_concurrency: i64,
    #[serde(rename = "meta_monitoring_url")]
    _url: Option<IgnoredAny>,
    #[serde(rename = "meta_monitoring_http_client")]
    _http_client: Option<IgnoredAny>,
    #[serde(rename = "meta_monitoring_limit_query")]
    _limit_query: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsYaml {
    request: Option<RequestYaml>,
    head_series_limit: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RequestYaml {
    size_bytes_limit: Option<i64>,
    series_limit: Option<i64>,
    samples_limit: Option<i64>,
}

impl WriteLimits {
    /// Reads the file; `source` names it in errors. Empty text limits nothing.
    ///
    /// # Errors
    /// [`ConfigError`] with the place of what is wrong.
    pub fn from_yaml(text: &str, source: &str) -> Result<Self, ConfigError> {
        let root: Option<RootYaml> = if text.trim().is_empty() { None } else { Document::new(text, source).parse()? };
        let WriteYaml { global, default, tenants } = root.unwrap_or_default().write;
        let mut limits = Self {
            max_concurrency: usize::try_from(global.max_concurrency).unwrap_or(0),
            default: default.request.unwrap_or_default().over(RequestLimits::default()),
            tenants: BTreeMap::new(),
            series: SeriesLimits { default: default.head_series_limit.unwrap_or(0), tenants: BTreeMap::new() },
        };
        for (tenant, own) in tenants {
            let own = own.unwrap_or_default();
            if let Some(request) = own.request {
                limits.tenants.insert(tenant.clone(), request.over(limits.default));
            }
            if let Some(series) = own.head_series_limit {
                limits.series.tenants.insert(tenant, series);
            }
        }
        Ok(limits)
    }

    /// Those on a request of `tenant`.
    #[must_use]
    pub fn of(&self, tenant: &str) -> RequestLimits {
        self.tenants.get(tenant).copied().unwrap_or(self.default)
    }
}

impl RequestYaml {
    /// With those of `base` where nothing is said.
    fn over(&self, base: RequestLimits) -> RequestLimits {
        let or = |own: Option<i64>, base| own.map_or(base, |own| u64::try_from(own).unwrap_or(0));
        RequestLimits {
            size_bytes: or(self.size_bytes_limit, base.size_bytes),
            series: or(self.series_limit, base.series),
            samples: or(self.samples_limit, base.samples),
        }
    }
}

impl RequestLimits {
    /// Checks a size in bytes.
    ///
    /// # Errors
    /// 413, in Thanos's words.
    pub fn check_size(self, size_bytes: u64) -> Result<(), Failure> {
        let is_over = self.size_bytes > 0 && size_bytes > self.size_bytes;
        if is_over { Err(too_large("write request too large")) } else { Ok(()) }
    }

    /// Checks how much a body of remote write brings.
    ///
    /// # Errors
    /// 413, in Thanos's words; 400 where it is no such message.
    pub fn check_body(self, body: &[u8], version: WriteVersion) -> Result<(), Failure> {
        if self.series == 0 && self.samples == 0 {
            return Ok(());
        }
        let counted = count(body, version);
        self.check(counted.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.to_string()))?)
    }

    /// Checks how much comes out of a translation, which `visit` does.
    ///
    /// # Errors
    /// 413, in Thanos's words. That the translation fails is for the second one to tell.
    pub fn check_visit(self, visit: impl FnOnce(&mut dyn SeriesSink)) -> Result<(), Failure> {
        if self.series == 0 && self.samples == 0 {
            return Ok(());
        }
        let mut counter = Counter(Brought::default());
        visit(&mut counter);
        self.check(counter.0)
    }

    fn check(self, brought: Brought) -> Result<(), Failure> {
        if self.series > 0 && brought.series > self.series {
            return Err(too_large("too many timeseries"));
        }
        let is_over = self.samples > 0 && brought.samples > self.samples;
        if is_over { Err(too_large("too many samples")) } else { Ok(()) }
    }
}

fn too_large(text: &str) -> Failure {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text.to_owned())
}

/// What a request brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Brought {
    series: u64,
    /// Floats.
    samples: u64,
}

fn count(body: &[u8], version: WriteVersion) -> Result<Brought, Malformed> {
    let (series_field, samples_field) = match version {
        WriteVersion::V1 => (1, 2),
        WriteVersion::V2 => (5, 2),
    };
    let mut brought = Brought::default();
    let mut request = Fields::new(body);
    while let Some((number, value)) = request.next()? {
        if number != series_field {
            continue;
        }
        brought.series += 1;
        let mut series = Fields::new(value.bytes("timeseries")?);
        while let Some((number, _)) = series.next()? {
            brought.samples += u64::from(number == samples_field);
        }
    }
    Ok(brought)
}

/// Counts, and writes nothing.
struct Counter(Brought);

impl SeriesSink for Counter {
    fn push(&mut self, _tenant: &str, series: &SeriesWrite<'_>, _tally: &mut Tally) {
        self.0.series += 1;
        self.0.samples += series.floats.len() as u64;
    }

    fn describe(&mut self, _tenant: &str, _family: &str, _metadata: Metadata<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_of_a_tenant_is_as_for_all() {
        let text = "write:\n  global:\n    max_concurrency: 30\n    meta_monitoring_url: http://x:1\n    \
                    meta_monitoring_http_client: {basic_auth: {username: u}}\n  default:\n    request:\n      \
                    size_bytes_limit: 1024\n      series_limit: 10\n    head_series_limit: 1000\n  tenants:\n    a:\n      \
                    request:\n        series_limit: 0\n        samples_limit: 5\n    b:\n      head_series_limit: 0\n    c:\n";
        let limits = WriteLimits::from_yaml(text, "limits.yaml").unwrap();
        assert_eq!(limits.max_concurrency, 30);
        assert_eq!(limits.of("a"), RequestLimits { size_bytes: 1024, series: 0, samples: 5 });
        for other in ["b", "c", "d"] {
            assert_eq!(limits.of(other), RequestLimits { size_bytes: 1024, series: 10, samples: 0 });
        }
        assert_eq!(["a", "b", "c", "d"].map(|tenant| limits.series.of(tenant)), [1000, 0, 1000, 1000]);
        for nothing in ["", "\n", "write: {}", "{}"] {
            assert_eq!(WriteLimits::from_yaml(nothing, "f").unwrap(), WriteLimits::default(), "{nothing:?}");
        }
        for wrong in [
            "write: {defaults: {}}",
            "write: {default: {request: {series: 1}}}",
            "write: 1",
            "write: {default: {head_series_limit: -1}}",
        ] {
            let error = WriteLimits::from_yaml(wrong, "limits.yaml").unwrap_err().to_string();
            assert!(error.contains("limits.yaml"), "{error}");
        }
    }
}
