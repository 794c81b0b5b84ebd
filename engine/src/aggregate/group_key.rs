//! The group key of an aggregation: a subset of the label key, as an expression over `labels`.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_plan::PhysicalExpr;

use crate::error::{Error, Result};
use crate::label_ops::LabelSubset;

/// Maps the first column, `labels`, to the key of the group that each series is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKeyExpr {
    subset: LabelSubset,
}

impl GroupKeyExpr {
    pub(super) fn new(subset: LabelSubset) -> Self {
        Self { subset }
    }
}

/// The first column, `labels`.
pub(super) fn labels_of(batch: &RecordBatch) -> Result<&StringViewArray> {
    let first = batch.columns().first().and_then(|column| column.as_any().downcast_ref());
    first.ok_or_else(|| Error::Internal("an aggregation over batches without labels".to_owned()))
}

impl fmt::Display for GroupKeyExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subset {
            LabelSubset::Only(names) => write!(f, "by ({})", names.join(", ")),
            LabelSubset::Without(names) => write!(f, "without ({})", names.join(", ")),
        }
    }
}

impl PhysicalExpr for GroupKeyExpr {
    fn data_type(&self, _input_schema: &Schema) -> DataFusionResult<DataType> {
        Ok(DataType::Utf8View)
    }

    fn nullable(&self, _input_schema: &Schema) -> DataFusionResult<bool> {
        Ok(false)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DataFusionResult<ColumnarValue> {
        let labels = labels_of(batch)?;
        let mut keys = StringViewBuilder::with_capacity(labels.len());
        let mut key = String::new();
        for row in 0..labels.len() {
            self.subset.write(labels.value(row), &mut key);
            keys.append_value(&key);
        }
        Ok(ColumnarValue::Array(Arc::new(keys.finish()) as ArrayRef))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
