//! Every sample of a bucket, read without any of the code that queries and compaction read with: blocks are copied to a folder, opened
//! with the local reader, and each chunk is decoded by itself.

use std::collections::{BTreeMap, BTreeSet};

use storage::block::LocalBlock;
use storage::model::{CounterResetHint, FloatHistogram, SampleBuffer, TimeInterval};

/// Series in words, time, value in words.
pub type Samples = BTreeSet<(String, i64, String)>;

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
