//! Cutting a histogram off at a value: PromQL's `</` and `>/`.
//!
//! A bucket that the value falls into keeps the part of its population that interpolation puts on the kept side. The
//! sum cannot be known any more and is estimated from the midpoints of what is left. Where nothing was cut off,
//! nothing changes, the sum neither.

use super::FloatHistogram;
use super::buckets::Bucket;

/// Which observations stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

/// Count and sum of what is left, and whether anything went.
#[derive(Debug, Default)]
struct Kept {
    count: f64,
    sum: f64,
    trimmed: bool,
    populated: bool,
}

impl FloatHistogram {
    /// Keeps what was observed at or below `limit`: PromQL's `</`.
    pub fn trim_above(&mut self, limit: f64) {
        self.trim(limit, Keep::Below);
    }

    /// Keeps what was observed at or above `limit`: PromQL's `>/`.
    pub fn trim_below(&mut self, limit: f64) {
        self.trim(limit, Keep::Above);
    }

    fn trim(&mut self, limit: f64, keep: Keep) {
        let linear = self.uses_custom_buckets();
        let buckets: Vec<Bucket> = self.iter_positive().collect();
        let mut kept = Kept::default();
        trim_side(&buckets, &mut self.positive_buckets, Trim { limit, keep, positive: true, linear }, &mut kept);
        let has_positive = std::mem::take(&mut kept.populated);
        let buckets: Vec<Bucket> = self.iter_negative().collect();
        trim_side(&buckets, &mut self.negative_buckets, Trim { limit, keep, positive: false, linear }, &mut kept);
        let has_negative = kept.populated;
        if let Some(zero) = self.zero_bucket().filter(|zero| zero.count > 0.0) {
            let (count, midpoint) = trim_zero(zero, limit, keep, has_negative, has_positive);
            kept.trimmed |= self.zero_count != count;
            self.zero_count = count;
            kept.sum += midpoint * count;
            kept.count += count;
        }
        if kept.trimmed {
            self.count = kept.count;
            self.sum = kept.sum;
            self.compact(0);
        }
    }
}

/// What is done to a side.
#[derive(Debug, Clone, Copy)]
struct Trim {
    limit: f64,
    keep: Keep,
    positive: bool,
    linear: bool,
}

fn trim_side(buckets: &[Bucket], populations: &mut [f64], trim: Trim, kept: &mut Kept) {
    for (bucket, population) in buckets.iter().zip(populations) {
        if bucket.count == 0.0 {
            continue;
        }
        kept.populated = true;
        let (whole, cut) = match trim.keep {
            Keep::Below => (bucket.upper <= trim.limit, bucket.lower < trim.limit),
            Keep::Above => (bucket.lower >= trim.limit, bucket.upper > trim.limit),
        };
        let (count, midpoint) = if whole {
            (bucket.count, trim.midpoint(bucket.lower, bucket.upper))
        } else if cut {
            trim.cut(bucket)
        } else {
            *population = 0.0;
            kept.trimmed = true;
            continue;
        };
        kept.count += count;
        kept.sum += midpoint * count;
        kept.trimmed |= *population != count;
        *population = count;
    }
}

impl Trim {
    /// What a bucket around the limit keeps, and the midpoint of that.
    fn cut(&self, bucket: &Bucket) -> (f64, f64) {
        if bucket.lower == f64::NEG_INFINITY {
            return self.cut_from_minus_infinity(bucket);
        }
        if bucket.upper == f64::INFINITY {
            // How observations spread towards infinity is unknown: all of them may be past any limit.
            return match self.keep {
                Keep::Above if self.limit >= bucket.lower => (bucket.count, self.limit),
                _ => (0.0, zero_if_infinite(bucket.lower)),
            };
        }
        let below = if self.limit <= bucket.lower {
            0.0
        } else if self.limit >= bucket.upper {
            bucket.count
        } else {
            bucket.count * bucket.fraction_below(self.limit, self.linear)
        };
        match self.keep {
            Keep::Below => (below, self.midpoint(bucket.lower, self.limit)),
            Keep::Above => (bucket.count - below, self.midpoint(self.limit, bucket.upper)),
        }
    }

