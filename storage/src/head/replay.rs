//! Filling the head from a log at start: our own, or that of a Prometheus or Thanos receive whose directory is adopted.
//!
//! ```text
//! snapshot ──> shards as they were ──> records after it
//! chunks_head ──> chunks by number ─┐
//! wal ──> records, one thread ──> series into their shards ──> samples by shard ──> appended, a thread for some shards each
//! wbl ──> likewise, all late                                                                     │
//! tombstones ─────────────────────────────────────────────────> what they delete goes <──────────┘
//! ```
//!
//! A log may repeat itself, so a sample in order that is not younger than what its series has is dropped: it is there. A late one
//! goes to the late ones; readers merge. Samples in order before what blocks of the tenant have are in them, and are dropped.
//! Of a tenant who was removed, what stands before the record of that goes. Series of which nothing is left go as well.
//! A log of Prometheus has its late samples a second time in the `wbl`, and they are taken from there. Logs of the tenants of a
//! Thanos receive come before ours, see [`adopt`](super::adopt).

mod batch;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};

use parking_lot::{Mutex, RwLock};

pub(super) use self::batch::Batch;
use self::batch::{BATCH, HistogramEntry};
use self::worker::{Counts, append_batches};
use super::Head;
use super::adopt::AdoptedLog;
use super::head_chunks::{self, HeadChunks};
use super::journal::{LATE_MARK, REMOVED_UNIT, TENANT_IN_LOG};
use super::metadata::MetadataEntry;
use super::refs::{RefEntry, Refs};
use super::request::shard_of;
use super::shard::Shard;
use super::snapshot::{Restored, Snapshot};
use super::write::{Exemplar, HistogramValue, MetricKind};
use crate::error::{Error, Result};
use crate::model::{Labels, TimeInterval, Timestamp};
use crate::wal::record::{self, LabelPairs, Record, RecordError, SampleEntry};
use crate::wal::{Disk, Replay, SegmentNumber};

/// Batches that wait for a thread.
const BATCHES_AHEAD: usize = 256;

/// Where to read from.
#[derive(Clone, Copy)]
pub struct ReplaySources<'a> {
    /// The folder of the log.
    pub wal: &'a Path,
    /// What our own head was like when a segment of the log began, where it is there: what it was made from is not read again. The head
    /// must have been made to [continue](Head::continuing) it, and nothing may be adopted.
    pub snapshot: Option<&'a Snapshot>,
    /// Prometheus's head chunks, where a directory is adopted.
    pub chunks_head: Option<&'a Path>,
    /// Prometheus's log of samples out of order, likewise.
    pub wbl: Option<&'a Path>,
    /// Whose the series are that name no tenant, which only Quiver's do.
    pub tenant: &'a str,
    /// The end of a tenant's newest block, before which every sample in order is in a block; none where it has none.
    pub blocks_end: &'a dyn Fn(&str) -> Option<Timestamp>,
    /// Logs of a Thanos receive, one a tenant.
    pub adopted: &'a [AdoptedLog],
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadReplay {
    /// What the log says of itself: where it goes on, and its damage.
    pub wal: Replay,
    /// What came out of a snapshot.
    pub restored: Option<Restored>,
    /// Samples appended, late ones too.
    pub samples: u64,
    /// Samples that were there already, or are in blocks.
    pub repeated: u64,
    /// Entries of series that the log does not name: these were dropped, since blocks had all of them, or lost to damage.
    pub unknown_series: u64,
    /// Records and entries that do not parse, and histograms that are not valid.
    pub invalid: u64,
    /// Chunks taken from head chunks.
    pub head_chunks: u64,
    /// The newest time in head chunks and the log of samples out of order: their folders must stay until the head holds nothing
    /// so old. The least of all times where there were none.
    pub adopted_through: Option<Timestamp>,
    /// The newest time of each of the logs of a Thanos receive, in the order in which they were given; likewise.
    pub adopted: Vec<Option<Timestamp>>,
}

