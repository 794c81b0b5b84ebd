//! Answers as bytes: Arrow IPC, Parquet, CSV, JSON.
//!
//! Bytes come out batch by batch, so that an answer need not fit into memory; Parquet holds back a row group. A file of Parquet and a
//! stream of Arrow have an end by which a reader knows that nothing is missing, and so has JSON; CSV has none.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::WriterBuilder as JsonBuilder;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, JsonArray, NullableEncoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};

/// Rows of a row group: a few megabytes before compression, unless there are many columns.
const ROW_GROUP_ROWS: usize = 1 << 18;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// A stream of Arrow IPC.
    Arrow,
    /// A file of Parquet.
    Parquet,
    /// Lines of RFC 4180, the first with the names of columns. Null is empty; histograms and maps are texts.
    Csv,
    /// An object as the other answers of the API, its `data` with `columns` and `rows`, an object each. NaN and infinities are texts as
    /// in Prometheus, because JSON has none.
    Json,
}

/// Writes one answer.
pub struct OutputWriter {
    kind: Kind,
    /// Warnings of the answer, which JSON ends with.
    warnings: Vec<String>,
    batches: usize,
}

enum Kind {
    Arrow(Box<StreamWriter<Sink>>, Sink),
    Parquet(Box<ArrowWriter<Sink>>, Sink),
    Csv(SchemaRef),
    Json(SchemaRef),
}

/// Bytes that were written and not taken yet. Held by the writer, too.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl OutputWriter {
    /// A writer of batches of `schema`.
    ///
    /// # Errors
    /// [`Error::Execution`] where the format has no place for a type.
    pub fn try_new(format: OutputFormat, schema: &SchemaRef, warnings: Vec<String>) -> Result<Self> {
        let kind = match format {
            OutputFormat::Arrow => {
                let sink = Sink::default();
                let writer = StreamWriter::try_new(sink.clone(), schema).map_err(unwritable)?;
                Kind::Arrow(Box::new(writer), sink)
            }
            OutputFormat::Parquet => {
                let sink = Sink::default();
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                let writer = ArrowWriter::try_new(sink.clone(), Arc::clone(schema), Some(properties));
                Kind::Parquet(Box::new(writer.map_err(unwritable)?), sink)
            }
            OutputFormat::Csv => Kind::Csv(Arc::clone(schema)),
            OutputFormat::Json => Kind::Json(Arc::clone(schema)),
        };
        Ok(Self { kind, warnings, batches: 0 })
    }

    /// Writes a batch; returns what can be sent on.
    ///
    /// # Errors
    /// [`Error::Execution`] where it cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let first = self.batches == 0;
        self.batches += 1;
        match &mut self.kind {
            Kind::Arrow(writer, sink) => {
                writer.write(batch).map_err(unwritable)?;
                Ok(sink.take())
            }
            Kind::Parquet(writer, sink) => {
                writer.write(batch).map_err(unwritable)?;
                Ok(sink.take())
            }
            Kind::Csv(_) => csv(batch, first).map_err(unwritable),
            Kind::Json(schema) => {
                let mut bytes = if first { json_head(schema) } else { vec![b','] };
                bytes.extend(json_rows(batch).map_err(unwritable)?);
                // a batch without rows must leave no comma
                if batch.num_rows() == 0 {
                    self.batches -= 1;
                    return Ok(Vec::new());
                }
                Ok(bytes)
            }
        }
    }

    /// What the answer ends with.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.kind {
            Kind::Arrow(mut writer, sink) => {
                writer.finish().map_err(unwritable)?;
                Ok(sink.take())
            }
            Kind::Parquet(writer, sink) => {
                writer.close().map_err(unwritable)?;
                Ok(sink.take())
            }
            Kind::Csv(schema) if self.batches == 0 => csv(&RecordBatch::new_empty(schema), true).map_err(unwritable),
            Kind::Csv(_) => Ok(Vec::new()),
            Kind::Json(schema) => {
                let mut bytes = if self.batches == 0 { json_head(&schema) } else { Vec::new() };
                bytes.extend(b"]}");
                if !self.warnings.is_empty() {
                    let texts: Vec<String> = self.warnings.iter().map(|text| json_text(text)).collect();
                    bytes.extend(format!(",\"warnings\":[{}]", texts.join(",")).into_bytes());
                }
                bytes.push(b'}');
                Ok(bytes)
            }
        }
    }
}

fn unwritable(error: impl std::fmt::Display) -> Error {
    Error::Execution(format!("the answer cannot be written: {error}"))
}

fn csv(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    let batch = flat(batch)?;
    CsvBuilder::new().with_header(header).build(&mut bytes).write(&batch)?;
    Ok(bytes)
}

