//! Matchers on decoded rows.
//!
//! A matcher on a label with a column is evaluated once for each distinct value of the column's dictionary; others
//! look into the label key of the rows that are still in.

use arrow::array::{Array, AsArray, BooleanBufferBuilder, DictionaryArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Int32Type, Int64Type};

use crate::error::{Error, Result};
use crate::model::{Matcher, TimeInterval, label_key};

use super::schema::{LABEL_PREFIX, LABELS, MAXT, MINT};

/// What rows must satisfy.
#[derive(Debug, Clone)]
pub struct RowFilter {
    /// Matchers on labels that have a column, with the column's name.
    on_columns: Vec<(String, Matcher)>,
    /// Matchers on other labels.
    on_keys: Vec<Matcher>,
    /// The time that a series must touch.
    interval: Option<TimeInterval>,
}

impl RowFilter {
    /// Splits `matchers` by whether their label has a column.
    #[must_use]
    pub fn new(matchers: &[Matcher], interval: Option<TimeInterval>, has_column: impl Fn(&str) -> bool) -> Self {
        let (on_columns, on_keys): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| has_column(matcher.name()));
        let column = |matcher: &Matcher| format!("{LABEL_PREFIX}{}", matcher.name());
        Self {
            on_columns: on_columns.into_iter().map(|m| (column(m), m.clone())).collect(),
            on_keys: on_keys.into_iter().cloned().collect(),
            interval,
        }
    }

    /// The matchers on columns, with the column's name.
    #[must_use]
    pub fn on_columns(&self) -> &[(String, Matcher)] {
        &self.on_columns
    }

    /// Names of the columns that [`evaluate`](Self::evaluate) looks at.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = self.on_columns.iter().map(|(column, _)| column.as_str()).collect();
        columns.extend((!self.on_keys.is_empty()).then_some(LABELS));
        columns.extend(self.interval.iter().flat_map(|_| [MINT, MAXT]));
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The time that a series must touch.
    #[must_use]
    pub fn interval(&self) -> Option<TimeInterval> {
        self.interval
    }

    /// Which rows of `batch` pass.
    ///
    /// # Errors
    /// [`Error::Arrow`] where a column is missing or of another type.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanBuffer> {
        let mut mask = BooleanBuffer::new_set(batch.num_rows());
        if let Some(interval) = self.interval {
            let mint = column(batch, MINT)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(MINT))?;
            let maxt = column(batch, MAXT)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(MAXT))?;
            let touches = |i: usize| {
                let own = TimeInterval::new(mint.value(i), maxt.value(i));
                own.mint <= own.maxt && own.overlaps(interval)
            };
            mask = &mask & &BooleanBuffer::collect_bool(batch.num_rows(), touches);
        }
        for (name, matcher) in &self.on_columns {
            let values = column(batch, name)?.as_dictionary_opt::<Int32Type>().ok_or_else(|| wrong(name))?;
            mask = &mask & &by_dictionary(values, matcher).ok_or_else(|| wrong(name))?;
        }
        if !self.on_keys.is_empty() && mask.count_set_bits() > 0 {
            let keys = column(batch, LABELS)?.as_string_opt::<i32>().ok_or_else(|| wrong(LABELS))?;
            let mut refined = BooleanBufferBuilder::new(batch.num_rows());
            refined.append_n(batch.num_rows(), false);
            for row in mask.set_indices() {
                refined.set_bit(row, key_matches(keys.value(row), &self.on_keys));
            }
            mask = refined.finish();
        }
        Ok(mask)
    }
}

/// Whether the labels of `key` pass all `matchers`.
#[must_use]
pub fn key_matches(key: &str, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| match label_key::get(key, matcher.name()) {
        Some(value) => matcher.matches(&value.text()),
        None => matcher.matches_empty(),
    })
}

fn by_dictionary(values: &DictionaryArray<Int32Type>, matcher: &Matcher) -> Option<BooleanBuffer> {
    let dictionary = values.values().as_string_opt::<i32>()?;
    let passes: Vec<bool> = dictionary.iter().map(|value| value.is_some_and(|v| matcher.matches(v))).collect();
    let absent = matcher.matches_empty();
    let keys = values.keys();
    Some(BooleanBuffer::collect_bool(keys.len(), |row| {
        if keys.is_null(row) {
            return absent;
        }
        usize::try_from(keys.value(row)).ok().and_then(|code| passes.get(code).copied()).unwrap_or(false)
    }))
}

/// Column `name` of `batch`.
///
/// # Errors
/// [`Error::Arrow`] where it is not there.
pub fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    batch.column_by_name(name).map(AsRef::as_ref).ok_or_else(|| wrong(name))
}

/// The error for a column that is missing or of an unexpected type.
#[must_use]
pub fn wrong(name: &str) -> Error {
    Error::Arrow(format!("side-index without a proper column {name}"))
}
