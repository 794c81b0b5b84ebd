//! Writes a [`Dataset`] as a block into a folder.

use std::path::{Path, PathBuf};

use super::Dataset;
use crate::block::BlockMeta;
use crate::block::meta::{META_FILE, ThanosMeta};
use crate::block::segments::{CHUNKS_DIR, SEGMENT_LEN_MAX, SegmentsWriter};
use crate::chunk::encode_series;
use crate::index::{ChunkMeta, INDEX_FILE, IndexWriter, Symbols};
use crate::model::{BlockId, SampleBuffer, TimeRange};

/// Block number `n` of a test.
pub(crate) fn block_id(n: u64) -> BlockId {
    BlockId::new(ulid::Ulid::from_parts(1_000 + n, 7))
}

/// Writes `data` as `<folder>/<ulid>/`; returns that folder.
pub(crate) fn write_block(folder: &Path, id: BlockId, data: &Dataset) -> PathBuf {
    let path = folder.join(id.to_string());
    std::fs::create_dir_all(&path).unwrap();
    let mut series = data.series.clone();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let pairs: Vec<Vec<(String, String)>> =
        series.iter().map(|s| s.labels.iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect()).collect();
    let mut symbols: Vec<&str> = pairs.iter().flatten().flat_map(|(n, v)| [n.as_str(), v.as_str()]).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let file = std::fs::File::create(path.join(INDEX_FILE)).unwrap();
    let mut index = IndexWriter::try_new(file, &path, Symbols::try_from_sorted(symbols).unwrap()).unwrap();
    let mut segments = SegmentsWriter::create(&path.join(CHUNKS_DIR), SEGMENT_LEN_MAX).unwrap();
    let (mut mint, mut maxt) = (i64::MAX, i64::MIN);
    for (one, pairs) in series.iter().zip(&pairs) {
        let mut samples = SampleBuffer::new();
        one.samples.iter().for_each(|&(t, v)| samples.push_float(t, v));
        segments.begin_series();
        let mut chunks = Vec::new();
        for chunk in encode_series(&samples, 120).unwrap() {
            let at = segments.write(chunk.encoding as u8, &chunk.data).unwrap();
            chunks.push(ChunkMeta { mint: chunk.mint, maxt: chunk.maxt, chunk: at });
            (mint, maxt) = (mint.min(chunk.mint), maxt.max(chunk.maxt));
        }
        let numbers: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (index.symbols().number(n).unwrap(), index.symbols().number(v).unwrap()))
            .collect();
        index.add_series(&numbers, &chunks).unwrap();
    }
    index.finish().unwrap();
    segments.finish().unwrap();
    let mut meta =
        BlockMeta::new(id, TimeRange { mint: mint.min(maxt), maxt: maxt.max(mint.min(maxt)).saturating_add(1) });
    let labels = data.external.iter().cloned().collect();
    meta.thanos = Some(ThanosMeta { version: 1, labels, ..ThanosMeta::default() });
    std::fs::write(path.join(META_FILE), meta.to_json().unwrap()).unwrap();
    path
}
