//! Compensated summation, as Neumaier improved Kahan's.

/// Adds `increment` to `sum`, whose lost low bits `compensation` collects; the total is the two together. A sum that
/// overflowed forgets its compensation.
#[must_use]
pub fn kahan_add(increment: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + increment;
    let compensation = if total.is_infinite() {
        0.0
    } else if sum.abs() >= increment.abs() {
        compensation + ((sum - total) + increment)
    } else {
        compensation + ((increment - total) + sum)
    };
    (total, compensation)
}

/// What a bucket holds while histograms are added: a plain population, or one with its compensation.
pub(super) trait Population: Copy {
    /// Whether the bucket could be left out.
    fn is_empty(self) -> bool;
    /// Adds another bucket's population to this one's.
    fn merge(&mut self, other: Self);
}

impl Population for f64 {
    fn is_empty(self) -> bool {
        self == 0.0
    }

    fn merge(&mut self, other: Self) {
        *self += other;
    }
}

/// A population and the low bits that its sum has lost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Compensated {
    pub(super) sum: f64,
    pub(super) compensation: f64,
}

impl Population for Compensated {
    fn is_empty(self) -> bool {
        self.sum == 0.0 && self.compensation == 0.0
    }

    fn merge(&mut self, other: Self) {
        (self.sum, self.compensation) = kahan_add(other.sum, self.sum, self.compensation);
        if other.compensation != 0.0 {
            (self.sum, self.compensation) = kahan_add(other.compensation, self.sum, self.compensation);
        }
    }
}

impl From<f64> for Compensated {
    fn from(sum: f64) -> Self {
        Self { sum, compensation: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_cancels() {
        let (sum, compensation) =
            [1e100, 1.0, -1e100].into_iter().fold((0.0, 0.0), |(sum, c), value| kahan_add(value, sum, c));
        assert_eq!(sum + compensation, 1.0);
    }

    #[test]
    fn overflow_drops_the_compensation() {
        assert_eq!(kahan_add(f64::MAX, f64::MAX, 3.0), (f64::INFINITY, 0.0));
    }
}
