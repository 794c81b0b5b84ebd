//! The DataFusion side: one file an operator, query tree to `ExecutionPlan`, deduplication, memory limits.
//!
//! ```text
//! SeriesScanExec ─> SortPreservingMergeExec ─> MergeSeriesExec ─> WindowExec ─> aggregates, binaries, functions ─> QueryResult
//!   series batches ───────────────────────────────────────────┘      └── vector batches ([`vector`])
//! ```

mod aggregate;
mod annotations;
mod answer;
mod binary;
mod collected;
mod concat;
mod context;
mod dedup;
mod error;
pub mod kernel;
mod label_ops;
mod memory;
mod merge_series;
mod operator;
mod scalar;
pub mod scalar_math;
mod series_decoder;
mod series_scan;
#[cfg(test)]
mod testing;
pub mod vector;
mod window;

pub use aggregate::aggregate_plan;
pub use annotations::AnnotationSink;
pub use answer::{Answer, QueryRequest, QueryStats, QueryTime, Value};
pub use binary::{BinaryExec, BinarySpec};
pub use concat::ConcatExec;
pub use context::{QueryContext, SampleLimit};
pub use error::{Error, Result};
pub use memory::{PoolBudget, ProcessPool, QueryPool};
pub use merge_series::MergeSeriesExec;
pub use scalar::ScalarInput;
pub use series_scan::SeriesScanExec;
pub use window::{LabelOutput, SubqueryExec, WindowExec, WindowFunction, WindowSpec};
