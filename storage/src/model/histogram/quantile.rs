//! Quantiles, fractions and variance of native histograms.
//!
//! Observations are taken to lie in their bucket so that finer buckets would be populated evenly: linearly in custom
//! buckets and the zero bucket, on a logarithmic scale in exponential ones. The zero bucket of a histogram with only
//! positive (negative) buckets begins (ends) at 0. NaN observations are in the count and in no bucket.
//!
//! One difference to Prometheus 3.14 is meant: for a histogram with NaN observations it looks for the quantile's bucket,
//! and then interpolates in the histogram's last one. Here it is the bucket that was found.

use super::buckets::Bucket;
use super::kahan::kahan_add;
use super::{FloatHistogram, exp2, log2};

/// What a query should tell its user about a quantile or fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NanNote {
    /// Nothing.
    #[default]
    None,
    /// NaNs were observed, and the quantile lies among them; the result is NaN.
    NanResult,
    /// NaNs were observed: a quantile is skewed upwards, a fraction leaves them out.
    Skewed,
}

impl FloatHistogram {
    /// The `q`-quantile. −Inf for `q` below 0, +Inf above 1, NaN for NaN or without observations.
    #[must_use]
    pub fn quantile(&self, q: f64) -> (f64, NanNote) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, NanNote::None);
        }
        if q > 1.0 {
            return (f64::INFINITY, NanNote::None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, NanNote::None);
        }
        // Counting from the nearer end loses less precision. NaNs count as the highest observations.
        if self.sum.is_nan() || q < 0.5 {
            self.quantile_from(self.iter_all(), q * self.count, true)
        } else {
            self.quantile_from(self.iter_all_reversed(), (1.0 - q) * self.count, false)
        }
    }

    /// The value at `rank`, counted in the direction of `buckets`.
    fn quantile_from(&self, mut buckets: impl Iterator<Item = Bucket>, rank: f64, forward: bool) -> (f64, NanNote) {
        let mut bucket =
            Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0, index: 0 };
        let mut count = 0.0;
        for next in buckets.by_ref() {
            bucket = next;
            count += next.count;
            if next.count != 0.0 && count >= rank {
                break;
            }
        }
        if self.uses_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, NanNote::None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, NanNote::None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.narrow_zero_bucket(&mut bucket);
        }
        // Sums of populations can come out above the count.
        if count > self.count {
            count = self.count;
        }
        if count < rank {
            return if self.sum.is_nan() { (f64::NAN, NanNote::NanResult) } else { (bucket.upper, NanNote::None) };
        }
        let rank = if forward { rank - (count - bucket.count) } else { count - rank };
        let note = self.skew(count, buckets);
        let fraction = rank / bucket.count;
        if self.uses_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return (bucket.lower + (bucket.upper - bucket.lower) * fraction, note);
        }
        let log_lower = log2(bucket.lower.abs());
        let log_upper = log2(bucket.upper.abs());
        let value = if bucket.lower > 0.0 {
            exp2(log_lower + (log_upper - log_lower) * fraction)
        } else {
            -exp2(log_upper + (log_lower - log_upper) * (1.0 - fraction))
        };
        (value, note)
    }

    /// Which part of the observations lies between `lower` and `upper`. 0 for an empty interval, NaN for NaN bounds or
    /// without observations.
    #[must_use]
    pub fn fraction(&self, lower: f64, upper: f64) -> (f64, NanNote) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, NanNote::None);
        }
        if lower >= upper {
            return (0.0, NanNote::None);
        }
        let (mut count, mut rank) = (0.0, 0.0);
        let (mut lower_rank, mut upper_rank) = (None, None);
        let mut buckets = self.iter_all();
        for mut bucket in buckets.by_ref() {
            count += bucket.count;
            let zero_bucket = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if zero_bucket {
                self.narrow_zero_bucket(&mut bucket);
            }
            let linear = self.uses_custom_buckets() || zero_bucket;
            let rank_of = |v: f64| {
                if bucket.lower >= v {
                    Some(rank)
                } else if bucket.upper > v {
                    Some(rank_inside(&bucket, v, rank, linear))
                } else {
                    None
                }
            };
            lower_rank = lower_rank.or_else(|| rank_of(lower));
            upper_rank = upper_rank.or_else(|| rank_of(upper));
            if lower_rank.is_some() && upper_rank.is_some() {
                break;
            }
            rank += bucket.count;
        }
        let mut note = NanNote::None;
        if self.sum.is_nan() {
            count = buckets.fold(count, |count, bucket| count + bucket.count);
            if count < self.count {
                note = NanNote::Skewed;
            }
        } else {
            count = self.count;
        }
        let within = |rank: Option<f64>| rank.filter(|rank| *rank <= count || rank.is_nan()).unwrap_or(count);
        ((within(upper_rank) - within(lower_rank)) / self.count, note)
    }

    /// The variance, with each observation at the middle of its bucket: the geometric one in exponential buckets, the
    /// arithmetic one in custom buckets, 0 in the zero bucket. Its square root is the standard deviation.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let (mut variance, mut compensation) = (0.0, 0.0);
        for bucket in self.iter_all().filter(|bucket| bucket.count != 0.0) {
            let middle = if self.uses_custom_buckets() {
                (bucket.upper + bucket.lower) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else if bucket.upper < 0.0 {
                -(bucket.upper * bucket.lower).sqrt()
            } else {
                (bucket.upper * bucket.lower).sqrt()
            };
            let delta = middle - mean;
            (variance, compensation) = kahan_add(bucket.count * delta * delta, variance, compensation);
        }
        (variance + compensation) / self.count
    }

    fn narrow_zero_bucket(&self, bucket: &mut Bucket) {
        if self.negative_buckets.is_empty() && !self.positive_buckets.is_empty() {
            bucket.lower = 0.0;
        } else if self.positive_buckets.is_empty() && !self.negative_buckets.is_empty() {
            bucket.upper = 0.0;
        }
    }

    /// Whether NaNs were observed: the sum is NaN and the buckets, of which `counted` were read and `rest` were not,
    /// hold fewer observations than there are.
    fn skew(&self, counted: f64, rest: impl Iterator<Item = Bucket>) -> NanNote {
        if self.sum.is_nan() && rest.fold(counted, |count, bucket| count + bucket.count) < self.count {
            NanNote::Skewed
        } else {
            NanNote::None
        }
    }
}

