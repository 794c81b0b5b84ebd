//! The session of one statement: its memory, its catalog, its functions, and no way out of them.
//!
//! What a statement could do beside reading is refused three times: no format, table factory or object store is registered,
//! so there is nothing that a file could be read or written with; the catalog registers nothing; and a plan that would change something is
//! turned away before it is optimised.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::temporal_conversions::timestamp_ms_to_datetime;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, TableFunction};
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use storage::model::Timestamp;

use super::catalog::{CATALOG, METRICS, QuiverCatalog};
use super::error::sql_error;
use super::guard::check_text;
use super::histogram_functions::histogram_functions;
use super::promql_function::PromqlFunction;
use super::scope::SqlScope;
use super::yielding::YieldingJoins;
use crate::error::{Error, Result};

/// Deepest nesting that is parsed.
const NESTING_MAX: usize = 50;

/// Most calls of `promql()` in a statement.
pub(crate) const PROMQL_CALLS_MAX: usize = 16;

/// What one statement is planned and run in.
pub(crate) struct SqlSession {
    pub(crate) state: SessionState,
    pub(crate) promql: Arc<PromqlFunction>,
    catalog: Arc<QuiverCatalog>,
}

impl SqlSession {
    /// A session over `scope` whose operators reserve from `pool`; `now` is when it began.
    ///
    /// # Errors
    /// Where DataFusion makes no runtime.
    pub(crate) fn try_new(scope: &Arc<SqlScope>, pool: Arc<dyn MemoryPool>, now: Timestamp) -> Result<Self> {
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).with_disk_manager_builder(disk).build_arc()?;
        let mut config = SessionConfig::new()
            .with_target_partitions(scope.partitions)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, METRICS)
            .with_information_schema(true);
        let options = config.options_mut();
        options.execution.time_zone = Some("UTC".to_owned());
        // clients know views less well than plain text
        options.sql_parser.map_string_types_to_utf8view = false;
        let catalog = Arc::new(QuiverCatalog::new(scope));
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        catalogs.register_catalog(CATALOG.to_owned(), Arc::clone(&catalog) as _);
        let promql = Arc::new(PromqlFunction::new(now));
        let mut table_functions: HashMap<String, Arc<TableFunction>> = SessionStateDefaults::default_table_functions()
            .into_iter()
            .map(|function| (function.name().to_owned(), function))
            .collect();
        let function = TableFunction::new("promql".to_owned(), Arc::clone(&promql) as _);
        table_functions.insert("promql".to_owned(), Arc::new(function));
        let mut scalar = SessionStateDefaults::default_scalar_functions();
        scalar.extend(histogram_functions());
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_catalog_list(catalogs)
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(scalar)
            .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
            .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_table_functions(table_functions)
            .with_physical_optimizer_rule(Arc::new(YieldingJoins))
            .build();
        state.execution_props_mut().query_execution_start_time = timestamp_ms_to_datetime(now).map(|now| now.and_utc());
        Ok(Self { state, promql, catalog })
    }

    /// Parses `text`, which must be one statement.
    ///
    /// # Errors
    /// [`Error::BadQuery`]
    pub(crate) fn parse(&self, text: &str) -> Result<Statement> {
        let text = check_text(text)?;
        let parser = DFParserBuilder::new(text.as_str())
            .with_dialect(&GenericDialect {})
            .with_recursion_limit(NESTING_MAX)
            .build();
        let statements: Result<VecDeque<Statement>, _> = parser.and_then(|mut parser| parser.parse_statements());
        let mut statements = statements.map_err(sql_error)?;
        match (statements.pop_front(), statements.is_empty()) {
            (Some(statement), true) => Ok(statement),
            (Some(_), false) => Err(Error::BadQuery("only one statement is run at a time".to_owned())),
            (None, _) => Err(Error::BadQuery("there is no statement".to_owned())),
        }
    }

    /// The checked plan of a statement, not optimised yet.
    ///
    /// # Errors
    /// [`Error::BadQuery`] where it cannot be planned, or would do more than read.
    pub(crate) async fn logical_plan(&self, statement: &Statement) -> Result<LogicalPlan> {
        let tables = self.state.resolve_table_references(statement).map_err(sql_error)?;
        if tables.iter().any(|table| table.schema() == Some("information_schema")) {
            self.catalog.fetch_names().await?;
        }
        let plan = self.state.statement_to_plan(statement.clone()).await.map_err(sql_error)?;
        let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        options.verify_plan(&plan).map_err(sql_error)?;
        Ok(plan)
    }

    /// The columns of tables of a schema.
    ///
    /// # Errors
    /// As the store's.
    pub(crate) async fn table_schemas(&self, schema: &str, tables: Vec<String>) -> Result<Vec<(String, SchemaRef)>> {
        let Some(schema) = self.catalog.schema(schema) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for name in tables {
            if let Some(table) = schema.table(&name).await.map_err(sql_error)? {
                found.push((name, table.schema()));
            }
        }
        Ok(found)
    }
}
