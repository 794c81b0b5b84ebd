//! The head's side of the write-ahead log: which records a round makes.
//!
//! ```text
//! series      of the new ones, with the tenant as a label more
//! samples     floats, then histograms by kind; a series that changes its kind goes on in a next stage
//! late ones   likewise, each record begun by an entry of series 0, which no series has and Prometheus skips
//! removed     a tenant went: metadata of series 0, with the unit "removed" and the tenant's name as help
//! ```
//!
//! A record says by itself whether its samples are late. So a replay may drop samples in order that are not younger than what
//! their series has: they are repeated. And it takes every late one, however old, as the head did.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::metadata::MetadataEntry;
use super::request::Request;
use super::round::{Accepted, Target};
use super::sample::{SampleRef, ValueRef};
use super::tenants::Tenant;
use super::write::{Exemplar, HistogramSample, HistogramValue};
use crate::model::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram};
use crate::wal::record::{
    ExemplarsEncoder, FloatHistogramsEncoder, HistogramsEncoder, MetadataEncoder, SampleEntry, SamplesEncoder,
    SeriesEncoder,
};
use crate::wal::{Lsn, Wal, WalError};

/// The label of a series record that names the tenant; no series may have it.
pub(super) const TENANT_IN_LOG: &str = "__quiver_tenant__";
/// The series of the entry that begins a record of late samples, and of the one that says that a tenant went.
pub(super) const LATE_MARK: u64 = 0;
/// The unit of the metadata that says that a tenant went.
pub(super) const REMOVED_UNIT: &str = "removed";

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
    /// That of a sample's record.
    pub fn of(sample: &SampleRef<'_>) -> Self {
        let started = sample.start != 0;
        match sample.value {
            ValueRef::Float(_) => Self::Floats,
            ValueRef::Integer(_) if started => Self::IntegerStarted,
            ValueRef::Integer(h) if h.schema == CUSTOM_BUCKETS_SCHEMA => Self::IntegerCustom,
            ValueRef::Integer(_) => Self::Integer,
            ValueRef::FloatHistogram(_) if started => Self::FloatStarted,
            ValueRef::FloatHistogram(h) if h.schema == CUSTOM_BUCKETS_SCHEMA => Self::FloatCustom,
            ValueRef::FloatHistogram(_) => Self::Float,
        }
    }

    /// That of a histogram's record.
    pub fn of_histogram(sample: &HistogramSample) -> Self {
        let value = match &sample.histogram {
            HistogramValue::Integer(histogram) => ValueRef::Integer(histogram),
            HistogramValue::Float(histogram) => ValueRef::FloatHistogram(histogram),
        };
        Self::of(&SampleRef { t: sample.t, start: sample.start, value })
    }
}

/// Appends a record of samples of one kind, each with the number of its series, to `out`.
pub(super) fn encode_samples<'s>(
    out: &mut Vec<u8>,
    kind: RecordKind,
    is_late: bool,
    samples: impl Iterator<Item = (u64, SampleRef<'s>)> + Clone,
) {
    match kind {
        RecordKind::Floats => {
            let started = samples.clone().any(|(_, sample)| sample.start != 0);
            let mut encoder = if started { SamplesEncoder::with_start_times(out) } else { SamplesEncoder::new(out) };
            let mark = is_late.then_some(SampleEntry { series: LATE_MARK, t: 0, start: 0, value: 0.0 });
            let floats = samples.filter_map(|(series, SampleRef { t, start, value })| match value {
                ValueRef::Float(value) => Some(SampleEntry { series, t, start, value }),
                _ => None,
            });
            mark.into_iter().chain(floats).for_each(|entry| encoder.push(entry));
        }
        RecordKind::Integer | RecordKind::IntegerCustom | RecordKind::IntegerStarted => {
            let mut encoder = match kind {
                RecordKind::Integer => HistogramsEncoder::exponential(out),
                RecordKind::IntegerCustom => HistogramsEncoder::custom_buckets(out),
                _ => HistogramsEncoder::with_start_times(out),
            };
            if is_late {
                let schema = if kind == RecordKind::IntegerCustom { CUSTOM_BUCKETS_SCHEMA } else { 0 };
                encoder.push(LATE_MARK, 0, 0, &Histogram { schema, ..Histogram::default() });
            }
            for (series, sample) in samples {
                if let ValueRef::Integer(histogram) = sample.value {
                    encoder.push(series, sample.t, sample.start, histogram);
                }
            }
        }
        RecordKind::Float | RecordKind::FloatCustom | RecordKind::FloatStarted => {
            let mut encoder = match kind {
                RecordKind::Float => FloatHistogramsEncoder::exponential(out),
                RecordKind::FloatCustom => FloatHistogramsEncoder::custom_buckets(out),
                _ => FloatHistogramsEncoder::with_start_times(out),
            };
            if is_late {
                let schema = if kind == RecordKind::FloatCustom { CUSTOM_BUCKETS_SCHEMA } else { 0 };
                encoder.push(LATE_MARK, 0, 0, &FloatHistogram { schema, ..FloatHistogram::default() });
            }
            for (series, sample) in samples {
                if let ValueRef::FloatHistogram(histogram) = sample.value {
                    encoder.push(series, sample.t, sample.start, histogram);
                }
            }
        }
    }
}