impl Head {
    /// Fills the head, which must be empty, and mends the log where it is damaged. Blocks for seconds.
    ///
    /// # Errors
    /// What cannot be read; damage is no error.
    pub fn replay(&self, sources: ReplaySources<'_>, disk: &dyn Disk) -> Result<HeadReplay> {
        let found = match sources.chunks_head {
            Some(folder) => head_chunks::read(folder)?,
            None => head_chunks::Found::default(),
        };
        let newest_chunk = found.chunks.values().flatten().map(|(chunk, _)| chunk.maxt).max();
        let mut result =
            HeadReplay { head_chunks: found.count, adopted_through: newest_chunk, ..HeadReplay::default() };
        result.restored = self.restore(sources, disk)?;
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, self.shards.len());
        let counts = Mutex::new(Counts::default());
        let outcome = std::thread::scope(|scope| {
            let mut senders = Vec::new();
            for _ in 0..threads {
                let (sender, receiver) = sync_channel(BATCHES_AHEAD);
                senders.push(sender);
                let counts = &counts;
                scope.spawn(move || append_batches(self, receiver, counts));
            }
            let mut adopted = Vec::new();
            for log in sources.adopted {
                adopted.push(self.replay_adopted(log, sources, senders.clone(), disk)?);
            }
            let mut reader = Reader::new(self, sources, found.chunks, senders);
            if let Some(snapshot) = sources.snapshot.filter(|_| result.restored.is_some()) {
                reader.know_all();
                snapshot.records(|record| reader.record(record, false))?;
            }
            let from = result.restored.map(|restored| restored.segment);
            let wal = reader.logs(sources.wal, from, sources.wbl, disk)?;
            Ok::<_, Error>((wal, reader.finish(), adopted))
        });
        let (wal, mut read, adopted) = outcome?;
        for adopted in adopted {
            result.adopted.push(adopted.newest);
            result.head_chunks += adopted.chunks;
            read.merge(adopted);
        }
        let counts = counts.into_inner();
        (result.samples, result.repeated) = (counts.samples, counts.repeated);
        result.invalid = counts.invalid + read.invalid;
        result.unknown_series = read.unknown;
        result.adopted_through = result.adopted_through.max(read.newest);
        result.wal = wal;
        self.next_reference.fetch_max(read.largest_reference.saturating_add(1), Ordering::SeqCst);
        self.delete(&read.tombstones)?;
        self.shards.iter().for_each(|shard| shard.write().sweep(&read.removed));
        read.removed.iter().for_each(|number| self.drop_leavings(*number));
        self.count_tenants();
        Ok(result)
    }

    /// Fills the head from the snapshot, if the log goes on from it. Where something is wrong with it the head stays empty.
    fn restore(&self, sources: ReplaySources<'_>, disk: &dyn Disk) -> Result<Option<Restored>> {
        let Some(snapshot) = sources.snapshot else { return Ok(None) };
        if !crate::wal::can_begin_at(sources.wal, disk, snapshot.segment())? {
            return Ok(None);
        }
        match snapshot.restore(self, sources.blocks_end) {
            Ok(restored) => Ok(Some(restored)),
            Err(error) => {
                tracing::warn!(%error, "no snapshot: the log is read as a whole");
                Ok(None)
            }
        }
    }

    /// Applies tombstones: the samples that they name go.
    fn delete(&self, tombstones: &BTreeMap<(u32, u32), Vec<TimeInterval>>) -> Result<()> {
        for ((shard, number), intervals) in tombstones {
            let mut shard = self.shards[*shard as usize].write();
            let Shard { series, log, .. } = &mut *shard;
            if let Some(series) = series.get_mut(*number as usize) {
                series.delete(log, intervals).map_err(|error| Error::Internal(format!("head: {error}")))?;
            }
        }
        Ok(())
    }

    /// Tells tenants of their series and times.
    fn count_tenants(&self) {
        let mut counts: HashMap<u32, (u64, TimeInterval)> = HashMap::new();
        for shard in self.shards.iter() {
            let shard = shard.read();
            for series in &shard.series {
                let entry = counts.entry(series.tenant).or_insert((0, super::appender::EMPTY));
                entry.0 += 1;
                if let Some(times) = series.interval() {
                    entry.1 = TimeInterval::new(entry.1.mint.min(times.mint), entry.1.maxt.max(times.maxt));
                }
            }
        }
        for (number, (count, times)) in counts {
            if let Some(tenant) = self.tenants.by_number(number) {
                tenant.series.store(count, Ordering::SeqCst);
                tenant.saw(times);
            }
        }
    }
}

