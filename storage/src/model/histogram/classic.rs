//! Quantiles and fractions of classic histograms, whose buckets are series with cumulative counts.

use std::cmp::Ordering;

use super::super::sample::is_stale_nan;

/// Differences between neighbouring buckets below this part of their sum are artefacts of float sums.
const SMALL_DELTA: f64 = 1e-12;

/// One bucket: how many observations are at or below a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassicBucket {
    /// The bound, the value of `le`.
    pub upper_bound: f64,
    /// Observations at or below it.
    pub count: f64,
}

/// What had to be mended for counts to ascend with their bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonotonicFix {
    /// A count fell and was raised to the one before.
    pub forced: bool,
    /// An insignificant difference was ignored.
    pub small_deltas: bool,
    /// The lowest bound where a count was raised.
    pub min_bound: f64,
    /// The highest such bound.
    pub max_bound: f64,
    /// The most that a count was raised by.
    pub max_diff: f64,
}

impl Default for MonotonicFix {
    /// Nothing was mended.
    fn default() -> Self {
        Self { forced: false, small_deltas: false, min_bound: 0.0, max_bound: 0.0, max_diff: 0.0 }
    }
}

/// The `q`-quantile, interpolated linearly in its bucket; the lowest bucket begins at 0 if it ends above. In the
/// highest bucket it is the bound below; where the lowest ends at or below 0 it is that bound.
///
/// −Inf for `q` below 0, +Inf above 1, NaN for NaN, without observations, without a bucket that ends at +Inf or another
/// beside it. Sorts `buckets`, joins those with equal bounds and makes their counts ascend.
pub fn bucket_quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, MonotonicFix) {
    let mut fix = MonotonicFix::default();
    if q.is_nan() {
        return (f64::NAN, fix);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, fix);
    }
    if q > 1.0 {
        return (f64::INFINITY, fix);
    }
    if !sort_and_join(buckets) {
        return (f64::NAN, fix);
    }
    fix = make_monotonic(buckets);
    let [lower @ .., last] = buckets.as_slice() else { return (f64::NAN, fix) };
    let (Some(first), Some(second_last)) = (lower.first(), lower.last()) else { return (f64::NAN, fix) };
    if last.count == 0.0 {
        return (f64::NAN, fix);
    }
    let rank = q * last.count;
    // A NaN count is not enough, as in Prometheus.
    let found = lower.partition_point(|bucket| matches!(bucket.count.partial_cmp(&rank), None | Some(Ordering::Less)));
    let quantile = match lower.get(found) {
        None => second_last.upper_bound,
        Some(bucket) if found == 0 && bucket.upper_bound <= 0.0 => first.upper_bound,
        Some(bucket) => {
            let below =
                found.checked_sub(1).map_or(ClassicBucket { upper_bound: 0.0, count: 0.0 }, |below| lower[below]);
            let (count, rank) = (bucket.count - below.count, rank - below.count);
            below.upper_bound + (bucket.upper_bound - below.upper_bound) * (rank / count)
        }
    };
    (quantile, fix)
}

/// Which part of the observations lies between `lower` and `upper`, interpolated as in [`bucket_quantile`]. NaN for NaN
/// bounds, without observations, or without a bucket that ends at +Inf; 0 for an empty interval. Sorts `buckets` and
/// joins those with equal bounds.
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !sort_and_join(buckets) {
        return f64::NAN;
    }
    let count = buckets.last().map_or(0.0, |last| last.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |v: f64| {
        let mut rank = 0.0;
        let mut lower_bound = if buckets[0].upper_bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        for bucket in buckets.iter() {
            let upper_bound = bucket.upper_bound;
            if lower_bound >= v {
                return rank;
            }
            if upper_bound > v {
                // A bucket from −Inf cannot be interpolated; in one to +Inf the second term is 0.
                return if lower_bound == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + (bucket.count - rank) * (v - lower_bound) / (upper_bound - lower_bound)
                };
            }
            rank = bucket.count;
            lower_bound = upper_bound;
        }
        count
    };
    let within = |rank: f64| if rank > count { count } else { rank };
    (within(rank_of(upper)) - within(rank_of(lower))) / count
}

/// Sorts by bound and adds up buckets with one bound; whether the last one ends at +Inf.
fn sort_and_join(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
    buckets.dedup_by(|next, kept| {
        let equal = next.upper_bound == kept.upper_bound;
        if equal {
            kept.count += next.count;
        }
        equal
    });
    buckets.last().is_some_and(|last| last.upper_bound == f64::INFINITY)
}

