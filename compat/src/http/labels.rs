//! `/api/v1/labels` and `/api/v1/label/<name>/values`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::response::Response;
use engine::TRUNCATED;
use storage::model::{Budget, Matcher, TenantScope, TimeInterval};
use storage::store::{LabelRequest, LabelSet};

use super::Api;
use super::answer::{require_complete, success};
use super::error::ApiError;
use super::json::push_array;
use super::matchers::parse_matcher_sets;
use super::params::Params;
use super::scope::Scope;
use super::stores::check_store_matchers;
use crate::instant::{MAX_TIME, MIN_TIME};

/// The names of labels.
pub async fn names(State(api): State<Arc<Api>>, Scope(scope): Scope, params: Params) -> Result<Response, ApiError> {
    let lookup = Lookup::new(&api, scope, &params)?;
    let mut found = Found::default();
    for matchers in &lookup.matcher_sets {
        found.add(api.store.label_names(lookup.request(matchers)).await?);
    }
    lookup.respond(found)
}

/// The values of a label.
pub async fn values(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Scope(scope): Scope,
    params: Params,
) -> Result<Response, ApiError> {
    let name = unescape_name(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let lookup = Lookup::new(&api, scope, &params)?;
    let mut found = Found::default();
    for matchers in &lookup.matcher_sets {
        found.add(api.store.label_values(&name, lookup.request(matchers)).await?);
    }
    lookup.respond(found)
}

/// The time range of a metadata request.
///
/// # Errors
/// Where a time does not parse, or the end is before the start.
pub fn metadata_interval(api: &Api, params: &Params) -> Result<TimeInterval, ApiError> {
    let range_ms = i64::try_from(api.settings.metadata_range.as_millis()).unwrap_or(i64::MAX);
    let (first, last) = match range_ms {
        0 => (MIN_TIME, MAX_TIME),
        range_ms => {
            let now = api.clock.now();
            (now.saturating_sub(range_ms), now)
        }
    };
    let interval = TimeInterval::new(params.time_or("start", first)?, params.time_or("end", last)?);
    if interval.maxt < interval.mint {
        return Err(ApiError::bad_data("end timestamp must not be before start time"));
    }
    Ok(interval)
}

/// What both lookups share.
struct Lookup {
    scope: TenantScope,
    interval: TimeInterval,
    /// At least one; a request without `match[]` has an empty set.
    matcher_sets: Vec<Arc<[Matcher]>>,
    limit: Option<usize>,
    partial_response: bool,
    deadline: Option<Instant>,
    /// What the answer is held in is charged to.
    budget: Arc<dyn Budget>,
}

impl Lookup {
    fn new(api: &Api, scope: TenantScope, params: &Params) -> Result<Self, ApiError> {
        let limit = params.limit()?;
        let interval = metadata_interval(api, params)?;
        let mut matcher_sets = parse_matcher_sets(params, &api.settings.parse)?;
        if matcher_sets.is_empty() {
            matcher_sets.push(Arc::from([]));
        }
        check_store_matchers(api, &scope, params)?;
        let partial_response = params.flag("partial_response", api.settings.partial_response)?;
        let deadline = Instant::now().checked_add(api.engine.settings().timeout);
        let budget = api.engine.budget("label lookup");
        Ok(Self { scope, interval, matcher_sets, limit, partial_response, deadline, budget })
    }

    fn request(&self, matchers: &Arc<[Matcher]>) -> LabelRequest {
        LabelRequest {
            tenant: self.scope.clone(),
            matchers: Arc::clone(matchers),
            interval: self.interval,
            // one more than is shown, to know whether there are more
            limit: self.limit.map(|limit| limit.saturating_add(1)),
            drop_labels: Arc::from([]),
            deadline: self.deadline,
            budget: Arc::clone(&self.budget),
        }
    }

    fn respond(&self, found: Found) -> Result<Response, ApiError> {
        let mut warnings: Vec<String> = found.warnings.into_iter().collect();
        require_complete(self.partial_response, &warnings)?;
        let shown = self.limit.unwrap_or(usize::MAX);
        if found.values.len() > shown {
            warnings.push(TRUNCATED.to_owned());
        }
        let mut data = Vec::new();
        push_array(&mut data, found.values.iter().take(shown));
        Ok(success(&data, &warnings))
    }
}

/// What all matcher sets found together.
#[derive(Default)]
struct Found {
    values: BTreeSet<String>,
    warnings: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, set: LabelSet) {
        self.values.extend(set.values);
        self.warnings.extend(set.warnings);
    }
}

/// Reads `U__http_2e_status` as `http.status`: a double underscore is one, `_hex_` is the character of that number. A name that
/// is not escaped properly is itself.
fn unescape_name(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, after)| {
            let fits = (1..=6).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
            let code = u32::from_str_radix(hex, 16).ok().filter(|_| fits)?;
            Some((char::from_u32(code)?, after))
        });
        match decoded {
            Some((c, after)) => {
                plain.push(c);
                rest = after;
            }
            None => return name.to_owned(),
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        for (name, expected) in [
            ("job", "job"),
            ("U__job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___65e5__672c_", "日本"),
            ("U___1f600_", "😀"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_2e", "U__a_2e"),
            ("U__a_d800_", "U__a_d800_"),
            ("U__a_1234567_", "U__a_1234567_"),
        ] {
            assert_eq!(unescape_name(name), expected);
        }
    }
}
