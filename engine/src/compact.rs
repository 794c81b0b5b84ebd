//! Compaction: blocks become one, as a plan over their series.
//!
//! ```text
//! SeriesScanExec (a partition a block) ─> SortPreservingMergeExec ─> MergeSeriesExec ─> MergeOverlapsExec ─┐
//! SeriesScanExec (other label range)   ─> …                                                                ┴─> UnionExec ─> ConcatExec
//!   ─┬─> BlockWriter ─> bucket
//!    └─> BlockWriter ─> bucket      one pass can make several blocks
//! ```
//!
//! Where a block of a lower resolution is made, DownsampleExec stands behind each MergeOverlapsExec, and its batches say which block they
//! are for.
//!
//! Chunks that overlap nothing pass through as bytes, never decoded. Label ranges are worked on in parallel and joined in order, since a
//! block is written in the order of its labels. What is read and written at one time is bounded: a few ranges a core, of each a few batches a
//! block, and a few parts of a segment an output.

mod checked_part;
mod downsample;
mod error;
mod merge_overlaps;
mod output;
mod overlap;
mod penalty_fold;
mod rewrite;

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::SessionConfig;
use futures::{StreamExt, TryStreamExt};
use storage::block::BlockMeta;
use storage::compact::RAW;
use storage::model::{BlockId, TimeInterval, Timestamp};
use storage::shipper::UploadSettings;
use storage::store::{BlockStore, KeyRange, SeriesPart, SeriesRequest};

pub use downsample::DownsampleExec;
pub use error::{CompactError, Damage};
pub use merge_overlaps::MergeOverlapsExec;
pub use overlap::{OverlapMerge, StoredChunk};
pub use rewrite::RewriteJob;

use crate::concat::ConcatExec;
use crate::error::Error;
use crate::memory::{ProcessPool, QueryPool};
use crate::merge_series::MergeSeriesExec;
use crate::series_scan::{SeriesScanExec, by_labels};
use checked_part::CheckedPart;
use output::OutputWriter;

/// Fewer series than this are not worth a second core.
const SERIES_PER_RANGE_MIN: usize = 256;
/// A block of more series is not selected as a whole before it is read: its labels alone take some hundred bytes a series.
const SERIES_SELECTED_MAX: u64 = 100_000;
/// Label ranges a core, at least. More than one, so that the writer, which takes ranges in order, finds the next one ready.
const RANGES_PER_CORE: usize = 4;
/// A range of more series would wait half done for its turn, its queue full, while only one core works.
const SERIES_PER_RANGE_MAX: usize = 1 << 17;
/// Label ranges a core that are worked on at once where blocks are large: each has batches of all blocks, and a queue. Fewer would leave cores
/// idle whenever one ends.
const RANGES_AT_ONCE_PER_CORE: usize = 2;

/// Blocks that become one, or several of several resolutions.
#[derive(Debug, Clone)]
pub struct Job {
    /// The blocks that are read, all of one resolution.
    pub inputs: Vec<BlockStore>,
    /// How samples of chunks that overlap are merged.
    pub merge: OverlapMerge,
    /// The blocks that are made.
    pub outputs: Vec<Output>,
}

/// A block that is made.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its `meta.json`, but for counts and files.
    pub meta: BlockMeta,
}

/// Where jobs run, and where their blocks go.
#[derive(Debug, Clone)]
pub struct JobSettings {
    /// The memory that jobs may hold, shared with whatever else the process does.
    pub memory: Arc<ProcessPool>,
    /// Cores to use.
    pub partitions: usize,
    /// Where blocks go.
    pub upload: UploadSettings,
}

/// Is told how far a job is.
pub trait Progress: Send + Sync {
    /// So many series, with chunks of so many bytes, have been written.
    fn written(&self, series: u64, bytes: u64);
}

/// Nobody wants to know.
impl Progress for () {
    fn written(&self, _series: u64, _bytes: u64) {}
}

impl Job {
    /// Makes the blocks; `now` is the time of their upload. Returns them as the bucket has them, but for those in which no series was
    /// left, which are not made.
    ///
    /// # Errors
    /// [`CompactError`]. A block that was not committed does not exist; what is there of it, a cleaner takes away.
    pub async fn run(
        self,
        settings: &JobSettings,
        progress: &dyn Progress,
        now: Timestamp,
    ) -> Result<Vec<BlockMeta>, CompactError> {
        let blocks: Vec<BlockId> = self.inputs.iter().map(BlockStore::id).collect();
        let parts = self.parts(settings.partitions).await.map_err(|error| CompactError::of_storage(error, &blocks))?;
        let input_ms = self.inputs.first().map_or(RAW, |block| block.meta().resolution_ms());
        let work = Work { parts, blocks, input_ms, merge: self.merge, outputs: self.outputs };
        work.run(settings, progress, now).await
    }

