//! `/api/v1/status/tsdb` of a head: as Prometheus answers it, and by tenant, as Thanos receive does at the address of remote write.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use storage::head::{Cardinality, Head};

use super::answer::success_json;
use super::error::{ApiError, ErrorKind};
use super::params::{Params, parse_integer};
use crate::tenant::{Sender, TenantRule};

/// How many entries a list has unless the request says otherwise.
pub const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 10_000;

/// One line of a list.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Stat {
    /// What is counted.
    pub name: String,
    /// How often.
    pub value: u64,
}

/// What Prometheus tells of its head.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TsdbStatus {
    /// Of the whole.
    pub head_stats: HeadCounts,
    /// Series by metric name.
    pub series_count_by_metric_name: Vec<Stat>,
    /// Distinct values by label name.
    pub label_value_count_by_label_name: Vec<Stat>,
    /// Bytes by label name, as if each series had its own.
    pub memory_in_bytes_by_label_name: Vec<Stat>,
    /// Series by `name=value`.
    pub series_count_by_label_value_pair: Vec<Stat>,
}

/// The numbers of a head.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeadCounts {
    /// Series.
    pub num_series: u64,
    /// Distinct pairs of name and value.
    pub num_label_pairs: u64,
    /// Chunks.
    pub chunk_count: u64,
    /// The oldest sample, in milliseconds; the greatest of all times where there is none.
    pub min_time: i64,
    /// The newest sample; the least of all times where there is none.
    pub max_time: i64,
}

/// That of one tenant, as Thanos has it.
#[derive(Debug, Serialize)]
struct TenantStatus {
    tenant: Arc<str>,
    #[serde(flatten)]
    status: TsdbStatus,
}

/// What a client gets who asks for all tenants where each is to see its own.
pub const ALL_TENANTS_REFUSED: &str = "the all_tenants parameter is not supported where every request is of one tenant";

/// A head, and whose requests are.
#[derive(Debug)]
struct TenantHead {
    head: Arc<Head>,
    rule: TenantRule,
    /// Whether anybody may ask for all tenants.
    lists_all: bool,
}

/// `GET /api/v1/status/tsdb` as Thanos receive has it: a list with the tenant of the request, told by the rule of writes, or with all of
/// them where `all_tenants=true` asks for that. Where `own_only`, or by a rule of certificates, nobody may ask for all.
pub fn tenant_status_router(head: Arc<Head>, rule: TenantRule, own_only: bool) -> Router {
    let lists_all = !own_only && rule.certificate.is_none();
    let state = Arc::new(TenantHead { head, rule, lists_all });
    Router::new().route("/api/v1/status/tsdb", get(tenant_status)).with_state(state)
}

async fn tenant_status(
    State(state): State<Arc<TenantHead>>,
    from: Sender,
    params: Params,
) -> Result<Response, ApiError> {
    if !wants_all_tenants(&params) {
        let tenant = state.rule.writer(&from.headers, from.certificate.as_ref())?;
        return by_tenant(&state.head, Some(&tenant), limit(&params)?).await;
    }
    if !state.lists_all {
        return Err(ApiError::bad_data(ALL_TENANTS_REFUSED));
    }
    if state.rule.names_somebody(&from.headers) {
        let header = &state.rule.header;
        return Err(ApiError::bad_data(format!(
            "using both the all_tenants parameter and the {header} header is not supported"
        )));
    }
    by_tenant(&state.head, None, limit(&params)?).await
}

/// Whether a list of all tenants is asked for.
pub fn wants_all_tenants(params: &Params) -> bool {
    params.non_empty("all_tenants") == Some("true")
}

/// How long lists may be.
///
/// # Errors
/// Where `limit` is no positive number, or above what Prometheus takes.
pub fn limit(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.non_empty("limit") else { return Ok(LIMIT_DEFAULT) };
    let limit = parse_integer(text).ok().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let limit = limit.ok_or_else(|| ApiError::bad_data("limit must be a positive number"))?;
    if limit > LIMIT_MAX {
        return Err(ApiError::bad_data(format!("limit must not exceed {LIMIT_MAX}")));
    }
    Ok(limit)
}

/// Answers with the whole head, or with what is one tenant's of it.
///
/// # Errors
/// [`ErrorKind::Internal`] where counting did not end.
pub async fn whole(head: &Arc<Head>, tenant: Option<&str>, limit: usize) -> Result<Response, ApiError> {
    let tenant = tenant.map(str::to_owned);
    success_json(&counted(head, move |head| status(head, tenant.as_deref(), limit)).await?)
}

/// Answers with a list of tenants, or of the one that is named, if it is there.
///
/// # Errors
/// As [`whole`].
pub async fn by_tenant(head: &Arc<Head>, tenant: Option<&str>, limit: usize) -> Result<Response, ApiError> {
    let tenant = tenant.map(str::to_owned);
    let counted = counted(head, move |head| {
        let mut tenants = head.tenants();
        tenants.retain(|known| tenant.as_ref().is_none_or(|tenant| *known.name == **tenant));
        tenants.sort_by(|a, b| a.name.cmp(&b.name));
        let status = |name: Arc<str>| TenantStatus { status: status(head, Some(&name), limit), tenant: name };
        tenants.into_iter().map(|tenant| status(tenant.name)).collect::<Vec<_>>()
    });
    success_json(&counted.await?)
}

/// Every series is visited, so not where requests are served.
async fn counted<T: Send + 'static>(
    head: &Arc<Head>,
    count: impl FnOnce(&Head) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let head = Arc::clone(head);
    let counted = tokio::task::spawn_blocking(move || count(&head)).await;
    counted.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))
}

