//! `SeriesScanExec`: the leaf of every plan; one partition a part of the store.
//!
//! ```text
//! SeriesPart (a block, a head, a peer) ── stream(KeyRange) ──> series batches, by labels
//! ```
//!
//! The series were selected while the query was planned; the scan fetches the chunks of those in its range of keys.
//! Several scans of disjoint ranges over the same parts make a query run on all cores.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::TryStreamExt;
use storage::schema::series_schema;
use storage::store::{KeyRange, SeriesPart};

use crate::error::Error;
use crate::operator::{batch_stream, operator_plumbing};

/// Streams the selected series of each part whose key lies in one range.
#[derive(Debug)]
pub struct SeriesScanExec {
    parts: Arc<[Arc<dyn SeriesPart>]>,
    range: KeyRange,
    /// Which of how many ranges this is, for EXPLAIN.
    range_number: (usize, usize),
    /// The selector in PromQL, for EXPLAIN.
    selector: Arc<str>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SeriesScanExec {
    /// A scan of `range` over `parts`; `range_number` is its place among the ranges of one selector.
    #[must_use]
    pub fn new(
        parts: Arc<[Arc<dyn SeriesPart>]>,
        range: KeyRange,
        range_number: (usize, usize),
        selector: Arc<str>,
    ) -> Self {
        let mut equivalences = EquivalenceProperties::new(series_schema());
        equivalences.add_orderings([by_labels()]);
        let properties = Arc::new(PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { parts, range, range_number, selector, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, _inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(Arc::clone(&self.parts), self.range.clone(), self.range_number, Arc::clone(&self.selector)))
    }
}

/// The order of series batches: ascending by the label key.
pub(crate) fn by_labels() -> LexOrdering {
    let labels = PhysicalSortExpr::new_default(Arc::new(Column::new("labels", 0)));
    LexOrdering::new([labels]).expect("invariant: one sort expression is an ordering")
}

impl DisplayAs for SeriesScanExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, of) = self.range_number;
        write!(f, "SeriesScanExec: {}, range={}/{of}, parts={}", self.selector, number + 1, self.parts.len())?;
        f.write_str(&resolutions(&self.parts))
    }
}

/// How many parts there are of each resolution, coarsest first; nothing where all are raw.
fn resolutions(parts: &[Arc<dyn SeriesPart>]) -> String {
    let mut counts: BTreeMap<Reverse<i64>, usize> = BTreeMap::new();
    for part in parts {
        *counts.entry(Reverse(part.resolution_ms())).or_default() += 1;
    }
    if counts.keys().all(|resolution| resolution.0 == 0) {
        return String::new();
    }
    let name = |resolution_ms: i64| match resolution_ms {
        0 => "raw".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms => format!("{ms}ms"),
    };
    let counts: Vec<String> =
        counts.into_iter().map(|(resolution, parts)| format!("{} of {}", parts, name(resolution.0))).collect();
    format!(" ({})", counts.join(", "))
}

impl ExecutionPlan for SeriesScanExec {
    operator_plumbing!("SeriesScanExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let part = self
            .parts
            .get(partition)
            .ok_or_else(|| Error::Internal(format!("a scan of {} parts has no part {partition}", self.parts.len())))?;
        let batches = part.stream(self.range.clone()).map_err(Error::from);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        Ok(make_cooperative(batch_stream(series_schema(), metrics, batches)))
    }
}
