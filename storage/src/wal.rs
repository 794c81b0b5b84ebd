//! The write-ahead log: what makes an acknowledged sample survive a crash.
//!
//! Byte-compatible with the logs of Prometheus 3.14 in both directions; storage/docs/format/wal.md draws them. A log is a folder
//! of numbered segments and at most a few checkpoints:
//!
//! ```text
//!  append ──> commit buffer ──> writer thread: pages, one write, one sync ──> segment 00000007
//!  durable <─────────── woken when the sync returned ┘                          │ replay at start
//!  cut, write_checkpoint, truncate_below: when samples went into a block        v
//!                                             checkpoint.00000004, then segments 5, 6, 7
//! ```
//!
//! 1. Everything that waits while a sync runs is written and synced together (group commit), so the disk's sync rate bounds
//!    latency, not throughput.
//! 2. A write or sync that failed is never repeated on the same file, whose pages the system may have dropped while it calls them
//!    clean. The segment is cut back to what was synced and left; records that are not synced, all still in memory, go to a
//!    new segment. So **a record can be in the log twice, and replaying must be idempotent**: a sample that is there already
//!    is dropped, a series record that repeats a number repeats its labels.
//! 3. Nobody is told that a record is durable before the sync of it returned. While the disk fails, waiters get an error, and
//!    [`Wal::append`] refuses; the writer tries again about every second and resumes by itself.
//! 4. Replay keeps every whole record, before and after damage, and puts a repaired file in the place of a damaged one; the
//!    original moves to `quarantine/`.

mod checkpoint;
mod compress;
mod disk;
#[cfg(any(test, feature = "test-suite"))]
pub mod faults;
mod frame;
mod log;
pub mod record;
mod repair;
mod replay;
mod salvage;
mod segments;
mod writer;

use std::sync::Arc;
use std::time::Duration;

pub use checkpoint::{try_write_checkpoint, write_checkpoint};
pub use compress::Compression;
pub use disk::{Disk, DiskFile, RealDisk};
pub use log::{Lsn, Wal, WalTotals};
pub use replay::{Damage, Replay, can_begin_at, finished_records, first_segment, replay};
pub use segments::SegmentNumber;

/// How a log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalSettings {
    /// Size at which a segment is finished, in bytes; rounded down to pages of 32 KiB, at least one. A record larger than
    /// this makes its segment larger.
    pub segment_bytes: u64,
    /// When records count as durable.
    pub sync: SyncPolicy,
    /// How records are compressed, where that makes them smaller.
    pub compression: Compression,
    /// Most bytes of records in memory that are not on disk yet; past it, appending is refused.
    pub max_unsynced_bytes: usize,
}

impl Default for WalSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            sync: SyncPolicy::Always,
            compression: Compression::None,
            max_unsynced_bytes: 256 << 20,
        }
    }
}

/// When records count as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When `fdatasync` has returned: they survive a power cut.
    Always,
    /// When they are written, so they survive the end of the process; a sync follows at least this often, and a power cut
    /// loses at most what came after the last.
    Interval(Duration),
    /// When they are written; synced only when a segment is finished.
    Never,
}

/// Why a record cannot be appended, or does not become durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The disk fails, or is so slow that the buffer is full; the same call may succeed in a moment.
    #[error("the write-ahead log cannot be written: {0}")]
    Unwritable(Arc<str>),
    /// The log was closed, or its writer ended.
    #[error("the write-ahead log is closed")]
    Closed,
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
