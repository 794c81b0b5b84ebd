//! Whether a histogram may join an open chunk, and what a new chunk's header says if not.
//!
//! The rules are Prometheus's, with one difference: where a histogram has buckets that the chunk lacks, Prometheus
//! writes the whole chunk anew with empty buckets inserted, and we cut a new chunk. That costs a few bytes where a
//! histogram is young, and no answer changes. Buckets that the chunk has and the histogram lacks are appended as empty.

use super::layout::{Layout, bucket_indices};
use crate::model::{CounterResetHint, Span, is_stale_nan, stale_nan};

/// What became of a histogram that was offered to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a histogram that needs a new chunk was not stored"]
pub enum PushOutcome {
    /// It is the chunk's last sample now.
    Appended,
    /// The chunk is as before: finish it, and push the histogram to its successor.
    NewChunk,
}

/// The parts of a histogram that decide, with absolute populations. `C` counts observations, `P` those of a bucket.
#[derive(Debug)]
pub struct Populations<C, P> {
    pub hint: CounterResetHint,
    pub sum: f64,
    pub count: C,
    pub zero_count: C,
    pub layout: Layout,
    pub positive: Vec<P>,
    pub negative: Vec<P>,
}

/// The decision.
#[derive(Debug, PartialEq)]
pub(super) enum Fit<P> {
    /// The histogram joins with these populations, in the chunk's layout. A staleness marker has none.
    Join { positive: Vec<P>, negative: Vec<P> },
    /// A new chunk is needed.
    Cut,
}

impl<C: Default, P> Populations<C, P> {
    /// Those of a staleness marker: nothing but its sum.
    pub fn stale(hint: CounterResetHint) -> Self {
        let (count, zero_count) = (C::default(), C::default());
        let (positive, negative) = (Vec::new(), Vec::new());
        Self { hint, sum: stale_nan(), count, zero_count, layout: Layout::default(), positive, negative }
    }
}

impl<C: PartialOrd, P: Copy + Default + PartialOrd> Populations<C, P> {
    /// Whether `next` joins the chunk of which `self` is the last histogram and whose header is `self.hint`; and what is
    /// known of a reset between the two, which is the header of a chunk that `next` begins.
    pub(super) fn fit(&self, next: &Self) -> (Fit<P>, CounterResetHint) {
        if next.hint == CounterResetHint::Gauge {
            return (self.fit_gauge(next), CounterResetHint::Gauge);
        }
        if self.hint == CounterResetHint::Gauge {
            return (Fit::Cut, CounterResetHint::Unknown);
        }
        if next.hint == CounterResetHint::CounterReset {
            return (Fit::Cut, CounterResetHint::CounterReset);
        }
        if is_stale_nan(next.sum) {
            return (Fit::Join { positive: Vec::new(), negative: Vec::new() }, CounterResetHint::NotCounterReset);
        }
        if is_stale_nan(self.sum) {
            return (Fit::Cut, CounterResetHint::Unknown);
        }
        if next.count < self.count {
            return (Fit::Cut, CounterResetHint::CounterReset);
        }
        if !self.layout.same_resolution(next.layout.schema, next.layout.zero_threshold) {
            return (Fit::Cut, CounterResetHint::Unknown);
        }
        if !self.layout.same_custom_bounds(&next.layout.custom_values) || next.zero_count < self.zero_count {
            return (Fit::Cut, CounterResetHint::CounterReset);
        }
        let (positive, negative) = self.align(next);
        if positive.fell || negative.fell {
            return (Fit::Cut, CounterResetHint::CounterReset);
        }
        (join(positive, negative), CounterResetHint::NotCounterReset)
    }

    /// Gauges may fall.
    fn fit_gauge(&self, next: &Self) -> Fit<P> {
        if self.hint != CounterResetHint::Gauge {
            return Fit::Cut;
        }
        if is_stale_nan(next.sum) {
            return Fit::Join { positive: Vec::new(), negative: Vec::new() };
        }
        if is_stale_nan(self.sum)
            || !self.layout.same_resolution(next.layout.schema, next.layout.zero_threshold)
            || !self.layout.same_custom_bounds(&next.layout.custom_values)
        {
            return Fit::Cut;
        }
        let (positive, negative) = self.align(next);
        join(positive, negative)
    }

    fn align(&self, next: &Self) -> (Aligned<P>, Aligned<P>) {
        (
            align(&self.layout.positive_spans, &self.positive, &next.layout.positive_spans, &next.positive),
            align(&self.layout.negative_spans, &self.negative, &next.layout.negative_spans, &next.negative),
        )
    }
}

fn join<P>(positive: Aligned<P>, negative: Aligned<P>) -> Fit<P> {
    if positive.has_new || negative.has_new {
        return Fit::Cut;
    }
    Fit::Join { positive: positive.populations, negative: negative.populations }
}

/// Populations in another layout.
struct Aligned<P> {
    populations: Vec<P>,
    /// Some bucket's population is smaller than it was.
    fell: bool,
    /// Some bucket has no place in the layout.
    has_new: bool,
}

/// Lays `next` into the buckets of `chunk`, whose populations were `last`.
fn align<P: Copy + Default + PartialOrd>(chunk: &[Span], last: &[P], spans: &[Span], next: &[P]) -> Aligned<P> {
    let empty = P::default();
    let mut aligned = Aligned { populations: Vec::with_capacity(last.len()), fell: false, has_new: false };
    let mut incoming = bucket_indices(spans).zip(next).peekable();
    for (index, last) in bucket_indices(chunk).zip(last) {
        while incoming.next_if(|(i, _)| *i < index).is_some() {
            aligned.has_new = true;
        }
        match incoming.next_if(|(i, _)| *i == index) {
            Some((_, now)) => {
                aligned.fell |= *last > *now;
                aligned.populations.push(*now);
            }
            None => {
                aligned.fell |= *last != empty;
                aligned.populations.push(empty);
            }
        }
    }
    aligned.has_new |= incoming.next().is_some();
    aligned
}
