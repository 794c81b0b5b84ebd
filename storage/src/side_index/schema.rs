//! Which columns a side-index has.
//!
//! | column | type | holds |
//! |---|---|---|
//! | `labels` | Utf8, DELTA_BYTE_ARRAY | the [`label_key`], ascending |
//! | `l_<name>` | Dictionary<Int32, Utf8>, nullable | the value of a common label |
//! | `mint`, `maxt` | Int64 | first and last sample of the series in the block; `mint > maxt` where it has no chunk |
//! | `series_ref` | UInt64 | the series reference of `index`, by which tombstones name it |
//! | `chunks` | Binary | the [chunk list](super::chunk_list) |
//!
//! A name gets a column where at least one series in [`COMMON_SHARE`] carries it, the most frequent first, up to
//! [`LABEL_COLUMNS_MAX`]; conditions on other names are evaluated on `labels`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::model::{METRIC_NAME, label_key};

/// Version of the layout, in the file's metadata and in `series.crc`.
pub const FORMAT_VERSION: u32 = 1;
/// Series in a row group.
pub const ROW_GROUP_ROWS: usize = 131_072;
/// Series in a page: what pruning tells apart.
pub const PAGE_ROWS: usize = 4_096;
/// Uncompressed bytes after which a page of chunk lists is closed early: they are most of what a query reads.
const CHUNKS_PAGE_BYTES: usize = 32 << 10;
/// Most label columns of a file.
pub const LABEL_COLUMNS_MAX: usize = 64;
/// A name with a column is carried by at least one series of so many.
pub const COMMON_SHARE: u64 = 100;
/// Most label names that the footer lists; a block with more is scanned for its names.
pub const LISTED_NAMES_MAX: usize = 1_024;
/// Most different names that are counted to choose columns; a hostile block may have one a series.
const COUNTED_NAMES_MAX: usize = 65_536;

/// Metadata key of [`FORMAT_VERSION`].
pub const VERSION_KEY: &str = "quiver.side_index.version";
/// Metadata key of the JSON list of all label names.
pub const NAMES_KEY: &str = "quiver.label_names";

/// Column of label keys.
pub const LABELS: &str = "labels";
/// Column of first sample times.
pub const MINT: &str = "mint";
/// Column of last sample times.
pub const MAXT: &str = "maxt";
/// Column of series references.
pub const SERIES_REF: &str = "series_ref";
/// Column of chunk lists.
pub const CHUNKS: &str = "chunks";
/// What precedes a label name in the name of its column.
pub const LABEL_PREFIX: &str = "l_";

/// The schema of a file with columns for `names`.
pub fn schema(names: &[String]) -> SchemaRef {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = vec![Field::new(LABELS, DataType::Utf8, false)];
    fields.extend(names.iter().map(|name| Field::new(format!("{LABEL_PREFIX}{name}"), dictionary.clone(), true)));
    fields.extend([
        Field::new(MINT, DataType::Int64, false),
        Field::new(MAXT, DataType::Int64, false),
        Field::new(SERIES_REF, DataType::UInt64, false),
        Field::new(CHUNKS, DataType::Binary, false),
    ]);
    Arc::new(Schema::new(fields))
}

/// How the file is written.
///
/// Only the metric name keeps bounds for each page: series are sorted by it, while other labels mostly have all of their
/// values in every page, and bounds of no use would be most of what a reader has to load on opening. Labels and times keep
/// bounds for each row group, which cost next to nothing.
///
/// # Errors
/// Never in practice: where zstd knows no such level.
pub fn writer_properties(listed_names: Option<&[String]>) -> Result<WriterProperties, ParquetError> {
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    let mut metadata = vec![KeyValue::new(VERSION_KEY.to_owned(), FORMAT_VERSION.to_string())];
    if let Some(names) = listed_names {
        metadata.push(KeyValue::new(NAMES_KEY.to_owned(), serde_json::Value::from(names.to_vec()).to_string()));
    }
    let mut properties = WriterProperties::builder()
        .set_created_by("quiver".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS / 4)
        .set_column_data_page_size_limit(path(CHUNKS), CHUNKS_PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(path(&format!("{LABEL_PREFIX}{METRIC_NAME}")), EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(64))
        .set_key_value_metadata(Some(metadata));
    for name in [LABELS, SERIES_REF, CHUNKS] {
        properties = properties.set_column_statistics_enabled(path(name), EnabledStatistics::None);
    }
    for name in [LABELS, MINT, MAXT, SERIES_REF, CHUNKS] {
        properties = properties.set_column_dictionary_enabled(path(name), false);
    }
    for name in [MINT, MAXT, SERIES_REF] {
        properties = properties.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(properties.set_column_encoding(path(LABELS), Encoding::DELTA_BYTE_ARRAY).build())
}

/// Counts label names, to choose which get a column.
#[derive(Debug, Default)]
pub struct NameCounts {
    counts: HashMap<String, u64>,
    series: u64,
    overflow: bool,
}

impl NameCounts {
    /// Counts the names of one series.
    pub fn observe(&mut self, key: &str) {
        self.series += 1;
        for pair in label_key::pairs(key) {
            let name = pair.name.text();
            if let Some(count) = self.counts.get_mut(name.as_ref()) {
                *count += 1;
            } else if self.counts.len() < COUNTED_NAMES_MAX {
                self.counts.insert(name.into_owned(), 1);
            } else {
                self.overflow = true;
            }
        }
    }

    /// The names that get a column, in name order.
    #[must_use]
    pub fn common(&self) -> Vec<String> {
        let mut common: Vec<(&String, u64)> =
            self.counts.iter().map(|(n, c)| (n, *c)).filter(|(_, c)| c * COMMON_SHARE >= self.series).collect();
        common.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        common.truncate(LABEL_COLUMNS_MAX);
        let mut names: Vec<String> = common.into_iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// All names in order, unless they are too many to list.
    #[must_use]
    pub fn listed(&self) -> Option<Vec<String>> {
        if self.overflow || self.counts.len() > LISTED_NAMES_MAX {
            return None;
        }
        let mut names: Vec<String> = self.counts.keys().cloned().collect();
        names.sort();
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn common_names_get_columns() {
        let mut counts = NameCounts::default();
        for i in 0..1_000 {
            let rare = if i < 5 { "x" } else { "" };
            counts.observe(Labels::from_pairs([("__name__", "up"), ("rare", rare)]).as_key());
        }
        assert_eq!(counts.common(), ["__name__"]);
        assert_eq!(counts.listed().unwrap(), ["__name__", "rare"]);
    }

    #[test]
    fn columns_are_bounded() {
        let mut counts = NameCounts::default();
        for i in 0..80 {
            counts.observe(Labels::from_pairs([("a", "1".to_owned()), (&format!("n{i}"), "1".to_owned())]).as_key());
        }
        assert_eq!(counts.common().len(), 64);
        assert_eq!(counts.common()[0], "a");
    }
}
