//! Every sample of a bucket, read without any of the code that queries and compaction read with: blocks are copied to a folder, opened
//! with the local reader, and each chunk is decoded by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use storage::block::LocalBlock;
use storage::model::{CounterResetHint, FloatHistogram, SampleBuffer, TimeInterval};

/// Series in words, time, value in words.
pub type Samples = BTreeSet<(String, i64, String)>;

/// A block's part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSamples {
    /// In milliseconds.
    pub resolution_ms: i64,
    /// Whether it has a deletion mark.
    pub marked: bool,
    /// Its samples, with external labels but those left out.
    pub samples: Samples,
}

/// The samples of each block that has a `meta.json`. A block that cannot be read fails the test.
pub async fn by_block(objects: &Arc<InMemory>, leave_out: &[&str]) -> BTreeMap<String, BlockSamples> {
    of_folder(to_folder(objects).await.path(), leave_out)
}

/// The objects as files of a folder.
pub async fn to_folder(objects: &Arc<InMemory>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    for object in &listed {
        let path = folder.path().join(object.location.as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = objects.get(&object.location).await.unwrap().bytes().await.unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

/// The same of a folder of blocks.
pub fn of_folder(folder: &Path, leave_out: &[&str]) -> BTreeMap<String, BlockSamples> {
    let mut blocks = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.join("meta.json").exists() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let marked = path.join("deletion-mark.json").exists();
            let block = LocalBlock::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let samples = samples(&block, leave_out);
            blocks.insert(name, BlockSamples { resolution_ms: block.meta().resolution_ms(), marked, samples });
        }
    }
    blocks
}

/// The samples of one block, with external labels but those left out.
pub fn samples(block: &LocalBlock, leave_out: &[&str]) -> Samples {
    let mut found = Samples::new();
    let external = block.meta().external_labels();
    let mut series = block.index().all_series();
    let mut buffer = SampleBuffer::new();
    while let Some(entry) = series.next().unwrap() {
        let mut labels: BTreeMap<&str, &str> = entry.labels.iter().copied().collect();
        labels.extend(external.iter().filter(|(name, _)| !leave_out.contains(name)));
        let name = format!("{labels:?}");
        for chunk in entry.chunks {
            let stored = block.chunk(chunk.chunk).unwrap();
            buffer.clear();
            if block.meta().resolution_ms() > 0 {
                // what is compared of aggregates is their bytes
                found.insert((name.clone(), chunk.mint, format!("{:?}", stored.data)));
                continue;
            }
            storage::chunk::decode(stored.encoding, &stored.data, TimeInterval::ALL, &mut buffer).unwrap();
            for index in 0..buffer.len() {
                let value = match buffer.histogram(index) {
                    // what the chunk before it was decides the hint
                    Some(histogram) => {
                        let hint = CounterResetHint::Unknown;
                        format!("{:?}", FloatHistogram { counter_reset_hint: hint, ..FloatHistogram::clone(histogram) })
                    }
                    None => format!("{:016x}", buffer.floats[index].to_bits()),
                };
                found.insert((name.clone(), buffer.timestamps[index], value));
            }
        }
    }
    found
}

/// All samples of raw blocks; `unmarked` leaves blocks out that may go at any time.
pub fn raw(blocks: &BTreeMap<String, BlockSamples>, unmarked: bool) -> Samples {
    let counted = blocks.values().filter(|block| block.resolution_ms == 0 && !(unmarked && block.marked));
    counted.flat_map(|block| block.samples.iter().cloned()).collect()
}