/// Reads records and deals out samples.
pub(super) struct Reader<'a> {
    head: &'a Head,
    sources: ReplaySources<'a>,
    refs: Refs,
    chunks: HeadChunks,
    threads: Vec<SyncSender<(u32, Batch)>>,
    open: Vec<Option<Batch>>,
    found: Found,
    text: Vec<u8>,
    /// Whether late samples are the log's own matter now.
    is_wbl: bool,
    /// Whether this is the log of another server, whose numbers of series are not ours.
    is_adopted: bool,
}

/// What the reader itself found.
#[derive(Default)]
pub(super) struct Found {
    unknown: u64,
    invalid: u64,
    /// The newest time in files that are never written to again.
    pub newest: Option<Timestamp>,
    /// Chunks of a log that is adopted.
    pub chunks: u64,
    largest_reference: u64,
    tombstones: BTreeMap<(u32, u32), Vec<TimeInterval>>,
    /// Tenants who were removed; under the same name there can be a new one.
    removed: BTreeSet<u32>,
}

impl Found {
    /// Adds what was found in a log before.
    fn merge(&mut self, other: Self) {
        self.unknown += other.unknown;
        self.invalid += other.invalid;
        for (series, intervals) in other.tombstones {
            self.tombstones.entry(series).or_default().extend(intervals);
        }
    }
}

impl<'a> Reader<'a> {
    pub fn new(
        head: &'a Head,
        sources: ReplaySources<'a>,
        chunks: HeadChunks,
        threads: Vec<SyncSender<(u32, Batch)>>,
    ) -> Self {
        let open = head.shards.iter().map(|_| None).collect();
        let (refs, found) = (Refs::default(), Found::default());
        Self { head, sources, refs, chunks, threads, open, found, text: Vec::new(), is_wbl: false, is_adopted: false }
    }

    /// Of the log of another server, all of which is the tenant's.
    pub fn adopting(self) -> Self {
        Self { is_adopted: true, ..self }
    }

    pub fn finish(mut self) -> Found {
        self.found.largest_reference = self.found.largest_reference.max(self.refs.largest());
        self.found
    }

    /// Knows the series that the head has.
    fn know_all(&mut self) {
        for (shard, lock) in (0..).zip(self.head.shards.iter()) {
            for (number, series) in (0..).zip(&lock.read().series) {
                self.refs.insert(series.reference, RefEntry { shard, number, tenant: series.tenant });
            }
        }
    }

    /// Reads a log, from a segment on where one is given, and the log of late samples beside it, to their ends.
    pub fn logs(
        &mut self,
        wal: &Path,
        from: Option<SegmentNumber>,
        wbl: Option<&Path>,
        disk: &dyn Disk,
    ) -> Result<Replay> {
        let read = crate::wal::replay(wal, from, disk, &mut |_, bytes| {
            self.record(bytes, false);
            Ok(())
        })?;
        // what comes late must not overtake what is in order
        self.flush();
        if let Some(wbl) = wbl {
            crate::wal::replay(wbl, None, disk, &mut |_, bytes| {
                self.record(bytes, true);
                Ok(())
            })?;
            self.flush();
        }
        Ok(read)
    }

