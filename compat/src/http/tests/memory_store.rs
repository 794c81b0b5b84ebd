//! A store of label sets without samples, as two overlapping parts.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, RecordBatch, StringViewArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use futures::StreamExt;
use storage::model::{Labels, Matcher, TimeInterval};
use storage::schema::{chunk_fields, chunk_item_field, series_schema};
use storage::store::{
    KeyRange, LabelRequest, LabelSet, SeriesPart, SeriesRequest, SeriesSet, SeriesStream, Store, StoreInfo,
};

#[derive(Debug)]
pub struct MemoryStore {
    series: Vec<Labels>,
    /// Whether it never answers.
    pub hang: bool,
}

impl MemoryStore {
    /// From texts like `a=1,b=2`.
    pub fn new(series: &[&str]) -> Self {
        let labels = |text: &&str| Labels::from_pairs(text.split(',').map(|pair| pair.split_once('=').unwrap()));
        Self { series: series.iter().map(labels).collect(), hang: false }
    }

    async fn answer(&self) {
        if self.hang {
            futures::future::pending::<()>().await;
        }
    }

    fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &Labels> {
        self.series.iter().filter(|labels| {
            matchers.iter().all(|matcher| matcher.matches(&labels.get(matcher.name()).unwrap_or_default()))
        })
    }
}

fn label_set(values: BTreeSet<String>) -> LabelSet {
    LabelSet { values: values.into_iter().collect(), warnings: Vec::new() }
}

#[async_trait]
impl Store for MemoryStore {
    fn info(&self) -> StoreInfo {
        StoreInfo { external_labels: Vec::new(), interval: TimeInterval::new(0, 10_000) }
    }

    async fn series(&self, request: SeriesRequest) -> storage::Result<SeriesSet> {
        self.answer().await;
        let keys: BTreeSet<String> =
            self.matching(&request.matchers).map(|labels| labels.without(&request.drop_labels).into_key()).collect();
        let part = |skip: usize| -> Arc<dyn SeriesPart> {
            Arc::new(MemoryPart { keys: keys.iter().skip(skip).cloned().collect() })
        };
        Ok(SeriesSet { parts: vec![part(0), part(1)], warnings: Vec::new() })
    }

    async fn label_names(&self, request: LabelRequest) -> storage::Result<LabelSet> {
        self.answer().await;
        let names =
            self.matching(&request.matchers).flat_map(|labels| labels.iter().map(|(name, _)| name.into_owned()));
        Ok(label_set(names.collect()))
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> storage::Result<LabelSet> {
        self.answer().await;
        let values = self.matching(&request.matchers).filter_map(|labels| labels.get(name).map(|v| v.into_owned()));
        Ok(label_set(values.collect()))
    }
}

#[derive(Debug)]
struct MemoryPart {
    keys: Vec<String>,
}

impl SeriesPart for MemoryPart {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn series_count(&self) -> usize {
        self.keys.len()
    }

    fn split_points(&self, _n: usize) -> Vec<String> {
        Vec::new()
    }

    fn stream(&self, range: KeyRange) -> SeriesStream {
        let labels = StringViewArray::from_iter_values(self.keys.iter().filter(|key| range.contains(key)));
        let rows = arrow::array::Array::len(&labels);
        let no_chunks = new_empty_array(&DataType::Struct(chunk_fields()));
        let chunks = ListArray::new(chunk_item_field(), OffsetBuffer::new_zeroed(rows), no_chunks, None);
        let columns: Vec<ArrayRef> = vec![Arc::new(labels), Arc::new(chunks)];
        let batch = RecordBatch::try_new(series_schema(), columns).map_err(storage::Error::from);
        futures::stream::iter([batch]).boxed()
    }
}