/// The batch with texts in place of columns that hold more than a value.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns): (Vec<FieldRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !column.data_type().is_nested() || matches!(column.data_type(), DataType::Dictionary(..)) {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
            continue;
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()));
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
        columns.push(Arc::new(texts.collect::<StringArray>()));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn json_head(schema: &Schema) -> Vec<u8> {
    let columns = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Dictionary(_, values) => values.to_string(),
            other => other.to_string(),
        };
        format!("{{\"name\":{},\"type\":{}}}", json_text(field.name()), json_text(&data_type))
    });
    let columns: Vec<String> = columns.collect();
    format!("{{\"status\":\"success\",\"data\":{{\"columns\":[{}],\"rows\":[", columns.join(",")).into_bytes()
}

/// The rows, with commas between them.
fn json_rows(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = Vec::new();
    let builder = JsonBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(SpecialFloats));
    let mut writer = builder.build::<_, JsonArray>(&mut bytes);
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    let rows = bytes.strip_prefix(b"[").and_then(|rows| rows.strip_suffix(b"]"));
    Ok(rows.unwrap_or(&bytes).to_vec())
}

fn json_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes floats that JSON has not.
#[derive(Debug)]
struct SpecialFloats;

impl EncoderFactory for SpecialFloats {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let Some(floats) = array.as_primitive_opt::<Float64Type>() else { return Ok(None) };
        Ok(Some(NullableEncoder::new(Box::new(Floats(floats)), floats.nulls().cloned())))
    }
}

struct Floats<'a>(&'a Float64Array);

impl Encoder for Floats<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        let text = match value {
            value if value.is_nan() => "\"NaN\"",
            f64::INFINITY => "\"+Inf\"",
            f64::NEG_INFINITY => "\"-Inf\"",
            // writing into memory cannot fail
            value => return drop(write!(out, "{value}")),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::sample_rows::{RowBuilder, row_schema};
    use storage::model::{FloatHistogram, Labels, SampleBuffer};

    fn batch() -> RecordBatch {
        let (schema, columns) = row_schema(&["job".to_owned()]);
        let mut rows = RowBuilder::new(schema, columns.into());
        let mut samples = SampleBuffer::new();
        for (t, value) in [(0, 1.5), (1_000, f64::NAN), (2_000, f64::NEG_INFINITY)] {
            samples.push_float(t, value);
        }
        samples.push_histogram(3_000, FloatHistogram { count: 2.0, sum: 3.0, ..FloatHistogram::default() });
        rows.push(Labels::from_pairs([("job", "a,\"b\"")]).as_key(), &samples, 0..3);
        rows.push("", &samples, 3..4);
        rows.finish().unwrap()
    }

    fn written(format: OutputFormat, batches: &[RecordBatch]) -> Vec<u8> {
        let schema = batch().schema();
        let mut writer = OutputWriter::try_new(format, &schema, vec!["a \"warning\"".to_owned()]).unwrap();
        let mut bytes: Vec<u8> = batches.iter().flat_map(|batch| writer.write(batch).unwrap()).collect();
        bytes.extend(writer.finish().unwrap());
        bytes
    }

    #[test]
    fn json_has_every_number() {
        let whole: serde_json::Value =
            serde_json::from_slice(&written(OutputFormat::Json, &[batch(), batch().slice(0, 0), batch()])).unwrap();
        let rows = whole["data"]["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 8);
        let values: Vec<&serde_json::Value> = rows.iter().map(|row| &row["value"]).collect();
        assert_eq!(values[..4], [&serde_json::json!(1.5), &"NaN".into(), &"-Inf".into(), &serde_json::Value::Null]);
        assert_eq!((&rows[0]["job"], &rows[3]["job"]), (&"a,\"b\"".into(), &serde_json::Value::Null));
        assert_eq!(rows[1]["timestamp"], "1970-01-01T00:00:01Z");
        assert_eq!(rows[3]["histogram"]["sum"], 3.0);
        assert_eq!(whole["data"]["columns"][3], serde_json::json!({"name": "job", "type": "Utf8"}));
        assert_eq!(whole["warnings"][0], "a \"warning\"");
        let empty: serde_json::Value = serde_json::from_slice(&written(OutputFormat::Json, &[])).unwrap();
        assert_eq!(empty["data"]["rows"], serde_json::json!([]));
    }

    #[test]
    fn csv_quotes_and_has_one_header() {
        let text = String::from_utf8(written(OutputFormat::Csv, &[batch(), batch()])).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 9);
        assert_eq!(lines[..2], ["timestamp,value,histogram,job", "1970-01-01T00:00:00Z,1.5,,\"a,\"\"b\"\"\""]);
        assert_eq!(written(OutputFormat::Csv, &[]), b"timestamp,value,histogram,job\n");
    }

    #[test]
    fn arrow_and_parquet_are_read_back() {
        let expected = batch();
        let bytes = written(OutputFormat::Arrow, &[expected.clone(), expected.clone()]);
        let read = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(read.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 8);
        let bytes = bytes::Bytes::from(written(OutputFormat::Parquet, std::slice::from_ref(&expected)));
        let read = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 100).unwrap();
        let read: Vec<RecordBatch> = read.map(Result::unwrap).collect();
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
        assert_eq!(read[0].schema().fields(), expected.schema().fields());
    }
}
