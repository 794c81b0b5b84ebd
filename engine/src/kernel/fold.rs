//! Functions that fold a window into an aggregate, evaluated so that the answer is Prometheus's.
//!
//! Prometheus folds each window from its beginning. Three cases:
//!
//! 1. Windows share few samples: fold directly, as Prometheus does, to the last bit.
//! 2. A sample of the window is infinite, NaN, or so large or small that the order of operations decides whether
//!    something overflows: fold directly.
//! 3. Else [`TwoStack`] has the aggregate in constant time. Where it cancels so far that another order of the same
//!    operations could show in the answer, [`Fold::finish`] declines, and the window is folded directly.

use storage::model::Timestamp;

use super::Windows;
use super::positions::Positions;
use super::two_stack::TwoStack;
use super::window::{Window, for_each_window};

/// Up to so many samples shared with the window before, folding directly costs no more.
const FEW_SHARED_SAMPLES: usize = 8;

/// How far rounding may be magnified before a window is folded directly: 4e4 units in the last place are 1e-11.
pub(super) const MAGNIFICATION_LIMIT: f64 = 4e4;

/// A function that folds windows.
pub(super) trait Fold {
    /// What samples are folded into.
    type State: Copy;

    /// Windows with fewer samples have no value.
    const MIN_SAMPLES: usize;

    /// The state of sample `i` alone.
    fn sample(&self, i: usize) -> Self::State;

    /// The state of a run of samples, given those of its two parts.
    fn merge(earlier: Self::State, later: Self::State) -> Self::State;

    /// The value of a window, or none where it should be folded directly.
    fn finish(&mut self, state: &Self::State, window: &Window) -> Option<f64>;

    /// The value of a window, computed with Prometheus's operations in Prometheus's order.
    fn direct(&self, window: &Window) -> f64;
}

/// Calls `emit` with the value of each window. `tame` tells of a sample that its size can do no harm.
pub(super) fn fold_windows<F: Fold>(
    times: &[Timestamp],
    values: &[f64],
    windows: &Windows,
    tame: impl Fn(f64) -> bool,
    fold: &mut F,
    mut emit: impl FnMut(usize, f64),
) {
    let mut wild = Positions::of_samples(values, |value| !tame(*value));
    let mut stack = TwoStack::new();
    let mut last_hi = 0;
    for_each_window(times, windows, |window| {
        let shared = last_hi - window.lo.min(last_hi);
        last_hi = window.hi;
        if window.len() < F::MIN_SAMPLES {
            return;
        }
        let merged = if shared <= FEW_SHARED_SAMPLES || !wild.within(window.lo, window.hi).is_empty() {
            None
        } else {
            let state = stack.window(window.lo, window.hi, |i| fold.sample(i), F::merge);
            fold.finish(&state, &window)
        };
        emit(window.step, merged.unwrap_or_else(|| fold.direct(&window)));
    });
}
