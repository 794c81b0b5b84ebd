//! The head: the newest samples, in memory until they are cut into blocks.

mod write;

pub use write::{Exemplar, FloatSample, HistogramSample, HistogramValue, Metadata, MetricKind, SeriesWrite};
