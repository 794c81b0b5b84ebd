//! Native histograms as an Arrow struct, and back.
//!
//! ```text
//! histogram: Struct<
//!   count, sum: Float64, schema: Int32, zero_threshold, zero_count: Float64,
//!   positive_buckets, negative_buckets: List<Struct<index: Int32, count: Float64>>,
//!   custom_bounds: List<Float64>>
//! ```
//!
//! `index` is the bucket's in the schema: bucket i ends at 2^(i·2^−schema), or at `custom_bounds[i]` where the schema is −53.
//! What functions compute is computed on a [`FloatHistogram`] that is made of the struct again.

use std::sync::{Arc, LazyLock};

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int32Type};
use storage::model::{FloatHistogram, Span};

use crate::error::{Error, Result};

static BUCKET_FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![Field::new("index", DataType::Int32, false), Field::new("count", DataType::Float64, false)])
});

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let float = |name: &str| Field::new(name, DataType::Float64, false);
    let buckets = |name: &str| Field::new(name, DataType::List(bucket_field()), false);
    Fields::from(vec![
        float("count"),
        float("sum"),
        Field::new("schema", DataType::Int32, false),
        float("zero_threshold"),
        float("zero_count"),
        buckets("positive_buckets"),
        buckets("negative_buckets"),
        Field::new("custom_bounds", DataType::List(bound_field()), false),
    ])
});

fn bucket_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(BUCKET_FIELDS.clone()), false))
}

fn bound_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float64, false))
}

/// The type of the column.
pub(crate) fn histogram_type() -> DataType {
    DataType::Struct(FIELDS.clone())
}

/// Builds the column row by row.
#[derive(Debug)]
pub(crate) struct HistogramColumn {
    floats: [Vec<f64>; 4],
    schema: Vec<i32>,
    positive: Buckets,
    negative: Buckets,
    bounds: Vec<f64>,
    bound_ends: Vec<i32>,
    nulls: NullBufferBuilder,
}

/// One side's buckets of all rows.
#[derive(Debug, Default)]
struct Buckets {
    index: Vec<i32>,
    count: Vec<f64>,
    ends: Vec<i32>,
}

impl HistogramColumn {
    pub(crate) fn new() -> Self {
        Self {
            floats: Default::default(),
            schema: Vec::new(),
            positive: Buckets::default(),
            negative: Buckets::default(),
            bounds: Vec::new(),
            bound_ends: Vec::new(),
            nulls: NullBufferBuilder::new(0),
        }
    }

    /// Appends a histogram.
    pub(crate) fn push(&mut self, histogram: &FloatHistogram) {
        let numbers = [histogram.count, histogram.sum, histogram.zero_threshold, histogram.zero_count];
        self.floats.iter_mut().zip(numbers).for_each(|(column, number)| column.push(number));
        self.schema.push(histogram.schema);
        self.positive.push(histogram.iter_positive().map(|bucket| (bucket.index, bucket.count)));
        self.negative.push(histogram.iter_negative().map(|bucket| (bucket.index, bucket.count)));
        self.bounds.extend_from_slice(&histogram.custom_values);
        self.bound_ends.push(offset(self.bounds.len()));
        self.nulls.append_non_null();
    }

    /// Appends `rows` that have none.
    pub(crate) fn push_nulls(&mut self, rows: usize) {
        let len = self.schema.len() + rows;
        self.floats.iter_mut().for_each(|column| column.resize(len, 0.0));
        self.schema.resize(len, 0);
        self.positive.ends.resize(len, offset(self.positive.index.len()));
        self.negative.ends.resize(len, offset(self.negative.index.len()));
        self.bound_ends.resize(len, offset(self.bounds.len()));
        self.nulls.append_n_nulls(rows);
    }

    /// Bytes that the rows so far hold.
    pub(crate) fn size_bytes(&self) -> usize {
        self.schema.len() * 48 + (self.positive.index.len() + self.negative.index.len()) * 12 + self.bounds.len() * 8
    }

    /// The array of all rows.
    ///
    /// # Errors
    /// [`Error::Internal`] where the parts do not fit together.
    pub(crate) fn finish(mut self) -> Result<ArrayRef> {
        let [count, sum, zero_threshold, zero_count] = self.floats.map(|column| Arc::new(Float64Array::from(column)));
        let bounds = list(bound_field(), self.bound_ends, Arc::new(Float64Array::from(self.bounds)))?;
        let columns: Vec<ArrayRef> = vec![
            count,
            sum,
            Arc::new(Int32Array::from(self.schema)),
            zero_threshold,
            zero_count,
            self.positive.finish()?,
            self.negative.finish()?,
            bounds,
        ];
        let array = StructArray::try_new(FIELDS.clone(), columns, self.nulls.finish());
        Ok(Arc::new(array.map_err(|error| Error::Internal(error.to_string()))?))
    }
}