/// Makes counts ascend: a count that differs insignificantly from, or is below, the one before becomes that.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> MonotonicFix {
    let mut fix = MonotonicFix { min_bound: f64::INFINITY, max_bound: f64::NEG_INFINITY, ..MonotonicFix::default() };
    let Some((first, rest)) = buckets.split_first_mut() else { return fix };
    let mut previous = first.count;
    for bucket in rest {
        let count = bucket.count;
        if count == previous {
            continue;
        }
        if almost_equal(previous, count, SMALL_DELTA) {
            bucket.count = previous;
            fix.small_deltas = true;
        } else if count < previous {
            bucket.count = previous;
            fix.forced = true;
            fix.min_bound = fix.min_bound.min(bucket.upper_bound);
            fix.max_bound = fix.max_bound.max(bucket.upper_bound);
            fix.max_diff = fix.max_diff.max(previous - count);
        } else {
            previous = count;
        }
    }
    fix
}

/// Whether two counts differ by less than `epsilon` of their sum.
fn almost_equal(a: f64, b: f64, epsilon: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < epsilon * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < epsilon
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<ClassicBucket> {
        pairs.iter().map(|&(upper_bound, count)| ClassicBucket { upper_bound, count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles() {
        let check = |q, pairs: &[(f64, f64)], expected: f64| {
            let (value, fix) = bucket_quantile(q, &mut buckets(pairs));
            assert!(value == expected || (value.is_nan() && expected.is_nan()), "{q} {pairs:?}: {value}");
            assert!(!fix.forced);
        };
        let usual = [(0.1, 5.0), (0.2, 7.0), (1e0, 9.0), (INF, 12.0)];
        check(0.0, &usual, 0.0);
        check(0.25, &usual, 0.06);
        check(0.5, &usual, 0.15000000000000002);
        check(0.9, &usual, 1.0);
        check(1.5, &usual, INF);
        check(-0.5, &usual, -INF);
        check(f64::NAN, &usual, f64::NAN);
        check(0.5, &[(0.1, 5.0)], f64::NAN);
        check(0.5, &[(INF, 5.0)], f64::NAN);
        check(0.5, &[], f64::NAN);
        check(0.5, &[(1.0, 0.0), (INF, 0.0)], f64::NAN);
        check(0.1, &[(-1.0, 5.0), (INF, 6.0)], -1.0);
        check(0.5, &[(INF, 12.0), (0.2, 3.0), (0.1, 6.0), (0.2, 6.0)], 0.1);
    }

    #[test]
    fn counts_that_fall() {
        let mut falling = buckets(&[(1.0, 10.0), (2.0, 8.0), (3.0, 9.0), (INF, 20.0)]);
        let (_, fix) = bucket_quantile(0.5, &mut falling);
        let expected =
            MonotonicFix { forced: true, small_deltas: false, min_bound: 2.0, max_bound: 3.0, max_diff: 2.0 };
        assert_eq!(fix, expected);
        let mut imprecise = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-13), (INF, 20.0)]);
        let (_, fix) = bucket_quantile(0.5, &mut imprecise);
        assert!(fix.small_deltas && !fix.forced);
    }

    #[test]
    fn fractions() {
        let check = |lower, upper, pairs: &[(f64, f64)], expected: f64| {
            let value = bucket_fraction(lower, upper, &mut buckets(pairs));
            assert!((value - expected).abs() < 1e-12 || (value.is_nan() && expected.is_nan()), "{value} {expected}");
        };
        let usual = [(0.1, 5.0), (0.2, 7.0), (1.0, 9.0), (INF, 12.0)];
        check(-INF, INF, &usual, 1.0);
        check(0.0, 0.2, &usual, 7.0 / 12.0);
        check(0.05, 0.15, &usual, (6.0 - 2.5) / 12.0);
        check(0.2, 100.0, &usual, 2.0 / 12.0);
        check(0.3, 0.3, &usual, 0.0);
        check(f64::NAN, 0.3, &usual, f64::NAN);
        check(0.0, 1.0, &[(1.0, 1.0)], f64::NAN);
        check(-2.0, INF, &[(-1.0, 3.0), (INF, 4.0)], 0.25);
    }
}
