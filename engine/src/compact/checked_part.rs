//! A block's series, checked for what would make a block of them unreadable: chunks outside of the block's time, out of order, or
//! overlapping within a series. Prometheus and Thanos write none; what is found here was damaged, or written by a broken program.

use futures::StreamExt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use storage::model::{BlockId, Labels, TimeInterval, TimeRange};
use storage::schema::SeriesColumns;
use storage::store::{ChunkPlace, KeyRange, SeriesPart, SeriesStream};
use storage::{Error, Result};

/// How the reason of chunks that are out of order begins.
pub(super) const OUT_OF_ORDER: &str = "chunks are out of order";

/// Passes on a block's series, or an error that names the first that is wrong.
#[derive(Debug)]
pub(super) struct CheckedPart {
    part: Arc<dyn SeriesPart>,
    block: BlockId,
    range: TimeRange,
}

impl CheckedPart {
    /// The series of `block`, which covers `range`.
    pub(super) fn new(part: Arc<dyn SeriesPart>, block: BlockId, range: TimeRange) -> Self {
        Self { part, block, range }
    }
}

impl SeriesPart for CheckedPart {
    fn name(&self) -> String {
        self.part.name()
    }

    fn interval(&self) -> TimeInterval {
        self.part.interval()
    }

    fn series_count(&self) -> usize {
        self.part.series_count()
    }

    fn split_points(&self, n: usize) -> Vec<String> {
        self.part.split_points(n)
    }

    fn stream(&self, range: KeyRange) -> SeriesStream {
        let (block, covered) = (self.block, self.range);
        let checked = move |batch: Result<RecordBatch>| {
            let batch = batch?;
            check(&batch, block, covered)?;
            Ok(batch)
        };
        self.part.stream(range).map(checked).boxed()
    }

    fn places(&self, key: &str, interval: TimeInterval) -> Vec<ChunkPlace> {
        self.part.places(key, interval)
    }
}

fn check(batch: &RecordBatch, block: BlockId, covered: TimeRange) -> Result<()> {
    let columns = SeriesColumns::try_new(batch)?;
    for row in 0..batch.num_rows() {
        let mut before: Option<i64> = None;
        for chunk in columns.chunk_range(row) {
            let (mint, maxt) = (columns.mint.value(chunk), columns.maxt.value(chunk));
            let wrong = if mint < covered.mint || maxt >= covered.maxt {
                let (from, to) = (covered.mint, covered.maxt);
                Some(format!("a chunk from {mint} to {maxt} is outside of the block, {from} to {to}"))
            } else if maxt < mint || before.is_some_and(|before| mint <= before) {
                Some(format!("{OUT_OF_ORDER}: one from {mint} to {maxt}"))
            } else {
                None
            };
            if let Some(wrong) = wrong {
                let reason = format!("{wrong}, of {}", Labels::from_key(columns.labels.value(row)));
                return Err(Error::Corrupt { place: block.to_string(), file: "index".to_owned(), offset: 0, reason });
            }
            before = Some(maxt);
        }
    }
    Ok(())
}
