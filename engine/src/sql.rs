//! SQL over the same store as PromQL.
//!
//! ```text
//! text ──guard──> statement ──catalog──> logical plan ──read only?──> optimised ──> MetricScanExec and stock operators
//!                              │  labels of the metrics named                          │ series selected, chunks on demand
//!                              └──────────────────────────── Store ────────────────────┘
//! ```
//!
//! Statements share memory, time limit and tenant scope with PromQL. A table is a metric, a row a sample; what is pushed
//! down to the scan is in `pushdown.rs`. An answer is a stream of batches, which is stopped by dropping it.

mod catalog;
mod error;
mod guard;
mod histogram_column;
mod histogram_functions;
mod metric_scan;
mod metric_table;
mod output;
mod promql_function;
mod pushdown;
mod query;
mod sample_rows;
mod scope;
mod session;
mod system_tables;
mod yielding;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use parking_lot::Mutex;
use storage::Store;
use storage::model::{Budget, METRIC_NAME, Reservation, TenantScope, Timestamp};

use crate::answer::QueryRequest;
use crate::dedup::ReplicaMerge;
use crate::error::{Error, Result};
use crate::memory::{PoolBudget, QueryPool};
use crate::query::Engine;
use promql_function::answer_rows;
use scope::SqlScope;
use session::{PROMQL_CALLS_MAX, SqlSession};

pub use catalog::{CATALOG, METRICS, SYSTEM, SYSTEM_TABLES};
pub use datafusion::common::ScalarValue;
pub use guard::{OPERATORS_MAX, TEXT_BYTES_MAX};
pub use output::{OutputFormat, OutputWriter};
pub use query::{SqlQuery, SqlStream};

/// A statement with everything that its answer depends on.
#[derive(Debug, Clone)]
pub struct SqlRequest {
    /// The SQL text.
    pub text: String,
    /// Values of its parameters, `$1` or the first `?` first.
    pub parameters: Vec<ScalarValue>,
    /// What `now()` is.
    pub now: Timestamp,
    /// Whose series may be seen.
    pub tenant: TenantScope,
    /// Whether replicas are joined.
    pub dedup: bool,
    /// The labels that tell replicas apart; none is the engine's default.
    pub replica_labels: Option<Vec<String>>,
    /// When to give up, counted from the call; none is the engine's default.
    pub timeout: Option<Duration>,
}

impl SqlRequest {
    /// A statement over all tenants' samples, with the engine's defaults and dedup on.
    #[must_use]
    pub fn new(text: impl Into<String>, now: Timestamp) -> Self {
        Self {
            text: text.into(),
            parameters: Vec::new(),
            now,
            tenant: TenantScope::All,
            dedup: true,
            replica_labels: None,
            timeout: None,
        }
    }
}

/// What a statement puts out and takes in.
#[derive(Debug, Clone)]
pub struct SqlDescription {
    /// The columns of its answer.
    pub schema: SchemaRef,
    /// Its parameters by number, each of the type that it is used as; null where that is not known.
    pub parameters: Schema,
}

/// Answers SQL over the store of an engine, within its limits.
#[derive(Debug, Clone)]
pub struct SqlEngine {
    engine: Arc<Engine>,
}

/// An answer that has begun.
#[derive(Debug)]
pub struct SqlAnswer {
    /// What it may lack, as far as it is known before it is read, sorted.
    pub warnings: Vec<String>,
    /// Its batches.
    pub batches: SqlStream,
}

/// A statement being planned.
struct Planning {
    engine: SqlEngine,
    request: SqlRequest,
    scope: Arc<SqlScope>,
    session: SqlSession,
    deadline: Instant,
}

impl SqlEngine {
    /// Of the store and the settings of `engine`.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// The engine that it answers over.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Plans a statement. The series that it reads are selected, and nothing is fetched yet.
    ///
    /// # Errors
    /// [`Error::BadQuery`] for a statement that is wrong or would do more than read, and as the store's.
    pub async fn plan(&self, request: SqlRequest) -> Result<SqlQuery> {
        let planning = Planning::new(self, request)?;
        self.engine.run_until(planning.deadline, Box::pin(planning.plan())).await
    }

    /// Plans a statement and reads its first batch, so that what goes wrong early is an error here. A block that goes until then
    /// makes it begin anew.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), and what reading meets.
    pub async fn run(&self, request: SqlRequest) -> Result<SqlAnswer> {
        match self.begin(request.clone()).await {
            Err(error) => {
                self.after_gone(error).await?;
                self.begin(request).await
            }
            answer => answer,
        }
    }

    async fn begin(&self, request: SqlRequest) -> Result<SqlAnswer> {
        let query = self.plan(request).await?;
        let mut batches = query.stream()?;
        batches.begin().await?;
        Ok(SqlAnswer { warnings: query.warnings(), batches })
    }

