//! The parts of a store as one stream of series, each with all its chunks.
//!
//! Every part's stream is sorted by labels, so a heap over the parts' current series gives the smallest of all; what several parts,
//! or several rows of one, hold of a series is put together. Memory is one batch a part and one series.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::Array;
use futures::StreamExt;
use storage::model::{TimeInterval, Timestamp};
use storage::schema::SeriesColumns;
use storage::store::{KeyRange, SeriesPart, SeriesStream};

/// A chunk within a batch, which it keeps in memory.
#[derive(Debug, Clone)]
pub struct Chunk {
    columns: Arc<SeriesColumns>,
    index: usize,
}

impl Chunk {
    /// First and last sample's time.
    pub fn interval(&self) -> TimeInterval {
        TimeInterval::new(self.mint(), self.columns.maxt.value(self.index))
    }

    /// First sample's time.
    pub fn mint(&self) -> Timestamp {
        self.columns.mint.value(self.index)
    }

    /// The encoding byte.
    pub fn encoding(&self) -> u8 {
        self.columns.encoding.value(self.index)
    }

    /// The payload.
    pub fn data(&self) -> &[u8] {
        self.columns.data.value(self.index)
    }
}

/// A series with its chunks by time; those of several parts may overlap.
#[derive(Debug)]
pub struct Series {
    /// Its labels.
    pub key: String,
    /// Its chunks; of equal ones just one.
    pub chunks: Vec<Chunk>,
}

/// Merges parts.
pub struct SeriesMerge {
    cursors: Vec<Cursor>,
    heap: BinaryHeap<Reverse<(String, usize)>>,
    started: bool,
}

/// Where one part's stream stands: at a row that is in the heap.
struct Cursor {
    stream: SeriesStream,
    columns: Option<Arc<SeriesColumns>>,
    row: usize,
}

impl SeriesMerge {
    /// A merge of everything in `parts`.
    pub fn new(parts: &[Arc<dyn SeriesPart>]) -> Self {
        let cursor = |part: &Arc<dyn SeriesPart>| Cursor { stream: part.stream(KeyRange::ALL), columns: None, row: 0 };
        Self { cursors: parts.iter().map(cursor).collect(), heap: BinaryHeap::new(), started: false }
    }

    /// The next series, by labels.
    ///
    /// # Errors
    /// As the parts' streams.
    pub async fn next(&mut self) -> storage::Result<Option<Series>> {
        if !self.started {
            self.started = true;
            for part in 0..self.cursors.len() {
                self.advance(part).await?;
            }
        }
        let Some(Reverse((key, part))) = self.heap.pop() else { return Ok(None) };
        let mut chunks = Vec::new();
        self.take(part, &mut chunks).await?;
        while self.heap.peek().is_some_and(|Reverse((next, _))| *next == key) {
            if let Some(Reverse((_, part))) = self.heap.pop() {
                self.take(part, &mut chunks).await?;
            }
        }
        let order = |chunk: &Chunk| (chunk.mint(), chunk.interval().maxt);
        chunks.sort_by_key(order);
        chunks.dedup_by(|b, a| order(a) == order(b) && a.encoding() == b.encoding() && a.data() == b.data());
        Ok(Some(Series { key, chunks }))
    }

    /// Takes the chunks of the row at which `part` stands, and moves on.
    async fn take(&mut self, part: usize, chunks: &mut Vec<Chunk>) -> storage::Result<()> {
        let cursor = &mut self.cursors[part];
        if let Some(columns) = &cursor.columns {
            chunks.extend(columns.chunk_range(cursor.row).map(|index| Chunk { columns: Arc::clone(columns), index }));
        }
        cursor.row += 1;
        self.advance(part).await
    }

    async fn advance(&mut self, part: usize) -> storage::Result<()> {
        let cursor = &mut self.cursors[part];
        loop {
            if let Some(columns) = &cursor.columns
                && cursor.row < columns.labels.len()
            {
                self.heap.push(Reverse((columns.labels.value(cursor.row).to_owned(), part)));
                return Ok(());
            }
            let Some(batch) = cursor.stream.next().await else {
                cursor.columns = None;
                return Ok(());
            };
            (cursor.columns, cursor.row) = (Some(Arc::new(SeriesColumns::try_new(&batch?)?)), 0);
        }
    }
}
