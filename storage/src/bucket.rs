//! What is in a bucket: finding blocks and deciding which count.
//!
//! [`MetaSync`] lists the bucket and reads every `meta.json` and mark; [`BlockFilters`] leaves out what is not to be
//! served and says why, in the words of Thanos's `thanos_blocks_meta_synced{state}`.

mod duplicates;
mod filter;
mod sync;

pub use filter::{BlockFilters, BlockState, KeepBlock, SyncReport, TimeBound};
pub use sync::{FoundBlocks, MetaSync, UNREADABLE_MARK, Unreadable};
