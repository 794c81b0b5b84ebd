//! Reading vector batches row by row.

use arrow::array::{
    Array, BinaryArray, FixedSizeListArray, Float64Array, ListArray, RecordBatch, StringViewArray, StructArray,
    UInt32Array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use storage::model::FloatHistogram;

use super::decode_histogram;
use crate::error::{Error, Result};

/// What a series has at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample<'a> {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(&'a FloatHistogram),
}

/// The columns of a vector batch, with its histograms decoded.
#[derive(Debug, Clone)]
pub struct VectorColumns {
    labels: StringViewArray,
    steps: usize,
    values: Float64Array,
    /// Of each row, where its histograms begin; one more entry than rows.
    histogram_starts: Vec<usize>,
    histograms: Vec<(u32, FloatHistogram)>,
}

/// One row of a vector batch.
#[derive(Debug, Clone, Copy)]
pub struct RowView<'a> {
    /// Every step's float; meaningless where the bit is not set.
    pub values: &'a [f64],
    nulls: Option<&'a NullBuffer>,
    first: usize,
    /// The histograms by step, ascending.
    pub histograms: &'a [(u32, FloatHistogram)],
}

fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T> {
    batch
        .column_by_name(name)
        .and_then(|c| c.as_any().downcast_ref::<T>())
        .ok_or_else(|| Error::Internal(format!("vector batch without a proper column {name}")))
}

/// The label keys of a vector batch, where nothing else of it is needed.
///
/// # Errors
/// [`Error::Internal`] where it is not a vector batch.
pub(crate) fn label_column(batch: &RecordBatch) -> Result<&StringViewArray> {
    column(batch, "labels")
}

/// How many samples a vector batch has: counted over bits and offsets, without a look at any. 0 for other batches.
pub(crate) fn sample_count(batch: &RecordBatch) -> usize {
    let floats = column::<FixedSizeListArray>(batch, "values").map_or(0, |values| {
        let first = usize::try_from(values.value_offset(0)).unwrap_or(0);
        let items = values.len() * usize::try_from(values.value_length()).unwrap_or(0);
        items - values.values().slice(first, items).null_count()
    });
    let histograms = column::<ListArray>(batch, "histograms").map_or(0, |histograms| {
        let offsets = histograms.value_offsets();
        usize::try_from(offsets[offsets.len() - 1] - offsets[0]).unwrap_or(0)
    });
    floats + histograms
}

impl VectorColumns {
    /// Takes a batch apart.
    ///
    /// # Errors
    /// [`Error::Internal`] where it is not a vector batch.
    pub fn try_new(batch: &RecordBatch) -> Result<Self> {
        Self::from_arrays(
            label_column(batch)?.clone(),
            column::<FixedSizeListArray>(batch, "values")?,
            column::<ListArray>(batch, "histograms")?,
        )
    }

    /// As [`try_new`](Self::try_new), from the columns themselves.
    ///
    /// # Errors
    /// [`Error::Internal`] where their items are not what the schema says.
    pub fn from_arrays(labels: StringViewArray, values: &FixedSizeListArray, histograms: &ListArray) -> Result<Self> {
        let wrong = |what: &str| Error::Internal(format!("vector batch whose {what} are of another type"));
        let steps = usize::try_from(values.value_length()).unwrap_or(0);
        let rows = values.len();
        // a sliced list keeps its whole child: cut it to the rows that are meant
        let first = usize::try_from(values.value_offset(0)).unwrap_or(0);
        let floats = values.values().slice(first, rows * steps);
        let floats = floats.as_any().downcast_ref::<Float64Array>().ok_or_else(|| wrong("values"))?.clone();
        let (histogram_starts, histograms) = decode_histograms(histograms).ok_or_else(|| wrong("histograms"))??;
        Ok(Self { labels, steps, values: floats, histogram_starts, histograms })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.histogram_starts.len() - 1
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of steps.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Whether any row has a histogram.
    #[must_use]
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The label key of `row`.
    #[must_use]
    pub fn labels(&self, row: usize) -> &str {
        self.labels.value(row)
    }

    /// The samples of `row`.
    #[must_use]
    pub fn row(&self, row: usize) -> RowView<'_> {
        let first = row * self.steps;
        RowView {
            values: &self.values.values()[first..first + self.steps],
            nulls: self.values.nulls(),
            first,
            histograms: &self.histograms[self.histogram_starts[row]..self.histogram_starts[row + 1]],
        }
    }
}

impl<'a> RowView<'a> {
    /// Whether there is a float at `step`.
    #[inline]
    #[must_use]
    pub fn is_float(&self, step: usize) -> bool {
        self.nulls.is_none_or(|nulls| nulls.is_valid(self.first + step))
    }

    /// The float at `step`, if there is one.
    #[inline]
    #[must_use]
    pub fn float(&self, step: usize) -> Option<f64> {
        self.is_float(step).then(|| self.values[step])
    }

    /// Which steps have a float; `None` where all have.
    #[must_use]
    pub fn float_bits(&self) -> Option<BooleanBuffer> {
        self.nulls.map(|nulls| nulls.inner().slice(self.first, self.values.len()))
    }

    /// The histogram at `step`, if there is one.
    #[must_use]
    pub fn histogram(&self, step: usize) -> Option<&'a FloatHistogram> {
        if self.histograms.is_empty() {
            return None;
        }
        let found = self.histograms.binary_search_by_key(&step, |(s, _)| *s as usize).ok()?;
        Some(&self.histograms[found].1)
    }

    /// What there is at `step`.
    #[must_use]
    pub fn sample(&self, step: usize) -> Option<Sample<'a>> {
        match self.float(step) {
            Some(value) => Some(Sample::Float(value)),
            None => self.histogram(step).map(Sample::Histogram),
        }
    }

    /// Whether there is anything at `step`.
    #[must_use]
    pub fn is_present(&self, step: usize) -> bool {
        self.is_float(step) || self.histogram(step).is_some()
    }

    /// The steps that have a sample, ascending.
    pub fn present_steps(self) -> impl Iterator<Item = usize> + 'a {
        (0..self.values.len()).filter(move |&step| self.is_present(step))
    }
}

type Decoded = (Vec<usize>, Vec<(u32, FloatHistogram)>);

/// `None` where the list's items are of another type.
fn decode_histograms(list: &ListArray) -> Option<Result<Decoded>> {
    let entries = list.values().as_any().downcast_ref::<StructArray>()?;
    let steps = entries.column(0).as_any().downcast_ref::<UInt32Array>()?;
    let bytes = entries.column(1).as_any().downcast_ref::<BinaryArray>()?;
    let mut starts = Vec::with_capacity(list.len() + 1);
    let mut histograms = Vec::new();
    starts.push(0);
    for (row, ends) in list.value_offsets().windows(2).enumerate() {
        if list.is_valid(row) {
            for entry in ends[0]..ends[1] {
                let entry = usize::try_from(entry).unwrap_or(0);
                match decode_histogram(bytes.value(entry)) {
                    Ok(histogram) => histograms.push((steps.value(entry), histogram)),
                    Err(error) => return Some(Err(error)),
                }
            }
        }
        starts.push(histograms.len());
    }
    Some(Ok((starts, histograms)))
}
