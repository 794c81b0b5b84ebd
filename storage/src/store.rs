//! One trait for everything that holds series.
//!
//! ```text
//! SeriesRequest ──> Store::series ──> SeriesSet { parts, warnings }
//!                                        │ one part a block, head or peer
//!                                        └─> SeriesPart::stream(KeyRange) ──> series batches, by final labels
//! ```
//!
//! [`Store::series`] selects: it evaluates the matchers, joins external labels, drops replica labels and sorts
//! the surviving keys, but fetches no chunk. The part that comes back remembers the selection, so that several
//! partitions can stream disjoint [`KeyRange`]s of it without selecting again. Merging parts is the caller's.

#[cfg(any(test, feature = "test-suite"))]
pub mod acceptance;
mod block;
mod block_set;
mod bucket;
mod coverage;
mod deletions;
mod fetch;
mod files;
mod label_join;
mod local_dir;
mod request;
mod rewrite;
mod scoped;
mod selection;
mod union;
mod whole_part;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::model::{BlockId, ExternalLabels, TimeInterval};

pub(crate) use block::{check_deadline, label_set};
pub(crate) use fetch::{BATCH_BYTES, BATCH_SERIES_MAX};
pub(crate) use label_join::LabelJoin;

pub use block::BlockStore;
pub use block_set::{BLOCKS_AHEAD, BlockSet};
pub use bucket::{BucketSettings, BucketStore};
pub use fetch::BatchBuilder;
pub use files::{BlockFiles, JoinedReads};
pub use local_dir::LocalDirStore;
pub use request::{KeyRange, LabelRequest, SeriesRequest};
pub use rewrite::{Change, ChangeLog, RelabelSeries, Rewrite, SeriesDeletion};
pub use scoped::ScopedStore;
pub use union::UnionStore;

/// Batches of [`series_schema`](crate::schema::series_schema), sorted by `labels`.
pub type SeriesStream = BoxStream<'static, Result<RecordBatch>>;

/// Anything that holds series: a block, a folder of blocks, a bucket, a head, a peer.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// What this store covers.
    fn info(&self) -> StoreInfo;

    /// Selects the series that the request asks for.
    ///
    /// # Errors
    /// Where the request is invalid or nothing at all can be answered; a store that can answer in part does so
    /// and says in `warnings` what is missing.
    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet>;

    /// The label names of the series that the request asks for, sorted, without duplicates.
    ///
    /// # Errors
    /// As [`series`](Self::series).
    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet>;

    /// The values of label `name` in the series that the request asks for, sorted, without duplicates.
    ///
    /// # Errors
    /// As [`series`](Self::series).
    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet>;

    /// The blocks that it holds now, for lists of them; none where it has no blocks, or they are another process's.
    fn held_blocks(&self) -> Vec<BlockStore> {
        Vec::new()
    }

    /// Looks again for what there is, after a stream ended with [`Error::BlockGone`](crate::Error::BlockGone) of `block`:
    /// what was in it is somewhere else now. A store whose blocks never go has nothing to do.
    ///
    /// # Errors
    /// Where it cannot look.
    async fn refresh(&self, block: BlockId) -> Result<()> {
        let _ = block;
        Ok(())
    }
}

/// The selected series of one block, head or peer.
pub trait SeriesPart: Send + Sync + Debug {
    /// What stands behind it, for EXPLAIN and messages: a ULID, `head`, an address.
    fn name(&self) -> String;

    /// What the samples of all selected series lie within; all of time where a part cannot tell. Parts are ordered by it.
    fn interval(&self) -> TimeInterval {
        TimeInterval::ALL
    }

    /// How coarse its samples are: the length in milliseconds of the windows that they are aggregates of, 0 where they are raw.
    fn resolution_ms(&self) -> i64 {
        0
    }

    /// The labels of its producer, where all its series have the same. Parts of equal labels hold the same series, so that one of a
    /// coarser resolution stands for the others.
    fn external_labels(&self) -> Option<&ExternalLabels> {
        None
    }

    /// The part without the samples outside of `intervals`, which ascend and do not touch; none where it cannot be cut.
    /// [`series_count`](Self::series_count) may then count series that have nothing left.
    fn within(&self, intervals: &[TimeInterval]) -> Option<Arc<dyn SeriesPart>> {
        let _ = intervals;
        None
    }

    /// How many series are selected.
    fn series_count(&self) -> usize;

    /// Keys that cut the selection into at most `n` ranges of about equal work, ascending, at most `n - 1` of them.
    fn split_points(&self, n: usize) -> Vec<String>;

    /// The selected series whose final key lies in `range`, sorted by it. Lazy: nothing is fetched before the
    /// first poll, and what is under way stops when the stream is dropped.
    fn stream(&self, range: KeyRange) -> SeriesStream;

    /// Where the chunks of series `key` are stored that span `interval` exactly. For errors of chunks that turn out not
    /// to decode: series batches do not carry it along. Empty where a part cannot tell.
    fn places(&self, key: &str, interval: TimeInterval) -> Vec<ChunkPlace> {
        let _ = (key, interval);
        Vec::new()
    }
}

/// Where a chunk is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkPlace {
    /// The block's ULID.
    pub block: String,
    /// The segment: `chunks/000001`.
    pub file: String,
    /// Where in it the chunk begins, in bytes.
    pub offset: u64,
}

/// What [`Store::series`] found.
#[derive(Debug, Clone, Default)]
pub struct SeriesSet {
    /// One a block, head or peer that has a selected series, ordered by the time that they cover.
    pub parts: Vec<Arc<dyn SeriesPart>>,
    /// What could not be answered, for the client to see.
    pub warnings: Vec<String>,
}

/// Label names or values, and what could not be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSet {
    /// Sorted, distinct.
    pub values: Vec<String>,
    /// What could not be answered, for the client to see.
    pub warnings: Vec<String>,
}

/// What a store covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// The distinct external label sets of its parts.
    pub external_labels: Vec<ExternalLabels>,
    /// From its first to its last sample; empty where it has none.
    pub interval: TimeInterval,
}

#[cfg(test)]
mod golden_tests;
