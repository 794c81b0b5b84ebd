//! Flags, checked and turned into what the crates take.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::http::{ApiSettings, StatusSettings};
use compat::objstore::{self, Bucket};
use compat::parse_time;
use compat::relabel::{Relabel, SELECTING};
use compat::tenant::ReadTenants;
use compat::web::{PortGuard, Protocol, TlsPort, WebAuth, WebFile};
use engine::{Deduplication, EngineFeatures, EngineSettings, ProcessPool};
use flight::ConnectionLimits;
use promql::ParseOptions;
use storage::bucket::{BlockFilters, KeepBlock, TimeBound};
use storage::model::{ExternalLabels, Timestamp};
use tokio::runtime::Handle;

use crate::flags::{
    DeduplicationFunc, Feature, GrpcFlags, ObjstoreFlags, QueryFlags, RelabelSelectFlags, SelectFlags, ServerFlags,
};
use crate::memory::available_bytes;
use crate::port_tls;
use crate::version::build_info;

/// Where to listen and how to stop.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where to listen.
    pub address: ListenAddress,
    /// How long requests under way may take after a signal to stop.
    pub grace_period: Duration,
    /// The web configuration file, which all ports share.
    pub web: Option<Arc<WebAuth>>,
}

impl ServerSettings {
    /// What stands before a port; `tls` of its own goes before that of the file.
    #[must_use]
    pub fn guard(&self, tls: Option<TlsPort>, protocol: Protocol) -> PortGuard {
        PortGuard::new(self.web.clone(), tls, protocol)
    }
}

/// Checks the server's flags.
///
/// # Errors
/// Where the address is none, or the web configuration file is wrong.
pub fn server_settings(flags: &ServerFlags) -> anyhow::Result<ServerSettings> {
    let address = listen_address("--http-address", &flags.http_address)?;
    let web = match flags.http_config.as_ref().filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => Some(Arc::new(WebAuth::try_new(Arc::new(WebFile::open(path)?))?)),
        None => None,
    };
    Ok(ServerSettings { address, grace_period: flags.http_grace_period, web })
}

/// Where to listen for gRPC, and how long connections are kept.
#[derive(Debug)]
pub struct GrpcSettings {
    /// Where to listen.
    pub address: ListenAddress,
    /// TLS by flags, instead of that of the web configuration file.
    pub tls: Option<TlsPort>,
    /// How long.
    pub limits: ConnectionLimits,
}

/// Checks the flags of the gRPC server.
///
/// # Errors
/// Where the address is none, or one for TLS is wrong.
pub fn grpc_settings(flags: &GrpcFlags) -> anyhow::Result<GrpcSettings> {
    let address = listen_address("--grpc-address", &flags.grpc_address)?;
    let age_max = Some(flags.max_connection_age).filter(|age| !age.is_zero());
    let limits = ConnectionLimits { age_max, grace_period: flags.grpc_grace_period };
    Ok(GrpcSettings { address, tls: port_tls::grpc_tls(&flags.grpc_tls)?, limits })
}

/// Where to listen.
#[derive(Debug, Clone)]
pub struct ListenAddress {
    /// The flag and what it was asked for, for messages.
    pub text: String,
    /// The first address that it stands for.
    pub address: SocketAddr,
}

/// Checks the address in `flag`.
///
/// # Errors
/// Where it is none.
pub fn listen_address(flag: &str, text: &str) -> anyhow::Result<ListenAddress> {
    // ":10902" is every address in Go
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let mut found = full.to_socket_addrs().with_context(|| format!("{flag}={text}: not an address"))?;
    let address = found.next().with_context(|| format!("{flag}={text}: no such host"))?;
    Ok(ListenAddress { text: format!("{flag}={text}"), address })
}

/// Opens the bucket that the flags name; `None` where they name none.
///
/// # Errors
/// Where its configuration is wrong.
pub fn bucket(flags: &ObjstoreFlags) -> anyhow::Result<Option<Bucket>> {
    let bucket = match (&flags.config_file, &flags.config) {
        (Some(path), _) => objstore::from_file(path)?,
        (None, Some(text)) => objstore::from_yaml(text, "--objstore.config")?,
        (None, None) => return Ok(None),
    };
    for note in &bucket.notes {
        tracing::warn!(bucket = bucket.name, note, "object storage configuration");
    }
    Ok(Some(bucket))
}

