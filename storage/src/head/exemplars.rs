//! The newest exemplars of all series, in a ring of fixed size.
//!
//! ```text
//! ring    … e17 │ e18 │ e19 │ (oldest goes next) …      each knows the next one of its series
//! series  reference ──> labels, oldest, newest
//! ```
//!
//! What is taken is what Prometheus takes: an exemplar equal to its series' newest one is known already, an older one is
//! refused, and its labels have at most 128 characters.

use std::collections::HashMap;
use std::sync::Arc;

use super::outcome::Rejection;
use super::write::Exemplar;
use crate::model::{Labels, Timestamp};

/// Characters that names and values of an exemplar's labels have together, at most.
const LABEL_CHARS_MAX: usize = 128;

/// An exemplar, owned.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedExemplar {
    /// Its own labels.
    pub labels: Labels,
    /// When, in milliseconds.
    pub t: Timestamp,
    /// The value.
    pub value: f64,
}

/// The exemplars of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    /// The series, with external labels.
    pub series: Labels,
    /// In order of time.
    pub exemplars: Vec<OwnedExemplar>,
}

/// A series in the ring.
#[derive(Debug)]
pub(super) struct ExemplarSeries {
    pub tenant: u32,
    pub labels: Arc<Labels>,
    oldest: usize,
    newest: usize,
}

#[derive(Debug)]
struct Slot {
    series: u64,
    exemplar: OwnedExemplar,
    /// The next one of its series.
    next: Option<usize>,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct ExemplarRing {
    slots: Vec<Slot>,
    capacity: usize,
    /// The slot that is written next.
    next: usize,
    series: HashMap<u64, ExemplarSeries>,
}

impl ExemplarRing {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Whether exemplars are kept at all.
    pub fn is_enabled(&self) -> bool {
        self.capacity > 0
    }

    /// Takes an exemplar of series `reference`, whose labels `labels` gives. Returns whether it was new.
    pub fn push(
        &mut self,
        reference: u64,
        tenant: u32,
        exemplar: &Exemplar<'_>,
        labels: impl FnOnce() -> Labels,
    ) -> Result<bool, Rejection> {
        if !self.is_enabled() {
            return Ok(false);
        }
        let chars = |text: &str| text.chars().count();
        if exemplar.labels.iter().map(|(name, value)| chars(name) + chars(value)).sum::<usize>() > LABEL_CHARS_MAX {
            return Err(Rejection::ExemplarLabelsTooLong);
        }
        let exemplar = OwnedExemplar {
            labels: Labels::from_pairs(exemplar.labels.iter().copied()),
            t: exemplar.t,
            value: exemplar.value,
        };
        if let Some(newest) = self.series.get(&reference).and_then(|series| self.slots.get(series.newest)) {
            let newest = &newest.exemplar;
            let same_time = exemplar.t == newest.t;
            if same_time && exemplar.labels == newest.labels && exemplar.value.to_bits() == newest.value.to_bits() {
                return Ok(false);
            }
            // Several at one time come sorted: those of a native histogram's buckets.
            if exemplar.t < newest.t
                || (same_time && exemplar.value < newest.value)
                || (same_time && exemplar.value == newest.value && exemplar.labels < newest.labels)
            {
                return Err(Rejection::ExemplarOutOfOrder);
            }
        }
        self.insert(reference, tenant, exemplar, || Arc::new(labels()));
        Ok(true)
    }

    fn insert(&mut self, reference: u64, tenant: u32, exemplar: OwnedExemplar, labels: impl FnOnce() -> Arc<Labels>) {
        let at = self.next;
        let slot = Slot { series: reference, exemplar, next: None };
        match self.slots.get_mut(at) {
            Some(old) => {
                let old = std::mem::replace(old, slot);
                self.forget(&old, at);
            }
            None => self.slots.push(slot),
        }
        match self.series.get_mut(&reference) {
            Some(series) => {
                if let Some(before) = self.slots.get_mut(series.newest) {
                    before.next = Some(at);
                }
                series.newest = at;
            }
            None => {
                let labels = labels();
                self.series.insert(reference, ExemplarSeries { tenant, labels, oldest: at, newest: at });
            }
        }
        self.next = (at + 1) % self.capacity.max(1);
    }

    /// Takes what was in a slot, always the oldest one of its series, out of the list of its series.
    fn forget(&mut self, old: &Slot, at: usize) {
        match old.next {
            Some(next) => {
                if let Some(series) = self.series.get_mut(&old.series).filter(|series| series.oldest == at) {
                    series.oldest = next;
                }
            }
            None => {
                self.series.remove(&old.series);
            }
        }
    }

