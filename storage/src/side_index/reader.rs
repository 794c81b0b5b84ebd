//! Reads `series.parquet`.
//!
//! ```text
//! matchers ──> bounds of row groups, of pages ──> filter columns ──> rows ──> wanted columns of these rows
//! ```
//!
//! [`SideIndex::scan`] takes one row group after the other, a few ahead, so that memory is bounded by row groups.
//! A small file is decoded whole when it is opened, and answers without Parquet from then on.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use crate::error::Result;
use crate::model::{Matcher, TimeInterval};

use super::checksum::IndexIdentity;
use super::condition::{Bounds, Condition};
use super::filter::RowFilter;
use super::recent::{self, RECENT_BYTES_MAX, RecentScans};
use super::schema::{LABEL_PREFIX, MAXT, MINT, NAMES_KEY};
use super::source::{VerifiedSource, unwrap_error};

/// A file with at most so many series is decoded whole.
pub const RESIDENT_ROWS_MAX: usize = 16_384;
/// It stays decoded if it takes up at most so many bytes.
pub const RESIDENT_BYTES_MAX: usize = 4 << 20;
/// Row groups that are read at once.
const ROW_GROUPS_AHEAD: usize = 4;
/// Rows in a decoded batch.
const BATCH_ROWS: usize = 8_192;

/// An opened side-index.
#[derive(Debug)]
pub struct SideIndex {
    source: VerifiedSource,
    metadata: ArrowReaderMetadata,
    label_columns: HashSet<String>,
    listed_names: Option<Vec<String>>,
    resident: Option<RecordBatch>,
    /// What was found of late, where the file is not resident.
    recent: RecentScans,
}

