//! What a query asks and what comes back: plain types between the engine and whoever serves its answers.

use std::time::Duration;

use arrow::array::RecordBatch;
use promql::tree::Grid;
use storage::model::{Labels, SampleBuffer, TenantScope, Timestamp};

/// A query with everything that its answer depends on.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// The PromQL text.
    pub text: String,
    /// When to evaluate it.
    pub time: QueryTime,
    /// How far back an instant selector looks, in milliseconds; none is the engine's default.
    pub lookback_ms: Option<i64>,
    /// Whether replicas are joined.
    pub dedup: bool,
    /// The labels that tell replicas apart; none is the engine's default.
    pub replica_labels: Option<Vec<String>>,
    /// Coarsest acceptable resolution in milliseconds; 0 asks for raw samples.
    pub max_resolution_ms: i64,
    /// Whose series may be seen.
    pub tenant: TenantScope,
    /// When to give up, counted from the call; none is the engine's default.
    pub timeout: Option<Duration>,
    /// At most so many series in the answer, with a warning where there are more; none is no limit.
    pub limit: Option<usize>,
}

impl QueryRequest {
    /// A query of all tenants' raw samples with the engine's defaults and dedup on.
    #[must_use]
    pub fn new(text: impl Into<String>, time: QueryTime) -> Self {
        Self {
            text: text.into(),
            time,
            lookback_ms: None,
            dedup: true,
            replica_labels: None,
            max_resolution_ms: 0,
            tenant: TenantScope::All,
            timeout: None,
            limit: None,
        }
    }
}

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryTime {
    /// Once.
    Instant(Timestamp),
    /// At every step of a range query.
    Range(Grid),
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// Why it may be wrong or incomplete, sorted.
    pub warnings: Vec<String>,
    /// Why the query may not be what its author meant, sorted.
    pub infos: Vec<String>,
    /// What it took.
    pub stats: QueryStats,
}

/// A query's result.
#[derive(Debug, Clone)]
pub enum Value {
    /// An instant query for a scalar.
    Scalar {
        /// When it was evaluated.
        t: Timestamp,
        /// The number.
        value: f64,
    },
    /// An instant query for a string.
    String {
        /// When it was evaluated.
        t: Timestamp,
        /// The text.
        value: String,
    },
    /// An instant query for a vector: [vector batches](crate::vector) of one step, in the order to be shown.
    Vector {
        /// When it was evaluated.
        t: Timestamp,
        /// Its rows.
        batches: Vec<RecordBatch>,
    },
    /// A range query: [vector batches](crate::vector) over the steps of `grid`.
    Matrix {
        /// The steps.
        grid: Grid,
        /// Its rows, in no order.
        batches: Vec<RecordBatch>,
        /// Batch and row of each series of the answer, sorted by labels: all rows, or as many as the request's limit.
        order: Vec<(u32, u32)>,
    },
    /// An instant query whose root is a range vector, sorted by labels.
    Samples(Vec<(Labels, SampleBuffer)>),
}

/// What a query took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples that its selectors put out.
    pub samples_total: usize,
    /// Most samples held at once: those of the series that each core has decoded, of vectors that operators need as a whole,
    /// and of the result. Not counted are the states of aggregations, replicas while they are merged, and the batches on
    /// their way from one operator to the next, of about a megabyte each. Prometheus, which holds every vector as a whole,
    /// counts all of these and a histogram by its size; here that is one sample.
    pub peak_samples: usize,
    /// Time to parse the text.
    pub parse: Duration,
    /// Time to build the plan.
    pub plan: Duration,
    /// Time to run it.
    pub exec: Duration,
}
