//! What a compactor tells while it works, for metrics.

use std::time::Duration;

use storage::model::BlockId;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// A group was taken up.
    GroupStarted {
        /// Of its blocks, in milliseconds.
        resolution_ms: i64,
    },
    /// A group was gone through without an error.
    GroupCompleted {
        /// Of its blocks, in milliseconds.
        resolution_ms: i64,
    },
    /// Blocks became one.
    Compacted {
        /// Of the blocks, in milliseconds.
        resolution_ms: i64,
        /// Whether they overlapped.
        vertical: bool,
    },
    /// Blocks could not become one.
    CompactionFailed {
        /// Of the blocks, in milliseconds.
        resolution_ms: i64,
    },
    /// A group is left alone until somebody looks at it, or no longer.
    Halted(bool),
    /// What failed may work the next time.
    Retried,
    /// A run ended without an error.
    Iterated,
    /// A block got a mark.
    Marked {
        /// The mark's file.
        marker: &'static str,
        /// Why, where the mark has a word for it.
        reason: &'a str,
    },
    /// A block whose samples are in another was marked for deletion.
    GarbageCollected(BlockId),
    /// All such blocks were looked for.
    GarbageCollection {
        /// How long it took.
        took: Duration,
        /// Whether it failed.
        failed: bool,
    },
    /// A block was downsampled.
    Downsampled {
        /// Of the block that was read, in milliseconds.
        resolution_ms: i64,
        /// How long it took.
        took: Duration,
    },
    /// A block could not be downsampled.
    DownsamplingFailed {
        /// Of the block that was read, in milliseconds.
        resolution_ms: i64,
    },
    /// An upload that was given up is being deleted.
    PartialUploadDeleted(BlockId),
    /// A block was deleted.
    Cleaned(BlockId),
    /// A block could not be deleted.
    CleanUpFailed(BlockId),
    /// Marked blocks and uploads that were given up were looked for.
    CleanedUp,
    /// What is left to do.
    Todo(Todo),
}

/// What is left to do, as far as can be seen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Todo {
    /// Compactions.
    pub compactions: u64,
    /// Blocks that they read.
    pub compaction_blocks: u64,
    /// Blocks to downsample.
    pub downsample_blocks: u64,
    /// Blocks past their retention.
    pub deletion_blocks: u64,
    /// Samples in blocks to compact.
    pub samples: u64,
    /// Bytes of blocks to compact.
    pub bytes: u64,
    /// How long compacting them may take, if it goes on as it did; 0 where nobody can tell.
    pub seconds_left: u64,
}

/// Is told what happens.
pub trait Observer: Send + Sync {
    /// Takes one event; must not block.
    fn observe(&self, event: Event<'_>);
}

/// Nobody wants to know.
impl Observer for () {
    fn observe(&self, _event: Event<'_>) {}
}
