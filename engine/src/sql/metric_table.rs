//! The table of a metric: its columns, and what a query of it scans.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use storage::model::{METRIC_NAME, Matcher, TimeInterval};

use super::metric_scan::{MetricScan, MetricScanExec, SeriesCondition};
use super::pushdown::{LabelOfColumn, Pushed, classify, intersection, matchers};
use super::sample_rows::{RowColumn, row_schema};
use super::scope::SqlScope;
use crate::error::Result;

/// A metric as a table: a row a sample.
#[derive(Debug)]
pub(crate) struct MetricTable {
    metric: Arc<str>,
    scope: Arc<SqlScope>,
    schema: SchemaRef,
    columns: Vec<RowColumn>,
    labels: LabelsByColumn,
}

/// The labels by the names of their columns.
#[derive(Debug)]
struct LabelsByColumn(HashMap<String, Arc<str>>);

impl LabelOfColumn for LabelsByColumn {
    fn label(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|label| &**label)
    }
}

impl MetricTable {
    /// The table of `metric`; none where no series has that name.
    ///
    /// # Errors
    /// As the store's.
    pub(crate) async fn open(metric: &str, scope: Arc<SqlScope>) -> Result<Option<Self>> {
        let mut names = scope.label_names(vec![Matcher::equal(METRIC_NAME, metric)]).await?;
        if names.is_empty() {
            return Ok(None);
        }
        names.retain(|name| name != METRIC_NAME);
        let (schema, columns) = row_schema(&names);
        let by_column = schema.fields().iter().zip(&columns).filter_map(|(field, column)| match column {
            RowColumn::Label(label) => Some((field.name().clone(), Arc::clone(label))),
            _ => None,
        });
        let labels = LabelsByColumn(by_column.collect());
        Ok(Some(Self { metric: metric.into(), scope, schema, columns, labels }))
    }

    /// The condition that all of `filters` make, which speak of labels alone.
    fn condition(&self, state: &dyn Session, filters: &[&Expr]) -> datafusion::error::Result<Option<SeriesCondition>> {
        let Some(predicate) = conjunction(filters.iter().map(|filter| (*filter).clone())) else { return Ok(None) };
        let used = predicate.column_refs();
        let used = |name: &str| used.iter().any(|column| column.name == name);
        let places: Vec<usize> = (0..self.columns.len()).filter(|&at| used(self.schema.field(at).name())).collect();
        let schema = Arc::new(self.schema.project(&places)?);
        let columns = places.iter().map(|&at| self.columns[at].clone()).collect();
        let df_schema = DFSchema::try_from(Schema::clone(&schema))?;
        let predicate = state.create_physical_expr(unqualified(predicate)?, &df_schema)?;
        Ok(Some(SeriesCondition { predicate, columns, schema }))
    }
}

/// `expr` with columns that name no table: there is but one.
fn unqualified(expr: Expr) -> datafusion::error::Result<Expr> {
    use datafusion::common::Column;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let transformed = expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(Column { relation: Some(_), name, .. }) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(transformed.data)
}

#[async_trait]
impl TableProvider for MetricTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match classify(filter, &self.labels) {
            Pushed::Time(_) | Pushed::Labels => TableProviderFilterPushDown::Exact,
            Pushed::No => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let mut interval = TimeInterval::ALL;
        let mut selecting = vec![Matcher::equal(METRIC_NAME, &*self.metric)];
        let mut of_labels = Vec::new();
        for filter in filters {
            match classify(filter, &self.labels) {
                Pushed::Time(passing) => interval = intersection(interval, passing),
                Pushed::Labels => {
                    selecting.extend(matchers(filter, &self.labels));
                    of_labels.push(filter);
                }
                Pushed::No => {}
            }
        }
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let projection = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(projection)?);
        if interval.maxt < interval.mint {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let scan = MetricScan {
            metric: Arc::clone(&self.metric),
            selected: self.scope.select(selecting, interval, false).await?,
            scope: Arc::clone(&self.scope),
            interval,
            condition: self.condition(state, &of_labels)?,
            columns: projection.iter().map(|&at| self.columns[at].clone()).collect(),
            schema,
        };
        Ok(Arc::new(MetricScanExec::try_new(Arc::new(scan), limit)?))
    }
}
