//! Logarithms, and the inverse hyperbolic functions made of them, where the standard library's answer is another than
//! Prometheus's.
//!
//! Prometheus runs on Go's `math`, which on amd64 takes a float apart bit by bit: a subnormal's missing leading digit
//! is taken for present, so `ln` of every subnormal is near `-709`. `log2` normalises first. Users compare with
//! Prometheus, so its answer is ours. The hyperbolic ones follow the same formulas by magnitude, which do not
//! overflow where the standard library's squares do.

use std::f64::consts::{LN_2, LOG10_E};

/// Above this, one more in a sum is lost.
const LARGE: f64 = (1_u64 << 28) as f64;
/// Below this, the function is its argument.
const NEAR_ZERO: f64 = 1.0 / LARGE;
/// The bits of a float's exponent for values from a half to one.
const HALF: u64 = 0x3fe0_0000_0000_0000;

/// The natural logarithm.
pub(super) fn ln(v: f64) -> f64 {
    if !v.is_subnormal() || v < 0.0 {
        return v.ln();
    }
    f64::from_bits(v.to_bits() | HALF).ln() - 1022.0 * LN_2
}

/// The logarithm to base 2.
pub(super) fn log2(v: f64) -> f64 {
    storage::model::log2(v)
}

/// The decimal logarithm.
pub(super) fn log10(v: f64) -> f64 {
    ln(v) * LOG10_E
}

/// The inverse hyperbolic cosine; of numbers below 1, NaN.
pub(super) fn acosh(v: f64) -> f64 {
    // where one less in a difference is lost, the formula below would end in ln(0)
    if v < 1.0 {
        return f64::NAN;
    }
    if v >= LARGE {
        return ln(v) + LN_2;
    }
    if v > 2.0 {
        return (2.0 * v - 1.0 / (v + (v * v - 1.0).sqrt())).ln();
    }
    let t = v - 1.0;
    (t + (2.0 * t + t * t).sqrt()).ln_1p()
}

/// The inverse hyperbolic sine.
pub(super) fn asinh(v: f64) -> f64 {
    if v.is_nan() || v.is_infinite() {
        return v;
    }
    let x = v.abs();
    let value = if x > LARGE {
        ln(x) + LN_2
    } else if x > 2.0 {
        (2.0 * x + 1.0 / ((x * x + 1.0).sqrt() + x)).ln()
    } else if x < NEAR_ZERO {
        x
    } else {
        (x + x * x / (1.0 + (1.0 + x * x).sqrt())).ln_1p()
    };
    value.copysign(v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(f: fn(f64) -> f64, v: f64, want: f64) {
        let got = f(v);
        assert!(got == want || (got - want).abs() <= 1e-12 * want.abs(), "{got} instead of {want}");
    }

    #[test]
    fn large_values_do_not_overflow() {
        check(acosh, f64::MAX, 710.475_860_073_943_9);
        check(asinh, f64::MAX, 710.475_860_073_943_9);
        check(asinh, -f64::MAX, -710.475_860_073_943_9);
    }

    #[test]
    fn subnormals_as_prometheus_has_them() {
        check(ln, 5e-324, -709.089_565_712_824_1);
        check(log2, 5e-324, -1074.0);
        check(log10, 5e-324, -307.953_685_564_252_8);
    }

    #[test]
    fn ordinary_values() {
        check(ln, 10.0, std::f64::consts::LN_10);
        check(log10, 1000.0, 3.0);
        check(acosh, 1.5, 0.962_423_650_119_206_9);
        check(acosh, 3.0, 1.762_747_174_039_086);
        check(asinh, 0.3, 0.295_673_047_563_422_44);
        check(asinh, -0.0, -0.0);
        assert!(acosh(0.5).is_nan() && acosh(-3.4e10).is_nan() && ln(-1.0).is_nan() && ln(-5e-324).is_nan());
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
    }
}