/// Appends a record of one series to `out`, or the next entry to the record that `encoder` writes.
pub(super) fn encode_series(encoder: &mut SeriesEncoder<'_>, reference: u64, tenant: &str, labels: &[(&str, &str)]) {
    let mut all: SmallVec<[(&str, &str); 32]> = SmallVec::from_slice(labels);
    if !tenant.is_empty() {
        let at = all.partition_point(|(name, _)| *name < TENANT_IN_LOG);
        all.insert(at, (TENANT_IN_LOG, tenant));
    }
    encoder.push(reference, all.iter().copied());
}

/// Records under way, in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct RoundLog {
    records: Vec<Vec<u8>>,
    used: usize,
}

impl RoundLog {
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// The next record, empty.
    fn next(&mut self) -> &mut Vec<u8> {
        if self.used == self.records.len() {
            self.records.push(Vec::new());
        }
        let record = &mut self.records[self.used];
        record.clear();
        self.used += 1;
        record
    }

    /// A record of one series.
    pub fn add_series(&mut self, reference: u64, tenant: &str, labels: &[(&str, &str)]) {
        encode_series(&mut SeriesEncoder::new(self.next()), reference, tenant, labels);
    }

    pub fn add_metadata(&mut self, reference: u64, metadata: &MetadataEntry) {
        let (kind, unit, help) = (metadata.kind as u8, metadata.unit.as_str(), metadata.help.as_str());
        MetadataEncoder::new(self.next()).push(crate::wal::record::MetadataEntry {
            series: reference,
            kind,
            unit,
            help,
        });
    }

    /// Says that nothing is needed any more of what a tenant has in the log up to here.
    pub fn add_removed(&mut self, tenant: &str) {
        MetadataEncoder::new(self.next()).push(crate::wal::record::MetadataEntry {
            series: LATE_MARK,
            kind: 0,
            unit: REMOVED_UNIT,
            help: tenant,
        });
    }

    pub fn add_exemplar(&mut self, reference: u64, exemplar: &Exemplar<'_>) {
        let labels = exemplar.labels.iter().copied();
        ExemplarsEncoder::new(self.next()).push(reference, exemplar.t, exemplar.value, labels);
    }

    /// The records of a round.
    fn encode(&mut self, tenant: &Tenant, request: &Request, targets: &[Target], accepted: &[Accepted]) {
        self.clear();
        let mut new = targets.iter().filter(|target| target.number.is_none() && target.reference != 0).peekable();
        if new.peek().is_some() {
            let mut encoder = SeriesEncoder::new(self.next());
            for target in new {
                let labels = request.labels(request.series(target.pending));
                encode_series(&mut encoder, target.reference, &tenant.name, &labels);
            }
        }
        let mut groups: SmallVec<[(bool, u16, RecordKind); 8]> = SmallVec::new();
        for accepted in accepted {
            let group = accepted.group();
            // nearly always there is one
            if groups.last() != Some(&group) && !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups.sort_unstable();
        for group in groups {
            let wanted = accepted.iter().filter(move |accepted| accepted.group() == group);
            let samples =
                wanted.map(|accepted| (targets[accepted.target as usize].reference, accepted.sample(request)));
            encode_samples(self.next(), group.2, group.0, samples);
        }
    }

    fn slices(&self) -> SmallVec<[&[u8]; 8]> {
        self.records[..self.used].iter().map(Vec::as_slice).filter(|record| !record.is_empty()).collect()
    }
}

/// Where records go.
#[derive(Debug, Default)]
pub(super) struct Journal {
    wal: OnceLock<Arc<Wal>>,
}

impl Journal {
    /// Logs from now on. False where there is a log already.
    pub fn attach(&self, wal: Arc<Wal>) -> bool {
        self.wal.set(wal).is_ok()
    }

    pub fn wal(&self) -> Option<&Arc<Wal>> {
        self.wal.get()
    }

    /// Logs a round.
    pub fn log(
        &self,
        log: &mut RoundLog,
        tenant: &Tenant,
        request: &Request,
        targets: &[Target],
        accepted: &[Accepted],
    ) -> Result<Option<Lsn>, WalError> {
        if self.wal.get().is_none() || accepted.is_empty() {
            return Ok(None);
        }
        log.encode(tenant, request, targets, accepted);
        self.append(log)
    }

    /// Logs what is in `log`.
    pub fn append(&self, log: &RoundLog) -> Result<Option<Lsn>, WalError> {
        match self.wal.get() {
            Some(wal) if log.used > 0 => wal.append(&log.slices()).map(Some),
            _ => Ok(None),
        }
    }

    /// Up to where what was said so far must be durable.
    pub fn end(&self) -> Option<Lsn> {
        self.wal.get().map(|wal| wal.end())
    }
}