    fn record(&mut self, bytes: &[u8], is_wbl: bool) {
        self.is_wbl = is_wbl;
        match record::decode(bytes) {
            Ok(Record::Series(entries)) => self.each(entries, |this, entry| this.series(entry.series, entry.labels)),
            Ok(Record::Samples(entries)) => {
                let mut is_late = is_wbl;
                let all = entries.visit(|entry| match entry.series {
                    LATE_MARK => is_late = true,
                    _ => self.float(entry, is_late),
                });
                self.found.invalid += u64::from(all.is_err());
            }
            Ok(Record::Histograms(entries)) => {
                let mut is_late = is_wbl;
                self.each(entries, |this, entry| {
                    is_late |= entry.series == LATE_MARK;
                    let is_valid =
                        crate::model::is_stale_nan(entry.histogram.sum) || entry.histogram.validate().is_ok();
                    let value = HistogramValue::Integer(entry.histogram);
                    this.histogram(entry.series, (entry.t, entry.start), value, is_valid, is_late);
                });
            }
            Ok(Record::FloatHistograms(entries)) => {
                let mut is_late = is_wbl;
                self.each(entries, |this, entry| {
                    is_late |= entry.series == LATE_MARK;
                    let is_valid =
                        crate::model::is_stale_nan(entry.histogram.sum) || entry.histogram.validate().is_ok();
                    let value = HistogramValue::Float(entry.histogram);
                    this.histogram(entry.series, (entry.t, entry.start), value, is_valid, is_late);
                });
            }
            Ok(Record::Tombstones(entries)) => self.each(entries, |this, entry| match this.find(entry.series) {
                Some(at) => this.found.tombstones.entry((at.shard, at.number)).or_default().push(entry.interval),
                None => this.found.unknown += 1,
            }),
            Ok(Record::Exemplars(entries)) => self.each(entries, |this, entry| {
                let labels: Vec<(&str, &str)> = entry.labels.collect();
                this.exemplar(entry.series, &Exemplar { labels: &labels, t: entry.t, value: entry.value });
            }),
            Ok(Record::Metadata(entries)) => self.each(entries, |this, entry| {
                if entry.series == LATE_MARK && entry.unit == REMOVED_UNIT {
                    // one whose log lies here again came back by another server
                    let is_back = |log: &AdoptedLog| log.tenant == entry.help;
                    if this.is_adopted || this.sources.adopted.iter().any(is_back) {
                        return;
                    }
                    let gone = this.head.tenants.forget_now(entry.help);
                    this.found.removed.extend(gone.map(|tenant| tenant.number));
                    return;
                }
                let kind = MetricKind::from_number(entry.kind);
                let (unit, help) = (entry.unit.to_owned(), entry.help.to_owned());
                this.metadata(entry.series, &MetadataEntry { kind, unit, help });
            }),
            Ok(Record::MmapMarkers(_)) | Err(RecordError::UnknownType(_)) => {}
            Err(_) => self.found.invalid += 1,
        }
    }

    fn each<T>(&mut self, entries: impl Iterator<Item = Result<T, RecordError>>, mut take: impl FnMut(&mut Self, T)) {
        for entry in entries {
            match entry {
                Ok(entry) => take(self, entry),
                Err(_) => self.found.invalid += 1,
            }
        }
    }

    /// The series of a number; of those that nobody has, the caller counts.
    #[inline]
    fn find(&mut self, reference: u64) -> Option<RefEntry> {
        let found = self.refs.get(reference);
        if found.is_none() {
            // no new series gets the number of one that is gone
            self.found.largest_reference = self.found.largest_reference.max(reference);
        }
        found
    }

