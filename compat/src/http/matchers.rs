//! `match[]`: selectors that restrict series, label names and label values.

use std::sync::Arc;

use promql::ParseOptions;
use storage::model::Matcher;

use super::error::ApiError;
use super::params::Params;

/// The matchers of each `match[]`.
///
/// # Errors
/// Where one does not parse, or would match everything.
pub fn parse_matcher_sets(params: &Params, options: &ParseOptions) -> Result<Vec<Arc<[Matcher]>>, ApiError> {
    let mut sets = Vec::new();
    for text in params.all("match[]") {
        let matchers = promql::parse_selector(text, options).map_err(|error| ApiError::parameter("match[]", error))?;
        if matchers.iter().all(Matcher::matches_empty) {
            return Err(ApiError::parameter("match[]", "match[] must contain at least one non-empty matcher"));
        }
        sets.push(Arc::from(matchers));
    }
    Ok(sets)
}
