//! Rows of samples: what tables of metrics and answers of PromQL are put out as.
//!
//! | column | type |
//! |---|---|
//! | `timestamp` | `Timestamp(Millisecond, "UTC")` |
//! | `value` | `Float64`, null where the sample is a histogram |
//! | `histogram` | [`histogram_type`], null where the sample is a float |
//! | a label | `Dictionary(Int32, Utf8)`, null where the series lacks it |
//!
//! Rows of a series are neighbours, so a label is looked up once a series, and its dictionary key repeated.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::array::{PrimitiveArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use storage::model::{SampleBuffer, is_stale_nan, label_key};

use super::histogram_column::{HistogramColumn, histogram_type};
use crate::error::{Error, Result};

/// Of the time zone that all times are in.
static UTC: LazyLock<Arc<str>> = LazyLock::new(|| "UTC".into());

/// The name of the column of times.
pub(crate) const TIMESTAMP: &str = "timestamp";
const VALUE: &str = "value";
const HISTOGRAM: &str = "histogram";

/// The type of times.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::clone(&UTC)))
}

/// Times of `values`, in milliseconds.
pub(crate) fn timestamps(values: Vec<i64>) -> TimestampMillisecondArray {
    PrimitiveArray::new(values.into(), None).with_timezone(Arc::clone(&UTC))
}

/// The type of a label.
pub(crate) fn label_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// What a column of rows of samples is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RowColumn {
    /// When.
    Timestamp,
    /// The float.
    Value,
    /// The histogram.
    Histogram,
    /// The label of this name.
    Label(Arc<str>),
}

/// The columns of rows with these labels: time, value and histogram, then a column a label, in the order given. A label of one
/// of those names is `exported_` so, as Prometheus names a label that a scrape has taken.
pub(crate) fn row_schema(labels: &[String]) -> (SchemaRef, Vec<RowColumn>) {
    let mut fields = vec![
        Field::new(TIMESTAMP, timestamp_type(), false),
        Field::new(VALUE, DataType::Float64, true),
        Field::new(HISTOGRAM, histogram_type(), true),
    ];
    let mut columns = vec![RowColumn::Timestamp, RowColumn::Value, RowColumn::Histogram];
    for label in labels {
        let mut name = label.clone();
        while [TIMESTAMP, VALUE, HISTOGRAM].contains(&name.as_str()) || (name != *label && labels.contains(&name)) {
            name = format!("exported_{name}");
        }
        fields.push(Field::new(name, label_type(), true));
        columns.push(RowColumn::Label(label.as_str().into()));
    }
    (Arc::new(Schema::new(fields)), columns)
}

/// Builds batches of rows.
#[derive(Debug)]
pub(crate) struct RowBuilder {
    schema: SchemaRef,
    columns: Arc<[RowColumn]>,
    rows: usize,
    timestamps: Option<Vec<i64>>,
    values: Option<(Vec<f64>, NullBufferBuilder)>,
    histograms: Option<HistogramColumn>,
    labels: LabelColumns,
}

impl RowBuilder {
    /// Of batches with these columns.
    pub(crate) fn new(schema: SchemaRef, columns: Arc<[RowColumn]>) -> Self {
        let labels = LabelColumns::new(&columns);
        let mut builder = Self { schema, columns, rows: 0, timestamps: None, values: None, histograms: None, labels };
        builder.reset(0);
        builder
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that they hold.
    pub(crate) fn size_bytes(&self) -> usize {
        let times = self.timestamps.as_ref().map_or(0, |times| times.capacity() * 8);
        let values = self.values.as_ref().map_or(0, |(values, _)| values.capacity() * 8);
        times + values + self.histograms.as_ref().map_or(0, HistogramColumn::size_bytes) + self.labels.size_bytes()
    }

    /// Appends those of `samples` in `range`, of the series `key`, but for staleness markers, which are none.
    pub(crate) fn push(&mut self, key: &str, samples: &SampleBuffer, range: Range<usize>) {
        let before = self.rows;
        let floats = &samples.floats[range.clone()];
        // no early end: that is what lets it run on several at a time
        let has_stale = floats.iter().fold(false, |stale, &value| stale | is_stale_nan(value));
        if !has_stale && samples.histograms.is_empty() {
            if let Some(times) = &mut self.timestamps {
                times.extend_from_slice(&samples.timestamps[range]);
            }
            if let Some((values, valid)) = &mut self.values {
                values.extend_from_slice(floats);
                valid.append_n_non_nulls(floats.len());
            }
            if let Some(histograms) = &mut self.histograms {
                histograms.push_nulls(floats.len());
            }
            self.rows += floats.len();
        } else {
            range.for_each(|index| self.push_sample(samples, index));
        }
        self.labels.push(key, self.rows - before);
    }

    fn push_sample(&mut self, samples: &SampleBuffer, index: usize) {
        let (histogram, float) = (samples.histogram(index), samples.floats[index]);
        if histogram.is_none() && is_stale_nan(float) {
            return;
        }
        self.rows += 1;
        if let Some(times) = &mut self.timestamps {
            times.push(samples.timestamps[index]);
        }
        if let Some((values, valid)) = &mut self.values {
            values.push(if histogram.is_some() { 0.0 } else { float });
            valid.append(histogram.is_none());
        }
        if let Some(column) = &mut self.histograms {
            match histogram {
                Some(histogram) => column.push(histogram),
                None => column.push_nulls(1),
            }
        }
    }

    /// The rows so far as a batch; the builder is empty then.
    ///
    /// # Errors
    /// [`Error::Internal`] where the columns do not fit the schema.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        let rows = self.rows;
        let mut labels = self.labels.finish()?.into_iter();
        let (timestamps, values, histograms) = (self.timestamps.take(), self.values.take(), self.histograms.take());
        let timestamps: Option<ArrayRef> = timestamps.map(|times| Arc::new(self::timestamps(times)) as ArrayRef);
        let values: Option<ArrayRef> =
            values.map(|(values, mut valid)| Arc::new(Float64Array::new(values.into(), valid.finish())) as ArrayRef);
        let histograms = histograms.map(HistogramColumn::finish).transpose()?;
        let missing = || Error::Internal("a row of samples lacks a column".to_owned());
        let arrays = self.columns.iter().map(|column| match column {
            RowColumn::Timestamp => timestamps.clone().ok_or_else(missing),
            RowColumn::Value => values.clone().ok_or_else(missing),
            RowColumn::Histogram => histograms.clone().ok_or_else(missing),
            RowColumn::Label(_) => labels.next().ok_or_else(missing),
        });
        let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options);
        self.reset(rows);
        batch.map_err(|error| Error::Internal(error.to_string()))
    }

    /// Empty, with room for `rows`.
    fn reset(&mut self, rows: usize) {
        let wants = |column: &RowColumn| self.columns.contains(column);
        self.rows = 0;
        self.timestamps = wants(&RowColumn::Timestamp).then(|| Vec::with_capacity(rows));
        self.values = wants(&RowColumn::Value).then(|| (Vec::with_capacity(rows), NullBufferBuilder::new(rows)));
        self.histograms = wants(&RowColumn::Histogram).then(HistogramColumn::new);
    }
}

