//! The zero bucket: widening one until two histograms agree on its width.

use super::FloatHistogram;
use super::buckets::Bucket;
use super::kahan::{Compensated, Population};
use super::spans::SideBuilder;

impl FloatHistogram {
    /// What the zero bucket would hold were it as wide as `threshold`, which is not below the present one; `c` has
    /// the compensations. A threshold inside a populated bucket grows to that bucket's end; the second result is what
    /// it came to.
    pub(super) fn zero_bucket_at(&self, threshold: f64, c: Option<&Self>) -> (Compensated, f64) {
        let present = Compensated { sum: self.zero_count, compensation: c.map_or(0.0, |c| c.zero_count) };
        if threshold == self.zero_threshold {
            return (present, threshold);
        }
        let lost = |buckets: Option<&Vec<f64>>, i: usize| buckets.and_then(|b| b.get(i)).copied().unwrap_or(0.0);
        let mut threshold = threshold;
        // Each further pass has a wider threshold, the end of one of finitely many buckets.
        'wider: loop {
            let mut zero = present;
            for (i, bucket) in self.iter_positive().enumerate() {
                if bucket.lower >= threshold {
                    break;
                }
                let compensation = lost(c.map(|c| &c.positive_buckets), i);
                zero.merge(Compensated { sum: bucket.count, compensation });
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for (i, bucket) in self.iter_negative().enumerate() {
                if bucket.upper <= -threshold {
                    break;
                }
                let compensation = lost(c.map(|c| &c.negative_buckets), i);
                zero.merge(Compensated { sum: bucket.count, compensation });
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        // The positive side has to be judged again.
                        threshold = -bucket.lower;
                        continue 'wider;
                    }
                    break;
                }
            }
            return (zero, threshold);
        }
    }

    /// Widens the zero bucket of `self`, and of its compensation `c`, until its end cuts through no populated bucket
    /// of either histogram. Returns what the zero bucket of `other` holds at that width.
    pub(super) fn reconcile_zero_buckets(&mut self, other: &Self, mut c: Option<&mut Self>) -> Compensated {
        let mut other_zero = Compensated::from(other.zero_count);
        let mut other_threshold = other.zero_threshold;
        loop {
            if self.zero_threshold > other_threshold {
                (other_zero, other_threshold) = other.zero_bucket_at(self.zero_threshold, None);
            }
            if other_threshold > self.zero_threshold {
                let (zero, threshold) = self.zero_bucket_at(other_threshold, c.as_deref());
                self.zero_count = zero.sum;
                self.zero_threshold = threshold;
                if let Some(c) = c.as_deref_mut() {
                    c.zero_count = zero.compensation;
                }
                self.drop_buckets_in_zero(c.as_deref_mut());
                continue;
            }
            return other_zero;
        }
    }

    /// Removes the buckets that the zero bucket has taken in, and empty ones.
    fn drop_buckets_in_zero(&mut self, c: Option<&mut Self>) {
        let threshold = self.zero_threshold;
        let outside = |buckets: Vec<Bucket>, lost: Option<&Vec<f64>>| {
            let mut side = SideBuilder::with_capacity(buckets.len());
            for (i, bucket) in buckets.into_iter().enumerate() {
                let compensation = lost.and_then(|lost| lost.get(i)).copied().unwrap_or(0.0);
                let population = Compensated { sum: bucket.count, compensation };
                if (bucket.lower >= threshold || bucket.upper <= -threshold) && !population.is_empty() {
                    side.push(i64::from(bucket.index), population);
                }
            }
            side
        };
        let positive = outside(self.iter_positive().collect(), c.as_deref().map(|c| &c.positive_buckets));
        let negative = outside(self.iter_negative().collect(), c.as_deref().map(|c| &c.negative_buckets));
        if let Some(c) = c {
            c.positive_buckets = positive.populations.iter().map(|n| n.compensation).collect();
            c.negative_buckets = negative.populations.iter().map(|n| n.compensation).collect();
        }
        self.positive_buckets = positive.populations.iter().map(|n| n.sum).collect();
        self.negative_buckets = negative.populations.iter().map(|n| n.sum).collect();
        self.positive_spans = positive.spans;
        self.negative_spans = negative.spans;
    }
}
