//! From parameters to a query: what Prometheus and Thanos mean by each, and how they word what is wrong.

use std::time::Duration;

use engine::{QueryRequest, QueryTime};
use promql::tree::Grid;
use storage::model::TenantScope;

use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::http::stores::check_store_matchers;
use crate::http::{Api, ApiSettings};
use crate::instant::parse_span_ns;

/// Most points that a range query may have a series: 60 s resolution for a week, or 1 h for a year.
const POINTS_MAX: i128 = 11_000;
const NS_PER_MS: i64 = 1_000_000;
const FIVE_MINUTES_MS: i64 = 300_000;
const HOUR_MS: i64 = 3_600_000;

/// The request of an instant query.
///
/// # Errors
/// Where a parameter is wrong.
pub fn instant_request(api: &Api, scope: TenantScope, params: &Params) -> Result<QueryRequest, ApiError> {
    params.limit()?;
    let t = params.time_or("time", api.clock.now())?;
    let auto_ns = api.settings.instant_max_resolution_ms.saturating_mul(NS_PER_MS);
    let max_resolution_ms = max_resolution_ms(&api.settings, params, auto_ns)?;
    request(api, scope, params, (QueryTime::Instant(t), max_resolution_ms))
}

/// The request of a range query.
///
/// # Errors
/// Where a parameter is wrong.
pub fn range_request(api: &Api, scope: TenantScope, params: &Params) -> Result<QueryRequest, ApiError> {
    params.limit()?;
    let (start, end) = (params.required_time("start")?, params.required_time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ns = match params.span_ns("step")? {
        Some(step) => step,
        None => default_step_ns(start, end, api.settings.default_step),
    };
    let step_ms = step_ns / NS_PER_MS;
    if step_ms <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let range_ns = (i128::from(end) - i128::from(start)) * i128::from(NS_PER_MS);
    if range_ns / i128::from(step_ns) > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
             (?step=XX)",
        ));
    }
    let max_resolution_ms = max_resolution_ms(&api.settings, params, step_ns / 5)?;
    request(api, scope, params, (QueryTime::Range(Grid { start, end, step_ms }), max_resolution_ms))
}

/// Thanos's step where none is given: 250 of them in the range, of whole seconds.
fn default_step_ns(start: i64, end: i64, least: Duration) -> i64 {
    let seconds = (end.saturating_sub(start) / 1000) / 250;
    let least = i64::try_from(least.as_secs()).unwrap_or(i64::MAX);
    seconds.max(least).saturating_mul(1_000_000_000)
}

fn request(
    api: &Api,
    scope: TenantScope,
    params: &Params,
    (time, max_resolution_ms): (QueryTime, i64),
) -> Result<QueryRequest, ApiError> {
    let timeout = params.span_ns("timeout")?.map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or(0)));
    let lookback_ms = lookback_ms(&api.settings, params, max_resolution_ms)?;
    match params.get("engine") {
        "" | "prometheus" | "thanos" => {}
        other => return Err(ApiError::bad_data(format!("'{other}' bad engine"))),
    }
    if params.non_empty("shard_info").is_some() {
        return Err(ApiError::bad_data("shard_info is not supported: this server does not split queries by series"));
    }
    check_store_matchers(api, &scope, params)?;
    let replica_labels: Vec<String> = params.all("replicaLabels[]").map(str::to_owned).collect();
    Ok(QueryRequest {
        text: params.get("query").to_owned(),
        time,
        lookback_ms: Some(lookback_ms),
        dedup: params.flag("dedup", true)?,
        replica_labels: (!replica_labels.is_empty()).then_some(replica_labels),
        max_resolution_ms,
        tenant: scope,
        timeout,
        limit: params.limit()?,
    })
}

/// The coarsest resolution that will do. `auto` leaves it to the step, and of an instant query to a flag.
fn max_resolution_ms(settings: &ApiSettings, params: &Params, auto_ns: i64) -> Result<i64, ApiError> {
    const NAME: &str = "max_source_resolution";
    let ns = match params.get(NAME) {
        "auto" => auto_ns,
        "" if settings.auto_downsampling => auto_ns,
        "" => 0,
        text => parse_span_ns(text).map_err(|e| ApiError::bad_data(format!("'{NAME}' parameter: {e}")))?,
    };
    if ns < 0 {
        return Err(ApiError::bad_data(format!("negative '{NAME}' is not accepted. Try a positive integer")));
    }
    Ok(ns / NS_PER_MS)
}

