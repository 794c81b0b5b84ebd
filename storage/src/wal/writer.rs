//! The thread that writes a log.
//!
//! ```text
//! take the whole buffer ─> frame ─> write ─> sync ─> forget the records, wake the waiters ─> take again
//!                                     └ failed ─> cut the segment back, leave it, pause ─> a new segment, from the first
//!                                                                                          record that was not synced
//! ```
//!
//! The records of a batch stay in memory until the sync that covers them returned (with [`SyncPolicy::Never`], until they
//! are written), because after a failure only memory is known to have them.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::disk::{Disk, DiskFile};
use super::frame::Framer;
use super::log::{LENGTH_BYTES, Progress, Shared};
use super::segments::{self, SegmentNumber};
use super::{SyncPolicy, WalError, WalSettings};
use crate::error::{Error, Result};

/// How many times the first pause the longest is.
pub(super) const MAX_RETRY_PAUSES: u32 = 4;

/// Bytes of framed records that are written at once.
const WRITE_BYTES: usize = 4 << 20;

/// Most bytes that an empty buffer keeps reserved.
const SPARE_BYTES: usize = 16 << 20;

/// Where the log is and how it goes on.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) next: SegmentNumber,
}

#[derive(Debug)]
pub(super) struct Writer {
    place: Place,
    settings: WalSettings,
    retry_pause: Duration,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    framer: Framer,
    /// Framed records that are not written yet.
    frames: Vec<u8>,
    segment: Option<OpenSegment>,
    /// Batches that are not synced; the first `written` are written.
    batches: VecDeque<Batch>,
    written: usize,
    spare: Vec<u8>,
    last_sync: Instant,
    /// Failures since the last success, and when to try again.
    failures: u32,
    retry_at: Option<Instant>,
}

/// Records, each behind its length.
#[derive(Debug)]
struct Batch {
    records: Vec<u8>,
    /// The position behind them.
    end: u64,
}

#[derive(Debug)]
struct OpenSegment {
    number: SegmentNumber,
    file: Box<dyn DiskFile>,
    /// Length up to which memory does not have the records any more.
    kept: u64,
}

/// What the writer was woken for.
#[derive(Debug)]
struct Work {
    cuts: Vec<mpsc::Sender<Result<SegmentNumber, WalError>>>,
    closing: bool,
}

impl Writer {
    pub(super) fn new(
        place: Place,
        settings: WalSettings,
        retry_pause: Duration,
        shared: Arc<Shared>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let framer = Framer::new(settings.compression);
        Self {
            place,
            settings,
            retry_pause,
            shared,
            progress,
            framer,
            frames: Vec::new(),
            segment: None,
            batches: VecDeque::new(),
            written: 0,
            spare: Vec::new(),
            last_sync: Instant::now(),
            failures: 0,
            retry_at: None,
        }
    }

    /// Writes until the log is closed.
    pub(super) fn run(mut self) -> Result<()> {
        let mut outcome = self.open_segment();
        loop {
            if let Err(error) = outcome {
                self.failed(&error);
            }
            let work = self.wait();
            outcome = self.commit();
            let mut next = self.place.next;
            if outcome.is_ok() && !work.cuts.is_empty() {
                outcome = self.cut().map(|number| next = number);
            }
            if outcome.is_ok() && work.closing {
                outcome = self.finish_segment();
            }
            match &outcome {
                Ok(()) => self.succeeded(),
                Err(error) => self.failed(error),
            }
            for reply in work.cuts {
                // whoever does not wait any more needs no answer
                let _ = reply.send(match &outcome {
                    Ok(()) => Ok(next),
                    Err(error) => Err(WalError::Unwritable(self.reason(error))),
                });
            }
            if work.closing {
                return outcome.map_err(|e| Error::io(&self.place.dir, e));
            }
            // it was dealt with
            outcome = Ok(());
        }
    }

