//! What is asked of a store.

use std::sync::Arc;
use std::time::Instant;

use crate::model::{Budget, Matcher, TenantScope, TimeInterval, UnlimitedBudget};

/// A request for series. Cheap to clone; every field is set by whoever makes it.
#[derive(Debug, Clone)]
pub struct SeriesRequest {
    /// Whose series may be seen.
    pub tenant: TenantScope,
    /// All must pass. Evaluated against a series' own and external labels together.
    pub matchers: Arc<[Matcher]>,
    /// Chunks that overlap this are wanted.
    pub interval: TimeInterval,
    /// Coarsest acceptable resolution in milliseconds; 0 asks for raw samples.
    pub max_resolution_ms: i64,
    /// At most so many series, in key order; approximate across parts.
    pub limit: Option<usize>,
    /// Only labels are wanted: the chunk lists stay empty.
    pub skip_chunks: bool,
    /// Labels, external or not, to remove from the result: replica labels. Series that become equal are joined.
    pub drop_labels: Arc<[String]>,
    /// Whether external labels join the series' own (compaction says no).
    pub with_external_labels: bool,
    /// When the answer is worthless.
    pub deadline: Option<Instant>,
    /// What every growing buffer reserves from.
    pub budget: Arc<dyn Budget>,
}

impl SeriesRequest {
    /// A request for raw chunks of all tenants, with external labels, no limit and no budget.
    #[must_use]
    pub fn new(matchers: Vec<Matcher>, interval: TimeInterval) -> Self {
        Self {
            tenant: TenantScope::All,
            matchers: matchers.into(),
            interval,
            max_resolution_ms: 0,
            limit: None,
            skip_chunks: false,
            drop_labels: Arc::from([]),
            with_external_labels: true,
            deadline: None,
            budget: Arc::new(UnlimitedBudget),
        }
    }
}

/// A request for label names or values.
#[derive(Debug, Clone)]
pub struct LabelRequest {
    /// Whose series may be seen.
    pub tenant: TenantScope,
    /// Only labels of series that pass all of these; empty asks for every series.
    pub matchers: Arc<[Matcher]>,
    /// Only labels of blocks that overlap this.
    pub interval: TimeInterval,
    /// At most so many, in order.
    pub limit: Option<usize>,
    /// Labels that are not shown.
    pub drop_labels: Arc<[String]>,
    /// When the answer is worthless.
    pub deadline: Option<Instant>,
    /// What every growing buffer reserves from.
    pub budget: Arc<dyn Budget>,
}

impl LabelRequest {
    /// A request for the labels of all tenants' series, without limit or budget.
    #[must_use]
    pub fn all(matchers: Vec<Matcher>, interval: TimeInterval) -> Self {
        Self {
            tenant: TenantScope::All,
            matchers: matchers.into(),
            interval,
            limit: None,
            drop_labels: Arc::from([]),
            deadline: None,
            budget: Arc::new(UnlimitedBudget),
        }
    }
}

/// A half-open range of label keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyRange {
    /// First key inside; none is the smallest.
    pub start: Option<String>,
    /// First key after; none is past the largest.
    pub end: Option<String>,
}

impl KeyRange {
    /// Every key.
    pub const ALL: KeyRange = KeyRange { start: None, end: None };

    /// Whether `key` lies inside.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.start.as_deref().is_none_or(|start| start <= key) && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// The ranges between ascending `points`: one more than there are points.
    #[must_use]
    pub fn between(points: &[String]) -> Vec<KeyRange> {
        let mut ranges = Vec::with_capacity(points.len() + 1);
        let mut start = None;
        for point in points {
            ranges.push(KeyRange { start: start.take(), end: Some(point.clone()) });
            start = Some(point.clone());
        }
        ranges.push(KeyRange { start, end: None });
        ranges
    }
}
