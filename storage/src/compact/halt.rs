//! Why a group cannot be compacted until somebody decides something.

use std::fmt;
use std::sync::Arc;

use arrow::temporal_conversions::timestamp_ms_to_datetime;

use crate::block::BlockMeta;
use crate::block::marker::NO_COMPACT_OVERLAP;
use crate::model::{BlockId, Timestamp};

use super::plan::NoCompactRequest;

/// What stops a group. Other groups go on.
#[derive(Debug, Clone, PartialEq)]
pub enum Halt {
    /// Blocks share time, and overlaps are not to be merged.
    Overlap(Vec<Arc<BlockMeta>>),
    /// Blocks that are next to be merged hold the samples of one source twice, and overlaps are not to be merged.
    SharedSource(BlockId, Vec<Arc<BlockMeta>>),
}

impl Halt {
    /// The blocks that are in each other's way.
    #[must_use]
    pub fn blocks(&self) -> &[Arc<BlockMeta>] {
        match self {
            Self::Overlap(blocks) | Self::SharedSource(_, blocks) => blocks,
        }
    }

    /// The marks that set these blocks aside, so that the rest of their group goes on.
    #[must_use]
    pub fn set_aside(&self) -> Vec<NoCompactRequest> {
        let details = self.to_string();
        let request = |block: &Arc<BlockMeta>| NoCompactRequest {
            id: block.id(),
            reason: NO_COMPACT_OVERLAP,
            details: details.clone(),
        };
        self.blocks().iter().map(request).collect()
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = match self {
            Self::Overlap(blocks) => {
                f.write_str("blocks overlap: ")?;
                blocks
            }
            Self::SharedSource(source, blocks) => {
                write!(f, "blocks share their source {source}: ")?;
                blocks
            }
        };
        for (i, block) in blocks.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            describe(block, f)?;
        }
        Ok(())
    }
}

fn describe(block: &BlockMeta, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (mint, maxt) = (Instant(block.min_time), Instant(block.max_time));
    let labels = block.external_labels().to_labels();
    write!(f, "{} from {mint} to {maxt}, level {}, labels {labels}, ", block.id(), block.compaction.level)?;
    f.write_str("sources ")?;
    for (i, source) in block.compaction.sources.iter().enumerate() {
        write!(f, "{}{source}", if i > 0 { ", " } else { "" })?;
    }
    Ok(())
}

/// A time as people read it, or its milliseconds where no calendar has it.
struct Instant(Timestamp);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match timestamp_ms_to_datetime(self.0) {
            Some(time) => write!(f, "{time:?}Z"),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::testing::{id, sourced};

    #[test]
    fn the_message_names_all_that_somebody_has_to_know() {
        let a = Arc::new(sourced(1, (1_767_225_600_838, 1_767_232_800_000), 0, &[1]));
        let b = Arc::new(sourced(2, (1_767_225_600_000, i64::MAX), 0, &[3, 4]));
        let halt = Halt::Overlap(vec![a, b]);
        assert_eq!(
            halt.to_string(),
            format!(
                "blocks overlap: {} from 2026-01-01T00:00:00.838Z to 2026-01-01T02:00:00Z, level 1, labels {{c=\"x\"}}, \
                 sources {0}; {} from 2026-01-01T00:00:00Z to {}, level 1, labels {{c=\"x\"}}, sources {}, {}",
                id(1),
                id(2),
                i64::MAX,
                id(3),
                id(4)
            )
        );
        let marks = halt.set_aside();
        assert_eq!(marks.iter().map(|mark| mark.id).collect::<Vec<_>>(), [id(1), id(2)]);
        assert_eq!((marks[0].reason, &marks[0].details), ("overlapping-blocks", &halt.to_string()));
    }
}
