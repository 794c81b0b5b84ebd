//! `deriv` and `predict_linear`: least-squares lines.
//!
//! A state is the centred moments of a run of samples: means of time and value, sum of squared distances in time, sum of
//! products of distances. Two of them merge by Chan's formula. Times count from the series' first sample,
//! values from its first value.

use storage::model::{Timestamp, kahan_add};

use super::floats_only::FloatKernel;
use super::fold::{Fold, MAGNIFICATION_LIMIT, fold_windows};
use super::positions::Positions;
use super::variance::tame;
use super::window::Window;
use super::{KernelContext, ScalarArg};
use crate::error::Result;

/// `deriv`: the slope a second.
#[derive(Debug)]
pub(super) struct Deriv;

/// `predict_linear`: the line's value so many seconds after the step.
#[derive(Debug)]
pub(super) struct PredictLinear;

#[derive(Debug, Clone, Copy)]
struct Moments {
    count: f64,
    mean_x: f64,
    mean_y: f64,
    squares_x: f64,
    products: f64,
}

/// A line: its slope a second, and its value where x is 0.
#[derive(Debug, Clone, Copy)]
struct Line {
    slope: f64,
    intercept: f64,
}

/// What is asked of the line.
enum Question<'a> {
    Slope,
    /// The value so many seconds after the step.
    Value {
        ahead: &'a ScalarArg,
        context: &'a KernelContext<'a>,
    },
}

struct RegressionFold<'a> {
    times: &'a [Timestamp],
    values: &'a [f64],
    shift: f64,
    changes: Positions,
    question: Question<'a>,
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds between samples of a query stay below 2^53")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.wrapping_sub(from) as f64 / 1e3
}

impl RegressionFold<'_> {
    /// Where x is 0 for Prometheus: the first sample for a slope, the step itself for a value.
    fn origin(&self, window: &Window) -> Timestamp {
        match &self.question {
            Question::Slope => self.times[window.lo],
            Question::Value { context, .. } => context.windows.eval_time(window.step),
        }
    }

    fn answer(&self, line: Line, window: &Window) -> f64 {
        match &self.question {
            Question::Slope => line.slope,
            Question::Value { ahead, .. } => line.slope * ahead.at(window.step) + line.intercept,
        }
    }
}

impl Fold for RegressionFold<'_> {
    type State = Moments;

    const MIN_SAMPLES: usize = 2;

    #[inline]
    fn sample(&self, i: usize) -> Moments {
        Moments {
            count: 1.0,
            mean_x: seconds(self.times[0], self.times[i]),
            mean_y: self.values[i] - self.shift,
            squares_x: 0.0,
            products: 0.0,
        }
    }

    #[inline]
    fn merge(earlier: Moments, later: Moments) -> Moments {
        let count = earlier.count + later.count;
        let share = later.count / count;
        let (x, y) = (later.mean_x - earlier.mean_x, later.mean_y - earlier.mean_y);
        let weight = earlier.count * share;
        Moments {
            count,
            mean_x: earlier.mean_x + x * share,
            mean_y: earlier.mean_y + y * share,
            squares_x: earlier.squares_x + later.squares_x + x * x * weight,
            products: earlier.products + later.products + x * y * weight,
        }
    }

    fn finish(&mut self, state: &Moments, window: &Window) -> Option<f64> {
        if self.changes.within(window.lo + 1, window.hi).is_empty() {
            let line = Line { slope: 0.0, intercept: self.values[window.lo] };
            return Some(self.answer(line, window));
        }
        let slope = state.products / state.squares_x;
        let x = state.mean_x - seconds(self.times[0], self.origin(window));
        let y = state.mean_y + self.shift;
        let line = Line { slope, intercept: y - slope * x };
        let answer = self.answer(line, window);

        // Prometheus subtracts products of means from means of products, and rounds in proportion to those
        let n = state.count;
        let size_y = state.mean_y.abs() + self.shift.abs();
        let size_x = x.abs() + state.mean_x.abs();
        let slope_magnified = n * size_x * size_y / state.products.abs() + n * size_x * size_x / state.squares_x;
        let magnified = match &self.question {
            Question::Slope => slope_magnified,
            Question::Value { ahead, .. } => {
                let lever = slope.abs() * (ahead.at(window.step).abs() + size_x);
                (slope_magnified * lever + size_y) / answer.abs()
            }
        };
        // written so that NaN declines
        (magnified < MAGNIFICATION_LIMIT).then_some(answer)
    }

    fn direct(&self, window: &Window) -> f64 {
        let (times, values) = (&self.times[window.lo..window.hi], &self.values[window.lo..window.hi]);
        self.answer(least_squares(times, values, self.origin(window)), window)
    }
}

/// The least-squares line through the samples, with Kahan sums. `origin` is where x is 0.
#[expect(clippy::cast_precision_loss, reason = "a window has fewer samples than a float has digits")]
fn least_squares(times: &[Timestamp], values: &[f64], origin: Timestamp) -> Line {
    let first = values.first().copied().unwrap_or(f64::NAN);
    if values.iter().skip(1).all(|value| *value == first) {
        let (slope, intercept) = if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
        return Line { slope, intercept };
    }
    let mut sums = [(0.0, 0.0); 4];
    for (t, y) in times.iter().zip(values) {
        let x = seconds(origin, *t);
        for ((sum, compensation), term) in sums.iter_mut().zip([x, *y, x * y, x * x]) {
            (*sum, *compensation) = kahan_add(term, *sum, *compensation);
        }
    }
    let n = values.len() as f64;
    let [x, y, xy, xx] = sums.map(|(sum, compensation)| sum + compensation);
    let covariance = xy - x * y / n;
    let variance = xx - x * x / n;
    let slope = covariance / variance;
    Line { slope, intercept: y / n - slope * x / n }
}

fn run(
    times: &[Timestamp],
    values: &[f64],
    context: &KernelContext<'_>,
    question: Question<'_>,
    emit: impl FnMut(usize, f64),
) {
    let mut fold = RegressionFold {
        times,
        values,
        shift: values.first().copied().filter(|value| tame(*value)).unwrap_or(0.0),
        changes: Positions::of_pairs(values, |before, value| before != value),
        question,
    };
    fold_windows(times, values, &context.windows, tame, &mut fold, emit);
}

impl FloatKernel for Deriv {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        run(times, values, context, Question::Slope, emit);
        Ok(())
    }
}

impl FloatKernel for PredictLinear {
    fn floats(
        &self,
        times: &[Timestamp],
        values: &[f64],
        context: &KernelContext<'_>,
        emit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let ahead = super::argument(context, 0)?;
        run(times, values, context, Question::Value { ahead, context }, emit);
        Ok(())
    }
}