    /// Sleeps until there is something to do and takes what was appended.
    fn wait(&mut self) -> Work {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            let due = self.retry_at.or(self.sync_due());
            let is_due = due.is_some_and(|due| due <= Instant::now());
            let has_records = self.retry_at.is_none() && !state.buffer.is_empty();
            if is_due || has_records || state.closing || (!state.cuts.is_empty() && self.retry_at.is_none()) {
                break;
            }
            if self.retry_at.is_some() && !state.cuts.is_empty() {
                let reason = state.failing.clone().unwrap_or_else(|| "the disk fails".into());
                for reply in state.cuts.drain(..) {
                    let _ = reply.send(Err(WalError::Unwritable(Arc::clone(&reason))));
                }
            }
            match due {
                Some(due) => {
                    shared.wake.wait_until(&mut state, due);
                }
                None => shared.wake.wait(&mut state),
            }
        }
        if !state.buffer.is_empty() {
            let records = std::mem::replace(&mut state.buffer, std::mem::take(&mut self.spare));
            self.batches.push_back(Batch { records, end: state.end });
        }
        Work { cuts: std::mem::take(&mut state.cuts), closing: state.closing }
    }

    /// When records that are written have to be synced; nothing where none are, or where that is not by the clock.
    fn sync_due(&self) -> Option<Instant> {
        match self.settings.sync {
            SyncPolicy::Interval(interval) if self.written > 0 => Some(self.last_sync + interval),
            _ => None,
        }
    }

    /// Writes all batches, and syncs them where the policy says so.
    fn commit(&mut self) -> io::Result<()> {
        self.open_segment()?;
        while let Some(batch) = self.batches.get_mut(self.written) {
            let records = std::mem::take(&mut batch.records);
            let result = self.write_records(&records);
            if let Some(batch) = self.batches.get_mut(self.written) {
                batch.records = records;
            }
            result?;
            self.written += 1;
        }
        self.flush()?;
        let held: usize = self.batches.iter().map(|batch| batch.records.len()).sum();
        let sync = match self.settings.sync {
            SyncPolicy::Always => self.written > 0,
            SyncPolicy::Interval(_) => {
                self.sync_due().is_some_and(|due| due <= Instant::now()) || held > self.settings.max_unsynced_bytes / 2
            }
            SyncPolicy::Never => false,
        };
        if sync {
            self.sync()?;
        }
        Ok(())
    }

    fn write_records(&mut self, batch: &[u8]) -> io::Result<()> {
        let mut rest = batch;
        while let Some((len, after)) = rest.split_first_chunk::<LENGTH_BYTES>() {
            let (record, after) = after.split_at(after.len().min(u32::from_le_bytes(*len) as usize));
            while !self.framer.push(record, self.settings.segment_bytes, &mut self.frames) {
                self.finish_segment()?;
                self.open_segment()?;
            }
            if self.frames.len() >= WRITE_BYTES {
                self.flush()?;
            }
            rest = after;
        }
        Ok(())
    }

    /// Finishes the segment, unless it is empty, and begins the next; returns the number of the one that is open then.
    fn cut(&mut self) -> io::Result<SegmentNumber> {
        if self.framer.len() > 0 {
            self.finish_segment()?;
            self.open_segment()?;
        }
        Ok(self.segment.as_ref().map_or(self.place.next, |segment| segment.number))
    }

    /// Opens the next segment, if none is open.
    fn open_segment(&mut self) -> io::Result<()> {
        if self.segment.is_some() {
            return Ok(());
        }
        let number = self.place.next;
        let path = self.place.dir.join(segments::segment_name(number));
        match self.place.disk.create(&path) {
            Ok(file) => self.segment = Some(OpenSegment { number, file, kept: 0 }),
            Err(e) => {
                if e.kind() == io::ErrorKind::AlreadyExists {
                    // left by a failure that kept it from being removed, too
                    self.place.next += 1;
                }
                return Err(e);
            }
        }
        self.framer.restart();
        self.place.disk.sync_dir(&self.place.dir)?;
        self.place.next = number + 1;
        self.shared.state.lock().totals.segment = number;
        Ok(())
    }

    /// Fills up, writes and syncs the current segment, and closes it.
    fn finish_segment(&mut self) -> io::Result<()> {
        self.framer.pad_page(&mut self.frames);
        self.flush()?;
        if self.framer.len() > 0 {
            self.sync()?;
        }
        self.segment = None;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(segment) = &mut self.segment
            && !self.frames.is_empty()
        {
            segment.file.write_all(&self.frames)?;
            self.shared.state.lock().totals.written_bytes += self.frames.len() as u64;
            self.frames.clear();
            if self.frames.capacity() > SPARE_BYTES {
                self.frames = Vec::new();
            }
        }
        Ok(())
    }

    /// Syncs the segment; memory need not keep the batches that were written before.
    fn sync(&mut self) -> io::Result<()> {
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        let begin = Instant::now();
        segment.file.sync_data()?;
        self.last_sync = Instant::now();
        segment.kept = self.framer.len();
        {
            let mut state = self.shared.state.lock();
            state.totals.syncs += 1;
            state.totals.sync_time += self.last_sync - begin;
        }
        self.resume();
        self.forget_written();
        Ok(())
    }

    fn forget_written(&mut self) {
        let mut freed = 0;
        let mut end = 0;
        for mut batch in self.batches.drain(..self.written) {
            freed += batch.records.len();
            end = batch.end;
            if batch.records.capacity() <= SPARE_BYTES && batch.records.capacity() > self.spare.capacity() {
                batch.records.clear();
                self.spare = batch.records;
            }
        }
        self.written = 0;
        self.shared.state.lock().unsynced_bytes -= freed;
        if end > 0 {
            self.progress.send_modify(|progress| progress.durable = progress.durable.max(end));
        }
    }

    /// Tells the waiters what a commit reached.
    fn succeeded(&mut self) {
        self.resume();
        match self.settings.sync {
            SyncPolicy::Always => {}
            SyncPolicy::Interval(_) => {
                if let Some(batch) = self.written.checked_sub(1).and_then(|last| self.batches.get(last)) {
                    let end = batch.end;
                    self.progress.send_modify(|progress| progress.durable = progress.durable.max(end));
                }
            }
            SyncPolicy::Never => {
                if let Some(segment) = &mut self.segment {
                    segment.kept = self.framer.len();
                }
                self.forget_written();
            }
        }
    }

    /// Ends the bad state, if there is one, before anybody hears of what succeeded: who does may append at once.
    fn resume(&mut self) {
        if self.retry_at.take().is_some() {
            tracing::info!(dir = %self.place.dir.display(), "the write-ahead log can be written again");
            self.shared.state.lock().failing = None;
            self.progress.send_modify(|progress| progress.failing = None);
        }
        self.failures = 0;
    }

    /// Leaves the segment, tells the waiters, and sets the time of the next try.
    fn failed(&mut self, error: &io::Error) {
        self.abandon_segment();
        let reason = self.reason(error);
        if self.retry_at.is_none() {
            tracing::error!(
                dir = %self.place.dir.display(), %error,
                "the write-ahead log cannot be written: samples are refused until it can"
            );
        }
        let pauses = 1_u32.checked_shl(self.failures).unwrap_or(MAX_RETRY_PAUSES).min(MAX_RETRY_PAUSES);
        self.retry_at = Some(Instant::now() + self.retry_pause * pauses);
        self.failures += 1;
        {
            let mut state = self.shared.state.lock();
            state.failing = Some(Arc::clone(&reason));
            state.totals.failures += 1;
        }
        self.progress.send_modify(|progress| progress.failing = Some(reason));
    }

    fn reason(&self, error: &io::Error) -> Arc<str> {
        format!("{}: {error}", self.place.dir.display()).into()
    }

    /// Cuts the segment back to what memory does not have any more and leaves it, so that all the rest is written again
    /// elsewhere. One that would be empty is removed, lest a disk that fails for days is strewn with them. What does
    /// not work here is left to the next replay, which sorts it out.
    fn abandon_segment(&mut self) {
        self.frames.clear();
        self.written = 0;
        let Some(mut segment) = self.segment.take() else {
            return;
        };
        self.place.next = segment.number + 1;
        if segment.kept > 0 {
            if let Err(error) = segment.file.set_len(segment.kept) {
                tracing::warn!(segment = segment.number, %error, "cannot cut back a segment of the write-ahead log");
            }
            return;
        }
        drop(segment.file);
        let path = self.place.dir.join(segments::segment_name(segment.number));
        if self.place.disk.remove(&path).is_ok() {
            self.place.next = segment.number;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // also where this thread panics: nobody may wait, or append, for ever
        let mut state = self.shared.state.lock();
        state.closing = true;
        state.cuts.clear();
        drop(state);
        self.progress.send_modify(|progress| progress.closed = true);
    }
}