impl SideIndex {
    /// Reads footer and page indexes, and a small file whole.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where a checksum or the format is violated.
    pub async fn open(source: VerifiedSource) -> Result<Self> {
        let tail = source.checksums().tail();
        let bytes = source.read(std::slice::from_ref(&tail)).await?.into_iter().next().unwrap_or_default();
        let malformed = |e: parquet::errors::ParquetError| source.corrupt(tail.start, e.to_string());
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        reader.try_parse_sized(&bytes, source.checksums().file_size()).map_err(malformed)?;
        let metadata = reader.finish().map_err(malformed)?;
        let metadata =
            ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()).map_err(malformed)?;
        let label_columns = metadata
            .schema()
            .fields()
            .iter()
            .filter_map(|field| field.name().strip_prefix(LABEL_PREFIX).map(str::to_owned))
            .collect();
        let listed_names = metadata
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == NAMES_KEY))
            .and_then(|pair| serde_json::from_str(pair.value.as_deref()?).ok());
        let mut index =
            Self { source, metadata, label_columns, listed_names, resident: None, recent: RecentScans::default() };
        if index.rows() <= RESIDENT_ROWS_MAX {
            index.resident = index.load().await?.filter(|b| b.get_array_memory_size() <= RESIDENT_BYTES_MAX);
        }
        Ok(index)
    }

    /// How many series there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// The index that this was made from.
    #[must_use]
    pub fn identity(&self) -> IndexIdentity {
        self.source.checksums().identity()
    }

    /// All label names in order, where the file lists them.
    #[must_use]
    pub fn listed_names(&self) -> Option<&[String]> {
        self.listed_names.as_deref()
    }

    /// Whether label `name` has a column, which is then called `l_<name>`.
    #[must_use]
    pub fn has_column(&self, name: &str) -> bool {
        self.label_columns.contains(name)
    }

    /// Bytes of the file that were read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.source.bytes_read()
    }

    /// What this takes up in memory, in bytes.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.metadata.metadata().memory_size()
            + self.source.checksums().memory_size()
            + self.resident.as_ref().map_or(RECENT_BYTES_MAX, RecordBatch::get_array_memory_size)
    }

    /// Calls `visit` with the columns `wanted` of the series that pass all `matchers` and touch `interval`, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for damaged pages; what `visit` returns.
    pub async fn scan(
        &self,
        matchers: &[Matcher],
        interval: Option<TimeInterval>,
        wanted: &[&str],
        mut visit: impl FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let filter = RowFilter::new(matchers, interval, |name| self.has_column(name));
        if let Some(batch) = &self.resident {
            let mask = filter.evaluate(batch)?;
            if mask.count_set_bits() == 0 {
                return Ok(());
            }
            return visit(&filter_record_batch(&project(batch, wanted)?, &BooleanArray::new(mask, None))?);
        }
        let key = recent::key(matchers, interval, wanted);
        if let Some(found) = self.recent.get(&key) {
            return found.iter().try_for_each(visit);
        }
        let mut groups = futures::stream::iter(0..self.metadata.metadata().num_row_groups())
            .map(|group| self.scan_group(group, &filter, wanted))
            .buffered(ROW_GROUPS_AHEAD);
        let mut found = Some(Vec::new());
        while let Some(batches) = groups.try_next().await? {
            batches.iter().try_for_each(&mut visit)?;
            found = found.map(|mut found| {
                found.extend(batches);
                found
            });
            found.take_if(|found| !recent::is_small(found));
        }
        if let Some(found) = found {
            self.recent.keep(key, found);
        }
        Ok(())
    }

    /// The columns `wanted` of the series in these rows, in order.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for damaged pages.
    pub async fn rows_of(&self, rows: Range<usize>, wanted: &[&str]) -> Result<Vec<RecordBatch>> {
        if let Some(batch) = &self.resident {
            let rows = rows.start.min(batch.num_rows())..rows.end.min(batch.num_rows());
            return Ok(vec![project(batch, wanted)?.slice(rows.start, rows.len())]);
        }
        let (mut batches, mut first) = (Vec::new(), 0);
        for group in 0..self.metadata.metadata().num_row_groups() {
            let count = usize::try_from(self.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
            let within = rows.start.clamp(first, first + count) - first..rows.end.clamp(first, first + count) - first;
            if !within.is_empty() {
                batches.extend(self.read(group, count, &[within], wanted).await?);
            }
            first += count;
        }
        Ok(batches)
    }

    async fn scan_group(&self, group: usize, filter: &RowFilter, wanted: &[&str]) -> Result<Vec<RecordBatch>> {
        if !self.group_may_match(group, filter) {
            return Ok(Vec::new());
        }
        let rows = usize::try_from(self.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
        let pages = self.pages(group, rows, filter);
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        let columns = filter.columns();
        if columns.is_empty() {
            return self.read(group, rows, &pages, wanted).await;
        }
        let mut selected: Vec<Range<usize>> = Vec::new();
        let mut positions = Positions::new(&pages);
        for batch in self.read(group, rows, &pages, &columns).await? {
            let mask = filter.evaluate(&batch)?;
            positions.take(&mask, &mut selected);
        }
        if selected.is_empty() { Ok(Vec::new()) } else { self.read(group, rows, &selected, wanted).await }
    }

    /// Whether the bounds of a row group's columns leave room for a row that passes.
    fn group_may_match(&self, group: usize, filter: &RowFilter) -> bool {
        let metadata = self.metadata.metadata().row_group(group);
        let statistics = |column: &str| self.leaf(column).and_then(|i| metadata.column(i).statistics());
        let bounds = |column: &str| statistics(column).map(|known| group_bounds(known, metadata.num_rows()));
        let labels_may = filter
            .on_columns()
            .iter()
            .all(|(column, matcher)| bounds(column).is_none_or(|bounds| Condition::new(matcher).may_match(bounds)));
        let times = |column: &str| match statistics(column) {
            Some(Statistics::Int64(known)) => (known.min_opt().copied(), known.max_opt().copied()),
            _ => (None, None),
        };
        let times_may = filter.interval().is_none_or(|interval| {
            times(MINT).0.is_none_or(|mint| mint <= interval.maxt)
                && times(MAXT).1.is_none_or(|maxt| maxt >= interval.mint)
        });
        labels_may && times_may
    }

    /// The rows of a row group that lie in pages which the matchers do not rule out.
    fn pages(&self, group: usize, rows: usize, filter: &RowFilter) -> Vec<Range<usize>> {
        let metadata = self.metadata.metadata();
        let (Some(column_index), Some(offset_index)) = (metadata.column_index(), metadata.offset_index()) else {
            return std::iter::once(0..rows).collect();
        };
        let mut kept: Vec<Range<usize>> = std::iter::once(0..rows).filter(|range| !range.is_empty()).collect();
        for (column, matcher) in filter.on_columns() {
            let Some(i) = self.leaf(column) else { continue };
            let bounds = column_index.get(group).and_then(|columns| columns.get(i));
            let offsets = offset_index.get(group).and_then(|columns| columns.get(i));
            let (Some(bounds), Some(offsets)) = (bounds, offsets) else { continue };
            if matches!(bounds, ColumnIndexMetaData::NONE) {
                continue;
            }
            let condition = Condition::new(matcher);
            let starts: Vec<usize> =
                offsets.page_locations().iter().map(|p| usize::try_from(p.first_row_index).unwrap_or(0)).collect();
            let pages = starts.iter().enumerate().filter(|(page, _)| condition.may_match(page_bounds(bounds, *page)));
            let ranges = pages.map(|(page, &start)| start..starts.get(page + 1).copied().unwrap_or(rows));
            kept = intersect(&kept, ranges);
        }
        kept
    }

    /// The columns `wanted` of some rows of a row group.
    async fn read(
        &self,
        group: usize,
        rows: usize,
        selected: &[Range<usize>],
        wanted: &[&str],
    ) -> Result<Vec<RecordBatch>> {
        let schema = self.metadata.parquet_schema();
        let mask = ProjectionMask::leaves(schema, wanted.iter().filter_map(|name| self.leaf(name)));
        let selection = RowSelection::from_consecutive_ranges(selected.iter().cloned(), rows);
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(self.source.clone(), self.metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_row_selection(selection)
            .with_batch_size(BATCH_ROWS)
            .build()?;
        stream.try_collect().await.map_err(unwrap_error)
    }

    /// Decodes the whole file into one batch.
    async fn load(&self) -> Result<Option<RecordBatch>> {
        let schema = self.metadata.schema();
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(self.source.clone(), self.metadata.clone())
            .with_batch_size(RESIDENT_ROWS_MAX)
            .build()?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(unwrap_error)?;
        Ok(Some(concat_batches(schema, &batches)?))
    }

    fn leaf(&self, column: &str) -> Option<usize> {
        self.metadata.schema().index_of(column).ok()
    }
}

/// Only the columns `wanted` of `batch`.
fn project(batch: &RecordBatch, wanted: &[&str]) -> Result<RecordBatch> {
    let schema = batch.schema_ref();
    let columns: Vec<usize> = wanted.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    Ok(batch.project(&columns)?)
}

fn page_bounds(bounds: &ColumnIndexMetaData, page: usize) -> Bounds<'_> {
    let all_absent = bounds.is_null_page(page);
    let some_absent = bounds.null_count(page).is_none_or(|count| count > 0);
    let (min, max) = match bounds {
        ColumnIndexMetaData::BYTE_ARRAY(values) if !all_absent => (values.min_value(page), values.max_value(page)),
        _ => (None, None),
    };
    Bounds { min, max, some_absent, all_absent }
}

fn group_bounds(known: &Statistics, rows: i64) -> Bounds<'_> {
    let absent = known.null_count_opt();
    let (min, max) = match known {
        Statistics::ByteArray(values) => (values.min_bytes_opt(), values.max_bytes_opt()),
        _ => (None, None),
    };
    Bounds {
        min,
        max,
        some_absent: absent.is_none_or(|count| count > 0),
        all_absent: absent.is_some_and(|count| i64::try_from(count) == Ok(rows)),
    }
}

