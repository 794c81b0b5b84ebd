//! Downsampled blocks, chunk by chunk and sample by sample, beside those that Thanos made of the same sources.

use std::collections::BTreeMap;
use std::path::Path;

use storage::block::{BlockMeta, LocalBlock};
use storage::chunk::{Aggregate, decode_aggregate};
use storage::model::{CounterResetHint, FloatHistogram, SampleBuffer, TimeInterval};

use crate::buckets::shape_of;

const SLOTS: [Aggregate; 5] = [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Counter];

/// Time, and value in words.
type Slot = Vec<(i64, String)>;

/// A chunk of aggregates.
#[derive(Debug, PartialEq)]
struct Chunk {
    data: Vec<u8>,
    slots: [Slot; 5],
    has_histograms: bool,
}

/// The chunks of a block by series, and first and last time.
type Chunks = BTreeMap<(String, i64, i64), Chunk>;

/// How much was compared.
#[derive(Debug, Default)]
pub struct Compared {
    pub blocks: usize,
    pub chunks: usize,
    /// Chunks that are the same to the byte.
    pub same_bytes: usize,
    pub histogram_chunks: usize,
    /// Chunks of which the counter lacks resets that Thanos sees where the schema changes (docs/differences.md).
    pub corrected_counters: usize,
}

/// Whether a counter differs as docs/differences.md says: it is of the one series that changes its schema, and at the same times never
/// more than Thanos's, and less only from some window on.
fn lacks_false_resets(series: &str, ours: &Slot, theirs: &Slot) -> bool {
    let times = |slot: &Slot| slot.iter().map(|(t, _)| *t).collect::<Vec<_>>();
    let counts = |slot: &Slot| -> Vec<f64> {
        let count = |words: &str| words.split(" count: ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        slot.iter().map(|(_, words)| count(words).unwrap_or(f64::NAN)).collect()
    };
    let less: Vec<f64> = counts(theirs).iter().zip(counts(ours)).map(|(theirs, ours)| theirs - ours).collect();
    series.contains("rpc_duration_seconds") && times(ours) == times(theirs) && less[0] >= 0.0 && less.is_sorted()
}

/// Compares all downsampled blocks of two folders; what differs fails the test.
pub fn compare(ours: &Path, theirs: &Path) -> Compared {
    let (ours, theirs) = (by_shape(ours), by_shape(theirs));
    let mut compared = Compared::default();
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (shape, (meta, expected)) in theirs {
        let (our_meta, found) = &ours[&shape];
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{shape}");
        let (stats, their_stats) = (&our_meta.stats, &meta.stats);
        assert_eq!(
            (stats.num_series, stats.num_chunks, stats.num_samples),
            (their_stats.num_series, their_stats.num_chunks, their_stats.num_samples)
        );
        for (key, expected) in expected {
            let chunk = &found[&key];
            let mut corrected = false;
            for (slot, (ours, theirs)) in SLOTS.iter().zip(chunk.slots.iter().zip(&expected.slots)) {
                if ours != theirs && *slot == Aggregate::Counter && lacks_false_resets(&key.0, ours, theirs) {
                    corrected = true;
                    continue;
                }
                let first = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
                assert!(
                    ours == theirs,
                    "{shape}: {slot:?} of {key:?} differs, {} and {} samples, at {first:?}: {:?} and {:?}",
                    ours.len(),
                    theirs.len(),
                    first.map(|at| &ours[at]),
                    first.map(|at| &theirs[at])
                );
            }
            let same_bytes = chunk.data == expected.data;
            assert!(same_bytes || chunk.has_histograms, "{shape}: bytes of {key:?}");
            compared.same_bytes += usize::from(same_bytes);
            compared.chunks += 1;
            compared.corrected_counters += usize::from(corrected);
            compared.histogram_chunks += usize::from(chunk.has_histograms);
        }
        compared.blocks += 1;
    }
    compared
}

/// How many raw samples the unmarked blocks of a resolution stand for, by series. Blocks that share time fail the test.
pub fn counted(folder: &Path, resolution_ms: i64) -> BTreeMap<String, u64> {
    let blocks = by_shape(folder).into_values().filter(|(meta, _)| meta.resolution_ms() == resolution_ms);
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let mut ends: BTreeMap<i64, i64> = BTreeMap::new();
    for (meta, chunks) in blocks {
        assert!(ends.insert(meta.min_time, meta.max_time).is_none(), "two blocks begin at {}", meta.min_time);
        for ((series, _, _), chunk) in chunks {
            let counts =
                chunk.slots[0].iter().map(|(_, value)| value.split(' ').nth(1).unwrap().parse::<f64>().unwrap());
            *counted.entry(series).or_default() += counts.sum::<f64>() as u64;
        }
    }
    assert!(ends.iter().zip(ends.keys().skip(1)).all(|((_, end), next)| end <= next), "blocks overlap: {ends:?}");
    counted
}

fn by_shape(folder: &Path) -> BTreeMap<String, (BlockMeta, Chunks)> {
    let mut blocks = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("meta.json").exists() || path.join("deletion-mark.json").exists() {
            continue;
        }
        let block = LocalBlock::open(&path).unwrap();
        if block.meta().resolution_ms() > 0 {
            let before = blocks.insert(shape_of(block.meta()), (block.meta().clone(), chunks(&block)));
            assert!(before.is_none(), "two blocks of one shape");
        }
    }
    blocks
}

fn chunks(block: &LocalBlock) -> Chunks {
    let mut chunks = Chunks::new();
    let mut series = block.index().all_series();
    while let Some(entry) = series.next().unwrap() {
        let labels: BTreeMap<&str, &str> = entry.labels.iter().copied().collect();
        for chunk in entry.chunks {
            let data = block.chunk(chunk.chunk).unwrap().data.to_vec();
            let decoded = SLOTS.map(|aggregate| {
                let mut samples = SampleBuffer::new();
                decode_aggregate(&data, aggregate, TimeInterval::ALL, &mut samples).unwrap();
                samples
            });
            let has_histograms = decoded.iter().any(|samples| !samples.histograms.is_empty());
            let slots = decoded.map(|samples| in_words(&samples));
            let key = (format!("{labels:?}"), chunk.mint, chunk.maxt);
            assert!(chunks.insert(key, Chunk { data, slots, has_histograms }).is_none());
        }
    }
    chunks
}

fn in_words(samples: &SampleBuffer) -> Slot {
    let sample = |index: usize| match samples.histogram(index) {
        Some(histogram) => {
            // empty buckets say nothing, and a hint only what the samples before say
            let mut histogram = FloatHistogram::clone(histogram);
            histogram.compact(0);
            histogram.counter_reset_hint = CounterResetHint::Unknown;
            format!("{histogram:?}")
        }
        None => format!("{:016x} {}", samples.floats[index].to_bits(), samples.floats[index]),
    };
    (0..samples.len()).map(|index| (samples.timestamps[index], sample(index))).collect()
}
