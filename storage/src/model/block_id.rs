//! The name of a block.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;

use super::Timestamp;

/// A block's ULID, checked, so that it is safe as a path segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(Ulid);

impl BlockId {
    /// Wraps a ULID.
    #[must_use]
    pub const fn new(ulid: Ulid) -> Self {
        Self(ulid)
    }

    /// A new name for a block that is made at `t`; no two are the same.
    #[must_use]
    pub fn made_at(t: Timestamp) -> Self {
        let random = Ulid::new().random();
        Self(Ulid::from_parts(u64::try_from(t).unwrap_or(0), random))
    }

    /// When the block was made, in milliseconds since the epoch, as its name tells.
    #[must_use]
    pub fn timestamp_ms(&self) -> u64 {
        self.0.timestamp_ms()
    }
}

impl FromStr for BlockId {
    type Err = ulid::DecodeError;

    /// Accepts just the canonical upper-case spelling: anything else is not a block's folder.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ulid = Ulid::from_string(text)?;
        if ulid.to_string() == text { Ok(Self(ulid)) } else { Err(ulid::DecodeError::InvalidChar) }
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl serde::Serialize for BlockId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for BlockId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
