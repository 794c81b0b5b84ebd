//! The accumulator that `AggregateExec` drives: rows into groups, groups into rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, BooleanBufferBuilder, FixedSizeListArray,
    Float64Array, ListArray, StructArray, UInt32Array, UInt32Builder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Float64Type;
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use storage::model::{METRIC_NAME, label_key, quote_go};

use super::float_state::{FloatOp, FloatState};
use super::function::result_fields;
use super::histogram_state::{HistogramNotes, HistogramSlot, HistogramState};
use crate::annotations::AnnotationSink;
use crate::error::{Error, Result};
use crate::vector::{VectorColumns, encode_histogram, histogram_fields, histogram_item_field, value_item_field};

/// Aggregates rows of vector batches into groups.
#[derive(Debug)]
pub(super) struct VectorAccumulator {
    op: FloatOp,
    steps: usize,
    floats: FloatState,
    histograms: HistogramState,
    annotations: Arc<AnnotationSink>,
    position: String,
}

impl VectorAccumulator {
    pub(super) fn new(op: FloatOp, steps: usize, annotations: Arc<AnnotationSink>, position: String) -> Self {
        let floats = FloatState::new(op, steps);
        let histograms = HistogramState::new(op == FloatOp::Avg);
        Self { op, steps, floats, histograms, annotations, position }
    }

    fn add_rows(&mut self, values: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let [values, histograms, labels] = values else { return Err(wrong("arguments")) };
        let columns = VectorColumns::from_arrays(
            labels.as_string_view_opt().ok_or_else(|| wrong("labels"))?.clone(),
            list(values)?,
            histograms.as_list_opt().ok_or_else(|| wrong("histograms"))?,
        )?;
        for (index, &group) in groups.iter().enumerate() {
            let row = columns.row(index);
            self.floats.add_row(group, &row);
            if row.histograms.is_empty() {
                continue;
            }
            let metric = label_key::get(columns.labels(index), METRIC_NAME).map(label_key::Escaped::text);
            let metric = Arc::from(metric.unwrap_or_default());
            for (step, histogram) in row.histograms {
                if self.op.takes_histograms() {
                    let after_float = self.floats.is_present(group, *step as usize);
                    self.histograms.add(group, *step, histogram, &metric, after_float);
                } else if self.op.counts_histograms() {
                    self.floats.count(group, *step as usize);
                }
            }
        }
        if columns.has_histograms() && !self.op.takes_histograms() && !self.op.counts_histograms() {
            let (op, position) = (self.op.name(), &self.position);
            self.annotations.info(format!("PromQL info: ignored histogram in {op} aggregation ({position})"));
        }
        Ok(())
    }

    fn merge_rows(&mut self, state: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let (histograms, planes) = state.split_last().ok_or_else(|| wrong("state"))?;
        let planes: Vec<&[f64]> = planes.iter().map(plane).collect::<Result<_>>()?;
        let histograms: &ListArray = histograms.as_list_opt().ok_or_else(|| wrong("state"))?;
        let entries = histograms.values().as_struct_opt().ok_or_else(|| wrong("state"))?;
        let steps: &UInt32Array = entries.column(0).as_primitive_opt().ok_or_else(|| wrong("state"))?;
        let bytes: &BinaryArray = entries.column(1).as_binary_opt().ok_or_else(|| wrong("state"))?;
        for (row, &group) in groups.iter().enumerate() {
            let slots = row * self.steps..(row + 1) * self.steps;
            let slices: Vec<&[f64]> = planes.iter().map(|plane| &plane[slots.clone()]).collect();
            let ends = &histograms.value_offsets()[row..=row + 1];
            for entry in ends[0]..ends[1] {
                let entry = usize::try_from(entry).unwrap_or(0);
                let (step, slot) = (steps.value(entry), HistogramSlot::decode(bytes.value(entry))?);
                // before the floats of the same partition, whose order against its histograms the slot knows
                let after_float = self.floats.is_present(group, step as usize);
                self.histograms.merge(group, step, slot, after_float);
            }
            self.floats.merge_row(group, &slices);
        }
        Ok(())
    }

    fn emitted(&self, emit_to: EmitTo) -> usize {
        match emit_to {
            EmitTo::All => self.floats.groups(),
            EmitTo::First(groups) => groups,
        }
    }

