//! Taking over the logs of a Thanos receive, which has one for each tenant.
//!
//! ```text
//! <tenant>/{chunks_head,wal,wbl} ──> series under provisional numbers ──> our log: its numbers in their place
//!                                                                  └──> those that it does not name: new numbers, logged
//! ```
//!
//! 1. These logs are read at each start, before ours: what was written here came later. Nothing is written to them, so their samples
//!    are not in our log, and they have to stay until all of them is in blocks.
//! 2. The numbers in them are of one tenant, and mean nothing here. A series that only they have gets a number of ours, and our log a
//!    record of it, before anything is appended to it. So the next start finds the number in our log.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use super::head_chunks::{self, HeadChunks};
use super::journal::RoundLog;
use super::replay::{Batch, Found, Reader, ReplaySources};
use super::{Head, appender::Commit};
use crate::error::Result;
use crate::wal::{Disk, Lsn, WalError};

/// Set in the numbers of series that our log does not name yet. None that was given out one after the other has it.
const PROVISIONAL: u64 = 1 << 63;
/// Series that are logged at once.
const SERIES_AT_ONCE: usize = 1 << 10;

/// The log of a tenant of a Thanos receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedLog {
    /// Whose it is.
    pub tenant: String,
    /// Its segments and checkpoint.
    pub wal: PathBuf,
    /// Its closed chunks, where there are any.
    pub chunks_head: Option<PathBuf>,
    /// Its log of late samples, where there is one.
    pub wbl: Option<PathBuf>,
}

impl Head {
    /// Reads one of them, and hands its samples to the threads.
    pub(super) fn replay_adopted(
        &self,
        log: &AdoptedLog,
        sources: ReplaySources<'_>,
        threads: Vec<SyncSender<(u32, Batch)>>,
        disk: &dyn Disk,
    ) -> Result<Found> {
        let found = log.chunks_head.as_deref().map(head_chunks::read).transpose()?.unwrap_or_default();
        let newest_chunk = found.chunks.values().flatten().map(|(chunk, _)| chunk.maxt).max();
        let chunks: HeadChunks = found.chunks;
        let sources = ReplaySources { tenant: &log.tenant, ..sources };
        let mut reader = Reader::new(self, sources, chunks, threads).adopting();
        let read = reader.logs(&log.wal, None, log.wbl.as_deref(), disk)?;
        let mut read_here = reader.finish();
        read_here.newest = read_here.newest.max(newest_chunk);
        read_here.chunks = found.count;
        tracing::info!(
            tenant = log.tenant,
            records = read.records,
            head_chunks = found.count,
            damaged_places = read.damage.len(),
            "read the log that a Thanos receive left"
        );
        Ok(read_here)
    }

    /// A number for a series until our log is read.
    pub(super) fn provisional_reference(&self) -> u64 {
        PROVISIONAL | self.next_reference.fetch_add(1, Ordering::SeqCst)
    }

    /// Gives the series that our log does not name numbers of ours, and the log records of them; to be called once after
    /// [`attach`](Self::attach), before anything is appended.
    ///
    /// # Errors
    /// [`WalError`] where the log cannot be written.
    pub async fn log_adopted(&self) -> std::result::Result<(), WalError> {
        for number in 0..self.shards.len() {
            let unnamed: Vec<u32> = {
                let shard = self.shards[number].read();
                let unnamed = shard.series.iter().enumerate().filter(|(_, series)| series.reference & PROVISIONAL != 0);
                unnamed.map(|(i, _)| i as u32).collect()
            };
            for some in unnamed.chunks(SERIES_AT_ONCE) {
                let lsn = self.log_series(number, some)?;
                self.durable(&Commit { lsn, ..Commit::default() }).await?;
            }
        }
        Ok(())
    }

    /// Numbers some series of a shard and logs records of them.
    fn log_series(&self, number: usize, some: &[u32]) -> std::result::Result<Option<Lsn>, WalError> {
        let mut log = RoundLog::default();
        let mut shard = self.shards[number].write();
        for &i in some {
            let reference = self.next_reference.fetch_add(1, Ordering::SeqCst);
            let Some(series) = shard.series.get_mut(i as usize) else { continue };
            series.reference = reference;
            let tenant = series.tenant;
            let Some(tenant) = self.tenants.by_number(tenant) else { continue };
            let series = &shard.series[i as usize];
            let labels: Vec<(&str, &str)> = shard.labels(series).collect();
            log.add_series(reference, &tenant.name, &labels);
        }
        self.journal.append(&log)
    }
}