/// Checks the flags that choose blocks by time and labels.
///
/// # Errors
/// Where one is wrong; the text names it.
pub fn block_filters(flags: &SelectFlags) -> anyhow::Result<BlockFilters> {
    let min_time = time_bound("--min-time", &flags.min_time)?;
    let max_time = time_bound("--max-time", &flags.max_time)?;
    let keep = keep_blocks(&flags.relabel)?;
    Ok(BlockFilters { min_time: Some(min_time), max_time: Some(max_time), keep, ..BlockFilters::default() })
}

/// Checks the flags that choose blocks by labels; none where all are chosen.
///
/// # Errors
/// As [`block_filters`].
pub fn keep_blocks(flags: &RelabelSelectFlags) -> anyhow::Result<Option<KeepBlock>> {
    let file = (flags.relabel_config_file.as_deref(), flags.relabel_config.as_deref());
    let (text, source) = path_or_content("--selector.relabel-config", file)?.unwrap_or_default();
    let rules = Relabel::from_yaml(&text, &source, Some(&SELECTING))?;
    Ok((!rules.is_empty()).then(|| KeepBlock::new(move |labels| rules.apply(labels).is_some())))
}

/// The text of the file of `<flag>-file`, or that of `flag`, and how errors name it; none where neither was given.
///
/// # Errors
/// Where the file cannot be read.
pub fn path_or_content(
    flag: &str,
    given: (Option<&FilePath>, Option<&str>),
) -> anyhow::Result<Option<(String, String)>> {
    match given {
        (Some(path), _) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{flag}-file={}", path.display()))?;
            Ok(Some((text, path.display().to_string())))
        }
        (None, Some(text)) => Ok(Some((text.to_owned(), flag.to_owned()))),
        (None, None) => Ok(None),
    }
}

/// A time of RFC 3339, or a duration that is added to now; a minus sign before it takes it off.
fn time_bound(flag: &str, text: &str) -> anyhow::Result<TimeBound> {
    let (negative, duration) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if let Ok(duration) = compat::parse_duration_flag(duration) {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        return Ok(TimeBound::FromNow(if negative { -ms } else { ms }));
    }
    match parse_time(text) {
        Ok(t) => Ok(TimeBound::Absolute(t)),
        Err(error) => bail!("{flag}: {error}; write a time as 2006-01-02T15:04:05Z or a duration as -6w"),
    }
}

/// External labels of `flag`, each `name="value"` or `name=value`.
///
/// # Errors
/// Where one is not that, or is there twice.
pub fn external_labels(flag: &str, values: &[String]) -> anyhow::Result<ExternalLabels> {
    let mut labels: Vec<(String, String)> = Vec::new();
    for label in values {
        let (name, value) = label.split_once('=').with_context(|| format!("{flag}={label}: not name=\"value\""))?;
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = quoted.unwrap_or(value);
        if name.is_empty() || value.is_empty() {
            bail!("{flag}={label}: name and value are needed");
        }
        if labels.iter().any(|(known, _)| known == name) {
            bail!("{flag}={label}: the label {name} is there twice");
        }
        labels.push((name.to_owned(), value.to_owned()));
    }
    Ok(ExternalLabels::from_pairs(labels))
}

/// Checks the query flags, for the engine.
///
/// # Errors
/// Where one contradicts itself.
pub fn engine_settings(flags: &QueryFlags, compute: Handle) -> anyhow::Result<EngineSettings> {
    if flags.timeout.is_zero() {
        bail!("--query.timeout=0s: a query needs some time");
    }
    Ok(EngineSettings {
        lookback_ms: positive_ms("--query.lookback-delta", flags.lookback_delta)?,
        timeout: flags.timeout,
        max_samples: flags.max_samples,
        memory: ProcessPool::new(query_memory(flags)),
        partitions: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        replica_labels: replica_labels(flags)?,
        deduplication: match flags.deduplication {
            DeduplicationFunc::Penalty => Deduplication::Penalty,
            DeduplicationFunc::Chain => Deduplication::Chain,
        },
        default_subquery_step_ms: positive_ms(
            "--query.default-evaluation-interval",
            flags.default_evaluation_interval,
        )?,
        parse: parse_options(&flags.features),
        features: EngineFeatures {
            start_timestamps: flags.features.contains(&Feature::UseStartTimestamps),
            delayed_name_removal: flags.features.contains(&Feature::PromqlDelayedNameRemoval),
            type_and_unit_labels: flags.features.contains(&Feature::TypeAndUnitLabels),
        },
        compute: Some(compute),
    })
}