    /// The result of the first `groups` groups.
    fn results(&mut self, groups: usize) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(groups * self.steps);
        let mut valid = BooleanBufferBuilder::new(groups * self.steps);
        let mut histograms = HistogramColumn::default();
        let (mut mixed, mut notes) = (false, HistogramNotes::default());
        let mean = self.op == FloatOp::Avg;
        for group in 0..groups {
            let first = values.len();
            for step in 0..self.steps {
                let present = self.floats.is_present(group, step);
                values.push(if present { self.floats.result(group, step) } else { 0.0 });
                valid.append(present);
            }
            for (step, slot) in self.histograms.of_group(group) {
                let at = first + step as usize;
                let these = slot.notes();
                // said only now: what does not fit in its partition may come after a float of an earlier one
                if let Some(metric) = slot.misfit() {
                    self.warn_of_incompatible(metric);
                }
                notes.bounds_reconciled |= these.bounds_reconciled;
                if valid.get_bit(at) {
                    // floats and histograms do not add up
                    mixed |= slot.is_mixed();
                    valid.set_bit(at, false);
                    values[at] = 0.0;
                    continue;
                }
                notes.reset_collision |= these.reset_collision;
                if let Some(histogram) = slot.result(mean) {
                    histograms.push(step, |bytes| encode_histogram(&histogram, bytes));
                }
            }
            histograms.finish_row();
        }
        self.floats.take(groups);
        self.histograms.drop_first(groups);
        self.annotate(mixed, notes);
        let values = float_list(values, Some(NullBuffer::new(valid.finish())), self.steps)?;
        let columns = vec![values, histograms.finish()?];
        let result = StructArray::try_new(result_fields(self.steps), columns, None).map_err(arrow_error)?;
        Ok(Arc::new(result))
    }

    /// `metric` is that of the first histogram that did not fit those before it.
    fn warn_of_incompatible(&self, metric: &str) {
        let text = "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas";
        let (metric, position) = (quote_go(metric), &self.position);
        self.annotations.warn(format!("{text} for metric name {metric} ({position})"));
    }

    fn annotate(&self, mixed: bool, notes: HistogramNotes) {
        let position = &self.position;
        if mixed {
            let text = "PromQL warning: encountered a mix of histograms and floats for aggregation";
            self.annotations.warn(format!("{text} ({position})"));
        }
        if notes.reset_collision {
            let text = "PromQL warning: conflicting counter resets during histogram aggregation";
            self.annotations.warn(format!("{text} ({position})"));
        }
        if notes.bounds_reconciled {
            let text = "PromQL info: mismatched custom buckets were reconciled during aggregation";
            self.annotations.info(format!("{text} ({position})"));
        }
    }

    /// The state of the first `groups` groups.
    fn states(&mut self, groups: usize) -> Result<Vec<ArrayRef>> {
        let mut histograms = HistogramColumn::default();
        for group in 0..groups {
            for (step, slot) in self.histograms.of_group(group) {
                histograms.push(step, |bytes| slot.encode(bytes));
            }
            histograms.finish_row();
        }
        self.histograms.drop_first(groups);
        let planes = self.floats.take(groups).into_iter();
        let mut state: Vec<ArrayRef> =
            planes.map(|plane| float_list(plane, None, self.steps)).collect::<Result<_>>()?;
        state.push(histograms.finish()?);
        Ok(state)
    }
}

impl GroupsAccumulator for VectorAccumulator {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DataFusionResult<()> {
        self.floats.grow(total_num_groups);
        Ok(self.add_rows(values, group_indices)?)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DataFusionResult<()> {
        self.floats.grow(total_num_groups);
        Ok(self.merge_rows(values, group_indices)?)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DataFusionResult<ArrayRef> {
        let groups = self.emitted(emit_to);
        Ok(self.results(groups)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> DataFusionResult<Vec<ArrayRef>> {
        let groups = self.emitted(emit_to);
        Ok(self.states(groups)?)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        _opt_filter: Option<&BooleanArray>,
    ) -> DataFusionResult<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |values| values.len());
        let mut each = Self::new(self.op, self.steps, Arc::clone(&self.annotations), self.position.clone());
        each.floats.grow(rows);
        each.add_rows(values, &(0..rows).collect::<Vec<_>>())?;
        Ok(each.states(rows)?)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.floats.size_bytes() + self.histograms.size_bytes()
    }
}

/// Builds a column of (step, bytes) lists.
#[derive(Default)]
struct HistogramColumn {
    steps: UInt32Builder,
    bytes: BinaryBuilder,
    ends: Vec<i32>,
    rows: Vec<bool>,
    scratch: Vec<u8>,
    entries: i32,
}

impl HistogramColumn {
    fn push(&mut self, step: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        write(&mut self.scratch);
        self.steps.append_value(step);
        self.bytes.append_value(&self.scratch);
        self.entries += 1;
    }

    fn finish_row(&mut self) {
        self.rows.push(self.entries > self.ends.last().copied().unwrap_or(0));
        self.ends.push(self.entries);
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let children: Vec<ArrayRef> = vec![Arc::new(self.steps.finish()), Arc::new(self.bytes.finish())];
        let entries = StructArray::try_new(histogram_fields(), children, None).map_err(arrow_error)?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from_iter(std::iter::once(0).chain(self.ends)));
        let list =
            ListArray::try_new(histogram_item_field(), offsets, Arc::new(entries), Some(NullBuffer::from(self.rows)));
        Ok(Arc::new(list.map_err(arrow_error)?))
    }
}

fn float_list(values: Vec<f64>, nulls: Option<NullBuffer>, steps: usize) -> Result<ArrayRef> {
    let values = Float64Array::new(ScalarBuffer::from(values), nulls);
    let size = i32::try_from(steps).map_err(|e| Error::Internal(e.to_string()))?;
    let list = FixedSizeListArray::try_new(value_item_field(), size, Arc::new(values), None);
    Ok(Arc::new(list.map_err(arrow_error)?))
}

fn list(array: &ArrayRef) -> Result<&FixedSizeListArray> {
    array.as_fixed_size_list_opt().ok_or_else(|| wrong("values"))
}

/// The floats of a state column, as many as its rows have slots.
fn plane(array: &ArrayRef) -> Result<&[f64]> {
    let list = list(array)?;
    let floats: &Float64Array = list.values().as_primitive_opt::<Float64Type>().ok_or_else(|| wrong("state"))?;
    let first = usize::try_from(list.value_offset(0)).unwrap_or(0);
    Ok(&floats.values()[first..])
}

fn wrong(what: &str) -> Error {
    Error::Internal(format!("an aggregation whose {what} are of another type"))
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn arrow_error(error: arrow::error::ArrowError) -> Error {
    Error::Internal(error.to_string())
}