impl Buckets {
    fn push(&mut self, buckets: impl Iterator<Item = (i32, f64)>) {
        for (index, count) in buckets {
            self.index.push(index);
            self.count.push(count);
        }
        self.ends.push(offset(self.index.len()));
    }

    fn finish(self) -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(self.index)), Arc::new(Float64Array::from(self.count))];
        let buckets = StructArray::try_new(BUCKET_FIELDS.clone(), columns, None);
        let buckets = buckets.map_err(|error| Error::Internal(error.to_string()))?;
        list(bucket_field(), self.ends, Arc::new(buckets))
    }
}

/// A batch has far fewer buckets than fit; where not, making the list fails.
fn offset(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

fn list(field: Arc<Field>, ends: Vec<i32>, items: ArrayRef) -> Result<ArrayRef> {
    let offsets: Vec<i32> = std::iter::once(0).chain(ends).collect();
    let list = ListArray::try_new(field, OffsetBuffer::new(offsets.into()), items, None);
    Ok(Arc::new(list.map_err(|error| Error::Internal(error.to_string()))?))
}

/// Reads such a column.
#[derive(Debug)]
pub(crate) struct HistogramReader<'a> {
    column: &'a StructArray,
}

impl<'a> HistogramReader<'a> {
    /// Of an array of [`histogram_type`]; none where it is of another type.
    pub(crate) fn try_new(array: &'a ArrayRef) -> Option<Self> {
        (array.data_type() == &histogram_type()).then(|| Self { column: array.as_struct() })
    }

    /// Whether `row` has a histogram.
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.column.is_valid(row)
    }

    /// A number of `row`, by the name of its field.
    pub(crate) fn float(&self, field: usize, row: usize) -> f64 {
        self.column.column(field).as_primitive::<Float64Type>().value(row)
    }

    /// The histogram of `row`.
    pub(crate) fn histogram(&self, row: usize) -> FloatHistogram {
        let (positive_spans, positive_buckets) = self.side(5, row);
        let (negative_spans, negative_buckets) = self.side(6, row);
        let bounds = self.column.column(7).as_list::<i32>().value(row);
        FloatHistogram {
            count: self.float(0, row),
            sum: self.float(1, row),
            schema: self.column.column(2).as_primitive::<Int32Type>().value(row),
            zero_threshold: self.float(3, row),
            zero_count: self.float(4, row),
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            custom_values: bounds.as_primitive::<Float64Type>().values().to_vec(),
            ..FloatHistogram::default()
        }
    }

    fn side(&self, field: usize, row: usize) -> (Vec<Span>, Vec<f64>) {
        let buckets = self.column.column(field).as_list::<i32>().value(row);
        let buckets = buckets.as_struct();
        let index = buckets.column(0).as_primitive::<Int32Type>().values();
        let counts = buckets.column(1).as_primitive::<Float64Type>().values().to_vec();
        let mut spans: Vec<Span> = Vec::new();
        let mut end = 0_i32;
        for &index in index {
            match spans.last_mut() {
                Some(span) if index == end => span.length += 1,
                _ => spans.push(Span { offset: index.wrapping_sub(end), length: 1 }),
            }
            end = index.wrapping_add(1);
        }
        (spans, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_round_trip() {
        let exponential = FloatHistogram {
            schema: 3,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 10.0,
            sum: 4.5,
            positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            negative_spans: vec![Span { offset: 4, length: 1 }],
            negative_buckets: vec![2.0],
            ..FloatHistogram::default()
        };
        let custom = FloatHistogram {
            schema: -53,
            count: 3.0,
            sum: 1.0,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 1.0, 1.0],
            custom_values: vec![0.5, 1.0],
            ..FloatHistogram::default()
        };
        let mut column = HistogramColumn::new();
        column.push_nulls(1);
        column.push(&exponential);
        column.push_nulls(2);
        column.push(&custom);
        let array = column.finish().unwrap();
        let reader = HistogramReader::try_new(&array).unwrap();
        assert_eq!((0..5).map(|row| reader.is_valid(row)).collect::<Vec<_>>(), [false, true, false, false, true]);
        assert_eq!((reader.histogram(1), reader.histogram(4)), (exponential, custom));
        // a slice reads its own rows
        let slice = array.slice(4, 1);
        assert_eq!(HistogramReader::try_new(&slice).unwrap().histogram(0).schema, -53);
    }
}
