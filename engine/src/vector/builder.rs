//! Building vector batches row by row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, FixedSizeListArray, Float64Array, ListArray, RecordBatch, StringViewBuilder, StructArray,
    UInt32Builder,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::SchemaRef;
use arrow::util::bit_chunk_iterator::UnalignedBitChunk;
use arrow::util::{bit_mask, bit_util};
use storage::model::FloatHistogram;

use super::{
    RowView, Sample, encode_histogram, histogram_fields, histogram_item_field, value_item_field, vector_schema,
};
use crate::error::{Error, Result};

/// Builds one vector batch. [`start_row`](Self::start_row), write steps, [`finish_row`](Self::finish_row).
#[derive(Debug)]
pub struct VectorBuilder {
    steps: usize,
    schema: SchemaRef,
    labels: StringViewBuilder,
    rows: usize,
    /// Rows of the batch before, for which the next one makes room at once.
    rows_before: usize,
    /// `steps` values a row; 0.0 where there is none.
    values: Vec<f64>,
    /// One bit a value.
    valid: Vec<u8>,
    open_histograms: Vec<(u32, FloatHistogram)>,
    histogram_steps: UInt32Builder,
    histogram_bytes: BinaryBuilder,
    histogram_ends: Vec<i32>,
    histogram_rows: Vec<bool>,
    scratch: Vec<u8>,
}

/// The row being written.
#[derive(Debug)]
pub struct Row<'a> {
    values: &'a mut [f64],
    valid: &'a mut [u8],
    first_bit: usize,
    histograms: &'a mut Vec<(u32, FloatHistogram)>,
}

impl Row<'_> {
    /// Number of steps.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.values.len()
    }

    /// Puts a float at `step`.
    #[inline]
    pub fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        bit_util::set_bit(self.valid, self.first_bit + step);
    }

    /// Puts floats at every step.
    pub fn set_all(&mut self, values: &[f64]) {
        self.put_floats(None, |floats| floats.copy_from_slice(values));
    }

    /// Puts floats at the steps that have a bit in `present` (`None`: at every step) of a row that is still empty.
    /// `compute` writes the whole row; what it writes where there is no bit is never read.
    pub fn put_floats(&mut self, present: Option<&BooleanBuffer>, compute: impl FnOnce(&mut [f64])) {
        compute(self.values);
        let (steps, first) = (self.values.len(), self.first_bit);
        match present {
            Some(bits) => {
                bit_mask::set_bits(self.valid, bits.values(), first, bits.offset(), steps);
            }
            None => {
                let mut bit = first;
                let end = first + steps;
                while bit < end {
                    if bit.is_multiple_of(8) && bit + 8 <= end {
                        self.valid[bit / 8] = 0xff;
                        bit += 8;
                    } else {
                        bit_util::set_bit(self.valid, bit);
                        bit += 1;
                    }
                }
            }
        }
    }

    /// Puts a histogram at `step`. Steps come in ascending order.
    pub fn set_histogram(&mut self, step: usize, histogram: FloatHistogram) {
        self.histograms.push((u32::try_from(step).unwrap_or(u32::MAX), histogram));
    }

    /// Puts at `step` what `sample` holds.
    pub fn set_sample(&mut self, step: usize, sample: Sample<'_>) {
        match sample {
            Sample::Float(value) => self.set(step, value),
            Sample::Histogram(histogram) => self.set_histogram(step, histogram.clone()),
        }
    }

    /// The float at `step`, if one was put there.
    #[must_use]
    pub fn get(&self, step: usize) -> Option<f64> {
        bit_util::get_bit(self.valid, self.first_bit + step).then(|| self.values[step])
    }
}

