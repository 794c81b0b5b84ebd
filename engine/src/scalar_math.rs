//! What elementwise functions and operators compute: one sample in, one out, no Arrow and no plan.
//!
//! Special values follow Go's math package; its last digit may differ from ours.

pub mod binary;
mod calendar;
mod histogram;
mod instant;
mod logarithm;

pub use histogram::{NativeFraction, NativeQuantile, histogram_avg, histogram_stddev, histogram_stdvar};
pub use instant::{InstantFunction, instant_function};

/// The greater number, as Go's `math.Max`: +Inf beats NaN, NaN beats the rest.
#[inline]
#[must_use]
pub fn max_of(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// The lesser number, as Go's `math.Min`: −Inf beats NaN, NaN beats the rest.
#[inline]
#[must_use]
pub fn min_of(a: f64, b: f64) -> f64 {
    -max_of(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_special_values_are_those_of_go() {
        assert_eq!(max_of(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert!(max_of(f64::NAN, 3.0).is_nan());
        assert!(max_of(-0.0, 0.0).is_sign_positive());
        assert_eq!(min_of(f64::NEG_INFINITY, f64::NAN), f64::NEG_INFINITY);
        assert!(min_of(f64::NAN, f64::INFINITY).is_nan());
        assert!(min_of(0.0, -0.0).is_sign_negative());
        assert_eq!(min_of(2.0, 1.0), 1.0);
    }
}
