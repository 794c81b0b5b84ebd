//! The state of `sum` and `avg` over native histograms: sparse, since most groups have none.

use std::collections::BTreeMap;

use storage::model::{CounterResetHint, FloatHistogram};

use crate::error::{Error, Result};
use crate::vector::{decode_histogram, encode_histogram};

/// The histograms of one group at one step.
#[derive(Debug, Clone, Default)]
pub(super) struct HistogramSlot {
    count: f64,
    sum: Option<FloatHistogram>,
    compensation: Option<FloatHistogram>,
    /// A histogram with exponential buckets met one with custom ones: there is no result.
    incompatible: bool,
    reset_seen: bool,
    no_reset_seen: bool,
    bounds_reconciled: bool,
}

/// What happened to a group's histograms that its user should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HistogramNotes {
    pub(super) incompatible: bool,
    pub(super) reset_collision: bool,
    pub(super) bounds_reconciled: bool,
}

impl HistogramSlot {
    fn add(&mut self, histogram: &FloatHistogram) {
        self.count += 1.0;
        match histogram.counter_reset_hint {
            CounterResetHint::CounterReset => self.reset_seen = true,
            CounterResetHint::NotCounterReset => self.no_reset_seen = true,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        match &mut self.sum {
            None => self.sum = Some(histogram.clone()),
            Some(_) if self.incompatible => {}
            Some(sum) => match sum.kahan_add(histogram, &mut self.compensation) {
                Ok(combined) => self.bounds_reconciled |= combined.bounds_reconciled,
                Err(_) => self.incompatible = true,
            },
        }
    }

    fn merge(&mut self, other: Self) {
        self.reset_seen |= other.reset_seen;
        self.no_reset_seen |= other.no_reset_seen;
        self.incompatible |= other.incompatible;
        self.bounds_reconciled |= other.bounds_reconciled;
        let count = self.count + other.count;
        for histogram in other.sum.iter().chain(&other.compensation) {
            self.add(histogram);
        }
        self.count = count;
    }

    /// The sum, or the mean; none where histograms did not fit together.
    pub(super) fn result(&self, mean: bool) -> Option<FloatHistogram> {
        let mut result = self.sum.clone().filter(|_| !self.incompatible)?;
        let divisor = if mean { self.count } else { 1.0 };
        if mean {
            result.div(divisor);
        }
        if let Some(compensation) = &self.compensation {
            let mut compensation = compensation.clone();
            if mean {
                compensation.div(divisor);
            }
            // the compensation was collected in the layout of the sum
            result.add(&compensation).ok()?;
        }
        result.compact(0);
        Some(result)
    }

    pub(super) fn notes(&self) -> HistogramNotes {
        HistogramNotes {
            incompatible: self.incompatible,
            reset_collision: self.reset_seen && self.no_reset_seen,
            bounds_reconciled: self.bounds_reconciled,
        }
    }

    /// `flags u8 │ count f64 │ length u32 │ sum │ compensation`, little-endian, for the way to the final stage.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.incompatible)
            | u8::from(self.reset_seen) << 1
            | u8::from(self.no_reset_seen) << 2
            | u8::from(self.bounds_reconciled) << 3;
        out.push(flags);
        out.extend_from_slice(&self.count.to_le_bytes());
        let mut sum = Vec::new();
        if let Some(histogram) = &self.sum {
            encode_histogram(histogram, &mut sum);
        }
        out.extend_from_slice(&u32::try_from(sum.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&sum);
        if let Some(histogram) = &self.compensation {
            encode_histogram(histogram, out);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let short = || Error::Internal("the state of a histogram aggregation is cut short".to_owned());
        let (&[flags], rest) = bytes.split_first_chunk::<1>().ok_or_else(short)?;
        let (count, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (sum, compensation) = rest.split_at_checked(length).ok_or_else(short)?;
        let histogram = |bytes: &[u8]| if bytes.is_empty() { Ok(None) } else { decode_histogram(bytes).map(Some) };
        Ok(Self {
            count: f64::from_le_bytes(*count),
            sum: histogram(sum)?,
            compensation: histogram(compensation)?,
            incompatible: flags & 1 != 0,
            reset_seen: flags & 2 != 0,
            no_reset_seen: flags & 4 != 0,
            bounds_reconciled: flags & 8 != 0,
        })
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.sum.iter().chain(&self.compensation).map(FloatHistogram::size_bytes).sum::<usize>()
    }
}

/// The histograms of all groups that have any, by group and step.
#[derive(Debug, Default)]
pub(super) struct HistogramState {
    slots: BTreeMap<(usize, u32), HistogramSlot>,
    bytes: usize,
}

impl HistogramState {
    pub(super) fn add(&mut self, group: usize, step: u32, histogram: &FloatHistogram) {
        self.change(group, step, |slot| slot.add(histogram));
    }

    pub(super) fn merge(&mut self, group: usize, step: u32, other: HistogramSlot) {
        self.change(group, step, |slot| slot.merge(other));
    }

    fn change(&mut self, group: usize, step: u32, change: impl FnOnce(&mut HistogramSlot)) {
        let slot = self.slots.entry((group, step)).or_default();
        let before = slot.size_bytes();
        change(slot);
        self.bytes = (self.bytes + slot.size_bytes()).saturating_sub(before);
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bytes + self.slots.len() * size_of::<((usize, u32), HistogramSlot)>()
    }

    /// The histograms of one group by step, ascending.
    pub(super) fn of_group(&self, group: usize) -> impl Iterator<Item = (u32, &HistogramSlot)> {
        self.slots.range((group, 0)..=(group, u32::MAX)).map(|((_, step), slot)| (*step, slot))
    }

    /// Forgets the first `groups` groups; the others move up.
    pub(super) fn drop_first(&mut self, groups: usize) {
        let rest = self.slots.split_off(&(groups, 0));
        self.slots = rest.into_iter().map(|((group, step), slot)| ((group - groups, step), slot)).collect();
        self.bytes = self.slots.values().map(HistogramSlot::size_bytes).sum();
    }
}
