//! The series batch: the Arrow schema in which series travel.
//!
//! One row a series, or a run of one:
//!
//! | column | type |
//! |---|---|
//! | `labels` | `Utf8View`: the [`label_key`](crate::model::label_key) |
//! | `chunks` | `List<Struct<mint, maxt: Int64, encoding: UInt8, replica: UInt32, data: BinaryView>>`, by mint |
//!
//! `data` is a TSDB chunk payload exactly as stored, without its length, encoding byte and checksum. `replica` numbers
//! replicas only: overlaps within one replica merge sample by sample, across replicas by deduplication.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, BinaryViewArray, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray, UInt8Array, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::error::{Error, Result};

static CHUNK_FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("mint", DataType::Int64, false),
        Field::new("maxt", DataType::Int64, false),
        Field::new("encoding", DataType::UInt8, false),
        Field::new("replica", DataType::UInt32, false),
        Field::new("data", DataType::BinaryView, false),
    ])
});

static SERIES_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("labels", DataType::Utf8View, false),
        Field::new("chunks", DataType::List(chunk_item_field()), false),
    ]))
});

/// The schema of a series batch.
#[must_use]
pub fn series_schema() -> SchemaRef {
    Arc::clone(&SERIES_SCHEMA)
}

/// The fields of one chunk.
#[must_use]
pub fn chunk_fields() -> Fields {
    CHUNK_FIELDS.clone()
}

/// The list item field of the `chunks` column.
#[must_use]
pub fn chunk_item_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(chunk_fields()), false))
}

/// Typed access to the columns of a series batch; holds references to the batch's arrays.
#[derive(Debug, Clone)]
pub struct SeriesColumns {
    /// One label key a row.
    pub labels: StringViewArray,
    /// The chunk list of each row; its offsets index the columns below.
    pub chunks: ListArray,
    /// First sample's time of each chunk.
    pub mint: Int64Array,
    /// Last sample's time of each chunk.
    pub maxt: Int64Array,
    /// Encoding byte of each chunk.
    pub encoding: UInt8Array,
    /// Replica number of each chunk.
    pub replica: UInt32Array,
    /// Payload of each chunk.
    pub data: BinaryViewArray,
}

impl SeriesColumns {
    /// Takes a batch apart.
    ///
    /// # Errors
    /// [`Error::Internal`] where the batch is not of [`series_schema`].
    pub fn try_new(batch: &RecordBatch) -> Result<Self> {
        fn column<T: Clone + 'static>(array: Option<&Arc<dyn Array>>, name: &str) -> Result<T> {
            array
                .and_then(|a| a.as_any().downcast_ref::<T>())
                .cloned()
                .ok_or_else(|| Error::Internal(format!("series batch without a proper column {name}")))
        }
        let labels = column(batch.columns().first(), "labels")?;
        let chunks: ListArray = column(batch.columns().get(1), "chunks")?;
        let fields: StructArray = column(Some(chunks.values()), "chunks.item")?;
        let child = fields.columns();
        Ok(Self {
            labels,
            mint: column(child.first(), "mint")?,
            maxt: column(child.get(1), "maxt")?,
            encoding: column(child.get(2), "encoding")?,
            replica: column(child.get(3), "replica")?,
            data: column(child.get(4), "data")?,
            chunks,
        })
    }

    /// The range of chunk indices that belong to `row`.
    #[must_use]
    pub fn chunk_range(&self, row: usize) -> std::ops::Range<usize> {
        let offsets = self.chunks.value_offsets();
        let at = |i: usize| usize::try_from(offsets[i]).unwrap_or(0);
        at(row)..at(row + 1)
    }
}
