//! Committing the series of a request that belong to one shard.
//!
//! A round is a set of distinct series: all that a request has in the shard, or, in the rare request that names a series twice,
//! one at a time. It is checked against the series as they are, logged, and then applied, all under the shard's lock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::Head;
use super::appender::{Commit, EMPTY};
use super::journal::{RecordKind, RoundLog};
use super::outcome::{Outcome, Rejection};
use super::request::{Pending, Request};
use super::sample::{SampleRef, ValueRef};
use super::series::{Newest, Series};
use super::shard::Shard;
use super::tenants::Tenant;
use crate::chunk::ChunkError;
use crate::model::{TimeInterval, Timestamp};
use crate::wal::{Lsn, WalError};

/// What bounds the times of a request's samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The tenant's newest sample before the request.
    pub newest: Timestamp,
    /// The last time that is taken.
    pub max_t: Timestamp,
    /// Series that the tenant may have.
    pub max_series: Option<u64>,
}

/// What is to be done with a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    InOrder,
    Late,
    /// It is the newest sample already.
    Known,
}

/// A series of the round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// Which of the request's series.
    pub pending: u32,
    /// Its number in the shard, unless it is new.
    pub number: Option<u32>,
    pub reference: u64,
}

/// A sample that was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub target: u32,
    /// Which float, or which histogram, of the request.
    pub sample: u32,
    pub kind: RecordKind,
    pub is_late: bool,
    /// How often the kind of record changed in its series before it: the log has one stage after the other.
    pub stage: u16,
}

/// Counts how often the kind of record changes in a series.
#[derive(Debug, Default)]
struct Stages {
    last: Option<RecordKind>,
    stage: u16,
}

impl Stages {
    fn next(&mut self, kind: RecordKind) -> u16 {
        if self.last.replace(kind).is_some_and(|last| last != kind) {
            self.stage = self.stage.saturating_add(1);
        }
        self.stage
    }
}

/// Commits shards one after the other.
#[derive(Debug)]
pub(super) struct Rounds<'h> {
    head: &'h Head,
    tenant: Arc<Tenant>,
    limits: Limits,
    outcome: Outcome,
    times: TimeInterval,
    lsn: Option<Lsn>,
    saw_known: bool,
    targets: Vec<Target>,
    accepted: Vec<Accepted>,
    keys: Vec<u64>,
    log: RoundLog,
}

impl<'h> Rounds<'h> {
    pub fn new(head: &'h Head, tenant: Arc<Tenant>, limits: Limits) -> Self {
        Self {
            head,
            tenant,
            limits,
            outcome: Outcome::default(),
            times: EMPTY,
            lsn: None,
            saw_known: false,
            targets: Vec::new(),
            accepted: Vec::new(),
            keys: Vec::new(),
            log: RoundLog::default(),
        }
    }

    /// What became of all, and the times of the samples taken.
    pub fn finish(self) -> (Commit, TimeInterval) {
        // What was known already may have come a moment before, and not be durable yet.
        let lsn = if self.saw_known { self.head.journal.end() } else { self.lsn };
        (Commit { outcome: self.outcome, lsn }, self.times)
    }

    /// Commits the series `list` of the request, which belong to shard number `shard`.
    pub fn commit_shard(&mut self, shard: usize, list: &[u32], request: &Request) -> Result<(), WalError> {
        self.keys.clear();
        self.keys.extend(list.iter().map(|&i| request.series(i).key[0]));
        self.keys.sort_unstable();
        let distinct = self.keys.windows(2).all(|pair| pair[0] != pair[1]);
        let mut shard = self.head.shards[shard].write();
        if distinct {
            return self.commit_round(&mut shard, list, request);
        }
        list.iter().try_for_each(|one| self.commit_round(&mut shard, std::slice::from_ref(one), request))
    }

    fn commit_round(&mut self, shard: &mut Shard, list: &[u32], request: &Request) -> Result<(), WalError> {
        self.targets.clear();
        self.accepted.clear();
        // Looked up in one go: each is a cache miss or two, and so many of them are under way at once.
        self.targets.extend(list.iter().map(|&pending| {
            let number = shard.find(request.series(pending).key, self.tenant.number);
            Target { pending, number, reference: 0 }
        }));
        // Read under the lock: whoever raised it takes the lock after that, before it relies on it.
        let settings = &self.head.settings;
        let recent = self.limits.newest.saturating_sub(settings.block_duration_ms / 2);
        let min_valid = self.tenant.min_valid().max(recent);
        for i in 0..self.targets.len() {
            self.check(shard, i, request, min_valid);
        }
        self.lsn = match self.head.journal.log(&mut self.log, &self.tenant, request, &self.targets, &self.accepted)? {
            Some(lsn) => Some(lsn),
            None => self.lsn,
        };
        self.add_series(shard, request);
        self.apply(shard, request);
        self.apply_metadata(shard, request)?;
        self.apply_exemplars(shard, request)
    }

