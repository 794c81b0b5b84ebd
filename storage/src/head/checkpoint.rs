//! Shortening the log: a checkpoint in the place of its older segments, with what of them is still needed.
//!
//! ```text
//! checkpoint + two thirds of the segments ──> records ──filter──> new checkpoint ──> these segments go
//!                       late samples that are in no block ──────────┘
//! ```
//!
//! Kept are the series that the head has, with metadata, their samples in order that were not dropped, and exemplars in the same
//! time. Late samples of the old segments are not: all of those that are in no block are written from memory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::Head;
use super::journal::{LATE_MARK, RecordKind, encode_samples};
use super::refs::{RefEntry, Refs};
use super::sample::{Sample, decode_samples};
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::wal::record::{
    self, ExemplarsEncoder, FloatHistogramsEncoder, HistogramsEncoder, MetadataEncoder, Record, SamplesEncoder,
    SeriesEncoder, TombstonesEncoder,
};
use crate::wal::{Disk, SegmentNumber, finished_records, try_write_checkpoint};

/// Records that wait to be written.
const RECORDS_AHEAD: usize = 64;
/// Late samples in a record.
const LATE_SAMPLES: usize = 1 << 10;

impl Head {
    /// Writes a checkpoint of the log in `dir` and removes the segments that it stands for; nothing where the log is short. To be
    /// called after [`truncate`](Self::truncate). Blocks for seconds.
    ///
    /// # Errors
    /// The disk's; then the log is as it was, or longer than it need be.
    pub fn checkpoint(&self, dir: &Path, disk: &dyn Disk) -> Result<()> {
        let Some(wal) = self.journal.wal() else { return Ok(()) };
        let next = wal.cut().map_err(|error| Error::Internal(error.to_string()))?;
        let Some(first) = crate::wal::first_segment(dir, disk)? else { return Ok(()) };
        // As Prometheus does it: the newest third has mostly samples that would be written again.
        let Some(last) = next.checked_sub(1).filter(|last| *last > first) else { return Ok(()) };
        let through = first + (last - first) * 2 / 3;
        self.write_checkpoint(dir, disk, through)?;
        wal.truncate_below(through + 1)
    }

    fn write_checkpoint(&self, dir: &Path, disk: &dyn Disk, through: SegmentNumber) -> Result<()> {
        let (kept, floors) = self.kept();
        let filter = Filter { kept, floors };
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel::<Result<Vec<u8>>>(RECORDS_AHEAD);
            scope.spawn(move || {
                let mut closed = false;
                let read = finished_records(dir, disk, through, &mut |bytes| {
                    closed = closed || filter.record(bytes, &sender).is_err();
                    Ok(())
                });
                match read {
                    Ok(()) => self.late_records(&mut |record| sender.send(Ok(record)).is_ok()),
                    // nobody takes it where writing failed before
                    Err(error) => drop(sender.send(Err(error))),
                }
                // A thread that ends without this has panicked, and what it did not send is not there.
                let _ = sender.send(Ok(Vec::new()));
            });
            let mut ended = false;
            let records = std::iter::from_fn(|| match receiver.recv() {
                Ok(Ok(record)) if record.is_empty() => {
                    ended = true;
                    None
                }
                Ok(record) => Some(record),
                Err(_) if ended => None,
                Err(_) => {
                    ended = true;
                    Some(Err(Error::Internal("reading the log for a checkpoint ended early".to_owned())))
                }
            });
            try_write_checkpoint(dir, disk, through, records)
        })
    }

    /// The series that the head has, and from when on each tenant's samples are.
    fn kept(&self) -> (Refs, HashMap<u32, Timestamp>) {
        let mut kept = Refs::default();
        for (number, shard) in self.shards.iter().enumerate() {
            let shard = shard.read();
            for (i, series) in shard.series.iter().enumerate() {
                let entry = RefEntry { shard: number as u32, number: i as u32, tenant: series.tenant };
                kept.insert(series.reference, entry);
            }
        }
        (kept, self.tenants.all().iter().map(|tenant| (tenant.number, tenant.truncated())).collect())
    }

    /// Makes records of all late samples that are in no block, until `take` returns false.
    pub(super) fn late_records(&self, take: &mut dyn FnMut(Vec<u8>) -> bool) {
        let mut pending: Vec<(u64, Sample)> = Vec::new();
        for shard in self.shards.iter() {
            let shard = shard.read();
            for series in &shard.series {
                let Some(late) = series.late().filter(|late| !late.is_empty()) else { continue };
                for chunk in &late.chunks {
                    let mut samples = Vec::new();
                    // what was packed here decodes
                    let decoded =
                        decode_samples(chunk.chunk.encoding as u8, shard.log.get(chunk.chunk.at), &mut samples);
                    debug_assert!(decoded.is_ok(), "{decoded:?}");
                    let wanted = samples.into_iter().filter(|sample| sample.t >= chunk.cut_to);
                    pending.extend(wanted.map(|sample| (series.reference, sample)));
                }
                pending.extend(late.buffer().iter().map(|sample| (series.reference, sample.clone())));
            }
        }
        for samples in pending.chunks(LATE_SAMPLES) {
            let mut kinds: Vec<RecordKind> =
                samples.iter().map(|(_, sample)| RecordKind::of(&sample.borrow())).collect();
            kinds.sort_unstable();
            kinds.dedup();
            for kind in kinds {
                let mut record = Vec::new();
                let of_kind = samples.iter().map(|(series, sample)| (*series, sample.borrow()));
                encode_samples(&mut record, kind, true, of_kind.filter(|(_, sample)| RecordKind::of(sample) == kind));
                if !take(record) {
                    return;
                }
            }
        }
    }
}

