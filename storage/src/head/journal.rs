//! The head's side of the write-ahead log.

use super::metadata::MetadataEntry;
use super::request::Request;
use super::round::{Accepted, Target};
use super::tenants::Tenant;
use super::write::{Exemplar, HistogramSample, HistogramValue};
use crate::model::CUSTOM_BUCKETS_SCHEMA;

/// The label of a series record that names the tenant; no series may have it.
pub const TENANT_IN_LOG: &str = "__quiver_tenant__";

/// A place in the log.
pub type Lsn = u64;

/// The log takes nothing now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the write-ahead log cannot be written: {0}")]
pub struct Unwritable(String);

impl Unwritable {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The kinds of records that samples come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKind {
    Floats,
    Integer,
    IntegerCustom,
    Float,
    FloatCustom,
    /// Any integer histogram with a start timestamp.
    IntegerStarted,
    /// Any float histogram with one.
    FloatStarted,
}

impl RecordKind {
    /// That of a histogram's record.
    pub fn of_histogram(sample: &HistogramSample) -> Self {
        let started = sample.start != 0;
        match &sample.histogram {
            HistogramValue::Integer(_) if started => Self::IntegerStarted,
            HistogramValue::Integer(h) if h.schema == CUSTOM_BUCKETS_SCHEMA => Self::IntegerCustom,
            HistogramValue::Integer(_) => Self::Integer,
            HistogramValue::Float(_) if started => Self::FloatStarted,
            HistogramValue::Float(h) if h.schema == CUSTOM_BUCKETS_SCHEMA => Self::FloatCustom,
            HistogramValue::Float(_) => Self::Float,
        }
    }
}

/// Records under way.
#[derive(Debug, Default)]
pub(super) struct RoundLog {
    records: Vec<Vec<u8>>,
}

impl RoundLog {
    pub fn clear(&mut self) {
        self.records.clear();
    }

    pub fn add_metadata(&mut self, _reference: u64, _metadata: &MetadataEntry) {}

    pub fn add_exemplar(&mut self, _reference: u64, _exemplar: &Exemplar<'_>) {}
}

/// Where records go.
#[derive(Debug, Default)]
pub(super) struct Journal {}

impl Journal {
    pub fn log(
        &self,
        _log: &mut RoundLog,
        _tenant: &Tenant,
        _request: &Request,
        _targets: &[Target],
        _accepted: &[Accepted],
    ) -> Result<Option<Lsn>, Unwritable> {
        Ok(None)
    }

    pub fn append(&self, _log: &RoundLog) -> Result<Option<Lsn>, Unwritable> {
        Ok(None)
    }
}
