//! Flags, checked and turned into what the crates take.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::http::{ApiSettings, StatusSettings};
use compat::objstore::{self, Bucket};
use engine::{Deduplication, EngineFeatures, EngineSettings, ProcessPool};
use promql::ParseOptions;
use storage::model::Timestamp;
use tokio::runtime::Handle;

use crate::flags::{DeduplicationFunc, Feature, ObjstoreFlags, QueryFlags, ServerFlags};
use crate::memory::available_bytes;
use crate::version::build_info;

/// Where to listen and how to stop.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where to listen.
    pub address: ListenAddress,
    /// How long requests under way may take after a signal to stop.
    pub grace_period: Duration,
}

/// Checks the server's flags.
///
/// # Errors
/// Where the address is none.
pub fn server_settings(flags: &ServerFlags) -> anyhow::Result<ServerSettings> {
    let address = listen_address("--http-address", &flags.http_address)?;
    Ok(ServerSettings { address, grace_period: flags.http_grace_period })
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

/// Checks the query flags, for the engine.
///
/// # Errors
/// Where one contradicts itself.
pub fn engine_settings(flags: &QueryFlags, compute: Handle) -> anyhow::Result<EngineSettings> {
    if flags.timeout.is_zero() {
        bail!("--query.timeout=0s: a query needs some time");
    }
    let memory_bytes = flags.max_memory.map_or_else(|| available_bytes() / 2, |size| size.0);
    Ok(EngineSettings {
        lookback_ms: positive_ms("--query.lookback-delta", flags.lookback_delta)?,
        timeout: flags.timeout,
        max_samples: flags.max_samples,
        memory: ProcessPool::new(memory_bytes),
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

/// The same flags, for the API.
///
/// # Errors
/// As [`engine_settings`].
pub fn api_settings(flags: &QueryFlags) -> anyhow::Result<ApiSettings> {
    Ok(ApiSettings {
        max_concurrent: usize::try_from(flags.max_concurrent).unwrap_or(usize::MAX),
        lookback_ms: positive_ms("--query.lookback-delta", flags.lookback_delta)?,
        dynamic_lookback: !flags.no_dynamic_lookback_delta,
        default_step: flags.default_step,
        metadata_range: flags.metadata_default_time_range,
        replica_labels: replica_labels(flags)?,
        auto_downsampling: flags.auto_downsampling && !flags.no_auto_downsampling,
        partial_response: !flags.no_partial_response,
        parse: parse_options(&flags.features),
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
