//! `SortVectorExec`: `sort`, `sort_desc`, `sort_by_label` and `sort_by_label_desc` of an instant query.
//!
//! ```text
//! rows ─> collected ─> sorted by value or by labels ─> rows
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use storage::model::label_key;

use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::error::{Error, Result};
use crate::operator::{only_input, operator_plumbing, plan_properties};
use crate::removed_name::unmarked;
use crate::vector::vector_schema;

/// What rows are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// The float; rows with a histogram are dropped, NaN comes last either way.
    Value,
    /// These labels, numbers in them by their value, then all labels.
    Labels(Vec<String>),
}

/// Sorts the rows of a vector of one step. One partition in, one out.
#[derive(Debug)]
pub struct SortVectorExec {
    input: Arc<dyn ExecutionPlan>,
    key: SortKey,
    descending: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SortVectorExec {
    /// Sorts `input`.
    ///
    /// # Errors
    /// [`Error::Internal`] where it has more than one step.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, key: SortKey, descending: bool) -> Result<Self> {
        if input.schema() != vector_schema(1) {
            return Err(Error::Internal("only an instant vector can be sorted".to_owned()));
        }
        let properties = plan_properties(input.schema(), 1);
        Ok(Self { input, key, descending, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::try_new(only_input(inputs)?, self.key.clone(), self.descending)?)
    }
}

impl DisplayAs for SortVectorExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.descending { " desc" } else { "" };
        write!(f, "SortVectorExec: {:?}{direction}", self.key)
    }
}

impl ExecutionPlan for SortVectorExec {
    operator_plumbing!("SortVectorExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (input, key, descending) = (Arc::clone(&self.input), self.key.clone(), self.descending);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let rows = async move {
            let rows = CollectedRows::collect(&input, context, "SortVectorExec").await?;
            let _timer = compute.timer();
            let order = sorted(&rows, &key, descending);
            Ok(row_batches(1, order.len(), move |item, builder| {
                builder.push_copy(rows.labels(order[item]), &rows.row(order[item]));
                Ok(())
            }))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

fn sorted(rows: &CollectedRows, key: &SortKey, descending: bool) -> Vec<usize> {
    let direct = |order: Ordering| if descending { order.reverse() } else { order };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    match key {
        SortKey::Value => {
            let value = |row: &usize| rows.row(*row).float(0);
            order.retain(|row| value(row).is_some());
            order.sort_by(|a, b| {
                let (a, b) = (value(a).unwrap_or(f64::NAN), value(b).unwrap_or(f64::NAN));
                let order = a.partial_cmp(&b).map_or(Ordering::Equal, direct);
                a.is_nan().cmp(&b.is_nan()).then(order)
            });
        }
        SortKey::Labels(names) => order.sort_by(|a, b| {
            let (a, b) = (unmarked(rows.labels(*a)), unmarked(rows.labels(*b)));
            let text = |key: &str, name: &str| {
                label_key::get(key, name).map(|value| value.text().into_owned()).unwrap_or_default()
            };
            let by_names = names.iter().map(|name| natural(&text(a, name), &text(b, name)));
            direct(by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.cmp(b)))
        }),
    }
    order
}

/// Compares piece by piece, a piece being digits or anything else; digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let ((left, rest_a), (right, rest_b)) = (piece(a), piece(b));
        let numbers = left.as_bytes()[0].is_ascii_digit() && right.as_bytes()[0].is_ascii_digit();
        let order = if numbers {
            let (l, r) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            l.len().cmp(&r.len()).then_with(|| l.cmp(r)).then_with(|| right.len().cmp(&left.len()))
        } else {
            left.cmp(right)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// The first run of digits or of anything else, and the rest.
fn piece(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_faults, source};

    fn over(input: Arc<dyn ExecutionPlan>, key: SortKey, descending: bool) -> Arc<dyn ExecutionPlan> {
        Arc::new(SortVectorExec::try_new(input, key, descending).unwrap())
    }

    #[test]
    fn by_value_with_nan_last() {
        let rows = "a NaN\nb 2\nc 1\nd h:1:1\ne 3";
        check(over(source(1, rows), SortKey::Value, false), "c 1\nb 2\ne 3\na NaN");
        check(over(source(1, rows), SortKey::Value, true), "e 3\nb 2\nc 1\na NaN");
    }

    #[test]
    fn by_label_in_natural_order() {
        let rows = "a{x=\"n10\"} 1\na{x=\"n9\"} 2\nb{x=\"n9\"} 3\na 4";
        let key = SortKey::Labels(vec!["x".to_owned()]);
        let expected = "a 4\na{x=\"n9\"} 2\nb{x=\"n9\"} 3\na{x=\"n10\"} 1";
        check(over(source(1, rows), key.clone(), false), expected);
        let reversed: Vec<&str> = expected.lines().rev().collect();
        check(over(source(1, rows), key, true), &reversed.join("\n"));
    }

    #[test]
    fn faults_of_inputs() {
        check_faults(1, "a 1", |input| over(input, SortKey::Value, false));
    }
}
