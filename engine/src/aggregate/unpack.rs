//! `UnpackExec`: an aggregation's struct back to the columns of a vector batch; groups without a sample go.
//!
//! ```text
//! labels │ {values, histograms} │ marked?  ─>  labels │ values │ histograms
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewBuilder};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

use crate::collected::map_batches;
use crate::error::{Error, Result};
use crate::operator::{only_input, operator_plumbing, partition_count, plan_properties};
use crate::removed_name::mark;
use crate::vector::{VectorColumns, vector_schema};

/// Unpacks what an aggregation puts out; keeps partitions and order.
#[derive(Debug)]
pub(super) struct UnpackExec {
    input: Arc<dyn ExecutionPlan>,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl UnpackExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, steps: usize) -> Self {
        let properties = plan_properties(vector_schema(steps), partition_count(&input));
        Self { input, steps, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?, self.steps))
    }
}

impl DisplayAs for UnpackExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnpackExec")
    }
}

impl ExecutionPlan for UnpackExec {
    operator_plumbing!("UnpackExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let unpack = {
            let schema = Arc::clone(&schema);
            async move { Ok(move |batch: &RecordBatch| unpack(batch, &schema)) }
        };
        Ok(map_batches(schema, input, metrics, unpack))
    }
}

/// The keys of the groups, marked where `marked` says so.
fn with_marks(labels: &ArrayRef, marked: &ArrayRef) -> Result<ArrayRef> {
    let wrong = || Error::Internal("an aggregation whose columns are of another type".to_owned());
    let labels = labels.as_string_view_opt().ok_or_else(wrong)?;
    let marked = marked.as_boolean_opt().ok_or_else(wrong)?;
    let mut keys = StringViewBuilder::with_capacity(labels.len());
    let mut key = String::new();
    for row in 0..labels.len() {
        if marked.is_valid(row) && marked.value(row) {
            mark(labels.value(row), &mut key);
            keys.append_value(&key);
        } else {
            keys.append_value(labels.value(row));
        }
    }
    Ok(Arc::new(keys.finish()))
}

fn unpack(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let internal = |e: arrow::error::ArrowError| Error::Internal(e.to_string());
    let (labels, result, marked) = match batch.columns() {
        [labels, result] => (Arc::clone(labels), result, None),
        [labels, result, marked] => (Arc::clone(labels), result, Some(marked)),
        _ => return Err(Error::Internal("an aggregation put out another number of columns".to_owned())),
    };
    let labels = marked.map_or(Ok(Arc::clone(&labels)), |marked| with_marks(&labels, marked))?;
    let result = result
        .as_struct_opt()
        .ok_or_else(|| Error::Internal("an aggregation put out something else than a struct".to_owned()))?;
    let columns: Vec<ArrayRef> = vec![labels, Arc::clone(result.column(0)), Arc::clone(result.column(1))];
    let batch = RecordBatch::try_new(Arc::clone(schema), columns).map_err(internal)?;
    let columns = VectorColumns::try_new(&batch)?;
    let present: BooleanArray =
        (0..columns.len()).map(|row| Some(columns.row(row).present_steps().next().is_some())).collect();
    if present.true_count() == present.len() {
        Ok(batch)
    } else {
        filter_record_batch(&batch, &present).map_err(internal)
    }
}
