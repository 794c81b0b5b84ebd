//! All series of a large block, selected while they are read: for compaction, which wants them all in order and has several such blocks
//! at once.
//!
//! ```text
//! rows of the side-index ──> window of 8,192 rows ──> Selection ──> batches of chunks ──> next window
//! ```
//!
//! The rows of a side-index are in the order of the series' own labels, so where nothing joins or leaves the labels, a selection of some rows
//! in a run is a run of the whole selection. What is in memory is a window a stream, whatever the block holds.

use std::sync::Arc;

use arrow::array::AsArray;
use futures::{StreamExt, TryStreamExt};

use super::block::{BlockPart, Inner};
use super::deletions::Deletions;
use super::label_join::LabelJoin;
use super::selection::{SELECTION_COLUMNS, Selection, SelectionBuilder};
use super::{KeyRange, SeriesPart, SeriesRequest, SeriesStream};
use crate::block::tombstones::Deleted;
use crate::error::{Error, Result};
use crate::model::{Labels, TimeInterval};
use crate::side_index::cache::is_damage;
use crate::side_index::schema::LABELS;
use crate::side_index::{SideIndex, column, wrong};

/// Rows that are selected at once: two pages of the side-index, two or three MB.
const WINDOW_ROWS: usize = 1 << 13;

/// The series of a block, own labels only.
#[derive(Debug, Clone)]
pub(super) struct WholePart {
    inner: Arc<Inner>,
    side_index: Arc<SideIndex>,
    request: SeriesRequest,
    deletions: Deletions,
    /// The first key of each window.
    keys: Arc<[String]>,
}

impl WholePart {
    /// All series of a block. The request has no matchers, joins no labels, drops none, and has no limit.
    ///
    /// # Errors
    /// Where the side-index cannot be read.
    pub async fn try_new(
        inner: Arc<Inner>,
        side_index: Arc<SideIndex>,
        request: &SeriesRequest,
        deletions: Deletions,
    ) -> Result<Self> {
        let mut keys = Vec::new();
        for start in (0..side_index.rows()).step_by(WINDOW_ROWS) {
            let batches = side_index.rows_of(start..start + 1, &[LABELS]).await?;
            let batch = batches.first().ok_or_else(|| wrong(LABELS))?;
            let labels = column(batch, LABELS)?.as_string_opt::<i32>().ok_or_else(|| wrong(LABELS))?;
            keys.push(labels.value(0).to_owned());
        }
        Ok(Self { inner, side_index, request: request.clone(), deletions, keys: keys.into() })
    }

    /// The series of a window that lie in `range`.
    async fn window(self, window: usize, range: KeyRange) -> Result<SeriesStream> {
        let rows = window * WINDOW_ROWS..((window + 1) * WINDOW_ROWS).min(self.side_index.rows());
        let join = LabelJoin::new(&Default::default(), Arc::default(), false);
        let budget = Arc::clone(&self.request.budget);
        let mut builder = SelectionBuilder::new(join, self.request.interval, true, budget);
        let read = self.side_index.rows_of(rows, &SELECTION_COLUMNS).await;
        let batches = read.map_err(|error| self.built_again(error))?;
        for batch in &batches {
            let deleted = |series, chunk| self.deletions.of_chunk(series, chunk).0 == Deleted::Whole;
            builder.push(batch, deleted).map_err(|error| self.built_again(error))?;
        }
        let selection = builder.finish(None)?;
        self.check_order(window, &selection)?;
        Ok(BlockPart::new(&self.inner, &self.request, selection, self.deletions).stream(range))
    }

    /// The rows of each window must come after those of the one before, or whoever merges blocks loses its place.
    fn check_order(&self, window: usize, selection: &Selection) -> Result<()> {
        let Some(last) = selection.len().checked_sub(1) else { return Ok(()) };
        let next = self.keys.get(window + 1);
        if self.keys[window].as_str() <= selection.key(0) && next.is_none_or(|next| selection.key(last) < next.as_str())
        {
            return Ok(());
        }
        Err(Error::Corrupt {
            place: self.name(),
            file: "index".to_owned(),
            offset: 0,
            reason: format!("series are out of order about {}", Labels::from_key(selection.key(0))),
        })
    }

