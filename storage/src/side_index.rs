//! The side-index: what a block's `index` says about its series, as a Parquet file that can be read in part.
//!
//! `series.parquet` has one row a series in index order ([`schema`]); `series.crc` its checksums ([`checksum`]).
//! Both lie in the block's folder, where the block writer puts them ([`SideIndexFolderWriter`]), or were built from `index`
//! on first touch and lie in a cache ([`SideIndexCache`]).
//! Matchers are evaluated on its columns, with row-group and page pruning, and chunks are found by exact ranges, so
//! that a query needs no byte of `index`.

pub mod cache;
pub mod checksum;
pub mod chunk_list;
mod condition;
mod filter;
mod folder;
mod reader;
mod recent;
pub mod schema;
mod source;
mod writer;

pub use cache::{SideIndexCache, SideIndexSettings};
pub use checksum::{Checksums, IndexIdentity};
pub use chunk_list::ChunkSpan;
pub use filter::{column, key_matches, wrong};
pub use folder::{SideIndexFolderWriter, SideIndexSizes};
pub use reader::{RESIDENT_BYTES_MAX, RESIDENT_ROWS_MAX, SideIndex};
pub use schema::NameCounts;
pub use source::VerifiedSource;
pub use writer::{SideIndexWriter, checksums_of};

/// Name of the side-index in a block.
pub const SIDE_INDEX_FILE: &str = "series.parquet";
/// Name of its checksums.
pub const CHECKSUM_FILE: &str = "series.crc";

#[cfg(test)]
mod tests;
