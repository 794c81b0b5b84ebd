//! The write-ahead log: what makes an acknowledged sample survive a crash.
//!
//! Byte-compatible with the logs of Prometheus 3.14 in both directions; storage/docs/format/wal.md draws them.

pub mod record;
