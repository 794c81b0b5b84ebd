//! The vector batch: series evaluated on a query's steps.
//!
//! One row a series:
//!
//! | column | type |
//! |---|---|
//! | `labels` | `Utf8View`: the [`label_key`](storage::model::label_key) |
//! | `values` | `FixedSizeList<Float64>[steps]`; null where there is no float sample (NaN is a value) |
//! | `histograms` | nullable `List<Struct<step: UInt32, histogram: Binary>>`, ascending by step; null for all-float rows |
//!
//! A step of a row holds a float, a histogram, or nothing, never both. A row without any sample is not emitted.
//! Which instants the steps are is not in the batch: every operator knows its [`Grid`](promql::tree::Grid).
//! A scalar is a vector of one row without labels that has a float at every step.

mod builder;
mod columns;
mod histogram_codec;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

pub use builder::{Row, VectorBuilder};
pub use columns::{RowView, Sample, VectorColumns};
pub(crate) use columns::{label_column, sample_count};
pub use histogram_codec::{decode_histogram, encode_histogram};

/// The item field of the `values` column.
#[must_use]
pub fn value_item_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float64, true))
}

/// The type of the `values` column.
#[must_use]
pub fn values_type(steps: usize) -> DataType {
    DataType::FixedSizeList(value_item_field(), i32::try_from(steps).unwrap_or(i32::MAX))
}

/// The fields of one entry of the `histograms` column.
#[must_use]
pub fn histogram_fields() -> Fields {
    Fields::from(vec![Field::new("step", DataType::UInt32, false), Field::new("histogram", DataType::Binary, false)])
}

/// The item field of the `histograms` column.
#[must_use]
pub fn histogram_item_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(histogram_fields()), false))
}

/// The type of the `histograms` column.
#[must_use]
pub fn histograms_type() -> DataType {
    DataType::List(histogram_item_field())
}

/// The schema of a vector batch over `steps` steps.
#[must_use]
pub fn vector_schema(steps: usize) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("labels", DataType::Utf8View, false),
        Field::new("values", values_type(steps), false),
        Field::new("histograms", histograms_type(), true),
    ]))
}

/// How many rows of `steps` steps make a batch of about a megabyte: what stays in cache from one operator to the next.
#[must_use]
pub fn rows_per_batch(steps: usize) -> usize {
    const BATCH_BYTES: usize = 1 << 20;
    (BATCH_BYTES / (8 * steps.max(1))).clamp(1, 4096)
}

#[cfg(test)]
mod tests;