    /// The lowest custom bucket: taken to begin at 0 where it ends above it.
    fn cut_from_minus_infinity(&self, bucket: &Bucket) -> (f64, f64) {
        let (limit, upper, count) = (self.limit, bucket.upper, bucket.count);
        match self.keep {
            Keep::Below if limit >= upper => (count, 0.0),
            Keep::Below if limit > 0.0 && upper > 0.0 && upper != f64::INFINITY => (count * limit / upper, limit / 2.0),
            Keep::Below if upper <= 0.0 => (count, limit),
            Keep::Above if limit <= bucket.lower => (count, 0.0),
            Keep::Above if limit >= 0.0 && upper > limit && upper != f64::INFINITY => {
                (count * (1.0 - limit / upper), (limit + upper) / 2.0)
            }
            _ => (0.0, zero_if_infinite(upper)),
        }
    }

    /// The value that stands for all observations of an interval: its arithmetic middle in custom buckets, the
    /// geometric one in exponential ones, its finite end where the other is infinite.
    fn midpoint(&self, lower: f64, upper: f64) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.linear => (lower + upper) / 2.0,
            (false, false) if self.positive => (lower * upper).abs().sqrt(),
            (false, false) => -(lower * upper).abs().sqrt(),
        }
    }
}

fn zero_if_infinite(value: f64) -> f64 {
    if value.is_infinite() { 0.0 } else { value }
}

/// What the zero bucket keeps, and the midpoint of that. It ends at 0 on a side that has no observations.
fn trim_zero(zero: Bucket, limit: f64, keep: Keep, has_negative: bool, has_positive: bool) -> (f64, f64) {
    let lower = if has_positive && !has_negative { 0.0 } else { zero.lower };
    let upper = if has_negative && !has_positive { 0.0 } else { zero.upper };
    let whole = (zero.count, f64::midpoint(lower, upper));
    match keep {
        Keep::Below if limit <= lower => (0.0, 0.0),
        Keep::Below if limit >= upper => whole,
        Keep::Below => (zero.count * ((limit - lower) / (upper - lower)), (lower + limit) / 2.0),
        Keep::Above if limit <= lower => whole,
        Keep::Above if limit >= upper => (0.0, 0.0),
        Keep::Above => (zero.count * ((upper - limit) / (upper - lower)), (limit + upper) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn exponential() -> FloatHistogram {
        FloatHistogram {
            count: 10.0,
            sum: 13.0,
            zero_threshold: 0.5,
            zero_count: 2.0,
            positive_spans: vec![Span { offset: 1, length: 2 }],
            positive_buckets: vec![4.0, 4.0],
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn a_limit_outside_changes_nothing() {
        let mut h = exponential();
        h.trim_above(4.0);
        h.trim_below(-1.0);
        h.trim_below(0.0);
        assert_eq!(h, exponential());
    }

    #[test]
    fn exponential_buckets_are_cut_on_a_logarithmic_scale() {
        let mut h = exponential();
        h.trim_above(2_f64.sqrt());
        assert_eq!((h.zero_count, h.positive_buckets.len()), (2.0, 1));
        assert!((h.positive_buckets[0] - 2.0).abs() < 1e-12);
        assert!((h.count - 4.0).abs() < 1e-12);
        assert!((h.sum - (2.0 * 0.25 + 2.0 * 2_f64.powf(0.25))).abs() < 1e-12);
        let mut h = exponential();
        h.trim_below(2.0);
        assert_eq!((h.zero_count, h.count, h.sum), (0.0, 4.0, 4.0 * 8_f64.sqrt()));
        assert_eq!(h.positive_spans, [Span { offset: 2, length: 1 }]);
    }

    #[test]
    fn custom_buckets_are_cut_linearly() {
        let h = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 30.0,
            sum: 99.0,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![10.0, 10.0, 10.0],
            custom_values: vec![5.0, 10.0],
            ..FloatHistogram::default()
        };
        let mut below = h.clone();
        below.trim_above(7.5);
        assert_eq!((below.positive_buckets, below.count, below.sum), (vec![10.0, 5.0], 15.0, 10.0 * 2.5 + 5.0 * 6.25));
        let mut above = h.clone();
        above.trim_below(12.0);
        assert_eq!((above.positive_buckets, above.count, above.sum), (vec![10.0], 10.0, 120.0));
        let mut all = h;
        all.trim_above(20.0);
        assert_eq!((all.positive_buckets, all.count), (vec![10.0, 10.0], 20.0));
    }
}
