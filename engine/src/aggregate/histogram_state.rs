//! The state of `sum` and `avg` over native histograms: sparse, since most groups have none.
//!
//! Sums are compensated. An average is the sum by the number, or, from where the sum would overflow, a running mean: as
//! for floats.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::model::{CounterResetHint, FloatHistogram, HistogramError};

use crate::error::{Error, Result};
use crate::vector::{decode_histogram, encode_histogram};

/// The histograms of one group at one step.
#[derive(Debug, Clone, Default)]
pub(super) struct HistogramSlot {
    count: f64,
    /// The sum, or the mean where it is `running`.
    sum: Option<FloatHistogram>,
    compensation: Option<FloatHistogram>,
    /// The first histogram's metric, which is to blame where it does not fit those of an earlier partition.
    metric: Arc<str>,
    /// The sum of an average would have overflowed, so that from there on it is the mean that is kept.
    running: bool,
    /// Metric of the histogram with exponential buckets that met one with custom ones, or the other way round: there is no
    /// result, and what comes later is ignored.
    misfit: Option<Arc<str>>,
    /// A histogram came after a float, before histograms were found incompatible.
    after_float: bool,
    /// A float came before the first histogram: whether they fit does not matter, unless an earlier partition has one.
    float_first: bool,
    reset_seen: bool,
    no_reset_seen: bool,
    bounds_reconciled: bool,
}

/// What happened to a group's histograms that its user should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HistogramNotes {
    pub(super) reset_collision: bool,
    pub(super) bounds_reconciled: bool,
}

