//! Histograms as text, as Prometheus prints them: `{count:3, sum:4.5, [-0.001,0.001]:1, (1,2]:2}`.

use std::fmt;

use super::FloatHistogram;
use super::buckets::Bucket;

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", General(self.count), General(self.sum))?;
        let zero = self.zero_bucket().into_iter();
        let negative: Vec<Bucket> = self.iter_negative().collect();
        for bucket in negative.into_iter().rev().chain(zero).chain(self.iter_positive()) {
            if bucket.count != 0.0 {
                write!(f, ", {bucket}")?;
            }
        }
        f.write_str("}")
    }
}

/// The interval with `[` and `]` where a bound is inside, then the population: `(1,2]:3`.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (General(self.lower), General(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", General(self.count))
    }
}

/// A float as Go's `%g` prints it: the fewest digits that name it, with an exponent from 1e+06 on, or below 1e-4.
struct General(f64);

impl fmt::Display for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        if (-4..6).contains(&exponent) {
            return write!(f, "{value}");
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(f, "{digits}e{sign}{:02}", exponent.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::Span;

    #[test]
    fn floats_as_go_prints_them() {
        let check = |value, expected: &str| assert_eq!(General(value).to_string(), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(4.5, "4.5");
        check(100_000.0, "100000");
        check(1e6, "1e+06");
        check(123_456_789.0, "1.23456789e+08");
        check(1e21, "1e+21");
        check(1.5e-5, "1.5e-05");
        check(0.0001, "0.0001");
        check(1e-128, "1e-128");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn empty_buckets_are_left_out() {
        let h = FloatHistogram {
            count: 10.0,
            sum: -2.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive_spans: vec![Span { offset: 1, length: 3 }],
            positive_buckets: vec![2.0, 0.0, 3.5],
            negative_spans: vec![Span { offset: 1, length: 2 }],
            negative_buckets: vec![1.5, 2.0],
            ..FloatHistogram::default()
        };
        let expected = "{count:10, sum:-2.5, [-4,-2):2, [-2,-1):1.5, [-0.001,0.001]:1, (1,2]:2, (4,8]:3.5}";
        assert_eq!(h.to_string(), expected);
        assert_eq!(FloatHistogram::default().to_string(), "{count:0, sum:0}");
    }
}
