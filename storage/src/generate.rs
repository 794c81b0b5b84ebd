//! Blocks made up from a seed, for benches and for trying things out.
//!
//! ```text
//! Workload ──> ranges of blocks × replicas, in any order, on any number of threads
//!                └─> targets alive in the block ──> series in label order ──> samples ──> BlockWriter
//! ```
//!
//! Nothing that is drawn depends on what was drawn before ([`seed`]), and a series' value at a moment not on its values
//! before ([`busy`]). So every block is made by itself, and comes out the same to the byte whoever makes it and when.
//! In memory are the targets of the block, a few words a series, and one series' samples.

mod busy;
mod families;
mod latency;
mod node_metrics;
mod scrapes;
mod seed;
mod targets;
mod values;
mod workload;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use ulid::Ulid;

use crate::block::meta::ThanosMeta;
use crate::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use crate::error::{Error, Result};
use crate::model::{BlockId, TimeRange};
use families::{Family, Population};
use node_metrics::SERIES_PER_NODE;
use scrapes::Scrapes;
use seed::Seed;
use targets::Targets;
use values::Sampler;

pub use workload::Workload;

/// Makes the blocks of a workload.
#[derive(Debug)]
pub struct Generator {
    workload: Workload,
    root: Seed,
    ranges: Vec<TimeRange>,
}

impl Generator {
    /// Checks a workload.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`], in words, where it cannot be made.
    pub fn try_new(workload: Workload) -> Result<Self> {
        workload.check()?;
        Ok(Self { root: Seed::new(workload.seed), ranges: workload.block_ranges(), workload })
    }

    /// What is made.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// How many blocks there are.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.ranges.len() * self.workload.replicas as usize
    }

    /// What `meta.json` of block `number` says, but for counts and files.
    ///
    /// # Panics
    /// Where there are not so many blocks.
    #[must_use]
    pub fn meta(&self, number: usize) -> BlockMeta {
        let replica = number / self.ranges.len();
        let range = self.ranges[number % self.ranges.len()];
        let workload = &self.workload;
        let mut labels: BTreeMap<String, String> = workload.external_labels.iter().cloned().collect();
        if workload.replicas > 1 {
            labels.insert(workload.replica_label.clone(), format!("r{replica}"));
        }
        // Prometheus names a block when it cuts it, shortly after its end. Other blocks of the same time have other
        // flags, and so another name.
        let name = self.root.named(&format!("{workload:?}")).named("ulid").child(number as u64);
        let random = u128::from(name.bits()) << 64 | u128::from(name.child(0).bits());
        let id = BlockId::new(Ulid::from_parts(range.maxt.cast_unsigned(), random));
        let mut meta = BlockMeta::new(id, range);
        if !labels.is_empty() {
            meta.thanos = Some(ThanosMeta { version: 1, labels, source: "test".to_owned(), ..ThanosMeta::default() });
        }
        meta
    }

    /// Makes block `number` in the folder `parent`, and calls `progress` with the number of samples after each series. A
    /// block that is there is left as it is.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    ///
    /// # Panics
    /// Where there are not so many blocks.
    pub fn write_block(&self, number: usize, parent: &Path, progress: &dyn Fn(u64)) -> Result<BlockMeta> {
        let meta = self.meta(number);
        let existing = parent.join(meta.id().to_string()).join(crate::block::meta::META_FILE);
        if let Ok(json) = std::fs::read(&existing) {
            let meta = BlockMeta::try_parse(&json, meta.id().to_string())?;
            progress(meta.stats.num_samples);
            return Ok(meta);
        }
        let block = number % self.ranges.len();
        let replica = u32::try_from(number / self.ranges.len()).unwrap_or(0);
        let targets = Targets { workload: &self.workload, root: self.root, blocks: &self.ranges };
        let nodes = targets.nodes(self.workload.gauges.div_ceil(SERIES_PER_NODE));
        let population = Population::new(&self.workload, targets.containers(block), nodes);
        let scrapes = Scrapes::new(&self.workload, self.root, replica, block, self.ranges[block]);
        let mut sampler = Sampler::new(&population, scrapes, self.root);
        let settings = BlockWriterSettings { side_index: self.workload.side_index, ..BlockWriterSettings::default() };
        let mut writer = BlockWriter::create(parent, meta, settings)?;
        for family in Family::all() {
            let paths = population.paths(family);
            for series in population.series(family) {
                let path = paths.get(usize::from(series.path)).map_or("", String::as_str);
                let chunks = sampler.chunks(family, series, path)?;
                if chunks.is_empty() {
                    continue;
                }
                progress(chunks.iter().map(|chunk| chunk.samples as u64).sum());
                writer.push(&population.labels(family, series, &paths), chunks.iter().map(ChunkPayload::from))?;
            }
        }
        writer.finish()
    }

    /// Makes all blocks in the folder `parent`, which is made too, on `threads` threads. The metas are in the order of the
    /// blocks' numbers, by replica and time.
    ///
    /// # Errors
    /// Where the folder cannot be written; blocks that were finished stay.
    pub fn write_all(&self, parent: &Path, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<BlockMeta>> {
        std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        let next = AtomicUsize::new(0);
        let done: Mutex<BTreeMap<usize, Result<BlockMeta>>> = Mutex::new(BTreeMap::new());
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.block_count() {
                    return;
                }
                let written = self.write_block(number, parent, &|samples| progress(samples));
                if written.is_err() {
                    next.store(self.block_count(), Ordering::Relaxed);
                }
                done.lock().insert(number, written);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, self.block_count().max(1)) {
                scope.spawn(work);
            }
        });
        done.into_inner().into_values().collect()
    }
}

#[cfg(test)]
mod tests;
