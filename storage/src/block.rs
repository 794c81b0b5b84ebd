//! TSDB blocks: a folder of chunk segments, an index and a `meta.json`, byte-compatible with Prometheus and Thanos.
//!
//! ```text
//! <ulid>/chunks/000001 …   payloads of all series, in the order of the index        [`segments`]
//! <ulid>/index             labels and chunk references                              [`crate::index`]
//! <ulid>/series.parquet    the same in a form that can be read in part; optional    [`crate::side_index`]
//! <ulid>/series.crc        its checksums
//! <ulid>/tombstones        what was deleted but is still in the chunks; optional    [`tombstones`]
//! <ulid>/meta.json         range, counts, ancestry, external labels; written last   [`BlockMeta`]
//! <ulid>/*-mark.json       what an operator or a compactor decided about the block  [`marker`]
//! ```
//!
//! The byte layouts are drawn in `docs/format/block.md`. What reads chunks by ranges is the store
//! (`store/fetch.rs`, with `store/files.rs`, which joins them); [`LocalBlock`] maps whole files. A block never changes once
//! its `meta.json` stands.

mod local;
pub mod marker;
pub mod meta;
pub mod segment_files;
pub mod segments;
mod spool;
pub mod tombstones;
mod writer;

#[cfg(test)]
mod tests;

pub use local::LocalBlock;
pub use meta::BlockMeta;
pub use writer::{BlockWriter, BlockWriterSettings, ChunkPayload};
