//! One block written anew, with other labels or without some of its samples: what `tools bucket rewrite` and repairing do.
//!
//! ```text
//! BlockStore::select_rewritten ─> SeriesScanExec ─> MergeOverlapsExec ─> BlockWriter ─> bucket
//! ```
//!
//! Chunks of which nothing goes are copied as bytes. Chunks of one series that overlap become one, as do those of series that
//! became equal, with every sample that any of them has, once.

use std::sync::Arc;

use storage::block::BlockMeta;
use storage::model::{TimeInterval, Timestamp};
use storage::store::{BlockStore, ChangeLog, Rewrite, SeriesPart, SeriesRequest};

use super::{CompactError, JobSettings, Output, OverlapMerge, Progress, Work};

/// A block that is written anew.
#[derive(Debug, Clone)]
pub struct RewriteJob {
    /// The block that is read.
    pub block: BlockStore,
    /// What becomes of its series.
    pub rewrite: Rewrite,
    /// The block that is made.
    pub output: Output,
}

impl RewriteJob {
    /// Tells `log` what would change, and writes nothing. Returns how many series would be left.
    ///
    /// # Errors
    /// [`CompactError`].
    pub async fn preview(&self, log: &mut dyn ChangeLog) -> Result<usize, CompactError> {
        Ok(self.part(log).await?.map_or(0, |part| part.series_count()))
    }

    /// Makes the block; `now` is the time of its upload. None where no series is left.
    ///
    /// # Errors
    /// [`CompactError`]. A block that was not committed does not exist; what is there of it, a cleaner takes away.
    pub async fn run(
        self,
        settings: &JobSettings,
        progress: &dyn Progress,
        log: &mut dyn ChangeLog,
        now: Timestamp,
    ) -> Result<Option<BlockMeta>, CompactError> {
        let work = Work {
            parts: self.part(log).await?.into_iter().collect(),
            blocks: vec![self.block.id()],
            input_ms: self.block.meta().resolution_ms(),
            merge: OverlapMerge::OneToOne,
            outputs: vec![self.output],
        };
        Ok(work.run(settings, progress, now).await?.into_iter().next())
    }

    async fn part(&self, log: &mut dyn ChangeLog) -> Result<Option<Arc<dyn SeriesPart>>, CompactError> {
        let request = SeriesRequest {
            with_external_labels: false,
            max_resolution_ms: i64::MAX,
            ..SeriesRequest::new(Vec::new(), TimeInterval::ALL)
        };
        let part = self.block.select_rewritten(&self.rewrite, &request, log).await;
        part.map_err(|error| CompactError::of_storage(error, &[self.block.id()]))
    }
}
