//! The DataFusion side: one file an operator, query tree to `ExecutionPlan`, deduplication, memory limits.
//!
//! ```text
//! SeriesScanExec ─> SortPreservingMergeExec ─> MergeSeriesExec ─> WindowExec ─> aggregates, binaries, functions ─> QueryResult
//!   series batches ───────────────────────────────────────────┘      └── vector batches ([`vector`])
//! ```

mod annotations;
mod context;
mod error;
pub mod kernel;
pub mod vector;

pub use annotations::AnnotationSink;
pub use context::{QueryContext, SampleLimit};
pub use error::{Error, Result};