    fn series(&mut self, reference: u64, labels: LabelPairs<'_>) {
        let mut all: Vec<(&str, &str)> = labels.collect();
        let (mut name, is_adopted) = (self.sources.tenant, self.is_adopted);
        all.retain(|&(label, value)| {
            if label == TENANT_IN_LOG && !is_adopted {
                name = value;
            }
            label != TENANT_IN_LOG && !value.is_empty()
        });
        let is_sorted = all.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !is_sorted || reference == LATE_MARK {
            self.found.invalid += 1;
            return;
        }
        let head = self.head;
        let tenant = head.tenants.get(name, &head.settings, || Timestamp::MIN);
        if let Some(end) = (self.sources.blocks_end)(name) {
            tenant.raise_min_valid(end);
            tenant.raise_truncated(end);
        }
        let key = head.hasher.key(tenant.number, all.iter().copied(), &mut self.text);
        let number = shard_of(key, head.shards.len());
        let mut shard = head.shards[number].write();
        let at = match shard.find(key, tenant.number) {
            Some(at) => at,
            None => match shard.add(key, LATE_MARK, tenant.number, all.into_iter()) {
                Ok(at) => at,
                Err(_) => {
                    self.found.invalid += 1;
                    return;
                }
            },
        };
        // A series that went and came again has several numbers: what it goes on under is the last.
        let Shard { series, log, .. } = &mut *shard;
        let series = &mut series[at as usize];
        if !self.is_adopted {
            series.reference = reference;
        } else if series.reference == LATE_MARK {
            series.reference = head.provisional_reference();
        }
        for (chunk, is_late) in self.chunks.remove(&reference).unwrap_or_default() {
            // what is in blocks need not be here
            if is_late || chunk.maxt >= tenant.min_valid() {
                series.adopt(log, &chunk, is_late);
            }
        }
        self.refs.insert(reference, RefEntry { shard: number as u32, number: at, tenant: tenant.number });
    }

    #[inline]
    fn float(&mut self, entry: SampleEntry, is_late: bool) {
        let Some(at) = self.find(entry.series) else {
            self.found.unknown += 1;
            return;
        };
        self.note(entry.t);
        if let Some(batch) = &mut self.open[at.shard as usize]
            && batch.push_float(at.number, &entry, is_late)
        {
            return;
        }
        self.send(at.shard);
        self.open[at.shard as usize] = Some(Batch::of_float(at.number, &entry, is_late));
    }

    fn histogram(
        &mut self,
        reference: u64,
        (t, start): (Timestamp, Timestamp),
        value: HistogramValue,
        is_valid: bool,
        is_late: bool,
    ) {
        if reference == LATE_MARK {
            return;
        }
        if !is_valid {
            self.found.invalid += 1;
            return;
        }
        let Some(at) = self.find(reference) else {
            self.found.unknown += 1;
            return;
        };
        self.note(t);
        let entry = HistogramEntry { series: at.number, is_late, t, start, value };
        match &mut self.open[at.shard as usize] {
            Some(Batch::Histograms(batch)) if batch.len() < BATCH => batch.push(entry),
            _ => {
                self.send(at.shard);
                self.open[at.shard as usize] = Some(Batch::Histograms(vec![entry]));
            }
        }
    }

    /// Late samples of Prometheus are only in its other log, which is not gone on with, nor is any log of another server.
    fn note(&mut self, t: Timestamp) {
        if self.is_wbl || self.is_adopted {
            self.found.newest = self.found.newest.max(Some(t));
        }
    }

    fn exemplar(&mut self, reference: u64, exemplar: &Exemplar<'_>) {
        let Some(at) = self.find(reference) else {
            self.found.unknown += 1;
            return;
        };
        let shards: &Arc<[RwLock<Shard>]> = &self.head.shards;
        let shard = shards[at.shard as usize].read();
        let Some(series) = shard.series.get(at.number as usize) else { return };
        let labels = || Labels::from_pairs(shard.labels(series));
        // one that repeats itself is refused, which is right
        let _ = self.head.exemplars.lock().push(series.reference, at.tenant, exemplar, labels);
    }

    fn metadata(&mut self, reference: u64, entry: &MetadataEntry) {
        let Some(at) = self.find(reference) else {
            self.found.unknown += 1;
            return;
        };
        let number = self.head.metadata.intern(entry.borrow());
        self.head.shards[at.shard as usize].write().set_metadata(at.number, number);
    }

    /// Hands the batch of a shard to its thread.
    fn send(&mut self, shard: u32) {
        if let Some(batch) = self.open[shard as usize].take() {
            let thread = shard as usize % self.threads.len();
            // a thread that is gone has panicked, which the scope reports
            let _ = self.threads[thread].send((shard, batch));
        }
    }

    pub fn flush(&mut self) {
        (0..self.open.len() as u32).for_each(|shard| self.send(shard));
    }
}
