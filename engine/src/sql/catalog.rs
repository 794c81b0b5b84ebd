//! The catalog: `quiver`, with the schemas `metrics`, where every metric is a table, and `system`.
//!
//! Tables are made when a statement names them, from the labels that the store has for the metric. There is no list of metrics to be kept
//! up; only a statement that asks for one, of `information_schema` or a client's list of tables, has it fetched before it is planned.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::logical_expr::TableType;
use storage::model::METRIC_NAME;

use super::metric_table::MetricTable;
use super::scope::SqlScope;
use super::system_tables::{SystemTable, SystemTableProvider};
use crate::error::Result;

/// The catalog's name.
pub const CATALOG: &str = "quiver";
/// The schema of metrics, which statements need not name.
pub const METRICS: &str = "metrics";
/// The schema of tables about series, labels and blocks.
pub const SYSTEM: &str = "system";

/// The tables of `system`.
pub const SYSTEM_TABLES: [&str; 3] =
    [SystemTable::ALL[0].name(), SystemTable::ALL[1].name(), SystemTable::ALL[2].name()];

/// The catalog as one statement sees it.
#[derive(Debug)]
pub(crate) struct QuiverCatalog {
    metrics: Arc<MetricSchema>,
    system: Arc<SystemSchema>,
}

impl QuiverCatalog {
    pub(crate) fn new(scope: &Arc<SqlScope>) -> Self {
        Self {
            metrics: Arc::new(MetricSchema { scope: Arc::clone(scope), names: OnceLock::new() }),
            system: Arc::new(SystemSchema { scope: Arc::clone(scope) }),
        }
    }

    /// Fetches the names of all metrics, for statements that list tables.
    ///
    /// # Errors
    /// As the store's.
    pub(crate) async fn fetch_names(&self) -> Result<()> {
        let names = self.metrics.scope.label_values(METRIC_NAME).await?;
        // somebody else's are the same
        let _ = self.metrics.names.set(names);
        Ok(())
    }
}

impl CatalogProvider for QuiverCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![METRICS.to_owned(), SYSTEM.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            METRICS => Some(Arc::clone(&self.metrics) as Arc<dyn SchemaProvider>),
            SYSTEM => Some(Arc::clone(&self.system) as Arc<dyn SchemaProvider>),
            _ => None,
        }
    }
}

/// Every metric as a table.
#[derive(Debug)]
struct MetricSchema {
    scope: Arc<SqlScope>,
    /// All names, where they were fetched.
    names: OnceLock<Vec<String>>,
}

#[async_trait]
impl SchemaProvider for MetricSchema {
    fn table_names(&self) -> Vec<String> {
        self.names.get().cloned().unwrap_or_default()
    }

    async fn table(&self, name: &str) -> datafusion::error::Result<Option<Arc<dyn TableProvider>>> {
        let table = MetricTable::open(name, Arc::clone(&self.scope)).await?;
        Ok(table.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
    }

    async fn table_type(&self, _name: &str) -> datafusion::error::Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.get().is_some_and(|names| names.iter().any(|known| known == name))
    }
}

/// The tables of [`SystemTable`].
#[derive(Debug)]
struct SystemSchema {
    scope: Arc<SqlScope>,
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        SystemTable::ALL.map(|table| table.name().to_owned()).to_vec()
    }

    async fn table(&self, name: &str) -> datafusion::error::Result<Option<Arc<dyn TableProvider>>> {
        let table = SystemTable::ALL.into_iter().find(|table| table.name() == name);
        let provider = |table| Arc::new(SystemTableProvider::new(table, Arc::clone(&self.scope)));
        Ok(table.map(|table| provider(table) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        SystemTable::ALL.iter().any(|table| table.name() == name)
    }
}
