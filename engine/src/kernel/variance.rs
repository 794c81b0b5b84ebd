//! `stddev_over_time` and `stdvar_over_time`: of the population.
//!
//! A state is a mean and a sum of squared distances to it, of samples shifted by the series' first value;
//! two of them merge by Chan's formula (Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing
//! sample variances, 1979).

use storage::model::{Timestamp, kahan_add};

use super::KernelContext;
use super::floats_only::FloatKernel;
use super::fold::{Fold, MAGNIFICATION_LIMIT, fold_windows};
use super::positions::Positions;
use super::window::Window;
use crate::error::Result;

/// `stdvar_over_time`, or its square root.
#[derive(Debug)]
pub(super) struct Variance {
    /// The standard deviation is wanted.
    pub root: bool,
}

#[derive(Debug, Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

struct VarianceFold<'a> {
    values: &'a [f64],
    shift: f64,
    /// Samples that differ from the one before.
    changes: Positions,
    root: bool,
}

impl Fold for VarianceFold<'_> {
    type State = Moments;

    const MIN_SAMPLES: usize = 1;

    #[inline]
    fn sample(&self, i: usize) -> Moments {
        Moments { count: 1.0, mean: self.values[i] - self.shift, squares: 0.0 }
    }

    #[inline]
    fn merge(earlier: Moments, later: Moments) -> Moments {
        let count = earlier.count + later.count;
        let share = later.count / count;
        let distance = later.mean - earlier.mean;
        Moments {
            count,
            mean: earlier.mean + distance * share,
            squares: earlier.squares + later.squares + distance * distance * earlier.count * share,
        }
    }

    fn finish(&mut self, state: &Moments, window: &Window) -> Option<f64> {
        if self.changes.within(window.lo + 1, window.hi).is_empty() {
            return Some(0.0);
        }
        let variance = state.squares / state.count;
        // both our distances and Prometheus's are rounded in proportion to the values, not to themselves
        let size = state.mean.abs() + self.shift.abs();
        if size > MAGNIFICATION_LIMIT / 4.0 * variance.sqrt() {
            return None;
        }
        Some(if self.root { variance.sqrt() } else { variance })
    }

    fn direct(&self, window: &Window) -> f64 {
        let variance = variance(&self.values[window.lo..window.hi]);
        if self.root { variance.sqrt() } else { variance }
    }
}

/// Welford's variance with compensated sums.
fn variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut mean_compensation) = (0.0, 0.0);
    let (mut squares, mut squares_compensation) = (0.0, 0.0);
    for value in values {
        count += 1.0;
        let distance = value - (mean + mean_compensation);
        (mean, mean_compensation) = kahan_add(distance / count, mean, mean_compensation);
        let square = distance * (value - (mean + mean_compensation));
        (squares, squares_compensation) = kahan_add(square, squares, squares_compensation);
    }
    (squares + squares_compensation) / count
}

/// Squares of such samples neither overflow nor lose digits.
pub(super) fn tame(value: f64) -> bool {
    value == 0.0 || (1e-140..1e140).contains(&value.abs())
}

impl FloatKernel for Variance {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let mut fold = VarianceFold {
            values,
            shift: values.first().copied().filter(|value| tame(*value)).unwrap_or(0.0),
            changes: Positions::of_pairs(values, |before, value| before != value),
            root: self.root,
        };
        fold_windows(times, values, &context.windows, tame, &mut fold, emit);
        Ok(())
    }
}