    /// A damaged side-index is made anew by who opens it next. It is no damage of the block.
    fn built_again(&self, error: Error) -> Error {
        if !is_damage(&error) {
            return error;
        }
        self.inner.discard_side_index();
        Error::Internal(format!("the side-index changed while it was read, and is built again: {error}"))
    }
}

impl SeriesPart for WholePart {
    fn name(&self) -> String {
        self.inner.id().to_string()
    }

    fn interval(&self) -> TimeInterval {
        self.inner.covers()
    }

    fn resolution_ms(&self) -> i64 {
        self.inner.resolution_ms()
    }

    fn series_count(&self) -> usize {
        self.side_index.rows()
    }

    fn split_points(&self, n: usize) -> Vec<String> {
        let n = n.min(self.keys.len());
        (1..n).map(|i| self.keys[i * self.keys.len() / n].clone()).collect()
    }

    fn stream(&self, range: KeyRange) -> SeriesStream {
        let first = range.start.as_ref().map_or(0, |start| self.keys.partition_point(|key| key <= start));
        let end = range.end.as_ref().map_or(self.keys.len(), |end| self.keys.partition_point(|key| key < end));
        let part = self.clone();
        futures::stream::iter(first.saturating_sub(1)..end)
            .then(move |window| part.clone().window(window, range.clone()))
            .try_flatten()
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, Workload};
    use crate::model::TimeRange;
    use crate::schema::SeriesColumns;
    use crate::side_index::{SideIndexCache, SideIndexSettings};
    use crate::store::LocalDirStore;

    async fn keys(part: &dyn SeriesPart, range: KeyRange) -> Vec<(String, usize)> {
        let batches: Vec<_> = part.stream(range).try_collect().await.unwrap();
        let mut keys = Vec::new();
        for batch in &batches {
            let columns = SeriesColumns::try_new(batch).unwrap();
            (0..batch.num_rows())
                .for_each(|row| keys.push((columns.labels.value(row).to_owned(), columns.chunk_range(row).len())));
        }
        keys
    }

    #[tokio::test]
    async fn it_streams_what_a_selection_does() {
        let folder = tempfile::tempdir().unwrap();
        let series = 2 * WINDOW_ROWS + 77;
        let counters = series as u64;
        let workload = Workload {
            counters,
            scrape_interval_ms: 1_800_000,
            range: TimeRange { mint: 0, maxt: 7_200_000 },
            ..Workload::default()
        };
        Generator::try_new(workload).unwrap().write_all(folder.path(), 1, &|_| ()).unwrap();
        let cache = SideIndexCache::new(SideIndexSettings::default());
        let store = LocalDirStore::open(folder.path(), cache).await.unwrap();
        let block = store.blocks().iter().next().unwrap().clone();
        let request =
            SeriesRequest { with_external_labels: false, ..SeriesRequest::new(Vec::new(), TimeInterval::ALL) };
        let (whole, selected) =
            (block.select_whole(&request).await.unwrap().unwrap(), block.select(&request).await.unwrap().unwrap());
        let expected = keys(selected.as_ref(), KeyRange::ALL).await;
        assert!(expected.len() >= series && expected.iter().all(|(_, chunks)| *chunks > 0));
        assert_eq!(keys(whole.as_ref(), KeyRange::ALL).await, expected);
        // ranges that begin at windows, and ones that do not
        for points in [whole.split_points(8), selected.split_points(5)] {
            assert!(points.len() >= 2);
            let mut found = Vec::new();
            for range in KeyRange::between(&points) {
                found.extend(keys(whole.as_ref(), range).await);
            }
            assert_eq!(found, expected);
        }
    }
}