/// Columns of labels, one dictionary each.
#[derive(Debug)]
pub(crate) struct LabelColumns {
    /// Each label's place among the columns, by the name as a key has it.
    places: HashMap<String, usize>,
    columns: Vec<LabelColumn>,
    /// Of the series at hand, the dictionary key of each label that it has.
    found: Vec<Option<i32>>,
}

#[derive(Debug, Default)]
struct LabelColumn {
    keys: Vec<i32>,
    valid: Option<NullBufferBuilder>,
    dictionary: HashMap<String, i32>,
    values: Vec<String>,
    value_bytes: usize,
}

impl LabelColumns {
    /// Of the labels among `columns`, in their order.
    pub(crate) fn new(columns: &[RowColumn]) -> Self {
        let labels = columns.iter().filter_map(|column| match column {
            RowColumn::Label(name) => Some(name),
            _ => None,
        });
        let escaped = |name: &Arc<str>| {
            let mut key = String::new();
            label_key::push_pair(&mut key, name, "x");
            label_key::pairs(&key).next().map_or_else(String::new, |pair| pair.name.as_str().to_owned())
        };
        let places: HashMap<String, usize> = labels.map(escaped).zip(0..).collect();
        let columns: Vec<LabelColumn> = places.iter().map(|_| LabelColumn::default()).collect();
        Self { found: vec![None; columns.len()], places, columns }
    }

    /// Appends `rows` rows of the series `key`.
    pub(crate) fn push(&mut self, key: &str, rows: usize) {
        if self.columns.is_empty() || rows == 0 {
            return;
        }
        self.found.fill(None);
        for pair in label_key::pairs(key) {
            if let Some(&place) = self.places.get(pair.name.as_str()) {
                self.found[place] = Some(self.columns[place].key_of(&pair.value.text()));
            }
        }
        for (column, found) in self.columns.iter_mut().zip(&self.found) {
            column.push(*found, rows);
        }
    }

    fn size_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.keys.capacity() * 4 + column.value_bytes).sum()
    }

    /// The columns so far, which are empty then.
    ///
    /// # Errors
    /// [`Error::Internal`] where a key is in no dictionary.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.columns.iter_mut().map(|column| std::mem::take(column).finish()).collect()
    }
}

impl LabelColumn {
    fn key_of(&mut self, value: &str) -> i32 {
        // series are sorted, so it is most often the value of the one before
        if self.values.last().is_some_and(|last| last == value) {
            return i32::try_from(self.values.len() - 1).unwrap_or(i32::MAX);
        }
        if let Some(&key) = self.dictionary.get(value) {
            return key;
        }
        let key = i32::try_from(self.values.len()).unwrap_or(i32::MAX);
        self.dictionary.insert(value.to_owned(), key);
        self.values.push(value.to_owned());
        self.value_bytes += 2 * (value.len() + 32);
        key
    }

    fn push(&mut self, key: Option<i32>, rows: usize) {
        let before = self.keys.len();
        self.keys.resize(before + rows, key.unwrap_or(0));
        match (&mut self.valid, key) {
            (None, Some(_)) => {}
            (Some(valid), Some(_)) => valid.append_n_non_nulls(rows),
            (valid, None) => {
                let valid = valid.get_or_insert_with(|| {
                    let mut valid = NullBufferBuilder::new(before + rows);
                    valid.append_n_non_nulls(before);
                    valid
                });
                valid.append_n_nulls(rows);
            }
        }
    }

    fn finish(self) -> Result<ArrayRef> {
        let valid = self.valid.and_then(|mut valid| valid.finish());
        let keys = Int32Array::new(self.keys.into(), valid);
        let values = Arc::new(StringArray::from(self.values));
        let array = DictionaryArray::<Int32Type>::try_new(keys, values);
        Ok(Arc::new(array.map_err(|error| Error::Internal(error.to_string()))?))
    }
}
