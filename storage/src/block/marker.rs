//! Marks: small JSON files beside a block that say what is not to be done with it, or that it is to go.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::meta::{offset_of, to_tabbed_json};
use crate::cursor::Origin;
use crate::error::Result;
use crate::model::BlockId;

const VERSION: u32 = 1;

/// One of the three marks.
pub trait Marker: Serialize + DeserializeOwned {
    /// The name of the file in a block's folder.
    const FILE: &'static str;

    /// The block that is marked.
    fn id(&self) -> BlockId;

    /// The version that the file gave.
    fn version(&self) -> u32;

    /// Reads the file; `place` names the block in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where it is not JSON, lacks a field, or is of another version.
    fn try_parse(json: &[u8], place: impl Into<Arc<str>>) -> Result<Self> {
        let origin = Origin::new(place, Self::FILE);
        let mark: Self =
            serde_json::from_slice(json).map_err(|e| origin.corrupt(offset_of(json, &e), e.to_string()))?;
        match mark.version() {
            VERSION => Ok(mark),
            other => Err(origin.corrupt(0, format!("version is {other}, not {VERSION}"))),
        }
    }

    /// The file's content.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal), for a value that JSON cannot hold.
    fn to_json(&self) -> Result<Vec<u8>> {
        to_tabbed_json(self)
    }
}

/// `deletion-mark.json`: the block goes once readers had time to notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionMark {
    /// The block.
    pub id: BlockId,
    /// Version of the file: 1.
    pub version: u32,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked, in seconds since the epoch.
    #[serde(rename = "deletion_time")]
    pub deletion_time_s: i64,
}

/// `no-compact-mark.json`: compaction leaves the block alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoCompactMark {
    /// The block.
    pub id: BlockId,
    /// Version of the file: 1.
    pub version: u32,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked, in seconds since the epoch.
    #[serde(rename = "no_compact_time")]
    pub no_compact_time_s: i64,
    /// Why: one of the `NO_COMPACT_*` words, or another program's.
    pub reason: String,
}

/// An operator asked for it; also the only reason against downsampling.
pub const REASON_MANUAL: &str = "manual";
/// The index of the compacted block would outgrow the format.
pub const NO_COMPACT_INDEX_SIZE: &str = "index-size-exceeding";
/// The index holds chunks that are out of order.
pub const NO_COMPACT_OUT_OF_ORDER_CHUNK: &str = "block-index-out-of-order-chunk";
/// Bytes of the block are not what the format or their checksum says.
pub const NO_COMPACT_CORRUPT: &str = "corrupt-block";
/// The block overlaps others of its group, and merging overlaps is off.
pub const NO_COMPACT_OVERLAP: &str = "overlapping-blocks";
/// Downsampled blocks that overlap.
pub const NO_COMPACT_DOWNSAMPLE_VERTICAL: &str = "downsample-vertical-compaction";

/// `no-downsample-mark.json`: downsampling leaves the block alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoDownsampleMark {
    /// The block.
    pub id: BlockId,
    /// Version of the file: 1.
    pub version: u32,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When it was marked, in seconds since the epoch.
    #[serde(rename = "no_downsample_time")]
    pub no_downsample_time_s: i64,
    /// Why: `manual`.
    pub reason: String,
}

impl DeletionMark {
    /// A mark set at `time_s`, in seconds since the epoch.
    #[must_use]
    pub fn new(id: BlockId, time_s: i64, details: impl Into<String>) -> Self {
        Self { id, version: VERSION, details: details.into(), deletion_time_s: time_s }
    }
}

impl NoCompactMark {
    /// A mark set at `time_s`, in seconds since the epoch.
    #[must_use]
    pub fn new(id: BlockId, time_s: i64, reason: impl Into<String>, details: impl Into<String>) -> Self {
        Self { id, version: VERSION, details: details.into(), no_compact_time_s: time_s, reason: reason.into() }
    }
}

impl NoDownsampleMark {
    /// A mark set at `time_s`, in seconds since the epoch.
    #[must_use]
    pub fn new(id: BlockId, time_s: i64, details: impl Into<String>) -> Self {
        let reason = REASON_MANUAL.to_owned();
        Self { id, version: VERSION, details: details.into(), no_downsample_time_s: time_s, reason }
    }
}

impl Marker for DeletionMark {
    const FILE: &'static str = "deletion-mark.json";

    fn id(&self) -> BlockId {
        self.id
    }

    fn version(&self) -> u32 {
        self.version
    }
}

impl Marker for NoCompactMark {
    const FILE: &'static str = "no-compact-mark.json";

    fn id(&self) -> BlockId {
        self.id
    }

    fn version(&self) -> u32 {
        self.version
    }
}

impl Marker for NoDownsampleMark {
    const FILE: &'static str = "no-downsample-mark.json";

    fn id(&self) -> BlockId {
        self.id
    }

    fn version(&self) -> u32 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    const ID: &str = "01M84VG4WNAAGZGYWK1018NZ2W";

    #[test]
    fn marks_are_the_json_that_thanos_reads() {
        let id: BlockId = ID.parse().unwrap();
        let mark = NoCompactMark::new(id, 17, NO_COMPACT_INDEX_SIZE, "");
        let json = String::from_utf8(mark.to_json().unwrap()).unwrap();
        let expected = format!(
            "{{\n\t\"id\": \"{ID}\",\n\t\"version\": 1,\n\t\"no_compact_time\": 17,\n\t\"reason\": \"index-size-exceeding\"\n}}\n"
        );
        assert_eq!(json, expected);
        assert_eq!(NoCompactMark::try_parse(json.as_bytes(), "b").unwrap(), mark);
        let mark = DeletionMark::new(id, 18, "source of compacted block");
        assert_eq!(DeletionMark::try_parse(&mark.to_json().unwrap(), "b").unwrap(), mark);
        let mark = NoDownsampleMark::new(id, 19, "x");
        assert_eq!(NoDownsampleMark::try_parse(&mark.to_json().unwrap(), "b").unwrap(), mark);
    }

    #[test]
    fn damage_and_other_versions_are_corrupt() {
        let other = format!(r#"{{"id":"{ID}","version":2,"deletion_time":1}}"#);
        for bad in ["", "{}", "nonsense", &other] {
            match DeletionMark::try_parse(bad.as_bytes(), "b") {
                Err(Error::Corrupt { file, .. }) => assert_eq!(file, "deletion-mark.json"),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }
}