/// How far back an instant selector looks: what the request says, otherwise the flag, stretched so that it spans a sample of
/// the resolution that may be read.
fn lookback_ms(settings: &ApiSettings, params: &Params, max_resolution_ms: i64) -> Result<i64, ApiError> {
    if let Some(text) = params.non_empty("lookback_delta") {
        let wrong = |e| ApiError::bad_data(format!("error parsing lookback delta duration: {e}"));
        let ms = parse_span_ns(text).map_err(wrong)? / NS_PER_MS;
        if ms > 0 {
            return Ok(ms);
        }
    }
    let flag = settings.lookback_ms;
    if !settings.dynamic_lookback {
        return Ok(flag);
    }
    Ok(match max_resolution_ms {
        resolution if resolution > flag.max(FIVE_MINUTES_MS) => flag.max(HOUR_MS),
        resolution if resolution > flag => flag.max(FIVE_MINUTES_MS),
        _ => flag,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::ReadTenants;

    fn settings() -> ApiSettings {
        ApiSettings {
            max_concurrent: 1,
            lookback_ms: FIVE_MINUTES_MS,
            dynamic_lookback: true,
            default_step: Duration::from_secs(1),
            metadata_range: Duration::ZERO,
            replica_labels: Vec::new(),
            auto_downsampling: false,
            instant_max_resolution_ms: 0,
            partial_response: true,
            parse: promql::ParseOptions::default(),
            tenants: ReadTenants::All,
        }
    }

    #[test]
    fn the_parameter_decides_then_the_flag() {
        let check = |auto_downsampling, query: &str, expected| {
            let settings = ApiSettings { auto_downsampling, ..settings() };
            let found = max_resolution_ms(&settings, &Params::new(b"", query), 12 * NS_PER_MS);
            assert_eq!(found.map_err(|error| error.message.into_owned()), expected, "{query:?}, {auto_downsampling}");
        };
        for (query, expected) in
            [("5m", 300_000), ("1h", HOUR_MS), ("0s", 0), ("0", 0), ("300.5", 300_500), ("1w", 604_800_000)]
        {
            check(false, &format!("max_source_resolution={query}"), Ok(expected));
            check(true, &format!("max_source_resolution={query}"), Ok(expected));
        }
        check(false, "", Ok(0));
        check(true, "", Ok(12));
        check(false, "max_source_resolution=auto", Ok(12));
        check(true, "max_source_resolution=auto", Ok(12));
        let negative = "negative 'max_source_resolution' is not accepted. Try a positive integer";
        check(false, "max_source_resolution=-300", Err(negative.to_owned()));
        let text = "'max_source_resolution' parameter: cannot parse \"coarse\" to a valid duration";
        check(false, "max_source_resolution=coarse", Err(text.to_owned()));
    }

    /// Thanos's own cases, and what goes before both flags.
    #[test]
    fn lookback_reaches_a_window_that_may_be_read() {
        let check = |lookback_ms, dynamic_lookback, query: &str, cases: &[(i64, i64)]| {
            let settings = ApiSettings { lookback_ms, dynamic_lookback, ..settings() };
            for &(resolution, expected) in cases {
                let found = lookback_ms_of(&settings, query, resolution);
                assert_eq!(found, expected, "{lookback_ms}, {dynamic_lookback}, {query:?}, {resolution}");
            }
        };
        let day = 24 * HOUR_MS;
        check(300_000, false, "", &[(0, 300_000), (300_000, 300_000), (HOUR_MS, 300_000), (day, 300_000)]);
        check(180_000, true, "", &[(0, 180_000), (180_000, 180_000), (180_001, 300_000), (300_000, 300_000)]);
        check(180_000, true, "", &[(300_001, HOUR_MS), (HOUR_MS, HOUR_MS), (day, HOUR_MS)]);
        check(300_000, true, "", &[(0, 300_000), (300_000, 300_000), (300_001, HOUR_MS), (HOUR_MS, HOUR_MS)]);
        check(1_800_000, true, "", &[(0, 1_800_000), (1_800_000, 1_800_000), (1_800_001, HOUR_MS), (day, HOUR_MS)]);
        check(HOUR_MS, true, "", &[(0, HOUR_MS), (HOUR_MS, HOUR_MS), (day, HOUR_MS)]);
        check(300_000, true, "lookback_delta=1m", &[(0, 60_000), (HOUR_MS, 60_000)]);
        check(300_000, true, "lookback_delta=0s", &[(HOUR_MS, HOUR_MS)]);
    }

    fn lookback_ms_of(settings: &ApiSettings, query: &str, resolution: i64) -> i64 {
        lookback_ms(settings, &Params::new(b"", query), resolution).unwrap()
    }
}