    /// The series of each block. A side-index may have to be built for it, which keeps a core busy.
    async fn parts(&self, partitions: usize) -> storage::Result<Vec<Arc<dyn SeriesPart>>> {
        let selections = futures::stream::iter(self.inputs.clone()).map(part).buffered(partitions.max(1));
        Ok(selections.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }
}

/// The series of a block, its own labels only; none where there are none.
async fn part(block: BlockStore) -> storage::Result<Option<Arc<dyn SeriesPart>>> {
    let request = SeriesRequest {
        with_external_labels: false,
        max_resolution_ms: i64::MAX,
        ..SeriesRequest::new(Vec::new(), TimeInterval::ALL)
    };
    let part = match block.meta().stats.num_series > SERIES_SELECTED_MAX {
        true => block.select_whole(&request).await?,
        false => block.select(&request).await?,
    };
    Ok(part.map(|part| Arc::new(CheckedPart::new(part, block.id(), block.range())) as Arc<dyn SeriesPart>))
}

/// Series that were selected, and what becomes of them.
struct Work {
    parts: Vec<Arc<dyn SeriesPart>>,
    /// The blocks that they are of.
    blocks: Vec<BlockId>,
    /// The resolution of these, in milliseconds.
    input_ms: i64,
    merge: OverlapMerge,
    outputs: Vec<Output>,
}

impl Work {
    async fn run(
        self,
        settings: &JobSettings,
        progress: &dyn Progress,
        now: Timestamp,
    ) -> Result<Vec<BlockMeta>, CompactError> {
        let pool = Arc::new(QueryPool::new(Arc::clone(&settings.memory)));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc();
        let runtime = runtime.map_err(|error| CompactError::Internal(error.to_string()))?;
        let context = TaskContext::default().with_runtime(runtime).with_session_config(SessionConfig::new());
        let outputs_ms = self.outputs.iter().map(|output| output.meta.resolution_ms()).collect();
        let resolutions = Resolutions { input_ms: self.input_ms, outputs_ms };
        let plan = plan(self.parts, self.merge, &resolutions, settings.partitions);
        let plan = plan.map_err(|error| CompactError::of_plan(error, &self.blocks))?;
        let written = OutputWriter::write_all(plan, Arc::new(context), self.outputs, settings, progress, now);
        written.await.map_err(|error| CompactError::of_plan(error, &self.blocks))
    }
}

/// The resolutions of what is read and made, in milliseconds.
#[derive(Debug, Clone)]
struct Resolutions {
    input_ms: i64,
    outputs_ms: Vec<i64>,
}

/// The plan for the series of `parts`, in one partition.
fn plan(
    parts: Vec<Arc<dyn SeriesPart>>,
    merge: OverlapMerge,
    resolutions: &Resolutions,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let largest = parts.iter().max_by_key(|part| part.series_count());
    let is_large = largest.is_some_and(|part| part.series_count() as u64 > SERIES_SELECTED_MAX);
    let points = largest.map_or_else(Vec::new, |part| {
        let series = part.series_count();
        let least = (partitions * RANGES_PER_CORE).min(series / SERIES_PER_RANGE_MIN);
        let ranges = if partitions > 1 { least.max(series.div_ceil(SERIES_PER_RANGE_MAX)) } else { 1 };
        part.split_points(ranges.max(1))
    });
    let ranges = KeyRange::between(&points);
    let (parts, count): (Arc<[_]>, _) = (parts.into(), ranges.len());
    let text: Arc<str> = "all series".into();
    let downsamples = resolutions.outputs_ms.iter().any(|&output_ms| output_ms != resolutions.input_ms);
    let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(count);
    for (number, range) in ranges.into_iter().enumerate() {
        let scan: Arc<dyn ExecutionPlan> =
            Arc::new(SeriesScanExec::new(Arc::clone(&parts), range, (number, count), Arc::clone(&text)));
        let merged: Arc<dyn ExecutionPlan> = if parts.len() == 1 {
            scan
        } else {
            Arc::new(MergeSeriesExec::new(Arc::new(SortPreservingMergeExec::new(by_labels(), scan))))
        };
        let merged: Arc<dyn ExecutionPlan> = Arc::new(MergeOverlapsExec::new(merged, merge));
        inputs.push(match downsamples {
            false => merged,
            true => Arc::new(DownsampleExec::try_new(merged, resolutions.input_ms, resolutions.outputs_ms.clone())?),
        });
    }
    Ok(match (inputs.pop(), inputs.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            inputs.push(last);
            let joined = ConcatExec::new(UnionExec::try_new(inputs)?);
            let at_once = if is_large { partitions * RANGES_AT_ONCE_PER_CORE } else { count };
            Arc::new(joined.running(at_once))
        }
        (None, _) => Arc::new(EmptyExec::new(storage::schema::series_schema())),
    })
}
