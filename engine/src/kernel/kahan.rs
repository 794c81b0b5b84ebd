//! Compensated summation, as Prometheus does it: Kahan's with Neumaier's improvement.

/// Adds `increment` to the sum that `sum` and its `compensation` hold together.
///
/// Once the sum is infinite, what was compensated before means nothing any more and is dropped.
#[inline]
pub(crate) fn kahan_add(increment: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + increment;
    if total.is_infinite() {
        return (total, 0.0);
    }
    let lost = if sum.abs() >= increment.abs() { (sum - total) + increment } else { (increment - total) + sum };
    (total, compensation + lost)
}
