//! Instants, half-open ranges and closed intervals.
//!
//! Blocks are half-open, chunks and queries closed; the two types keep one from being taken for the other.

/// Milliseconds since the Unix epoch.
pub type Timestamp = i64;

/// A half-open range `[mint, maxt)` in milliseconds: what a block covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeRange {
    /// First millisecond inside.
    pub mint: Timestamp,
    /// First millisecond after.
    pub maxt: Timestamp,
}

/// A closed interval `[mint, maxt]` in milliseconds: what a chunk covers or a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeInterval {
    /// First millisecond inside.
    pub mint: Timestamp,
    /// Last millisecond inside.
    pub maxt: Timestamp,
}

impl TimeRange {
    /// Whether any millisecond lies in both.
    #[must_use]
    pub fn overlaps(&self, interval: TimeInterval) -> bool {
        self.mint <= interval.maxt && interval.mint < self.maxt
    }

    /// Whether two ranges share a millisecond.
    #[must_use]
    pub fn overlaps_range(&self, other: TimeRange) -> bool {
        self.mint < other.maxt && other.mint < self.maxt
    }
}

impl TimeInterval {
    /// All of time.
    pub const ALL: TimeInterval = TimeInterval { mint: Timestamp::MIN, maxt: Timestamp::MAX };

    /// An interval; empty where `maxt < mint`.
    #[must_use]
    pub const fn new(mint: Timestamp, maxt: Timestamp) -> Self {
        Self { mint, maxt }
    }

    /// Whether any millisecond lies in both.
    #[must_use]
    pub fn overlaps(&self, other: TimeInterval) -> bool {
        self.mint <= other.maxt && other.mint <= self.maxt
    }

    /// Whether the millisecond lies inside.
    #[must_use]
    pub fn contains(&self, t: Timestamp) -> bool {
        self.mint <= t && t <= self.maxt
    }
}
