//! Series batches for tests.
//!
//! Samples are text: `60:1.5` is a float at second 60, `60:stale` a staleness marker, `60:h:4:10` a histogram of 4
//! observations with sum 10.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, Int64Array, ListArray, RecordBatch, StringViewArray, StructArray, UInt8Array,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use storage::chunk::encode_series;
use storage::model::{SampleBuffer, stale_nan};
use storage::schema::{SeriesColumns, chunk_fields, chunk_item_field, series_schema};

use super::{End, SourceExec, histogram};

/// One chunk of a series batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestChunk {
    pub(crate) mint: i64,
    pub(crate) maxt: i64,
    pub(crate) encoding: u8,
    pub(crate) replica: u32,
    pub(crate) data: Vec<u8>,
}

/// A row of a series batch: its key and chunks.
pub(crate) type TestSeries = (String, Vec<TestChunk>);

/// The samples that a text stands for.
pub(crate) fn samples(text: &str) -> SampleBuffer {
    let mut samples = SampleBuffer::new();
    for token in text.split_whitespace() {
        let (seconds, value) = token.split_once(':').unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "tests write small times")]
        let t = (seconds.parse::<f64>().unwrap() * 1000.0).round() as i64;
        if value == "stale" {
            samples.push_float(t, stale_nan());
        } else if let Some(parts) = value.strip_prefix("h:") {
            let (count, sum) = parts.split_once(':').unwrap();
            samples.push_histogram(t, histogram(count.parse().unwrap(), sum.parse().unwrap()));
        } else {
            samples.push_float(t, value.parse().unwrap());
        }
    }
    samples
}

/// Packs samples into chunks of at most `samples_per_chunk`.
pub(crate) fn chunks(samples: &SampleBuffer, samples_per_chunk: usize, replica: u32) -> Vec<TestChunk> {
    let chunks = encode_series(samples, samples_per_chunk).unwrap().into_iter();
    chunks
        .map(|chunk| TestChunk {
            mint: chunk.mint,
            maxt: chunk.maxt,
            encoding: chunk.encoding as u8,
            replica,
            data: chunk.data,
        })
        .collect()
}

/// A series batch of `rows`.
pub(crate) fn series_batch(rows: &[TestSeries]) -> RecordBatch {
    let labels = StringViewArray::from_iter_values(rows.iter().map(|(key, _)| key));
    let all: Vec<&TestChunk> = rows.iter().flat_map(|(_, chunks)| chunks).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(all.iter().map(|chunk| chunk.mint))),
        Arc::new(Int64Array::from_iter_values(all.iter().map(|chunk| chunk.maxt))),
        Arc::new(UInt8Array::from_iter_values(all.iter().map(|chunk| chunk.encoding))),
        Arc::new(UInt32Array::from_iter_values(all.iter().map(|chunk| chunk.replica))),
        Arc::new(BinaryViewArray::from_iter_values(all.iter().map(|chunk| &chunk.data))),
    ];
    let entries = StructArray::try_new(chunk_fields(), columns, None).unwrap();
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|(_, chunks)| chunks.len()));
    let lists = ListArray::try_new(chunk_item_field(), offsets, Arc::new(entries), None).unwrap();
    RecordBatch::try_new(series_schema(), vec![Arc::new(labels), Arc::new(lists)]).unwrap()
}

/// What a series batch holds.
pub(crate) fn series_rows(batch: &RecordBatch) -> Vec<TestSeries> {
    let columns = SeriesColumns::try_new(batch).unwrap();
    let chunk = |chunk: usize| TestChunk {
        mint: columns.mint.value(chunk),
        maxt: columns.maxt.value(chunk),
        encoding: columns.encoding.value(chunk),
        replica: columns.replica.value(chunk),
        data: columns.data.value(chunk).to_vec(),
    };
    (0..batch.num_rows())
        .map(|row| (columns.labels.value(row).to_owned(), columns.chunk_range(row).map(chunk).collect()))
        .collect()
}

/// A source of one partition of series batches.
pub(crate) fn series_source(batches: Vec<RecordBatch>, end: End) -> SourceExec {
    SourceExec::of(series_schema(), vec![batches], end)
}
