//! Writes a [`Dataset`] as a block into a folder.

use std::path::{Path, PathBuf};

use super::Dataset;
use crate::block::meta::{Downsample, ThanosMeta};
use crate::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use crate::chunk::{Encoding, XorEncoder, encode_aggr, encode_series};
use crate::model::{BlockId, SampleBuffer, TimeRange};

/// Block number `n` of a test.
pub(crate) fn block_id(n: u64) -> BlockId {
    BlockId::new(ulid::Ulid::from_parts(1_000 + n, 7))
}

/// Writes `data` as `<folder>/<ulid>/`, with or without a side-index; returns that folder.
pub(crate) fn write_block(folder: &Path, id: BlockId, data: &Dataset, side_index: bool) -> PathBuf {
    write_block_of(folder, id, data, 0, side_index)
}

/// As [`write_block`], of any resolution: where that is not 0, each sample is the one of a window.
pub(crate) fn write_block_of(folder: &Path, id: BlockId, data: &Dataset, resolution: i64, side_index: bool) -> PathBuf {
    let times = || data.series.iter().flat_map(|series| &series.samples).map(|&(t, _)| t);
    let range = TimeRange { mint: times().min().unwrap_or(0), maxt: times().max().map_or(0, |t| t.saturating_add(1)) };
    let mut meta = BlockMeta::new(id, range);
    let labels = data.external.iter().cloned().collect();
    let downsample = Downsample { resolution };
    meta.thanos = Some(ThanosMeta { version: 1, labels, downsample, ..ThanosMeta::default() });
    let settings = BlockWriterSettings { side_index, ..BlockWriterSettings::default() };
    let mut writer = BlockWriter::create(folder, meta, settings).unwrap();
    let mut series = data.series.clone();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    for one in &series {
        let mut samples = SampleBuffer::new();
        one.samples.iter().for_each(|&(t, v)| samples.push_float(t, v));
        if resolution == 0 {
            let chunks = encode_series(&samples, 120).unwrap();
            writer.push(&one.labels, chunks.iter().map(ChunkPayload::from)).unwrap();
        } else {
            let data = aggregates(&samples);
            let (mint, maxt) = (samples.timestamps[0], samples.timestamps[samples.len() - 1]);
            let chunk = ChunkPayload { mint, maxt, encoding: Encoding::Aggr as u8, data: &data };
            writer.push(&one.labels, [chunk]).unwrap();
        }
    }
    writer.finish().unwrap();
    folder.join(id.to_string())
}

/// A downsampled chunk whose windows are made of one sample each.
fn aggregates(samples: &SampleBuffer) -> Vec<u8> {
    let (mut values, mut counts, mut counter) = (XorEncoder::new(), XorEncoder::new(), XorEncoder::new());
    let (first, last) = (0, samples.len() - 1);
    counter.push(samples.timestamps[first], samples.floats[first]);
    for (&t, &v) in samples.timestamps.iter().zip(&samples.floats) {
        values.push(t, v);
        counts.push(t, 1.0);
        counter.push(t, v);
    }
    counter.push(samples.timestamps[last], samples.floats[last]);
    let (values, counts, counter) = (values.finish(), counts.finish(), counter.finish());
    encode_aggr([&counts, &values, &values, &values, &counter].map(|slot| Some((Encoding::Xor as u8, &slot[..]))))
}
