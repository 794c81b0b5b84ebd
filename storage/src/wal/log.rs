//! The handle of an open log: what requests and the head's maintenance call.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::disk::Disk;
use super::segments::{self, SegmentNumber};
use super::writer::{self, Writer};
use super::{WalError, WalSettings};
use crate::error::{Error, Result};

/// Bytes before each record in the commit buffer: its length.
pub(super) const LENGTH_BYTES: usize = 4;

/// First pause of the writer before it tries a failing disk again; it doubles up to [`writer::MAX_RETRY_PAUSES`] times as much.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How far a log was written: a position that is compared only with others of the same log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub(super) u64);

impl Lsn {
    /// Bytes of records that were appended before, since the log was opened.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// An open log. Shared by reference or `Arc`; every method may be called from any thread.
///
/// Dropping it writes what was appended, in the background; [`close`](Self::close) also waits and says whether it worked.
#[derive(Debug)]
pub struct Wal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    max_unsynced_bytes: usize,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    writer: Mutex<Option<JoinHandle<Result<()>>>>,
}

/// What the handle and the writer both hold.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) wake: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Records since the writer last took them, each behind its length.
    pub(super) buffer: Vec<u8>,
    /// Bytes ever appended.
    pub(super) end: u64,
    /// Bytes in memory that are not on disk, those of `buffer` and those that the writer holds.
    pub(super) unsynced_bytes: usize,
    /// Who waits for the current segment to be finished.
    pub(super) cuts: Vec<mpsc::Sender<Result<SegmentNumber, WalError>>>,
    /// Why the disk cannot be written now.
    pub(super) failing: Option<Arc<str>>,
    /// Nothing is appended any more.
    pub(super) closing: bool,
    pub(super) totals: WalTotals,
}

/// What waiters are woken with.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Everything appended up to here is durable.
    pub(super) durable: u64,
    pub(super) failing: Option<Arc<str>>,
    pub(super) closed: bool,
}

/// What a log did since it was opened, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalTotals {
    /// The segment that is being written.
    pub segment: SegmentNumber,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Time in them.
    pub sync_time: Duration,
    /// Bytes written, headers and padding included.
    pub written_bytes: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
    /// Bytes of records in memory that are not on disk yet.
    pub unsynced_bytes: usize,
}

impl Wal {
    /// Starts a log in `dir` with the segment `next_segment`, which [`replay`](super::replay()) names, and a thread that writes it.
    ///
    /// The folder is created where it is not there, and survives a power cut if the one above it does. The first segment is
    /// created in the background; where the disk refuses, [`append`](Self::append) says so.
    ///
    /// # Errors
    /// The folder cannot be created, or the thread cannot be started.
    pub fn open(dir: &Path, disk: Arc<dyn Disk>, settings: WalSettings, next_segment: SegmentNumber) -> Result<Self> {
        Self::open_retrying(dir, disk, settings, next_segment, RETRY_PAUSE)
    }