    /// Decides on the samples of target `i`.
    fn check(&mut self, shard: &Shard, i: usize, request: &Request, min_valid: Timestamp) {
        let Target { pending: index, number, .. } = self.targets[i];
        let pending = request.series(index);
        let first_accepted = self.accepted.len();
        let (first_float, first_histogram) = request.first(pending);
        let series = number.map(|number| &shard.series[number as usize]);
        if let Some(series) = series {
            self.targets[i].reference = series.reference;
        } else if let Some(reason) = self.refuse_series(request, pending) {
            let times =
                request.floats(pending).iter().map(|f| f.t).chain(request.histograms(pending).iter().map(|h| h.t));
            times.for_each(|t| self.outcome.reject(|| request.owned_labels(pending), t, reason));
            return;
        }
        let mut newest = series.map_or(Newest::NONE, |series| series.newest());
        let mut floats = (first_float..).zip(request.floats(pending)).peekable();
        let mut histograms = (first_histogram..).zip(request.histograms(pending)).peekable();
        let mut stages = Stages::default();
        // By time where a series has both kinds, each in the order in which it was sent.
        loop {
            let histogram_is_older = match (floats.peek(), histograms.peek()) {
                (Some((_, float)), Some((_, histogram))) => histogram.t < float.t,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (None, None) => break,
            };
            let next = if histogram_is_older {
                histograms.next().map(|(i, h)| (i, h.t, ValueRef::from(&h.histogram), RecordKind::of_histogram(h)))
            } else {
                floats.next().map(|(i, f)| (i, f.t, ValueRef::Float(f.value), RecordKind::Floats))
            };
            let Some((sample, t, value, kind)) = next else { break };
            let is_histogram = kind != RecordKind::Floats;
            match self.verdict(&newest, t, value, min_valid) {
                Ok(verdict) => {
                    let written = if is_histogram { &mut self.outcome.histograms } else { &mut self.outcome.floats };
                    *written += 1;
                    if verdict == Verdict::InOrder {
                        newest = Newest { t, value: Some(value) };
                    }
                    self.saw_known |= verdict == Verdict::Known;
                    if verdict != Verdict::Known {
                        let is_late = verdict == Verdict::Late;
                        self.outcome.out_of_order += u64::from(is_late);
                        self.times = TimeInterval::new(self.times.mint.min(t), self.times.maxt.max(t));
                        let stage = if is_late { 0 } else { stages.next(kind) };
                        self.accepted.push(Accepted { target: i as u32, sample, kind, is_late, stage });
                    }
                }
                Err(reason) => self.outcome.reject(|| request.owned_labels(pending), t, reason),
            }
        }
        if number.is_none() && self.accepted.len() > first_accepted {
            self.targets[i].reference = self.head.next_reference.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why a new series cannot be.
    fn refuse_series(&self, request: &Request, pending: &Pending) -> Option<Rejection> {
        // those of this round are added when all of it is checked
        let new = || self.targets.iter().filter(|target| target.number.is_none() && target.reference != 0).count();
        let is_full = |most: u64| {
            let there = self.tenant.series.load(Ordering::SeqCst);
            there >= most || there + new() as u64 >= most
        };
        if self.limits.max_series.is_some_and(is_full) {
            return Some(Rejection::SeriesLimit);
        }
        let labels = request.labels(pending);
        let reserved = labels.iter().any(|(name, _)| *name == super::journal::TENANT_IN_LOG);
        reserved.then_some(Rejection::ReservedLabel)
    }

    /// Prometheus's rules for where a sample goes.
    fn verdict(
        &self,
        newest: &Newest<'_>,
        t: Timestamp,
        value: ValueRef<'_>,
        min_valid: Timestamp,
    ) -> Result<Verdict, Rejection> {
        if t > self.limits.max_t {
            return Err(Rejection::TooFarInFuture);
        }
        // The least of all times stands for none.
        if t == Timestamp::MIN {
            return Err(Rejection::OutOfBounds);
        }
        if t >= min_valid {
            match newest.value {
                _ if t > newest.t => return Ok(Verdict::InOrder),
                Some(last) if t == newest.t => {
                    return if is_known(last, value) { Ok(Verdict::Known) } else { Err(Rejection::Duplicate) };
                }
                _ => {}
            }
        }
        let window = self.head.settings.out_of_order_window_ms;
        if window > 0 {
            let oldest = self.limits.newest.saturating_sub(window);
            return if t >= oldest { Ok(Verdict::Late) } else { Err(Rejection::TooOld) };
        }
        Err(if t < min_valid { Rejection::OutOfBounds } else { Rejection::OutOfOrder })
    }

    /// Makes the new series of which samples were accepted.
    fn add_series(&mut self, shard: &mut Shard, request: &Request) {
        for target in &mut self.targets {
            if target.number.is_some() || target.reference == 0 {
                continue;
            }
            let pending = request.series(target.pending);
            let labels = request.labels(pending);
            let added = shard.add(pending.key, target.reference, self.tenant.number, labels.into_iter());
            if let Ok(number) = added {
                target.number = Some(number);
                self.outcome.new_series += 1;
                self.tenant.series.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn apply(&mut self, shard: &mut Shard, request: &Request) {
        let block_ms = self.head.settings.block_duration_ms;
        let Shard { series, log, .. } = shard;
        for accepted in &self.accepted {
            let target = &self.targets[accepted.target as usize];
            let sample = accepted.sample(request);
            let series = target.number.and_then(|number| series.get_mut(number as usize));
            let result = match (series, sample.value) {
                (None, _) => Err(Rejection::TooManyLabels),
                (Some(series), _) if accepted.is_late => series.insert_late(log, sample).map_err(invalid),
                (Some(series), ValueRef::Float(value)) if sample.start == 0 => {
                    series.append_float(log, (sample.t, value), block_ms).map_err(invalid)
                }
                (Some(series), _) => series.append(log, sample, block_ms).map_err(invalid),
            };
            if let Err(reason) = result {
                let written = if accepted.kind != RecordKind::Floats {
                    &mut self.outcome.histograms
                } else {
                    &mut self.outcome.floats
                };
                *written -= 1;
                let pending = request.series(target.pending);
                self.outcome.reject(|| request.owned_labels(pending), sample.t, reason);
            }
        }
    }

    fn apply_metadata(&mut self, shard: &mut Shard, request: &Request) -> Result<(), WalError> {
        self.log.clear();
        let mut new: SmallVec<[(u32, u32); 8]> = SmallVec::new();
        for target in &self.targets {
            let (Some(number), metadata) = (target.number, request.series(target.pending).metadata) else { continue };
            let is_known = |series: &Series| metadata == 0 || series.metadata == metadata;
            if shard.series.get(number as usize).is_none_or(is_known) {
                continue;
            }
            if let Some(entry) = self.head.metadata.get(metadata) {
                self.log.add_metadata(target.reference, &entry);
                new.push((number, metadata));
            }
        }
        // what the log does not take is not known: it comes again
        self.append_log()?;
        for (number, metadata) in new {
            shard.set_metadata(number, metadata);
        }
        Ok(())
    }

    fn apply_exemplars(&mut self, shard: &mut Shard, request: &Request) -> Result<(), WalError> {
        self.log.clear();
        for target in &self.targets {
            let pending = request.series(target.pending);
            for exemplar in request.exemplars(pending) {
                let labels = || request.owned_labels(pending);
                let Some(number) = target.number else {
                    self.outcome.reject(labels, exemplar.t, Rejection::ExemplarOfUnknownSeries);
                    continue;
                };
                let reference = shard.series[number as usize].reference;
                let pushed = exemplar
                    .with(|exemplar| self.head.exemplars.lock().push(reference, self.tenant.number, exemplar, labels));
                match pushed {
                    Ok(is_new) => {
                        self.outcome.exemplars += 1;
                        if is_new {
                            exemplar.with(|exemplar| self.log.add_exemplar(reference, exemplar));
                        }
                    }
                    Err(reason) => self.outcome.reject(labels, exemplar.t, reason),
                }
            }
        }
        self.append_log()
    }

    fn append_log(&mut self) -> Result<(), WalError> {
        if let Some(lsn) = self.head.journal.append(&self.log)? {
            self.lsn = Some(lsn);
        }
        Ok(())
    }
}

impl Accepted {
    /// Samples of a group are in one record.
    pub fn group(&self) -> (bool, u16, RecordKind) {
        (self.is_late, self.stage, self.kind)
    }

    /// The sample itself.
    pub fn sample<'r>(&self, request: &'r Request) -> SampleRef<'r> {
        if self.kind != RecordKind::Floats {
            let sample = request.histogram(self.sample);
            SampleRef { t: sample.t, start: sample.start, value: ValueRef::from(&sample.histogram) }
        } else {
            let sample = request.float(self.sample);
            SampleRef { t: sample.t, start: sample.start, value: ValueRef::Float(sample.value) }
        }
    }
}

/// Whether `value` is what the series has already; a staleness marker was made a histogram's where the series is one.
fn is_known(last: ValueRef<'_>, value: ValueRef<'_>) -> bool {
    use crate::model::is_stale_nan;
    let is_stale = |value: ValueRef<'_>| match value {
        ValueRef::Float(value) => is_stale_nan(value),
        ValueRef::Integer(histogram) => is_stale_nan(histogram.sum),
        ValueRef::FloatHistogram(histogram) => is_stale_nan(histogram.sum),
    };
    last.same(value) || (is_stale(last) && is_stale(value))
}

#[expect(clippy::needless_pass_by_value, reason = "the error of a fallible call")]
fn invalid(error: ChunkError) -> Rejection {
    tracing::debug!(%error, "a histogram does not fit a chunk");
    Rejection::InvalidHistogram
}
