//! Samples on their way from the thread that reads a log to one that appends.

use crate::head::write::HistogramValue;
use crate::model::Timestamp;
use crate::wal::record::SampleEntry;

/// Samples that go to a shard at once.
pub(super) const BATCH: usize = 1 << 10;

/// What a thread appends to a shard, in order.
pub(in crate::head) enum Batch {
    /// Floats in order without start timestamps, which nearly all samples are, packed small: they go from one core's cache to another's.
    Plain {
        base: Timestamp,
        floats: Vec<PlainFloat>,
    },
    /// Other floats.
    Floats(Vec<FloatEntry>),
    Histograms(Vec<HistogramEntry>),
}

#[derive(Clone, Copy)]
pub(in crate::head) struct PlainFloat {
    pub series: u32,
    /// Milliseconds after the batch's base.
    pub after: u32,
    pub value: f64,
}

pub(in crate::head) struct FloatEntry {
    pub series: u32,
    pub is_late: bool,
    pub t: Timestamp,
    pub start: Timestamp,
    pub value: f64,
}

pub(in crate::head) struct HistogramEntry {
    pub series: u32,
    pub is_late: bool,
    pub t: Timestamp,
    pub start: Timestamp,
    pub value: HistogramValue,
}

impl Batch {
    /// A batch of one float of `series`.
    #[cold]
    pub fn of_float(series: u32, entry: &SampleEntry, is_late: bool) -> Self {
        // as far to both sides of the first sample
        let base = entry.t.saturating_sub(1 << 31);
        let mut batch = match is_late || entry.start != 0 {
            false => Self::Plain { base, floats: Vec::with_capacity(BATCH) },
            true => Self::Floats(Vec::with_capacity(BATCH)),
        };
        if !batch.push_float(series, entry, is_late) {
            // at the least of all times there is nothing before
            batch = Self::Floats(vec![FloatEntry::new(series, entry, is_late)]);
        }
        batch
    }

    /// Takes in a float of `series`, if it has room for it and is of its kind.
    #[inline]
    pub fn push_float(&mut self, series: u32, entry: &SampleEntry, is_late: bool) -> bool {
        match self {
            Self::Plain { base, floats } if floats.len() < BATCH && !is_late && entry.start == 0 => {
                match u32::try_from(entry.t.wrapping_sub(*base)) {
                    Ok(after) => floats.push(PlainFloat { series, after, value: entry.value }),
                    Err(_) => return false,
                }
            }
            Self::Floats(floats) if floats.len() < BATCH && (is_late || entry.start != 0) => {
                floats.push(FloatEntry::new(series, entry, is_late));
            }
            _ => return false,
        }
        true
    }
}

impl FloatEntry {
    fn new(series: u32, entry: &SampleEntry, is_late: bool) -> Self {
        Self { series, is_late, t: entry.t, start: entry.start, value: entry.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        let entry = |t, start| SampleEntry { series: 9, t, start, value: 1.0 };
        for t in [i64::MIN, i64::MIN + 5, -1, 0, 1 << 40, i64::MAX] {
            let mut batch = Batch::of_float(3, &entry(t, 0), false);
            let next = batch.push_float(4, &entry(t.saturating_add(7), 0), false);
            let times: Vec<Timestamp> = match &batch {
                Batch::Plain { base, floats } => floats.iter().map(|f| base + i64::from(f.after)).collect(),
                Batch::Floats(floats) => floats.iter().map(|f| f.t).collect(),
                Batch::Histograms(_) => Vec::new(),
            };
            assert_eq!(times, [t, t.saturating_add(7)][..1 + usize::from(next)]);
        }
        let mut batch = Batch::of_float(3, &entry(0, 0), false);
        assert!(!batch.push_float(3, &entry(1 << 31, 0), false));
        assert!(!batch.push_float(3, &entry(1, 1), false) && !batch.push_float(3, &entry(1, 0), true));
        assert!(matches!(Batch::of_float(3, &entry(0, 5), false), Batch::Floats(_)));
    }
}
