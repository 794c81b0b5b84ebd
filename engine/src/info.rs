//! `InfoExec`: `info(v, {…})`, which adds the labels of info metrics to the series of `v`.
//!
//! ```text
//! info ─┐ collected       info series by instance and job ─> runs of steps with the same info series ─┐
//!       ├──────────>                                                                                  ├─> rows
//! base ─┘ collected ──────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! 1. [`InfoSelector`] tells from the second argument which metrics are info metrics and which of their labels are
//!    wanted.
//! 2. At each step, of the info series that are equal in name, `instance` and `job` the one with the newest sample
//!    counts. Which ones count hardly ever changes, so they are held as runs of steps.
//! 3. A base series takes its run's labels, those left out that it has itself. Where they differ from run to run it
//!    makes several rows; what comes out with equal labels makes one.
//!
//! The semantics are those of Prometheus 3.14.

mod enriched;
mod selector;
mod sources;

use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

use self::enriched::Enriched;
use crate::binary::two_inputs;
use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::error::{Error, Result};
use crate::operator::{operator_plumbing, partition_count, plan_properties};
use crate::vector::vector_schema;

pub use self::selector::{InfoSelector, info_reference};

/// Adds the labels of info series to base series. One partition in on both sides, one out; rows come in the order of
/// the base.
#[derive(Debug)]
pub struct InfoExec {
    base: Arc<dyn ExecutionPlan>,
    info: Arc<dyn ExecutionPlan>,
    selector: Arc<InfoSelector>,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl InfoExec {
    /// Enriches `base` over `steps` steps. `info` has the series that `selector` selects, with their names; its floats
    /// are the times of samples, as [`WindowFunction::SampleTimes`](crate::WindowFunction::SampleTimes) makes them.
    ///
    /// # Errors
    /// [`Error::Internal`] where a side has more than one partition.
    pub fn try_new(
        base: Arc<dyn ExecutionPlan>,
        info: Arc<dyn ExecutionPlan>,
        selector: Arc<InfoSelector>,
        steps: usize,
    ) -> Result<Self> {
        if partition_count(&base) != 1 || partition_count(&info) != 1 {
            return Err(Error::Internal("InfoExec wants one partition on each side".to_owned()));
        }
        let properties = plan_properties(vector_schema(steps), 1);
        Ok(Self { base, info, selector, steps, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let [base, info] = two_inputs(inputs)?;
        Ok(Self::try_new(base, info, Arc::clone(&self.selector), self.steps)?)
    }
}

impl DisplayAs for InfoExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoExec: {}", self.selector)
    }
}

impl ExecutionPlan for InfoExec {
    operator_plumbing!("InfoExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.base, &self.info]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (base, info) = (Arc::clone(&self.base), Arc::clone(&self.info));
        let (selector, steps) = (Arc::clone(&self.selector), self.steps);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let rows = async move {
            let (base, info) = CollectedRows::collect_both((&base, &info), context, "InfoExec").await?;
            let _timer = compute.timer();
            let enriched = Enriched::try_new(base, &info, &selector, steps)?;
            Ok(row_batches(steps, enriched.len(), move |row, builder| enriched.write(row, builder)))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

#[cfg(test)]
mod tests;