impl VectorBuilder {
    /// A builder of rows with `steps` steps.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        Self::with_schema(steps, vector_schema(steps))
    }

    /// As [`new`](Self::new), with a schema that is made once and shared.
    #[must_use]
    pub fn with_schema(steps: usize, schema: SchemaRef) -> Self {
        Self {
            steps,
            schema,
            labels: StringViewBuilder::new(),
            rows: 0,
            rows_before: 0,
            values: Vec::new(),
            valid: Vec::new(),
            open_histograms: Vec::new(),
            histogram_steps: UInt32Builder::new(),
            histogram_bytes: BinaryBuilder::new(),
            histogram_ends: Vec::new(),
            histogram_rows: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Number of finished rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether no row is finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes held now, for memory accounting.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.values.capacity() * 8 + self.valid.capacity() + self.histogram_bytes.values_slice().len()
    }

    /// Starts a row, empty at every step. A row that was started and not finished is forgotten.
    pub fn start_row(&mut self) -> Row<'_> {
        let start = self.rows * self.steps;
        if self.rows == 0 {
            self.values.reserve(self.rows_before * self.steps);
            self.valid.reserve(bit_util::ceil(self.rows_before * self.steps, 8));
        }
        self.values.truncate(start);
        self.values.resize(start + self.steps, 0.0);
        // a forgotten row may have left bits behind
        self.valid.truncate(bit_util::ceil(start, 8));
        if let (Some(last), used @ 1..) = (self.valid.last_mut(), start % 8) {
            *last &= (1 << used) - 1;
        }
        self.valid.resize(bit_util::ceil(start + self.steps, 8), 0);
        self.open_histograms.clear();
        Row {
            values: &mut self.values[start..],
            valid: &mut self.valid,
            first_bit: start,
            histograms: &mut self.open_histograms,
        }
    }

    /// Ends the row that was started, under `labels`; drops it where it has no sample. Returns the number of
    /// samples in it.
    pub fn finish_row(&mut self, labels: &str) -> usize {
        let start = self.rows * self.steps;
        let floats = UnalignedBitChunk::new(&self.valid, start, self.steps).count_ones();
        let samples = floats + self.open_histograms.len();
        if samples == 0 {
            return 0;
        }
        self.labels.append_value(labels);
        for (step, histogram) in self.open_histograms.drain(..) {
            self.scratch.clear();
            encode_histogram(&histogram, &mut self.scratch);
            self.histogram_steps.append_value(step);
            self.histogram_bytes.append_value(&self.scratch);
        }
        let end =
            i32::try_from(samples - floats).unwrap_or(i32::MAX) + self.histogram_ends.last().copied().unwrap_or(0);
        self.histogram_ends.push(end);
        self.histogram_rows.push(samples > floats);
        self.rows += 1;
        samples
    }

    /// Appends a copy of `row` under other labels.
    pub fn push_copy(&mut self, labels: &str, row: &RowView<'_>) {
        let mut target = self.start_row();
        target.put_floats(row.float_bits().as_ref(), |floats| floats.copy_from_slice(row.values));
        for (step, histogram) in row.histograms {
            target.set_histogram(*step as usize, histogram.clone());
        }
        self.finish_row(labels);
    }

    /// Takes the finished rows as a batch and starts over.
    ///
    /// # Errors
    /// [`Error::Internal`] where Arrow refuses the columns, which would be our bug.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        self.rows_before = rows;
        let slots = rows * self.steps;
        self.values.truncate(slots);
        let valid = BooleanBuffer::new(Buffer::from_vec(std::mem::take(&mut self.valid)), 0, slots);
        let values =
            Float64Array::new(ScalarBuffer::from(std::mem::take(&mut self.values)), Some(NullBuffer::new(valid)));
        let size = i32::try_from(self.steps).map_err(|e| Error::Internal(e.to_string()))?;
        let internal = |e: arrow::error::ArrowError| Error::Internal(e.to_string());
        let values = FixedSizeListArray::try_new(value_item_field(), size, Arc::new(values), None).map_err(internal)?;

        let children: Vec<ArrayRef> =
            vec![Arc::new(self.histogram_steps.finish()), Arc::new(self.histogram_bytes.finish())];
        let entries = StructArray::try_new(histogram_fields(), children, None).map_err(internal)?;
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        offsets.append(&mut self.histogram_ends);
        let present = NullBuffer::from(std::mem::take(&mut self.histogram_rows));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let histograms =
            ListArray::try_new(histogram_item_field(), offsets, Arc::new(entries), Some(present)).map_err(internal)?;

        let columns: Vec<ArrayRef> = vec![Arc::new(self.labels.finish()), Arc::new(values), Arc::new(histograms)];
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(internal)
    }
}