impl HistogramSlot {
    /// Adds a histogram of `metric` to a sum, or to a `mean`. `after_float` says that the group has a float at the step.
    fn add(&mut self, histogram: &FloatHistogram, metric: &Arc<str>, mean: bool, after_float: bool) {
        if self.misfit.is_some() {
            return;
        }
        self.after_float |= after_float;
        self.float_first |= after_float && self.sum.is_none();
        match histogram.counter_reset_hint {
            CounterResetHint::CounterReset => self.reset_seen = true,
            CounterResetHint::NotCounterReset => self.no_reset_seen = true,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        let combined = match &mut self.sum {
            None => {
                self.sum = Some(histogram.clone());
                self.metric = Arc::clone(metric);
                self.count = 1.0;
                return;
            }
            Some(sum) if !mean => sum.kahan_add(histogram, &mut self.compensation).map(|c| c.bounds_reconciled),
            Some(_) => self.join_mean(histogram.clone(), None, 1.0, false),
        };
        self.count += 1.0;
        self.note(&combined, metric);
    }

    /// Joins the state of a later partition. `after_float` says that the group has a float at the step in an earlier one.
    fn merge(&mut self, other: Self, mean: bool, after_float: bool) {
        if self.misfit.is_some() && !self.float_first {
            return;
        }
        if self.sum.is_none() {
            let (after_float, float_first) = (other.after_float || after_float, other.float_first || after_float);
            *self = Self { after_float, float_first, ..other };
            return;
        }
        let before_theirs = self.after_float || after_float || other.float_first;
        self.after_float = before_theirs || other.after_float;
        if self.float_first {
            return;
        }
        self.reset_seen |= other.reset_seen;
        self.no_reset_seen |= other.no_reset_seen;
        self.bounds_reconciled |= other.bounds_reconciled;
        self.misfit = other.misfit;
        let Some(theirs) = other.sum else { return };
        let combined = match &mut self.sum {
            Some(sum) if !mean => add_all(sum, &mut self.compensation, &theirs, other.compensation.as_ref()),
            _ => self.join_mean(theirs, other.compensation, other.count, other.running),
        };
        if combined.is_err() {
            // nothing behind their first histogram counts
            self.after_float = before_theirs;
        }
        self.count += other.count;
        self.note(&combined, &other.metric);
    }

    /// Joins the sum of `count` histograms, or their mean where that is `running`, to the one here. Whether bounds
    /// were reconciled.
    fn join_mean(
        &mut self,
        mut theirs: FloatHistogram,
        mut their_compensation: Option<FloatHistogram>,
        count: f64,
        running: bool,
    ) -> Result<bool, HistogramError> {
        let Some(ours) = &mut self.sum else { return Ok(false) };
        let mut reconciled = false;
        if !self.running && !running {
            let (mut sum, mut compensation) = (ours.clone(), self.compensation.clone());
            reconciled = add_all(&mut sum, &mut compensation, &theirs, their_compensation.as_ref())?;
            if !sum.has_overflow() {
                *ours = sum;
                self.compensation = compensation;
                return Ok(reconciled);
            }
        }
        if !self.running {
            self.running = true;
            scale(ours, &mut self.compensation, |histogram| histogram.div(self.count));
        }
        let total = self.count + count;
        scale(ours, &mut self.compensation, |histogram| histogram.mul(self.count / total));
        let divisor = if running { total / count } else { total };
        scale(&mut theirs, &mut their_compensation, |histogram| histogram.div(divisor));
        Ok(add_all(ours, &mut self.compensation, &theirs, their_compensation.as_ref())? | reconciled)
    }

    /// Keeps what came of joining histograms of `metric`.
    fn note(&mut self, combined: &Result<bool, HistogramError>, metric: &Arc<str>) {
        match combined {
            Ok(reconciled) => self.bounds_reconciled |= *reconciled,
            Err(_) => self.misfit = Some(Arc::clone(metric)),
        }
    }

    /// The sum, or the mean; none where histograms did not fit together.
    pub(super) fn result(&self, mean: bool) -> Option<FloatHistogram> {
        let mut result = self.sum.clone().filter(|_| self.misfit.is_none())?;
        let mut compensation = self.compensation.clone();
        if mean && !self.running {
            scale(&mut result, &mut compensation, |histogram| histogram.div(self.count));
        }
        if let Some(compensation) = &compensation {
            // the compensation was collected in the layout of the sum
            result.add(compensation).ok()?;
        }
        result.compact(0);
        Some(result)
    }

    /// Whether the group is known to mix floats and histograms, given that it has a float at the step.
    pub(super) fn is_mixed(&self) -> bool {
        self.after_float || self.misfit.is_none()
    }

    /// The metric of the first histogram that did not fit those before it.
    pub(super) fn misfit(&self) -> Option<&str> {
        self.misfit.as_deref().filter(|_| !self.float_first)
    }

    pub(super) fn notes(&self) -> HistogramNotes {
        HistogramNotes {
            reset_collision: self.reset_seen && self.no_reset_seen && self.misfit.is_none(),
            bounds_reconciled: self.bounds_reconciled && !self.float_first,
        }
    }

    /// `flags u8 │ count f64 │ length u32 │ metric │ length u32 │ misfit │ length u32 │ sum │ compensation`, little-endian, for the
    /// way to the final stage.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.misfit.is_some())
            | u8::from(self.reset_seen) << 1
            | u8::from(self.no_reset_seen) << 2
            | u8::from(self.bounds_reconciled) << 3
            | u8::from(self.running) << 4
            | u8::from(self.after_float) << 5
            | u8::from(self.float_first) << 6;
        out.push(flags);
        out.extend_from_slice(&self.count.to_le_bytes());
        let mut sum = Vec::new();
        if let Some(histogram) = &self.sum {
            encode_histogram(histogram, &mut sum);
        }
        for part in [self.metric.as_bytes(), self.misfit.as_deref().unwrap_or_default().as_bytes(), &sum] {
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(part);
        }
        if let Some(histogram) = &self.compensation {
            encode_histogram(histogram, out);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let short = || Error::Internal("the state of a histogram aggregation is cut short".to_owned());
        let (&[flags], rest) = bytes.split_first_chunk::<1>().ok_or_else(short)?;
        let (count, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (metric, rest) = split_part(rest).ok_or_else(short)?;
        let (misfit, rest) = split_part(rest).ok_or_else(short)?;
        let (sum, compensation) = split_part(rest).ok_or_else(short)?;
        let text = |bytes| std::str::from_utf8(bytes).map(Arc::from).map_err(|_| short());
        let histogram = |bytes: &[u8]| if bytes.is_empty() { Ok(None) } else { decode_histogram(bytes).map(Some) };
        Ok(Self {
            count: f64::from_le_bytes(*count),
            metric: text(metric)?,
            sum: histogram(sum)?,
            compensation: histogram(compensation)?,
            misfit: if flags & 1 != 0 { Some(text(misfit)?) } else { None },
            reset_seen: flags & 2 != 0,
            no_reset_seen: flags & 4 != 0,
            bounds_reconciled: flags & 8 != 0,
            running: flags & 16 != 0,
            after_float: flags & 32 != 0,
            float_first: flags & 64 != 0,
        })
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + self.metric.len()
            + self.misfit.as_deref().map_or(0, str::len)
            + self.sum.iter().chain(&self.compensation).map(FloatHistogram::size_bytes).sum::<usize>()
    }
}

/// Takes bytes off that their length comes before.
fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Adds a compensated sum to another. Whether bounds were reconciled.
fn add_all(
    sum: &mut FloatHistogram,
    compensation: &mut Option<FloatHistogram>,
    other: &FloatHistogram,
    other_compensation: Option<&FloatHistogram>,
) -> Result<bool, HistogramError> {
    let mut reconciled = false;
    for histogram in std::iter::once(other).chain(other_compensation) {
        reconciled |= sum.kahan_add(histogram, compensation)?.bounds_reconciled;
    }
    Ok(reconciled)
}

fn scale(sum: &mut FloatHistogram, compensation: &mut Option<FloatHistogram>, change: impl Fn(&mut FloatHistogram)) {
    std::iter::once(sum).chain(compensation).for_each(change);
}

/// The histograms of all groups that have any, by group and step.
#[derive(Debug)]
pub(super) struct HistogramState {
    /// Whether the result is the mean rather than the sum.
    mean: bool,
    slots: BTreeMap<(usize, u32), HistogramSlot>,
    bytes: usize,
}

impl HistogramState {
    pub(super) fn new(mean: bool) -> Self {
        Self { mean, slots: BTreeMap::new(), bytes: 0 }
    }

    /// Adds a histogram of `metric`; `after_float` says that the group has a float at the step.
    pub(super) fn add(
        &mut self,
        group: usize,
        step: u32,
        histogram: &FloatHistogram,
        metric: &Arc<str>,
        after_float: bool,
    ) {
        let mean = self.mean;
        self.change(group, step, |slot| slot.add(histogram, metric, mean, after_float));
    }

    /// Joins the state of a later partition; `after_float` says that the group has a float at the step before it.
    pub(super) fn merge(&mut self, group: usize, step: u32, other: HistogramSlot, after_float: bool) {
        let mean = self.mean;
        self.change(group, step, |slot| slot.merge(other, mean, after_float));
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
