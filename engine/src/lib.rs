//! The DataFusion side: one file an operator, query tree to `ExecutionPlan`, deduplication, memory limits.
//!
//! ```text
//! SeriesScanExec ─> SortPreservingMergeExec ─> MergeSeriesExec ─> WindowExec ─> aggregates, binaries, functions ─> Answer
//!   series batches ───────────────────────────────────────────┘      └── vector batches ([`vector`])
//! ```

mod aggregate;
mod annotations;
mod answer;
mod binary;
mod collected;
pub mod compact;
pub mod compactor;
mod concat;
mod constant;
mod context;
mod count_values;
mod dedup;
pub mod downsample;
mod error;
mod go_float;
mod histogram_quantile;
mod info;
pub mod kernel;
mod label_ops;
mod label_rewrite;
mod map;
mod memory;
mod merge_series;
mod one_row;
mod operator;
mod planner;
mod quantile;
mod query;
mod removed_name;
mod scalar;
pub mod scalar_math;
mod series_decoder;
mod series_scan;
mod set;
mod sort_vector;
pub mod sql;
mod step_invariant;
#[cfg(test)]
mod testing;
mod topk;
mod unique_labels;
pub mod vector;
mod vector_scalar;
mod window;

pub use aggregate::aggregate_plan;
pub use annotations::{AnnotationSink, TRUNCATED};
pub use answer::{Answer, QueryRequest, QueryStats, QueryTime, Value};
pub use binary::{BinaryExec, BinarySpec};
pub use concat::ConcatExec;
pub use constant::ConstantExec;
pub use context::{QueryContext, SampleLimit};
pub use count_values::CountValuesExec;
pub use dedup::Deduplication;
pub use error::{Error, Result};
pub use histogram_quantile::{HistogramFunction, HistogramQuantileExec};
pub use info::{InfoExec, InfoSelector, info_reference};
pub use label_rewrite::LabelRewriteExec;
pub use map::{ElementFunction, MapExec};
pub use memory::{PoolBudget, ProcessPool, QueryPool};
pub use merge_series::MergeSeriesExec;
pub use one_row::{AbsentExec, ScalarExec, absent_labels};
pub use quantile::QuantileExec;
pub use query::{Engine, EngineFeatures, EngineSettings};
pub use removed_name::{NameRemoval, RemoveNamesExec};
pub use scalar::ScalarInput;
pub use series_scan::SeriesScanExec;
pub use set::SetExec;
pub use sort_vector::{SortKey, SortVectorExec};
pub use step_invariant::StepInvariantExec;
pub use topk::{ParamAggregate, TopkExec};
pub use unique_labels::{EqualLabels, UniqueLabelsExec};
pub use vector_scalar::{VectorScalarExec, VectorScalarSpec};
pub use window::{LabelOutput, SubqueryExec, WindowExec, WindowFunction, WindowSpec};
