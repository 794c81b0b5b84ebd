//! The series that a request selects from one block, in final order, before any chunk is read.
//!
//! ```text
//! rows of the side-index ──> final keys ──> stable sort ──> equal keys joined ──> limit
//! ```
//!
//! Keys lie behind one another in one string, chunk lists stay in the arrays that they were read into. Rows come
//! nearly sorted, which the sort takes advantage of.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::UInt64Type;

use crate::error::{Error, Result};
use crate::model::{Budget, Reservation, TimeInterval};
use crate::side_index::schema::{CHUNKS, LABELS, SERIES_REF};
use crate::side_index::{ChunkSpan, chunk_list, column, wrong};

use super::KeyRange;
use super::label_join::LabelJoin;

/// The columns of the side-index that a selection reads.
pub const SELECTION_COLUMNS: [&str; 3] = [LABELS, SERIES_REF, CHUNKS];

/// One selected row of the index; several make one series where dropped labels made them equal.
#[derive(Debug, Clone, Copy)]
pub struct SelectedRow {
    key_start: usize,
    key_end: usize,
    list: u32,
    list_row: u32,
    /// Replica number of the chunks.
    pub replica: u32,
    /// The series in the block's index, by which tombstones name it.
    pub series_ref: u64,
}

/// Selected series, sorted by final key.
#[derive(Debug)]
pub struct Selection {
    keys: String,
    rows: Vec<SelectedRow>,
    /// Where in `rows` each distinct key begins, and the end.
    series: Vec<usize>,
    lists: Vec<BinaryArray>,
    _reservation: Reservation,
}

impl Selection {
    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len().saturating_sub(1)
    }

    /// The final key of series `i`.
    #[must_use]
    pub fn key(&self, i: usize) -> &str {
        let row = &self.rows[self.series[i]];
        &self.keys[row.key_start..row.key_end]
    }

    /// The rows of series `i`.
    #[must_use]
    pub fn rows(&self, i: usize) -> &[SelectedRow] {
        &self.rows[self.series[i]..self.series[i + 1]]
    }

    /// The chunks of a row; none where only labels were asked for.
    pub fn chunks(&self, row: &SelectedRow) -> impl Iterator<Item = Result<ChunkSpan>> {
        let list = self.lists.get(row.list as usize).map(|list| list.value(row.list_row as usize));
        list.into_iter().flat_map(chunk_list::decode)
    }

    /// The series whose key lies in `range`.
    #[must_use]
    pub fn find(&self, range: &KeyRange) -> Range<usize> {
        let position = |bound: &str| {
            let (mut low, mut high) = (0, self.len());
            while low < high {
                let middle = low + (high - low) / 2;
                if self.key(middle) < bound { low = middle + 1 } else { high = middle }
            }
            low
        };
        let start = range.start.as_deref().map_or(0, position);
        let end = range.end.as_deref().map_or(self.len(), position);
        start..end.max(start)
    }

    /// Keys that cut the series into at most `n` equal ranges.
    #[must_use]
    pub fn split_points(&self, n: usize) -> Vec<String> {
        let n = n.min(self.len());
        (1..n).map(|i| self.key(i * self.len() / n).to_owned()).collect()
    }
}

/// Collects the rows of a selection.
#[derive(Debug)]
pub struct SelectionBuilder {
    join: LabelJoin,
    interval: TimeInterval,
    keep_chunks: bool,
    keys: String,
    rows: Vec<SelectedRow>,
    lists: Vec<BinaryArray>,
    reservation: Reservation,
}

impl SelectionBuilder {
    /// For series that have a chunk in `interval`.
    #[must_use]
    pub fn new(join: LabelJoin, interval: TimeInterval, keep_chunks: bool, budget: Arc<dyn Budget>) -> Self {
        Self {
            join,
            interval,
            keep_chunks,
            keys: String::new(),
            rows: Vec::new(),
            lists: Vec::new(),
            reservation: Reservation::new(budget),
        }
    }

    /// Adds the rows of a batch with [`SELECTION_COLUMNS`] that have a chunk in the interval which is not wholly deleted.
    ///
    /// # Errors
    /// [`Error::Budget`]; [`Error::Arrow`] for a malformed batch.
    pub fn push(&mut self, batch: &RecordBatch, deleted: impl Fn(u64, TimeInterval) -> bool) -> Result<()> {
        let labels = column(batch, LABELS)?.as_string_opt::<i32>().ok_or_else(|| wrong(LABELS))?;
        let join = self.join.clone();
        self.push_as(batch, deleted, |row, out| join.join(labels.value(row), out))
    }

