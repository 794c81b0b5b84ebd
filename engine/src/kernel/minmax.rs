//! `min_over_time`, `max_over_time` and the times of the extreme samples.
//!
//! A monotonic queue: the extreme sample of the window is at its front, behind it those that become extreme once the
//! ones before have left. NaN is no candidate; a window of nothing but NaN has NaN.

use storage::model::Timestamp;

use super::KernelContext;
use super::floats_only::FloatKernel;
use super::window::for_each_window;
use crate::error::Result;

/// The greatest (`MAX`) or least sample.
#[derive(Debug)]
pub(super) struct Extreme<const MAX: bool> {
    /// What is told of it.
    pub output: Output,
}

/// What is told of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// The value; of equal ones, the first.
    Value,
    /// The time in seconds; of equal ones, the last.
    Time,
}

impl<const MAX: bool> FloatKernel for Extreme<MAX> {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        mut emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let last_wins = self.output == Output::Time;
        let beats = |new: f64, old: f64| {
            let strictly = if MAX { new > old } else { new < old };
            strictly || (last_wins && new == old)
        };
        let mut queue = Vec::new();
        let mut front = 0;
        let mut seen = 0;
        for_each_window(times, &context.windows, |window| {
            while front < queue.len() && queue[front] < window.lo {
                front += 1;
            }
            for i in seen.max(window.lo)..window.hi {
                let value = values[i];
                if value.is_nan() {
                    continue;
                }
                while queue.len() > front && beats(value, values[queue[queue.len() - 1]]) {
                    queue.pop();
                }
                queue.push(i);
            }
            seen = window.hi;
            let found = queue.get(front).copied().unwrap_or(window.hi - 1);
            emit(window.step, if last_wins { epoch_seconds(times[found]) } else { values[found] });
        });
        Ok(())
    }
}

/// A time as PromQL shows it.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus does")]
pub(super) fn epoch_seconds(t: Timestamp) -> f64 {
    t as f64 / 1000.0
}
