//! A store of encoded series, all in memory: one part, in batches of a few series.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray, UInt8Array,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use async_trait::async_trait;
use futures::StreamExt;
use storage::chunk::EncodedChunk;
use storage::model::{Labels, TimeInterval};
use storage::schema::{chunk_fields, chunk_item_field, series_schema};
use storage::store::{
    KeyRange, LabelRequest, LabelSet, SeriesPart, SeriesRequest, SeriesSet, SeriesStream, Store, StoreInfo,
};

/// Series in one batch.
const BATCH_SERIES: usize = 3;

type Series = (Labels, Vec<EncodedChunk>);

/// Series by labels, ascending.
#[derive(Debug)]
pub struct MemoryStore(pub Vec<Series>);

#[async_trait]
impl Store for MemoryStore {
    fn info(&self) -> StoreInfo {
        StoreInfo { external_labels: Vec::new(), interval: TimeInterval::ALL }
    }

    async fn series(&self, request: SeriesRequest) -> storage::Result<SeriesSet> {
        let matches = |labels: &Labels| {
            request.matchers.iter().all(|matcher| matcher.matches(&labels.get(matcher.name()).unwrap_or_default()))
        };
        let mut selected: Vec<Series> = Vec::new();
        for (labels, chunks) in self.0.iter().filter(|(labels, _)| matches(labels)) {
            let wanted = |chunk: &&EncodedChunk| request.interval.overlaps(TimeInterval::new(chunk.mint, chunk.maxt));
            let chunks: Vec<EncodedChunk> = chunks.iter().filter(wanted).cloned().collect();
            if !chunks.is_empty() {
                selected.push((labels.clone(), chunks));
            }
        }
        let parts: Vec<Arc<dyn SeriesPart>> =
            if selected.is_empty() { Vec::new() } else { vec![Arc::new(MemoryPart(selected))] };
        Ok(SeriesSet { parts, warnings: Vec::new() })
    }

    async fn label_names(&self, _request: LabelRequest) -> storage::Result<LabelSet> {
        Err(storage::Error::Internal("scripts ask for no label names".to_owned()))
    }

    async fn label_values(&self, _name: &str, _request: LabelRequest) -> storage::Result<LabelSet> {
        Err(storage::Error::Internal("scripts ask for no label values".to_owned()))
    }
}

#[derive(Debug)]
struct MemoryPart(Vec<Series>);

impl SeriesPart for MemoryPart {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn series_count(&self) -> usize {
        self.0.len()
    }

    fn split_points(&self, n: usize) -> Vec<String> {
        (1..n).filter_map(|i| self.0.get(i * self.0.len() / n)).map(|(labels, _)| labels.as_key().to_owned()).collect()
    }

    fn stream(&self, range: KeyRange) -> SeriesStream {
        let inside: Vec<&Series> = self.0.iter().filter(|(labels, _)| range.contains(labels.as_key())).collect();
        let batches: Vec<storage::Result<RecordBatch>> =
            inside.chunks(BATCH_SERIES).map(|series| batch(series).map_err(storage::Error::from)).collect();
        futures::stream::iter(batches).boxed()
    }
}

fn batch(series: &[&Series]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let labels = StringViewArray::from_iter_values(series.iter().map(|(labels, _)| labels.as_key()));
    let chunks = || series.iter().flat_map(|(_, chunks)| chunks);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(chunks().map(|chunk| chunk.mint))),
        Arc::new(Int64Array::from_iter_values(chunks().map(|chunk| chunk.maxt))),
        Arc::new(UInt8Array::from_iter_values(chunks().map(|chunk| chunk.encoding as u8))),
        Arc::new(UInt32Array::from_iter_values(chunks().map(|_| 0))),
        Arc::new(BinaryViewArray::from_iter_values(chunks().map(|chunk| &chunk.data))),
    ];
    let entries = StructArray::try_new(chunk_fields(), columns, None)?;
    let offsets = OffsetBuffer::from_lengths(series.iter().map(|(_, chunks)| chunks.len()));
    let lists = ListArray::try_new(chunk_item_field(), offsets, Arc::new(entries), None)?;
    RecordBatch::try_new(series_schema(), vec![Arc::new(labels), Arc::new(lists)])
}
