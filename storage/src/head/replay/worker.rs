//! The threads that append what a log had.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;

use parking_lot::Mutex;

use super::batch::{Batch, PlainFloat};
use crate::head::Head;
use crate::head::chunk_log::ChunkLog;
use crate::head::sample::{SampleRef, ValueRef};
use crate::head::series::Series;
use crate::head::shard::Shard;
use crate::model::Timestamp;

/// Samples whose series are fetched into the caches at once.
const TOUCHED_AHEAD: usize = 64;

/// Numbers that threads add up.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub samples: u64,
    pub repeated: u64,
    pub invalid: u64,
}

/// Appends what comes, to whichever shard.
pub(super) fn append_batches(head: &Head, batches: Receiver<(u32, Batch)>, counts: &Mutex<Counts>) {
    let mut worker = Worker { head, counts: Counts::default(), floor: None, floors: HashMap::new() };
    for (shard, batch) in batches {
        let mut shard = head.shards[shard as usize].write();
        let Shard { series, log, .. } = &mut *shard;
        match batch {
            Batch::Plain { base, floats } => worker.plain(series, log, base, &floats),
            Batch::Floats(floats) => {
                for entry in &floats {
                    let sample = SampleRef { t: entry.t, start: entry.start, value: ValueRef::Float(entry.value) };
                    worker.append_to(series, log, entry.series, sample, entry.is_late);
                }
            }
            Batch::Histograms(histograms) => {
                for entry in &histograms {
                    let sample = SampleRef { t: entry.t, start: entry.start, value: (&entry.value).into() };
                    worker.append_to(series, log, entry.series, sample, entry.is_late);
                }
            }
        }
    }
    let mut counts = counts.lock();
    counts.samples += worker.counts.samples;
    counts.repeated += worker.counts.repeated;
    counts.invalid += worker.counts.invalid;
}

/// Appends samples to shards.
struct Worker<'a> {
    head: &'a Head,
    counts: Counts,
    /// The tenant last asked for, and the time before which its blocks have everything.
    floor: Option<(u32, Timestamp)>,
    floors: HashMap<u32, Timestamp>,
}

impl Worker<'_> {
    fn plain(&mut self, series: &mut [Series], log: &mut ChunkLog, base: Timestamp, floats: &[PlainFloat]) {
        for floats in floats.chunks(TOUCHED_AHEAD) {
            // Series lie in different places, seldom in a cache. Asked for one after the other, each is waited for; asked for at
            // once, they come at once.
            let touch =
                |float: &PlainFloat| series.get(float.series as usize).map_or(0, |series| u64::from(series.touch()));
            std::hint::black_box(floats.iter().map(touch).sum::<u64>());
            for float in floats {
                let t = base.wrapping_add(i64::from(float.after));
                let sample = SampleRef { t, start: 0, value: ValueRef::Float(float.value) };
                self.append_to(series, log, float.series, sample, false);
            }
        }
    }

    #[inline]
    fn append_to(&mut self, all: &mut [Series], log: &mut ChunkLog, series: u32, sample: SampleRef<'_>, is_late: bool) {
        if let Some(series) = all.get_mut(series as usize) {
            self.append(series, log, sample, is_late);
        }
    }

    #[inline]
    fn append(&mut self, series: &mut Series, log: &mut ChunkLog, sample: SampleRef<'_>, is_late: bool) {
        let result = if is_late {
            series.insert_late(log, sample)
        } else if sample.t <= series.newest_time() || sample.t < self.floor(series.tenant) {
            self.counts.repeated += 1;
            return;
        } else if let (ValueRef::Float(value), 0) = (sample.value, sample.start) {
            series.append_float(log, (sample.t, value), self.head.settings.block_duration_ms)
        } else {
            series.append(log, sample, self.head.settings.block_duration_ms)
        };
        match result {
            Ok(()) => self.counts.samples += 1,
            Err(_) => self.counts.invalid += 1,
        }
    }

    /// The time before which samples in order of a tenant are in its blocks.
    #[inline]
    fn floor(&mut self, tenant: u32) -> Timestamp {
        match self.floor {
            Some((known, floor)) if known == tenant => floor,
            _ => {
                let min_valid =
                    || self.head.tenants.by_number(tenant).map_or(Timestamp::MIN, |tenant| tenant.min_valid());
                let floor = *self.floors.entry(tenant).or_insert_with(min_valid);
                self.floor = Some((tenant, floor));
                floor
            }
        }
    }
}
