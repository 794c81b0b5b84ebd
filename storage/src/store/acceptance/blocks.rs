//! Writes a [`Dataset`] as a block into a folder.

use std::path::{Path, PathBuf};

use super::Dataset;
use crate::block::meta::ThanosMeta;
use crate::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use crate::chunk::encode_series;
use crate::model::{BlockId, SampleBuffer, TimeRange};

/// Block number `n` of a test.
pub(crate) fn block_id(n: u64) -> BlockId {
    BlockId::new(ulid::Ulid::from_parts(1_000 + n, 7))
}

/// Writes `data` as `<folder>/<ulid>/`, with or without a side-index; returns that folder.
pub(crate) fn write_block(folder: &Path, id: BlockId, data: &Dataset, side_index: bool) -> PathBuf {
    let times = || data.series.iter().flat_map(|series| &series.samples).map(|&(t, _)| t);
    let range = TimeRange { mint: times().min().unwrap_or(0), maxt: times().max().map_or(0, |t| t.saturating_add(1)) };
    let mut meta = BlockMeta::new(id, range);
    let labels = data.external.iter().cloned().collect();
    meta.thanos = Some(ThanosMeta { version: 1, labels, ..ThanosMeta::default() });
    let settings = BlockWriterSettings { side_index, ..BlockWriterSettings::default() };
    let mut writer = BlockWriter::create(folder, meta, settings).unwrap();
    let mut series = data.series.clone();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    for one in &series {
        let mut samples = SampleBuffer::new();
        one.samples.iter().for_each(|&(t, v)| samples.push_float(t, v));
        let chunks = encode_series(&samples, 120).unwrap();
        writer.push(&one.labels, chunks.iter().map(ChunkPayload::from)).unwrap();
    }
    writer.finish().unwrap();
    folder.join(id.to_string())
}
