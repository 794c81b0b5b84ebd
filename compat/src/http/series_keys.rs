//! The label keys of several parts as one sorted stream without duplicates.
//!
//! Every part's stream is sorted, so a heap over the parts' current keys gives the smallest of all; a key equal to the one
//! before is skipped. Memory is one batch a part.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::StringViewArray;
use futures::stream::{self, Stream, StreamExt};
use storage::schema::SeriesColumns;
use storage::store::{KeyRange, SeriesPart, SeriesStream};

/// The distinct label keys of all `parts`, ascending.
pub fn merged_keys(parts: &[Arc<dyn SeriesPart>]) -> impl Stream<Item = storage::Result<String>> + use<> {
    let cursors = parts.iter().map(|part| Cursor::new(part.stream(KeyRange::ALL))).collect();
    let merge = Merge { cursors, heap: BinaryHeap::new(), started: false, last: None };
    stream::try_unfold(merge, |mut merge| async move { Ok(merge.next().await?.map(|key| (key, merge))) })
}

/// Where one part's stream stands.
struct Cursor {
    stream: SeriesStream,
    labels: Option<StringViewArray>,
    row: usize,
}

impl Cursor {
    fn new(stream: SeriesStream) -> Self {
        Self { stream, labels: None, row: 0 }
    }

    async fn next(&mut self) -> storage::Result<Option<String>> {
        loop {
            if let Some(labels) = &self.labels
                && self.row < arrow::array::Array::len(labels)
            {
                self.row += 1;
                return Ok(Some(labels.value(self.row - 1).to_owned()));
            }
            match self.stream.next().await {
                Some(batch) => {
                    self.labels = Some(SeriesColumns::try_new(&batch?)?.labels);
                    self.row = 0;
                }
                None => return Ok(None),
            }
        }
    }
}

struct Merge {
    cursors: Vec<Cursor>,
    heap: BinaryHeap<Reverse<(String, usize)>>,
    started: bool,
    last: Option<String>,
}

impl Merge {
    async fn next(&mut self) -> storage::Result<Option<String>> {
        if !self.started {
            self.started = true;
            for part in 0..self.cursors.len() {
                self.advance(part).await?;
            }
        }
        while let Some(Reverse((key, part))) = self.heap.pop() {
            self.advance(part).await?;
            if self.last.as_ref() != Some(&key) {
                self.last = Some(key.clone());
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    async fn advance(&mut self, part: usize) -> storage::Result<()> {
        if let Some(key) = self.cursors[part].next().await? {
            self.heap.push(Reverse((key, part)));
        }
        Ok(())
    }
}