    /// As [`open`](Self::open), with another first pause before a failing disk is tried again.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_retrying(
        dir: &Path,
        disk: Arc<dyn Disk>,
        settings: WalSettings,
        next_segment: SegmentNumber,
        retry_pause: Duration,
    ) -> Result<Self> {
        disk.create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        if let Some(parent) = dir.parent() {
            // else the power may take the folder with all that is in it
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            disk.sync_dir(parent).map_err(|e| Error::io(parent, e))?;
        }
        let max_unsynced_bytes = settings.max_unsynced_bytes;
        let shared = Arc::new(Shared::default());
        let (sender, progress) = watch::channel(Progress::default());
        let writer = Writer::new(
            writer::Place { dir: dir.to_path_buf(), disk: Arc::clone(&disk), next: next_segment },
            settings,
            retry_pause,
            Arc::clone(&shared),
            sender,
        );
        let thread = std::thread::Builder::new().name("wal".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|e| Error::io(dir, e))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            disk,
            max_unsynced_bytes,
            shared,
            progress,
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Copies `records` to the commit buffer, in order and with no others between, and returns the position behind them.
    /// Never waits for the disk. Either all of them are appended or none.
    ///
    /// # Errors
    /// [`WalError::Unwritable`] while the disk fails, or while so much waits for it that the buffer is full; records that are
    /// larger than the whole buffer are taken when it is empty.
    pub fn append(&self, records: &[&[u8]]) -> Result<Lsn, WalError> {
        let bytes: usize = records.iter().map(|record| record.len() + LENGTH_BYTES).sum();
        if records.iter().any(|record| u32::try_from(record.len()).is_err()) {
            return Err(WalError::Unwritable("a record of 4 GiB or more".into()));
        }
        let mut state = self.shared.state.lock();
        writable(&state, bytes, self.max_unsynced_bytes)?;
        state.buffer.reserve(bytes);
        for record in records {
            state.buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
            state.buffer.extend_from_slice(record);
        }
        state.end += bytes as u64;
        state.unsynced_bytes += bytes;
        let end = Lsn(state.end);
        drop(state);
        self.shared.wake.notify_one();
        Ok(end)
    }

    /// Resolves when everything up to `lsn` is on disk by the log's [`SyncPolicy`](super::SyncPolicy). Whoever appended nothing,
    /// because all of a request was there already, waits for [`end`](Self::end): what was there may not be durable yet. While
    /// a sync hangs, so does this.
    ///
    /// # Errors
    /// [`WalError::Unwritable`] as soon as a write or sync failed that this waits for. The records stay in memory and are
    /// written when the disk recovers, so what was sent again may be in the log twice. [`WalError::Closed`] where the log was
    /// closed, or its writer ended, before.
    pub fn durable(&self, lsn: Lsn) -> impl Future<Output = Result<(), WalError>> + Send + 'static + use<> {
        let mut progress = self.progress.clone();
        async move {
            loop {
                {
                    let now = progress.borrow_and_update();
                    if now.durable >= lsn.0 {
                        return Ok(());
                    }
                    if let Some(reason) = &now.failing {
                        return Err(WalError::Unwritable(Arc::clone(reason)));
                    }
                    if now.closed {
                        return Err(WalError::Closed);
                    }
                }
                if progress.changed().await.is_err() {
                    return Err(WalError::Closed);
                }
            }
        }
    }

    /// The position behind everything that was appended so far.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.shared.state.lock().end)
    }

    /// Finishes the current segment, begins the next and returns its number: everything that was appended before the call is
    /// synced and in segments below it. A current segment that is still empty is not finished; its number is returned.
    /// Blocks until the disk answers.
    ///
    /// # Errors
    /// As [`durable`](Self::durable).
    pub fn cut(&self) -> Result<SegmentNumber, WalError> {
        let (reply, answer) = mpsc::channel();
        {
            let mut state = self.shared.state.lock();
            if state.closing {
                return Err(WalError::Closed);
            }
            state.cuts.push(reply);
        }
        self.shared.wake.notify_one();
        answer.recv().unwrap_or(Err(WalError::Closed))
    }

    /// Removes the segments below `segment`, oldest first, which a checkpoint stands for. Blocks.
    ///
    /// # Errors
    /// The disk's; segments that are left go with the next call.
    pub fn truncate_below(&self, segment: SegmentNumber) -> Result<()> {
        for (number, path) in segments::list_segments(&*self.disk, &self.dir)? {
            if number < segment {
                self.disk.remove(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        self.disk.sync_dir(&self.dir).map_err(|e| Error::io(&self.dir, e))
    }

    /// Writes and syncs everything that was appended and ends the writer. Blocks until the disk answers; a second call does
    /// nothing.
    ///
    /// # Errors
    /// The disk's: then what was not durable before may be lost.
    pub fn close(&self) -> Result<()> {
        self.begin_to_close();
        match self.writer.lock().take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::Internal("the writer of the write-ahead log panicked".to_owned())),
        }
    }

    /// Whether records can be appended now.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn writable(&self) -> Result<(), WalError> {
        writable(&self.shared.state.lock(), 1, self.max_unsynced_bytes)
    }

    /// What the log did since it was opened.
    #[must_use]
    pub fn totals(&self) -> WalTotals {
        let state = self.shared.state.lock();
        WalTotals { unsynced_bytes: state.unsynced_bytes, ..state.totals }
    }

    fn begin_to_close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        // the thread is not waited for: a sync may hang
        self.begin_to_close();
    }
}

fn writable(state: &State, bytes: usize, max_unsynced_bytes: usize) -> Result<(), WalError> {
    if state.closing {
        return Err(WalError::Closed);
    }
    if let Some(reason) = &state.failing {
        return Err(WalError::Unwritable(Arc::clone(reason)));
    }
    if state.unsynced_bytes > 0 && state.unsynced_bytes.saturating_add(bytes) > max_unsynced_bytes {
        let reason = format!("{} bytes wait for the disk already", state.unsynced_bytes);
        return Err(WalError::Unwritable(reason.into()));
    }
    Ok(())
}