    /// Takes out what a tenant has.
    pub fn remove_tenant(&mut self, tenant: u32) {
        if self.series.values().all(|series| series.tenant != tenant) {
            return;
        }
        let mut old = std::mem::replace(self, Self::new(self.capacity));
        if old.slots.len() == old.capacity {
            // the oldest first
            old.slots.rotate_left(old.next);
        }
        for slot in old.slots {
            if let Some(series) = old.series.get(&slot.series).filter(|series| series.tenant != tenant) {
                self.insert(slot.series, series.tenant, slot.exemplar, || Arc::clone(&series.labels));
            }
        }
    }

    /// The series, each with its exemplars in order of time.
    pub fn series(&self) -> impl Iterator<Item = (&ExemplarSeries, impl Iterator<Item = &OwnedExemplar>)> {
        let slots = &self.slots;
        self.series.values().map(move |series| {
            let mut at = Some(series.oldest);
            let exemplars = std::iter::from_fn(move || {
                let slot = slots.get(at?)?;
                at = slot.next;
                Some(&slot.exemplar)
            });
            (series, exemplars)
        })
    }

    /// All of them in the order in which they came, each with the number of its series.
    pub fn in_order(&self) -> impl Iterator<Item = (u64, &OwnedExemplar)> {
        let (after, before) = self.slots.split_at(self.next.min(self.slots.len()));
        before.iter().chain(after).map(|slot| (slot.series, &slot.exemplar))
    }

    /// Exemplars and series with some.
    pub fn len(&self) -> (usize, usize) {
        (self.slots.len(), self.series.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut ExemplarRing, series: u64, t: Timestamp, value: f64) -> Result<bool, Rejection> {
        let labels = [("trace_id", "a")];
        let exemplar = Exemplar { labels: &labels, t, value };
        ring.push(series, 0, &exemplar, || Labels::from_pairs([("s", series.to_string())]))
    }

    #[test]
    fn the_oldest_goes_and_order_is_kept() {
        let mut ring = ExemplarRing::new(3);
        assert_eq!(push(&mut ring, 1, 10, 1.0), Ok(true));
        assert_eq!(push(&mut ring, 1, 10, 1.0), Ok(false));
        assert_eq!(push(&mut ring, 1, 10, 2.0), Ok(true));
        assert_eq!(push(&mut ring, 1, 10, 1.5), Err(Rejection::ExemplarOutOfOrder));
        assert_eq!(push(&mut ring, 1, 9, 3.0), Err(Rejection::ExemplarOutOfOrder));
        assert_eq!(push(&mut ring, 2, 1, 1.0), Ok(true));
        assert_eq!(push(&mut ring, 2, 2, 1.0), Ok(true));
        let mut found: Vec<_> = ring
            .series()
            .map(|(series, exemplars)| {
                (series.labels.to_string(), exemplars.map(|e| (e.t, e.value)).collect::<Vec<_>>())
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [(r#"{s="1"}"#, vec![(10, 2.0)]), (r#"{s="2"}"#, vec![(1, 1.0), (2, 1.0)])];
        assert_eq!(found, expected.map(|(s, e)| (s.to_owned(), e)));
        (3..9).for_each(|t| assert_eq!(push(&mut ring, 2, t, 1.0), Ok(true)));
        assert_eq!(ring.len(), (3, 1));
        let long = "x".repeat(200);
        let labels = [("trace_id", long.as_str())];
        let exemplar = Exemplar { labels: &labels, t: 100, value: 1.0 };
        assert_eq!(ring.push(2, 0, &exemplar, Labels::default), Err(Rejection::ExemplarLabelsTooLong));
        assert_eq!(push(&mut ExemplarRing::new(0), 1, 1, 1.0), Ok(false));
    }

    #[test]
    fn what_a_tenant_has_is_taken_out() {
        let mut ring = ExemplarRing::new(4);
        for (series, t) in [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1)] {
            let exemplar = Exemplar { labels: &[], t, value: 1.0 };
            let tenant = u32::from(series == 2);
            assert_eq!(ring.push(series, tenant, &exemplar, Labels::default), Ok(true));
        }
        ring.remove_tenant(1);
        assert_eq!(ring.len(), (2, 2), "one of the first series went before");
        assert!(ring.series().all(|(series, _)| series.tenant == 0));
        for t in 10..20 {
            assert_eq!(push(&mut ring, 3, t, 1.0), Ok(true));
        }
        assert_eq!(ring.len(), (4, 1));
    }

    #[test]
    fn a_ring_of_one() {
        let mut ring = ExemplarRing::new(1);
        for (series, t) in [(1, 1), (1, 2), (2, 1), (1, 1)] {
            assert_eq!(push(&mut ring, series, t, 1.0), Ok(true));
            assert_eq!(ring.series().map(|(_, exemplars)| exemplars.count()).collect::<Vec<_>>(), [1]);
        }
    }
}
