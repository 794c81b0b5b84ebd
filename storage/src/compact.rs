//! What the compactor decides: which blocks are merged, downsampled, marked and deleted. No block is opened here.
//!
//! Planning is arithmetic over `meta.json` files and marks, at a time that is passed in: the same bucket gives the same plan.
//! Only [`Bucket`] and [`Lease`] write. One pass of a compactor:
//!
//! ```text
//! found = MetaSync::for_compactor().fetch();  view = BucketView::new(found, settings, now)
//! deletions(view)   ─> Bucket::delete_marked       marked long enough ago, and replaced where they should be
//! garbage(view)     ─> Bucket::mark_replaced       held by another block
//! view.groups()     ─> plan() ─> merge, upload ─> Bucket::mark_replaced      until every group has Step::Nothing or halts
//! downsampling(view) ─> downsample, upload         to all that a block lacks, in one reading; merges do what they can themselves
//! expiry(view)      ─> Bucket::mark                past retention, and nothing left to be made of it
//! aborted(view)     ─> Bucket::reap                uploads that nobody will finish
//! ```
//!
//! **What keeps data safe**, whatever fails in between, and however many compactors run:
//!
//! - A block exists when its `meta.json` does, which is written last and deleted first.
//! - A block is marked as replaced only after its replacement was seen in the bucket, unmarked.
//! - A marked block is deleted only after the delay, and one that was replaced only while all its sources are in blocks that
//!   can be read and are not marked. This is checked anew right before.
//! - What two compactors make of the same blocks has the same sources; every compactor calls the same one of them garbage.
//!
//! The [`Lease`] saves work, it protects nothing.

mod bucket;
mod downsample_plan;
mod garbage;
mod group;
mod halt;
mod lease;
mod marks;
mod output;
mod partial;
mod plan;
mod progress;
mod retention;
mod view;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod safety_tests;
#[cfg(test)]
mod testing;

pub use bucket::Bucket;
pub use downsample_plan::{
    Coverage, Downsampling, FIVE_MINUTES_MS, FIVE_MINUTES_SPAN_MIN_MS, ONE_HOUR_MS, RAW, RAW_SPAN_MIN_MS, downsampling,
};
pub use garbage::{Deletion, Deletions, Garbage, OUTDATED, SOURCE_OF_COMPACTED, WITHOUT_SAMPLES, deletions, garbage};
pub use group::{Group, group_key, groups};
pub use halt::Halt;
pub use lease::{Acquired, Lease, LeaseHolder, LeaseSettings};
pub use marks::{MarkCount, Marked};
pub use output::{downsampled_meta, output_meta};
pub use partial::{ABORTED_AFTER_MS, Deleted, aborted};
pub use plan::{INDEX_SIZE_MAX, NoCompactRequest, Plan, PlanSettings, RANGES_MS, Reason, Step, plan};
pub use progress::{GroupProgress, Progress};
pub use retention::{Expired, Expiry, Retention, expiry};
pub use view::{BucketView, ViewSettings};
