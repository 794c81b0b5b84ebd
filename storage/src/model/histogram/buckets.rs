//! Iteration over buckets with their bounds.

use super::bounds::upper_bound;
use super::spans::Side;
use super::{FloatHistogram, Span};

/// One bucket: an interval and how many observations fell into it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
    /// Whether an observation equal to `lower` counts.
    pub lower_inclusive: bool,
    /// Whether an observation equal to `upper` counts.
    pub upper_inclusive: bool,
    /// Population.
    pub count: f64,
    /// Index in the schema, on its side of zero; 0 for the zero bucket.
    pub index: i32,
}

impl Bucket {
    /// Which part of the bucket's width is at or below `v`, a value strictly inside finite bounds: linearly, or on a
    /// logarithmic scale, where the bounds of all exponential buckets are equally far apart.
    #[must_use]
    pub fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let log_lower = super::log2(self.lower.abs());
        let log_upper = super::log2(self.upper.abs());
        let log_v = super::log2(v.abs());
        if v > 0.0 {
            (log_v - log_lower) / (log_upper - log_lower)
        } else {
            1.0 - (log_v - log_upper) / (log_lower - log_upper)
        }
    }
}

/// Where a side lies and how its indices turn into bounds.
#[derive(Debug, Clone, Copy)]
struct Bounds<'a> {
    schema: i32,
    positive: bool,
    custom_values: &'a [f64],
}

impl Bounds<'_> {
    fn bucket(&self, index: i64, count: f64) -> Bucket {
        let far = upper_bound(index, self.schema, self.custom_values);
        let near = upper_bound(index.saturating_sub(1), self.schema, self.custom_values);
        let (lower, upper) = if self.positive { (near, far) } else { (-far, -near) };
        let custom = self.schema == super::CUSTOM_BUCKETS_SCHEMA;
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
            index: i32::try_from(index).unwrap_or(if index < 0 { i32::MIN } else { i32::MAX }),
        }
    }
}

impl FloatHistogram {
    /// The positive side as (index, population).
    pub(super) fn positive_side(&self) -> Side<'_, f64> {
        Side::new(&self.positive_spans, &self.positive_buckets)
    }

    /// The negative side as (index, population), away from zero.
    pub(super) fn negative_side(&self) -> Side<'_, f64> {
        Side::new(&self.negative_spans, &self.negative_buckets)
    }

    fn side<'a>(
        &'a self,
        spans: &'a [Span],
        populations: &'a [f64],
        positive: bool,
    ) -> impl DoubleEndedIterator<Item = Bucket> + 'a {
        let custom_values: &[f64] = if positive { &self.custom_values } else { &[] };
        let bounds = Bounds { schema: self.schema, positive, custom_values };
        Side::new(spans, populations).map(move |(index, count)| bounds.bucket(index, count))
    }

    /// The positive buckets, ascending; empty ones that the spans name are among them. Custom buckets are positive
    /// ones, whatever their bounds. Reverse it to descend.
    pub fn iter_positive(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.side(&self.positive_spans, &self.positive_buckets, true)
    }

    /// The negative buckets, descending from zero. Reverse it to ascend.
    pub fn iter_negative(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.side(&self.negative_spans, &self.negative_buckets, false)
    }

    /// The zero bucket; `None` for custom buckets, which have none. Its population may be 0.
    #[must_use]
    pub fn zero_bucket(&self) -> Option<Bucket> {
        (!self.uses_custom_buckets()).then_some(Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
            index: 0,
        })
    }

    /// All buckets, ascending: negative, zero where it has a population, positive. A bucket that the zero bucket
    /// overlaps ends at the zero threshold.
    pub fn iter_all(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.iter_negative()
            .rev()
            .map(|bucket| self.outside_zero(bucket))
            .chain(self.populated_zero_bucket())
            .chain(self.iter_positive().map(|bucket| self.outside_zero(bucket)))
    }

    /// As [`iter_all`](Self::iter_all), descending.
    pub fn iter_all_reversed(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.iter_positive()
            .rev()
            .map(|bucket| self.outside_zero(bucket))
            .chain(self.populated_zero_bucket())
            .chain(self.iter_negative().map(|bucket| self.outside_zero(bucket)))
    }

    fn populated_zero_bucket(&self) -> Option<Bucket> {
        self.zero_bucket().filter(|zero| zero.count > 0.0)
    }

    fn outside_zero(&self, mut bucket: Bucket) -> Bucket {
        if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
            bucket.upper = -self.zero_threshold;
        } else if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
            bucket.lower = self.zero_threshold;
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;

    fn intervals(buckets: impl Iterator<Item = Bucket>) -> Vec<(f64, f64, f64)> {
        buckets.map(|b| (b.lower, b.upper, b.count)).collect()
    }

    #[test]
    fn all_buckets_end_at_the_zero_threshold() {
        let h = FloatHistogram {
            zero_threshold: 0.75,
            zero_count: 5.0,
            positive_spans: vec![Span { offset: 0, length: 2 }],
            positive_buckets: vec![1.0, 2.0],
            negative_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 1 }],
            negative_buckets: vec![3.0, 4.0],
            ..FloatHistogram::default()
        };
        let mut expected =
            vec![(-4.0, -2.0, 4.0), (-1.0, -0.75, 3.0), (-0.75, 0.75, 5.0), (0.75, 1.0, 1.0), (1.0, 2.0, 2.0)];
        assert_eq!(intervals(h.iter_all()), expected);
        expected.reverse();
        assert_eq!(intervals(h.iter_all_reversed()), expected);
        assert_eq!(intervals(h.iter_negative()), [(-1.0, -0.5, 3.0), (-4.0, -2.0, 4.0)]);
        let inclusive: Vec<_> = h.iter_all().map(|b| (b.lower_inclusive, b.upper_inclusive)).collect();
        assert_eq!(inclusive, [(true, false), (true, false), (true, true), (false, true), (false, true)]);
    }

    #[test]
    fn custom_buckets_reach_to_the_infinities() {
        let h = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: vec![-5.0, 5.0],
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            ..FloatHistogram::default()
        };
        let expected = [(f64::NEG_INFINITY, -5.0, 1.0), (-5.0, 5.0, 2.0), (5.0, f64::INFINITY, 3.0)];
        assert_eq!(intervals(h.iter_all()), expected);
        let inclusive: Vec<_> = h.iter_all().map(|b| (b.lower_inclusive, b.upper_inclusive)).collect();
        assert_eq!(inclusive, [(true, true), (false, true), (false, true)]);
        assert!(h.zero_bucket().is_none());
    }

    #[test]
    fn hostile_spans_neither_panic_nor_run_away() {
        let h = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span { offset: i32::MIN, length: u32::MAX }; 3],
            positive_buckets: vec![1.0; 4],
            ..FloatHistogram::default()
        };
        assert_eq!(h.iter_all().count(), 4);
        assert_eq!(h.iter_all_reversed().count(), 4);
    }
}