/// The common part of two ascending lists of ranges.
fn intersect(a: &[Range<usize>], b: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut i = 0;
    for right in b {
        while a.get(i).is_some_and(|left| left.end <= right.start) {
            i += 1;
        }
        let mut at = i;
        while let Some(left) = a.get(at).filter(|left| left.start < right.end) {
            let part = left.start.max(right.start)..left.end.min(right.end);
            match out.last_mut() {
                Some(last) if last.end == part.start => last.end = part.end,
                _ if part.is_empty() => {}
                _ => out.push(part),
            }
            at += 1;
        }
    }
    out
}

/// Translates rows of batches that hold selected ranges back into rows of the row group.
struct Positions<'a> {
    ranges: std::slice::Iter<'a, Range<usize>>,
    current: Range<usize>,
}

impl<'a> Positions<'a> {
    fn new(ranges: &'a [Range<usize>]) -> Self {
        Self { ranges: ranges.iter(), current: 0..0 }
    }

    /// Appends where the set bits of the next `mask.len()` rows lie.
    fn take(&mut self, mask: &arrow::buffer::BooleanBuffer, out: &mut Vec<Range<usize>>) {
        let mut done = 0;
        while done < mask.len() {
            if self.current.is_empty() {
                let Some(next) = self.ranges.next() else { return };
                self.current = next.clone();
                continue;
            }
            let count = self.current.len().min(mask.len() - done);
            for (start, end) in mask.slice(done, count).set_slices() {
                let found = self.current.start + start..self.current.start + end;
                match out.last_mut() {
                    Some(last) if last.end == found.start => last.end = found.end,
                    _ => out.push(found),
                }
            }
            self.current.start += count;
            done += count;
        }
    }
}