/// What is still needed of old records.
struct Filter {
    kept: Refs,
    /// By tenant: samples before this are gone.
    floors: HashMap<u32, Timestamp>,
}

/// Nobody takes records any more.
struct Closed;

impl Filter {
    fn has_series(&self, reference: u64) -> bool {
        self.kept.get(reference).is_some()
    }

    fn has_sample(&self, reference: u64, t: Timestamp) -> bool {
        let entry = self.kept.get(reference);
        entry.is_some_and(|entry| self.floors.get(&entry.tenant).is_none_or(|floor| t >= *floor))
    }

    /// Sends what is left of a record.
    fn record(&self, bytes: &[u8], out: &SyncSender<Result<Vec<u8>>>) -> Result<(), Closed> {
        let mut kept = Vec::new();
        match record::decode(bytes) {
            Ok(Record::Series(entries)) => {
                let mut encoder = SeriesEncoder::new(&mut kept);
                entries
                    .flatten()
                    .filter(|entry| self.has_series(entry.series))
                    .for_each(|entry| encoder.push(entry.series, entry.labels));
            }
            Ok(Record::Samples(entries)) => {
                let entries = entries.flatten();
                let mut entries = entries.peekable();
                if entries.peek().is_none_or(|entry| entry.series == LATE_MARK) {
                    return Ok(());
                }
                let wanted: Vec<_> = entries.filter(|entry| self.has_sample(entry.series, entry.t)).collect();
                let mut encoder = match wanted.iter().any(|entry| entry.start != 0) {
                    true => SamplesEncoder::with_start_times(&mut kept),
                    false => SamplesEncoder::new(&mut kept),
                };
                wanted.into_iter().for_each(|entry| encoder.push(entry));
            }
            Ok(Record::Histograms(entries)) => {
                let wanted: Vec<_> = entries.flatten().collect();
                let is_late = wanted.first().is_none_or(|entry| entry.series == LATE_MARK);
                let wanted = wanted.iter().filter(|entry| !is_late && self.has_sample(entry.series, entry.t));
                // The newer encoding takes all of them, in their order.
                let mut encoder = HistogramsEncoder::with_start_times(&mut kept);
                wanted.for_each(|entry| encoder.push(entry.series, entry.t, entry.start, &entry.histogram));
            }
            Ok(Record::FloatHistograms(entries)) => {
                let wanted: Vec<_> = entries.flatten().collect();
                let is_late = wanted.first().is_none_or(|entry| entry.series == LATE_MARK);
                let wanted = wanted.iter().filter(|entry| !is_late && self.has_sample(entry.series, entry.t));
                let mut encoder = FloatHistogramsEncoder::with_start_times(&mut kept);
                wanted.for_each(|entry| encoder.push(entry.series, entry.t, entry.start, &entry.histogram));
            }
            Ok(Record::Tombstones(entries)) => {
                let mut encoder = TombstonesEncoder::new(&mut kept);
                let wanted = entries.flatten().filter(|entry| self.has_sample(entry.series, entry.interval.maxt));
                wanted.for_each(|entry| encoder.push(entry));
            }
            Ok(Record::Exemplars(entries)) => {
                let mut encoder = ExemplarsEncoder::new(&mut kept);
                let wanted = entries.flatten().filter(|entry| self.has_sample(entry.series, entry.t));
                wanted.for_each(|entry| encoder.push(entry.series, entry.t, entry.value, entry.labels));
            }
            Ok(Record::Metadata(entries)) => {
                let mut encoder = MetadataEncoder::new(&mut kept);
                entries.flatten().filter(|entry| self.has_series(entry.series)).for_each(|entry| encoder.push(entry));
            }
            Ok(Record::MmapMarkers(_)) | Err(_) => {}
        }
        if kept.is_empty() { Ok(()) } else { out.send(Ok(kept)).map_err(|_| Closed) }
    }
}