fn status(head: &Head, tenant: Option<&str>, limit: usize) -> TsdbStatus {
    let Cardinality { series_by_metric, values_by_label, bytes_by_label, series_by_pair, label_pairs, series, chunks } =
        head.cardinality(tenant, limit);
    let (mut min_time, mut max_time) = (i64::MAX, i64::MIN);
    for known in head.tenants().iter().filter(|known| tenant.is_none_or(|tenant| *known.name == *tenant)) {
        min_time = min_time.min(known.interval.mint);
        max_time = max_time.max(known.interval.maxt);
    }
    let list = |counts: Vec<(String, u64)>| counts.into_iter().map(|(name, value)| Stat { name, value }).collect();
    TsdbStatus {
        head_stats: HeadCounts {
            num_series: series,
            num_label_pairs: label_pairs,
            chunk_count: chunks,
            min_time,
            max_time,
        },
        series_count_by_metric_name: list(series_by_metric),
        label_value_count_by_label_name: list(values_by_label),
        memory_in_bytes_by_label_name: list(bytes_by_label),
        series_count_by_label_value_pair: list(series_by_pair),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use storage::ManualClock;
    use storage::head::{FloatSample, HeadSettings, SeriesWrite};
    use tower::ServiceExt;

    use super::*;
    use crate::tenant::CertificateField;

    fn head() -> Arc<Head> {
        let head = Head::new(HeadSettings::default(), Arc::new(ManualClock::new(0)));
        for (tenant, series, t) in [("a", "1", 5), ("a", "2", 7), ("default-tenant", "1", 9)] {
            let mut appender = head.appender(tenant);
            let floats = [FloatSample { t, start: 0, value: 1.0 }];
            let labels = [("__name__", "up"), ("n", series)];
            appender.push(&SeriesWrite {
                labels: &labels,
                floats: &floats,
                histograms: &[],
                exemplars: &[],
                metadata: None,
            });
            assert_eq!(appender.commit().unwrap().outcome.floats, 1);
        }
        Arc::new(head)
    }

    async fn get(uri: &str, tenant: Option<&str>) -> (u16, Value) {
        get_by(TenantRule::default(), false, uri, tenant).await
    }

    async fn get_by(rule: TenantRule, own_only: bool, uri: &str, tenant: Option<&str>) -> (u16, Value) {
        let router = tenant_status_router(head(), rule, own_only);
        let mut request = Request::get(uri);
        if let Some(tenant) = tenant {
            request = request.header("THANOS-TENANT", tenant);
        }
        let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn a_tenant_has_all_that_thanos_tells_of_it() {
        let (status, body) = get("/api/v1/status/tsdb", Some("a")).await;
        let expected = json!([{
            "tenant": "a",
            "headStats": {"numSeries": 2, "numLabelPairs": 3, "chunkCount": 2, "minTime": 5, "maxTime": 7},
            "seriesCountByMetricName": [{"name": "up", "value": 2}],
            "labelValueCountByLabelName": [{"name": "n", "value": 2}, {"name": "__name__", "value": 1}],
            "memoryInBytesByLabelName": [{"name": "__name__", "value": 24}, {"name": "n", "value": 8}],
            "seriesCountByLabelValuePair": [
                {"name": "__name__=up", "value": 2}, {"name": "n=1", "value": 1}, {"name": "n=2", "value": 1},
            ],
        }]);
        assert_eq!((status, &body["data"]), (200, &expected));
    }

    #[tokio::test]
    async fn tenants_are_chosen_as_in_thanos() {
        let tenants = |body: &Value| -> Vec<String> {
            body["data"].as_array().unwrap().iter().map(|one| one["tenant"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(tenants(&get("/api/v1/status/tsdb", None).await.1), ["default-tenant"]);
        assert_eq!(tenants(&get("/api/v1/status/tsdb?all_tenants=true", None).await.1), ["a", "default-tenant"]);
        assert_eq!(tenants(&get("/api/v1/status/tsdb", Some("nobody")).await.1), Vec::<String>::new());
        assert_eq!(get("/api/v1/status/tsdb?all_tenants=true", Some("a")).await.0, 400);
        for limit in ["0", "-1", "x", "10001"] {
            assert_eq!(get(&format!("/api/v1/status/tsdb?limit={limit}"), None).await.0, 400, "{limit}");
        }
        let (_, body) = get("/api/v1/status/tsdb?limit=1", Some("a")).await;
        assert_eq!(body["data"][0]["seriesCountByLabelValuePair"].as_array().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn nobody_gets_by_the_rule_of_writes() {
        let certified = TenantRule { certificate: Some(CertificateField::CommonName), ..TenantRule::default() };
        for uri in ["/api/v1/status/tsdb", "/api/v1/status/tsdb?all_tenants=true"] {
            let (status, body) = get_by(certified.clone(), false, uri, Some("a")).await;
            assert_eq!((status, body.get("data")), (400, None), "a header is no certificate: {uri}");
        }
        let own = get_by(TenantRule::default(), true, "/api/v1/status/tsdb?all_tenants=true", None).await;
        assert_eq!((own.0, own.1.get("data")), (400, None));
        assert_eq!(get_by(TenantRule::default(), true, "/api/v1/status/tsdb", Some("a")).await.0, 200);
        assert_eq!(get("/api/v1/status/tsdb", Some("../a")).await.0, 400);
    }
}
