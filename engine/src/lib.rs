//! The DataFusion side: one file an operator, query tree to `ExecutionPlan`, deduplication, memory limits.
//!
//! ```text
//! SeriesScanExec ─> SortPreservingMergeExec ─> MergeSeriesExec ─> WindowExec ─> aggregates, binaries, functions ─> QueryResult
//!   series batches ───────────────────────────────────────────┘      └── vector batches ([`vector`])
//! ```

mod annotations;
mod answer;
mod concat;
mod context;
mod error;
pub mod kernel;
mod merge_series;
mod operator;
mod scalar;
mod series_scan;
pub mod vector;

pub use annotations::AnnotationSink;
pub use answer::{Answer, QueryRequest, QueryStats, QueryTime, Value};
pub use concat::ConcatExec;
pub use context::{QueryContext, SampleLimit};
pub use error::{Error, Result};
pub use merge_series::MergeSeriesExec;
pub use scalar::ScalarInput;
pub use series_scan::SeriesScanExec;
