//! The metric name, type and unit of what is no longer the metric: removed at once, or at the end of the query.
//!
//! `rate(x[5m])` is no `x`. Usually its labels lose the name where the operator writes them. With delayed name removal they keep it
//! until the query's end, so that grouping and `label_replace` above still see it. The row is marked instead:
//!
//! ```text
//! key          := mark? pair*
//! mark         := 00 "1" 00        a label without a name, which no series has and which sorts first
//! ```
//!
//! So the mark goes with the labels wherever they are copied, and no schema knows of it. What looks at labels looks at the
//! [`unmarked`] key. [`RemoveNamesExec`] ends the query: of marked rows the labels go.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewBuilder};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use storage::model::{METRIC_NAME, label_key};

use crate::collected::map_batches;
use crate::error::{Error, Result};
use crate::label_ops::drop_name;
use crate::operator::{only_input, operator_plumbing, partition_count, plan_properties};
use crate::vector::VectorColumns;

/// What a marked key begins with.
const MARK: &str = "\u{0}1\u{0}";

/// When labels lose the name of a metric that they no longer describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameRemoval {
    /// Where the operator writes them.
    #[default]
    AtOnce,
    /// At the end of the query (`promql-delayed-name-removal`).
    AtEnd,
}

impl NameRemoval {
    /// Replaces `out` by `key` for a result that is no longer the metric.
    pub(crate) fn remove(self, key: &str, out: &mut String) {
        match self {
            Self::AtOnce => drop_name(key, out),
            Self::AtEnd => mark(key, out),
        }
    }

    /// As [`remove`](Self::remove), but at once only the name itself goes, not type and unit: what Prometheus does under functions
    /// of histograms.
    pub(crate) fn remove_only_name(self, key: &str, out: &mut String) {
        match self {
            Self::AtOnce => {
                out.clear();
                label_key::filter_into(key, out, |name| !name.is(METRIC_NAME));
            }
            Self::AtEnd => mark(key, out),
        }
    }
}

/// Replaces `out` by `key`, marked.
pub(crate) fn mark(key: &str, out: &mut String) {
    out.clear();
    out.push_str(MARK);
    out.push_str(unmarked(key));
}

/// The labels of a key, marked or not.
#[inline]
pub(crate) fn unmarked(key: &str) -> &str {
    key.strip_prefix(MARK).unwrap_or(key)
}

/// Whether a key's name goes at the end of the query.
#[inline]
pub(crate) fn is_marked(key: &str) -> bool {
    key.starts_with(MARK)
}

/// Removes the names of marked rows. Keeps partitions and the order of rows. Labels may become equal: see
/// [`UniqueLabelsExec`](crate::UniqueLabelsExec).
#[derive(Debug)]
pub struct RemoveNamesExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RemoveNamesExec {
    /// Ends a query whose plan is `input`.
    #[must_use]
    pub fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = plan_properties(input.schema(), partition_count(&input));
        Self { input, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?))
    }
}

impl DisplayAs for RemoveNamesExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoveNamesExec")
    }
}

impl ExecutionPlan for RemoveNamesExec {
    operator_plumbing!("RemoveNamesExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let map = async move { Ok(remove_names) };
        Ok(map_batches(self.schema(), input, BaselineMetrics::new(&self.metrics, partition), map))
    }
}

fn remove_names(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = VectorColumns::try_new(batch)?;
    if !(0..columns.len()).any(|row| is_marked(columns.labels(row))) {
        return Ok(batch.clone());
    }
    relabelled(batch, |key, out| {
        if is_marked(key) {
            drop_name(unmarked(key), out);
        } else {
            out.clear();
            out.push_str(key);
        }
    })
}

/// The batch with other labels and the same samples: `write` replaces its second argument by the new key of the first.
pub(crate) fn relabelled(batch: &RecordBatch, mut write: impl FnMut(&str, &mut String)) -> Result<RecordBatch> {
    let columns = VectorColumns::try_new(batch)?;
    let mut labels = StringViewBuilder::with_capacity(columns.len());
    let mut key = String::new();
    for row in 0..columns.len() {
        write(columns.labels(row), &mut key);
        labels.append_value(&key);
    }
    let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
    let first = arrays.first_mut().ok_or_else(|| Error::Internal("a vector batch without columns".to_owned()))?;
    *first = Arc::new(labels.finish());
    RecordBatch::try_new(batch.schema(), arrays).map_err(|e| Error::Internal(e.to_string()))
}

#[cfg(test)]
mod tests {
    use promql::tree::{AggregateOp, Grouping};

    use super::*;
    use crate::aggregate::aggregate_plan;
    use crate::context::QueryContext;
    use crate::map::{ElementFunction, MapExec};
    use crate::testing::{End, SourceExec, check, check_cancel, check_error, context, labels, source};

    #[test]
    fn a_mark_is_no_label() {
        let key = labels("m{a=\"1\", __type__=\"gauge\"}").into_key();
        let mut marked = String::new();
        mark(&key, &mut marked);
        assert!(is_marked(&marked) && !is_marked(&key));
        assert_eq!(unmarked(&marked), key);
        let mut again = String::new();
        NameRemoval::AtEnd.remove(&marked, &mut again);
        assert_eq!(again, marked);
        assert!(marked < key, "it sorts before every name");
        NameRemoval::AtOnce.remove(&key, &mut again);
        assert_eq!(again, labels("{a=\"1\"}").into_key());
        NameRemoval::AtOnce.remove_only_name(&key, &mut again);
        assert_eq!(again, labels("{a=\"1\", __type__=\"gauge\"}").into_key());
    }

    #[test]
    fn a_group_is_marked_where_one_of_its_series_is() {
        let delayed = QueryContext { name_removal: NameRemoval::AtEnd, ..context() };
        let by = Grouping::By(vec![METRIC_NAME.to_owned()]);
        let sum = |input| -> Arc<dyn ExecutionPlan> {
            let sum = aggregate_plan(input, AggregateOp::Sum, &by, 2, &delayed, "1:1".to_owned()).unwrap();
            Arc::new(RemoveNamesExec::new(sum))
        };
        let rows = "a{x=\"1\"} 1 2\nb 1 _\n---\na{x=\"2\"} 3 4";
        check(sum(source(2, rows)), "a 4 6\nb 1 _");
        let negate = MapExec::new(source(2, rows), ElementFunction::Negate, vec![], NameRemoval::AtEnd);
        check(sum(Arc::new(negate)), "{} -4 -6\n{} -1 _");
    }

    #[test]
    fn faults_of_inputs() {
        let over = |input| -> Arc<dyn ExecutionPlan> { Arc::new(RemoveNamesExec::new(input)) };
        check_error(over(Arc::new(SourceExec::new(2, "a 1 2", End::Error))), "the input failed");
        check_cancel(SourceExec::new(2, "a 1 2", End::Never), over);
    }
}