/// The memory of all queries together, in bytes.
pub fn query_memory(flags: &QueryFlags) -> usize {
    flags.max_memory.map_or_else(|| available_bytes() / 2, |size| size.0)
}

/// The same flags, for the API, which shows each request what `tenants` lets it see.
///
/// # Errors
/// As [`engine_settings`].
pub fn api_settings(flags: &QueryFlags, tenants: ReadTenants) -> anyhow::Result<ApiSettings> {
    Ok(ApiSettings {
        max_concurrent: usize::try_from(flags.max_concurrent).unwrap_or(usize::MAX),
        lookback_ms: positive_ms("--query.lookback-delta", flags.lookback_delta)?,
        dynamic_lookback: !flags.no_dynamic_lookback_delta,
        default_step: flags.default_step,
        metadata_range: flags.metadata_default_time_range,
        replica_labels: replica_labels(flags)?,
        auto_downsampling: flags.auto_downsampling && !flags.no_auto_downsampling,
        instant_max_resolution_ms: i64::try_from(flags.instant_max_source_resolution.as_millis()).unwrap_or(i64::MAX),
        partial_response: !flags.no_partial_response,
        parse: parse_options(&flags.features),
        tenants,
    })
}

/// What every server tells of itself.
pub fn status_settings(
    flags: &ServerFlags,
    flag_values: BTreeMap<String, String>,
    started: Timestamp,
) -> StatusSettings {
    let cors = !flags.disable_cors || flags.no_disable_cors;
    StatusSettings { build: build_info(), flags: flag_values, started, cors }
}

fn replica_labels(flags: &QueryFlags) -> anyhow::Result<Vec<String>> {
    if flags.replica_labels.iter().any(String::is_empty) {
        bail!("--query.replica-label: a label needs a name");
    }
    Ok(flags.replica_labels.clone())
}

fn positive_ms(flag: &str, duration: Duration) -> anyhow::Result<i64> {
    match i64::try_from(duration.as_millis()) {
        Ok(ms) if ms > 0 => Ok(ms),
        _ => bail!("{flag}: at least a millisecond is needed"),
    }
}

fn parse_options(features: &[Feature]) -> ParseOptions {
    ParseOptions {
        experimental_functions: features.contains(&Feature::PromqlExperimentalFunctions),
        duration_expressions: features.contains(&Feature::PromqlDurationExpr),
        extended_range_selectors: features.contains(&Feature::PromqlExtendedRangeSelectors),
        fill_modifiers: features.contains(&Feature::PromqlBinopFillModifiers),
        ..ParseOptions::default()
    }
}

/// Shared ownership of the settings' clock.
pub fn clock() -> Arc<dyn storage::Clock> {
    Arc::new(storage::SystemClock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_as_thanos_takes_them() {
        let flags =
            |flags: &[&str]| external_labels("--label", &flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>());
        let labels = flags(&["replica=\"a\"", "cluster=eu-1"]).unwrap();
        assert_eq!(labels, ExternalLabels::from_pairs([("cluster", "eu-1"), ("replica", "a")]));
        for wrong in [&["replica"][..], &["=\"a\""], &["a=\"\""], &["a=1", "a=2"]] {
            let error = flags(wrong).unwrap_err().to_string();
            assert!(error.starts_with("--label="), "{error}");
        }
    }

    #[test]
    fn bounds_are_times_or_durations() {
        let bound = |text: &str| time_bound("--min-time", text).map_err(|error| error.to_string());
        assert_eq!(bound("1970-01-01T00:00:01Z"), Ok(TimeBound::Absolute(1_000)));
        assert_eq!(bound("-6w"), Ok(TimeBound::FromNow(-6 * 7 * 86_400_000)));
        assert_eq!(bound("2h45m"), Ok(TimeBound::FromNow(9_900_000)));
        assert!(bound("0000-01-01T00:00:00Z").is_ok() && bound("9999-12-31T23:59:59Z").is_ok());
        assert!(bound("yesterday").unwrap_err().starts_with("--min-time: "));
    }
}