/// How many observations are at or below `v`, which is inside the bucket that `rank` observations are below. A bucket
/// from −Inf cannot be interpolated.
fn rank_inside(bucket: &Bucket, v: f64, rank: f64, linear: bool) -> f64 {
    if linear && bucket.lower == f64::NEG_INFINITY {
        return bucket.count;
    }
    rank + bucket.count * bucket.fraction_below(v, linear)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn exponential(offset: i32, positive: &[f64], negative: &[f64]) -> FloatHistogram {
        let span = |n: usize| Span { offset, length: u32::try_from(n).unwrap() };
        FloatHistogram {
            count: positive.iter().chain(negative).sum(),
            sum: 1.0,
            positive_spans: vec![span(positive.len())],
            positive_buckets: positive.to_vec(),
            negative_spans: vec![span(negative.len())],
            negative_buckets: negative.to_vec(),
            ..FloatHistogram::default()
        }
    }

    fn near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12 || actual == expected, "{actual} {expected}");
    }

    /// The histogram and answers of Prometheus's own test script.
    #[test]
    fn known_quantiles() {
        let mut h = exponential(0, &[2.0, 3.0, 0.0, 1.0, 4.0], &[]);
        (h.count, h.sum, h.zero_count, h.zero_threshold) = (12.0, 100.0, 2.0, 0.001);
        for (q, expected) in [
            (1.001, f64::INFINITY),
            (1.0, 16.0),
            (0.99, 15.670_724_761_390_828),
            (0.9, 12.996_038_341_699_77),
            (0.6, 4.594_793_419_988_138),
            (0.5, 1.587_401_051_968_199_4),
            (0.1, 0.000_600_000_000_000_000_1),
            (0.0, 0.0),
            (-1.0, f64::NEG_INFINITY),
        ] {
            assert_eq!(h.quantile(q).0, expected, "{q}");
        }
        assert!(h.quantile(f64::NAN).0.is_nan() && FloatHistogram::default().quantile(0.5).0.is_nan());
        let negative = exponential(1, &[], &[2.0, 2.0]);
        near(negative.quantile(0.25).0, -(2.0 * 2_f64.sqrt()));
        near(negative.quantile(1.0).0, -1.0);
    }

    #[test]
    fn custom_buckets_interpolate_linearly() {
        let h = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: vec![5.0, 10.0],
            ..exponential(0, &[10.0, 10.0, 20.0], &[])
        };
        near(h.quantile(0.125).0, 2.5);
        near(h.quantile(0.375).0, 7.5);
        near(h.quantile(0.9).0, 10.0);
        near(h.fraction(2.5, 7.5).0, 0.25);
        near(h.fraction(f64::NEG_INFINITY, 20.0).0, 0.5);
        near(h.fraction(f64::NEG_INFINITY, f64::INFINITY).0, 1.0);
    }

    #[test]
    fn fraction_is_the_inverse_of_quantile() {
        let h = exponential(-1, &[3.0, 5.0, 0.0, 2.0], &[4.0, 6.0]);
        for q in [0.01, 0.2, 0.45, 0.5, 0.77, 0.99] {
            near(h.fraction(f64::NEG_INFINITY, h.quantile(q).0).0, q);
        }
        assert_eq!(h.fraction(2.0, 1.0).0, 0.0);
        assert!(h.fraction(f64::NAN, 1.0).0.is_nan());
    }

    #[test]
    fn nan_observations() {
        let mut h = exponential(0, &[12.0], &[]);
        (h.count, h.sum) = (15.0, f64::NAN);
        near(h.quantile(0.8).0, 1.0);
        assert_eq!(h.quantile(0.4), (0.707_106_781_186_547_5, NanNote::Skewed));
        let (value, note) = h.quantile(0.81);
        assert!(value.is_nan() && note == NanNote::NanResult);
        assert_eq!(h.fraction(f64::NEG_INFINITY, f64::INFINITY), (0.8, NanNote::Skewed));
        let mut spread = exponential(0, &[6.0, 6.0], &[]);
        (spread.count, spread.sum) = (15.0, f64::NAN);
        near(spread.quantile(0.2).0, 2_f64.sqrt() / 2.0);
    }

    #[test]
    fn variance_of_known_observations() {
        // One observation each of 2 and 4 would be in these buckets, at their geometric middles.
        let mut h = exponential(1, &[1.0, 1.0], &[]);
        (h.count, h.sum) = (2.0, 6.0);
        let expected = ((2_f64.sqrt() - 3.0).powi(2) + (8_f64.sqrt() - 3.0).powi(2)) / 2.0;
        near(h.variance(), expected);
    }
}
