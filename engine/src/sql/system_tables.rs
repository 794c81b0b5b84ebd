//! The tables of schema `system`: what there is, without a sample being read.
//!
//! | table | a row |
//! |---|---|
//! | `series` | a series: `metric`, and `labels` as a map with all of them |
//! | `labels` | a value of a label: `name`, `value` |
//! | `blocks` | a block that is served: `ulid`, `min_time`, `max_time`, `resolution_ms`, `level`, `series`, `samples`, `external_labels` |
//!
//! Each shows what the tenant may see, and no more.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::{StreamExt, TryStreamExt, stream};
use storage::model::{METRIC_NAME, TimeInterval, label_key};
use storage::schema::SeriesColumns;

use super::pushdown::{LabelOfColumn, matchers};
use super::sample_rows::{timestamp_type, timestamps};
use super::scope::SqlScope;
use crate::concat::ConcatExec;
use crate::error::{Error, Result};

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemTable {
    Series,
    Labels,
    Blocks,
}

impl SystemTable {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Series, Self::Labels, Self::Blocks];

    /// As statements name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::Labels => "labels",
            Self::Blocks => "blocks",
        }
    }

    fn schema(self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let count = |name: &str| Field::new(name, DataType::UInt64, false);
        Arc::new(Schema::new(match self {
            Self::Series => vec![Field::new("metric", DataType::Utf8, true), map_field("labels")],
            Self::Labels => vec![text("name"), text("value")],
            Self::Blocks => vec![
                text("ulid"),
                Field::new("min_time", timestamp_type(), false),
                Field::new("max_time", timestamp_type(), false),
                Field::new("resolution_ms", DataType::Int64, false),
                Field::new("level", DataType::UInt32, false),
                count("series"),
                count("samples"),
                map_field("external_labels"),
            ],
        }))
    }
}

/// A map of label names to values.
fn map_field(name: &str) -> Field {
    let entries = Field::new(
        "entries",
        DataType::Struct(
            vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)].into(),
        ),
        false,
    );
    Field::new(name, DataType::Map(Arc::new(entries), false), false)
}

fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames { entry: "entries".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

/// One of the tables, as a scope sees it.
#[derive(Debug)]
pub(crate) struct SystemTableProvider {
    table: SystemTable,
    scope: Arc<SqlScope>,
    schema: SchemaRef,
}

impl SystemTableProvider {
    pub(crate) fn new(table: SystemTable, scope: Arc<SqlScope>) -> Self {
        Self { table, scope, schema: table.schema() }
    }
}

/// The column of `system.series` that the index knows.
struct MetricColumn;

impl LabelOfColumn for MetricColumn {
    fn label(&self, name: &str) -> Option<&str> {
        (name == "metric").then_some(METRIC_NAME)
    }
}

#[async_trait]
impl TableProvider for SystemTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// Of series, the metric's name helps to select; what passes is decided above.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match self.table {
            SystemTable::Series if !matchers(filter, &MetricColumn).is_empty() => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let source: Arc<dyn PartitionStream> = match self.table {
            SystemTable::Series => {
                let matchers = filters.iter().flat_map(|filter| matchers(filter, &MetricColumn)).collect();
                let selected = self.scope.select(matchers, TimeInterval::ALL, true).await?;
                Arc::new(SeriesRows { series: ConcatExec::wrap(selected.merged()?), schema: self.schema() })
            }
            SystemTable::Labels => Arc::new(LabelRows { scope: Arc::clone(&self.scope), schema: self.schema() }),
            SystemTable::Blocks => Arc::new(BlockRows { scope: Arc::clone(&self.scope), schema: self.schema() }),
        };
        Ok(Arc::new(StreamingTableExec::try_new(self.schema(), vec![source], projection, [], false, limit)?))
    }
}

/// A batch of `schema`.
fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| Error::Internal(error.to_string()))
}

fn adapted(
    schema: &SchemaRef,
    batches: impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), batches.map_err(Into::into)))
}

/// `system.series`.
#[derive(Debug)]
struct SeriesRows {
    /// Series batches without chunks, in one partition.
    series: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
}

impl PartitionStream for SeriesRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let rows = |schema: SchemaRef, series: RecordBatch| {
            let columns = SeriesColumns::try_new(&series)?;
            let (mut metrics, mut labels) = (StringBuilder::new(), map_builder());
            for row in 0..series.num_rows() {
                let key = columns.labels.value(row);
                metrics.append_option(label_key::get(key, METRIC_NAME).map(label_key::Escaped::text));
                for pair in label_key::pairs(key) {
                    labels.keys().append_value(pair.name.text());
                    labels.values().append_value(pair.value.text());
                }
                labels.append(true).map_err(|error| Error::Internal(error.to_string()))?;
            }
            batch(&schema, vec![Arc::new(metrics.finish()), Arc::new(labels.finish())])
        };
        match self.series.execute(0, context) {
            Ok(series) => {
                adapted(&self.schema, series.map(move |series| rows(Arc::clone(&schema), series.map_err(Error::from)?)))
            }
            Err(error) => adapted(&self.schema, stream::once(async { Err(Error::from(error)) })),
        }
    }
}

/// `system.labels`: a batch a label.
#[derive(Debug)]
struct LabelRows {
    scope: Arc<SqlScope>,
    schema: SchemaRef,
}

impl PartitionStream for LabelRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (scope, schema) = (Arc::clone(&self.scope), Arc::clone(&self.schema));
        let names = stream::once(async move { Ok::<_, Error>((scope.label_names(Vec::new()).await?, scope)) });
        let names = names.map_ok(|(names, scope)| {
            stream::iter(names.into_iter().map(move |name| Ok::<_, Error>((name, Arc::clone(&scope)))))
        });
        let batches = names.try_flatten().and_then(move |(name, scope)| {
            let schema = Arc::clone(&schema);
            async move {
                let values = scope.label_values(&name).await?;
                let names = StringArray::from_iter_values(values.iter().map(|_| &name));
                batch(&schema, vec![Arc::new(names), Arc::new(StringArray::from(values))])
            }
        });
        adapted(&self.schema, batches)
    }
}

/// `system.blocks`.
#[derive(Debug)]
struct BlockRows {
    scope: Arc<SqlScope>,
    schema: SchemaRef,
}

impl BlockRows {
    fn batch(&self) -> Result<RecordBatch> {
        let blocks = self.scope.visible_blocks();
        let metas: Vec<_> = blocks.iter().map(|block| block.meta()).collect();
        let mut labels = map_builder();
        for block in &blocks {
            for (name, value) in block.external_labels().iter() {
                labels.keys().append_value(name);
                labels.values().append_value(value);
            }
            labels.append(true).map_err(|error| Error::Internal(error.to_string()))?;
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(metas.iter().map(|meta| meta.ulid.to_string()))),
            Arc::new(timestamps(metas.iter().map(|meta| meta.min_time).collect())),
            Arc::new(timestamps(metas.iter().map(|meta| meta.max_time).collect())),
            Arc::new(Int64Array::from_iter_values(metas.iter().map(|meta| meta.resolution_ms()))),
            Arc::new(UInt32Array::from_iter_values(metas.iter().map(|meta| meta.compaction.level))),
            Arc::new(UInt64Array::from_iter_values(metas.iter().map(|meta| meta.stats.num_series))),
            Arc::new(UInt64Array::from_iter_values(metas.iter().map(|meta| meta.stats.num_samples))),
            Arc::new(labels.finish()),
        ];
        batch(&self.schema, columns)
    }
}

impl PartitionStream for BlockRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        adapted(&self.schema, stream::iter([self.batch()]))
    }
}