    /// What a statement puts out and takes in.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub async fn describe(&self, request: SqlRequest) -> Result<SqlDescription> {
        let planning = Planning::new(self, request)?;
        self.engine.run_until(planning.deadline, Box::pin(planning.describe())).await
    }

    /// The names of all metrics that the request's tenant has.
    ///
    /// # Errors
    /// As the store's.
    pub async fn metric_names(&self, request: SqlRequest) -> Result<Vec<String>> {
        let planning = Planning::new(self, request)?;
        let deadline = planning.deadline;
        let names = async move { planning.scope.label_values(METRIC_NAME).await };
        self.engine.run_until(deadline, names).await
    }

    /// The columns of the tables of a schema, each by its name; a table that is not there is left out.
    ///
    /// # Errors
    /// As the store's.
    pub async fn table_schemas(
        &self,
        request: SqlRequest,
        schema: &str,
        tables: Vec<String>,
    ) -> Result<Vec<(String, SchemaRef)>> {
        let planning = Planning::new(self, request)?;
        let schema = schema.to_owned();
        let deadline = planning.deadline;
        let schemas = async move { planning.session.table_schemas(&schema, tables).await };
        self.engine.run_until(deadline, schemas).await
    }

    /// Has the store look again after [`storage::Error::BlockGone`].
    ///
    /// # Errors
    /// Where it is another error, or the store cannot look.
    async fn after_gone(&self, error: Error) -> Result<()> {
        let Error::Storage(storage::Error::BlockGone(block)) = error else { return Err(error) };
        Ok(self.store().refresh(block).await?)
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.engine.store()
    }
}

impl Planning {
    fn new(engine: &SqlEngine, request: SqlRequest) -> Result<Self> {
        let settings = engine.engine.settings();
        let deadline = Instant::now() + engine.engine.time_allowed(request.timeout);
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&settings.memory)));
        let replica_labels = match (&request.replica_labels, request.dedup) {
            (_, false) => Vec::new(),
            (Some(labels), true) => labels.clone(),
            (None, true) => settings.replica_labels.clone(),
        };
        let budget: Arc<dyn Budget> = Arc::new(PoolBudget::new(&pool, "series selection"));
        let scope = Arc::new(SqlScope {
            store: Arc::clone(engine.store()),
            tenant: request.tenant.clone(),
            replica_labels: replica_labels.into(),
            merge: ReplicaMerge { deduplication: settings.deduplication, counter: false },
            deadline,
            answers: Mutex::new(Reservation::new(Arc::clone(&budget))),
            budget,
            partitions: settings.partitions.max(1),
            annotations: Arc::default(),
            selections: Mutex::default(),
        });
        let session = SqlSession::try_new(&scope, pool, request.now)?;
        Ok(Self { engine: engine.clone(), request, scope, session, deadline })
    }

    async fn plan(self) -> Result<SqlQuery> {
        let plan = match self.attempt().await {
            Err(error) => {
                self.engine.after_gone(error).await?;
                self.attempt().await?
            }
            Ok(plan) => plan,
        };
        let settings = self.engine.engine.settings();
        let context = self.session.state.task_ctx();
        Ok(SqlQuery::new(plan, context, self.scope, self.deadline, settings.compute.clone()))
    }

    async fn attempt(&self) -> Result<Arc<dyn datafusion::physical_plan::ExecutionPlan>> {
        let plan = self.logical().await?;
        let plan = if self.request.parameters.is_empty() {
            plan
        } else {
            plan.with_param_values(self.request.parameters.clone()).map_err(error::sql_error)?
        };
        self.session.state.create_physical_plan(&plan).await.map_err(error::sql_error)
    }

    async fn describe(self) -> Result<SqlDescription> {
        let plan = self.logical().await?;
        let parameters = plan.get_parameter_types().map_err(error::sql_error)?;
        let mut parameters: Vec<_> = parameters.into_iter().collect();
        let number = |name: &str| name.trim_start_matches('$').parse::<usize>().unwrap_or(usize::MAX);
        parameters.sort_by_key(|(name, _)| number(name));
        let fields = parameters.into_iter().map(|(name, data_type)| {
            let data_type = match data_type {
                // a value is no dictionary, though it is compared with one
                Some(DataType::Dictionary(_, values)) => *values,
                other => other.unwrap_or(DataType::Null),
            };
            Field::new(name, data_type, true)
        });
        Ok(SqlDescription {
            schema: Arc::clone(plan.schema().inner()),
            parameters: Schema::new(fields.collect::<Vec<_>>()),
        })
    }

    /// The logical plan, once what the statement asks PromQL is answered.
    async fn logical(&self) -> Result<LogicalPlan> {
        let statement: Statement = self.session.parse(&self.request.text)?;
        let mut answered = 0;
        loop {
            let planned = self.session.logical_plan(&statement).await;
            let wanted = self.session.promql.take_wanted();
            if wanted.is_empty() {
                return planned;
            }
            for call in wanted {
                answered += 1;
                if answered > PROMQL_CALLS_MAX {
                    let message = format!("the statement has more than {PROMQL_CALLS_MAX} calls of promql()");
                    return Err(Error::BadQuery(message));
                }
                let request = QueryRequest {
                    dedup: self.request.dedup,
                    replica_labels: self.request.replica_labels.clone(),
                    tenant: self.request.tenant.clone(),
                    timeout: Some(self.deadline.saturating_duration_since(Instant::now())),
                    ..QueryRequest::new(call.text.clone(), call.time)
                };
                let answer = self.engine.engine.query(request).await?;
                answer.warnings.iter().chain(&answer.infos).for_each(|text| self.scope.annotations.warn(text));
                let batches = answer_rows(&answer)?;
                let bytes = batches.iter().map(arrow::array::RecordBatch::get_array_memory_size).sum();
                self.scope.hold(bytes)?;
                self.session.promql.answer(&call, batches)?;
            }
        }
    }
}