    /// The same with other keys: `key` appends that of a row, and returns its replica number.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_as(
        &mut self,
        batch: &RecordBatch,
        deleted: impl Fn(u64, TimeInterval) -> bool,
        key: impl Fn(usize, &mut String) -> u32,
    ) -> Result<()> {
        let labels = column(batch, LABELS)?.as_string_opt::<i32>().ok_or_else(|| wrong(LABELS))?;
        let refs = column(batch, SERIES_REF)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| wrong(SERIES_REF))?;
        let lists = column(batch, CHUNKS)?.as_binary_opt::<i32>().ok_or_else(|| wrong(CHUNKS))?;
        let kept_lists = if self.keep_chunks { lists.get_array_memory_size() } else { 0 };
        let growth = labels.value_data().len() * 2 + batch.num_rows() * size_of::<SelectedRow>() + kept_lists;
        self.reservation.try_grow(growth)?;
        let list = u32::try_from(self.lists.len()).map_err(|_| Error::Internal("too many batches".to_owned()))?;
        for row in 0..batch.num_rows() {
            let series_ref = refs.value(row);
            let mut wanted = false;
            for chunk in chunk_list::decode(lists.value(row)) {
                let chunk = chunk?.interval();
                if chunk.overlaps(self.interval) && !deleted(series_ref, chunk) {
                    wanted = true;
                    break;
                }
            }
            if wanted {
                let key_start = self.keys.len();
                let replica = key(row, &mut self.keys);
                let (key_end, list_row) = (self.keys.len(), row as u32);
                self.rows.push(SelectedRow { key_start, key_end, list, list_row, replica, series_ref });
            }
        }
        if self.keep_chunks {
            self.lists.push(lists.clone());
        }
        Ok(())
    }

    /// Sorts, joins and limits what was added.
    ///
    /// # Errors
    /// [`Error::Budget`].
    pub fn finish(mut self, limit: Option<usize>) -> Result<Selection> {
        let key = |row: &SelectedRow| &self.keys[row.key_start..row.key_end];
        if !self.rows.is_sorted_by(|a, b| key(a) <= key(b)) {
            self.rows.sort_by(|a, b| key(a).cmp(key(b)));
        }
        let mut series = Vec::new();
        for (i, row) in self.rows.iter().enumerate() {
            if i == 0 || key(&self.rows[i - 1]) != key(row) {
                if Some(series.len()) == limit {
                    series.push(i);
                    break;
                }
                series.push(i);
            }
        }
        match limit {
            Some(limit) if series.len() > limit => self.rows.truncate(series[limit]),
            _ => series.push(self.rows.len()),
        }
        let size = self.keys.capacity()
            + self.rows.capacity() * size_of::<SelectedRow>()
            + series.capacity() * size_of::<usize>()
            + self.lists.iter().map(Array::get_array_memory_size).sum::<usize>();
        self.reservation.try_resize(size)?;
        Ok(Selection { keys: self.keys, rows: self.rows, series, lists: self.lists, _reservation: self.reservation })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray, UInt64Array};

    use super::*;
    use crate::model::{ExternalLabels, Labels, UnlimitedBudget};

    fn select(rows: &[&[(&str, &str)]], drop: &[&str], limit: Option<usize>) -> Selection {
        let external = ExternalLabels::from_pairs([("c", "x")]);
        let drop: Arc<[String]> = drop.iter().map(|&d| d.to_owned()).collect();
        let join = LabelJoin::new(&external, drop, true);
        let mut builder = SelectionBuilder::new(join, TimeInterval::new(0, 10), true, Arc::new(UnlimitedBudget));
        let mut list = Vec::new();
        chunk_list::encode(&[ChunkSpan { mint: 5, maxt: 6, chunk_ref: 8, span: 3 }], &mut list);
        let keys: Vec<String> = rows.iter().map(|r| Labels::from_pairs(r.iter().copied()).into_key()).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            (LABELS, Arc::new(StringArray::from(keys))),
            (SERIES_REF, Arc::new(UInt64Array::from_iter_values(0..rows.len() as u64))),
            (CHUNKS, Arc::new(BinaryArray::from_iter_values(rows.iter().map(|_| &list)))),
        ];
        builder.push(&RecordBatch::try_from_iter(columns).unwrap(), |_, _| false).unwrap();
        builder.finish(limit).unwrap()
    }

    #[test]
    fn joining_external_labels_changes_the_order() {
        let selection = select(&[&[("a", "1")], &[("a", "1"), ("b", "2")]], &[], None);
        assert_eq!(selection.len(), 2);
        assert_eq!(selection.key(0), Labels::from_pairs([("a", "1"), ("b", "2"), ("c", "x")]).as_key());
        assert_eq!(selection.rows(0)[0].series_ref, 1);
        assert_eq!(selection.split_points(2), [selection.key(1)]);
        let from = KeyRange { start: Some(selection.key(1).to_owned()), end: None };
        assert_eq!(selection.find(&from), 1..2);
        assert_eq!(selection.find(&KeyRange::ALL), 0..2);
    }

    #[test]
    fn equal_series_are_joined_and_the_limit_counts_them_once() {
        let rows: &[&[(&str, &str)]] =
            &[&[("a", "1"), ("r", "1")], &[("a", "1"), ("r", "2")], &[("a", "2"), ("r", "1")]];
        let selection = select(rows, &["r"], None);
        assert_eq!(selection.len(), 2);
        assert_eq!(selection.rows(0).len(), 2);
        assert_ne!(selection.rows(0)[0].replica, selection.rows(0)[1].replica);
        let limited = select(rows, &["r"], Some(1));
        assert_eq!((limited.len(), limited.rows(0).len()), (1, 2));
        assert_eq!(select(rows, &["r"], Some(0)).len(), 0);
        assert_eq!(select(rows, &["r"], Some(2)).len(), 2);
    }
}
