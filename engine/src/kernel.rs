//! What range functions compute: one series, all windows of a query, no Arrow and no plan.
//!
//! A kernel is handed the samples of one series with staleness markers taken out, and writes a row. Windows are
//! `(end - range, end]`, one a step. Both borders only move forward, so a kernel keeps two indices instead of
//! searching, and its work a step does not depend on the window's length where the function allows it.
//!
//! ```text
//! RangeKernel ─┬─ FloatsOnly<K>: histograms in a window are left out, and the user told
//!              ├─ EitherKind<K>: a window holds floats or histograms; one that holds both has no answer
//!              └─ kernels of their own: first, last, count, changes, resets, irate, idelta, and all that is
//!                 `anchored` or `smoothed`
//! ```
//!
//! `anchored` and `smoothed` also look at samples before and after the window, as far as the lookback reaches
//! ([`Margin`]). Those are in `lo..hi` of a window, too; kernels of theirs tell them apart by the window's borders.

mod both_kinds;
mod changes;
mod counter;
mod edge;
mod either_kind;
mod extended;
mod extended_histogram;
mod floats_only;
mod fold;
mod histogram_rate;
mod histogram_sum;
mod instant_rate;
mod interpolate;
mod minmax;
mod note;
mod per_times;
mod positions;
mod quantile;
mod regression;
mod smoothed_select;
mod smoothing;
mod start_time;
mod sum;
mod two_stack;
mod variance;
mod window;

use std::sync::Arc;

use promql::Function;
use promql::tree::{Border, Grid};
use storage::model::{FloatHistogram, TimeInterval, Timestamp};

use crate::annotations::AnnotationSink;
use crate::error::{Error, Result};
use crate::vector::Row;

pub(crate) use extended::extended_samples;
pub(crate) use per_times::PerTimes;
pub(crate) use quantile::{quantile_of, warn_invalid_quantile};
pub(crate) use smoothed_select::SmoothedSelect;
use window::Window;
pub(crate) use window::for_each_last;

/// The samples of one series, ascending in time, floats and histograms apart.
#[derive(Debug, Clone, Copy, Default)]
pub struct Series<'a> {
    /// Times of the float samples.
    pub float_t: &'a [Timestamp],
    /// The float samples.
    pub floats: &'a [f64],
    /// Times of the histogram samples.
    pub histogram_t: &'a [Timestamp],
    /// The histogram samples.
    pub histograms: &'a [Arc<FloatHistogram>],
    /// Start timestamps of the float samples, as many as these, 0 for none; empty where the function minds none.
    pub float_starts: &'a [Timestamp],
    /// Likewise, of the histogram samples.
    pub histogram_starts: &'a [Timestamp],
}

/// Where the windows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// The steps.
    pub grid: Grid,
    /// Subtracted from each window's end.
    pub offset_ms: i64,
    /// The end of every window before the offset, where it is fixed.
    pub at: Option<Timestamp>,
    /// Length of each window.
    pub range_ms: i64,
    /// What is looked at beyond the window's borders.
    pub margin: Margin,
}

/// How far before and after its borders a window's samples are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Margin {
    /// Milliseconds before the start.
    pub before_ms: i64,
    /// Milliseconds after the end.
    pub after_ms: i64,
}

impl Margin {
    /// The margin of a range selector with this border, in a query of this lookback.
    #[must_use]
    pub fn of_range(border: Border, lookback_ms: i64) -> Self {
        match border {
            Border::Plain => Self::default(),
            Border::Anchored => Self { before_ms: lookback_ms, after_ms: 0 },
            Border::Smoothed => Self { before_ms: lookback_ms, after_ms: lookback_ms },
        }
    }

    /// The margin of an instant selector, whose window is the lookback itself.
    #[must_use]
    pub fn of_instant(border: Border, lookback_ms: i64) -> Self {
        let after_ms = if border == Border::Smoothed { lookback_ms } else { 0 };
        Self { before_ms: 0, after_ms }
    }
}

impl Windows {
    /// Number of windows: one a step.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.grid.steps()
    }

    /// The time of the step itself.
    #[must_use]
    pub fn eval_time(&self, step: usize) -> Timestamp {
        self.grid.at(step)
    }

    /// Last millisecond inside window `step`.
    #[inline]
    #[must_use]
    pub fn end(&self, step: usize) -> Timestamp {
        self.at.unwrap_or_else(|| self.grid.at(step)) - self.offset_ms
    }

    /// Last millisecond before window `step`.
    #[inline]
    #[must_use]
    pub fn start(&self, step: usize) -> Timestamp {
        self.end(step) - self.range_ms
    }

    /// Last millisecond before the samples that window `step` looks at.
    #[inline]
    #[must_use]
    pub fn read_start(&self, step: usize) -> Timestamp {
        self.start(step).saturating_sub(self.margin.before_ms)
    }

    /// Last millisecond that window `step` looks at.
    #[inline]
    #[must_use]
    pub fn read_end(&self, step: usize) -> Timestamp {
        self.end(step).saturating_add(self.margin.after_ms)
    }

    /// All that any window looks at.
    #[must_use]
    pub fn read_interval(&self) -> TimeInterval {
        let last = self.steps().saturating_sub(1);
        TimeInterval::new(self.read_start(0).saturating_add(1), self.read_end(last))
    }
}

/// The samples of window after window: indices `lo..hi` into a series' times, both only growing.
#[derive(Debug, Clone, Copy, Default)]
pub struct WindowCursor {
    /// First sample inside.
    pub lo: usize,
    /// First sample after.
    pub hi: usize,
}

impl WindowCursor {
    /// Moves to the window `(start, end]`.
    #[inline]
    pub fn advance(&mut self, times: &[Timestamp], start: Timestamp, end: Timestamp) {
        while self.hi < times.len() && times[self.hi] <= end {
            self.hi += 1;
        }
        while self.lo < self.hi && times[self.lo] <= start {
            self.lo += 1;
        }
    }
}

/// A scalar argument.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalarArg {
    /// The same at every step.
    Constant(f64),
    /// One a step.
    Steps(Arc<[f64]>),
}

impl ScalarArg {
    /// The value at `step`.
    #[inline]
    #[must_use]
    pub fn at(&self, step: usize) -> f64 {
        match self {
            ScalarArg::Constant(value) => *value,
            ScalarArg::Steps(values) => values[step],
        }
    }
}

/// What a kernel needs besides the series: one for all series of an operator.
#[derive(Debug)]
pub struct KernelContext<'a> {
    /// Where the windows lie.
    pub windows: Windows,
    /// The function's scalar arguments in the order of its signature, the range vector left out.
    pub args: &'a [ScalarArg],
    /// Where annotations go.
    pub annotations: &'a AnnotationSink,
    /// The series' metric name, for annotations; empty where it has none.
    pub metric_name: &'a str,
    /// The series' label `__type__`, empty where it has none, if that is what tells a counter; else its name does.
    pub type_label: Option<&'a str>,
    /// The windows over the times of the series before.
    pub layout: &'a WindowLayout,
    /// `line:column` of the call's first argument in the query text, for annotations. That is the range vector
    /// in all functions but `quantile_over_time`.
    pub position: &'a str,
}

/// Windows, each with what a growth inside is multiplied with, over times that several series have.
#[derive(Debug, Default)]
pub struct WindowLayout(PerTimes<(Window, f64)>);

/// A range function.
pub trait RangeKernel: Send + Sync + std::fmt::Debug {
    /// Evaluates one series over all windows. Steps that get no sample stay empty.
    ///
    /// # Errors
    /// [`Error::Execution`](crate::Error::Execution) where a scalar argument is not one the function takes, at
    /// a step that has samples.
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()>;
}

/// The kernel of `function` over a selector with this border; none where it is no range function, or does not take such
/// a selector ([`functions_over`]).
///
/// `absent_over_time` has the kernel of `present_over_time`: the operator turns presence into absence.
#[must_use]
pub fn range_kernel(function: Function, border: Border) -> Option<Box<dyn RangeKernel>> {
    match border {
        Border::Plain => plain_kernel(function),
        Border::Anchored => extended_kernel(function, false),
        Border::Smoothed => extended_kernel(function, true),
    }
}

/// The functions that take a selector with this border, by name; all where it is plain.
#[must_use]
pub fn functions_over(border: Border) -> Vec<Function> {
    Function::ALL.iter().copied().filter(|function| range_kernel(*function, border).is_some()).collect()
}

fn extended_kernel(function: Function, smoothed: bool) -> Option<Box<dyn RangeKernel>> {
    use extended::ExtendedRate;

    Some(match function {
        Function::Rate => Box::new(ExtendedRate { smoothed, counter: true, per_second: true }),
        Function::Increase => Box::new(ExtendedRate { smoothed, counter: true, per_second: false }),
        Function::Delta => Box::new(ExtendedRate { smoothed, counter: false, per_second: false }),
        Function::Changes if !smoothed => Box::new(changes::Changes { anchored: true }),
        Function::Resets if !smoothed => Box::new(changes::Resets { anchored: true }),
        _ => return None,
    })
}

fn plain_kernel(function: Function) -> Option<Box<dyn RangeKernel>> {
    use either_kind::EitherKind;
    use floats_only::FloatsOnly;
    use minmax::{Extreme, Output};

    Some(match function {
        Function::Rate => Box::new(start_time::CounterRate::<true>),
        Function::Increase => Box::new(start_time::CounterRate::<false>),
        Function::Delta => Box::new(EitherKind(counter::ExtrapolatedRate::<false, false>)),
        Function::Irate => Box::new(instant_rate::InstantRate { counter: true }),
        Function::Idelta => Box::new(instant_rate::InstantRate { counter: false }),
        Function::SumOverTime => Box::new(EitherKind(sum::SumOverTime)),
        Function::AvgOverTime => Box::new(EitherKind(sum::AvgOverTime)),
        Function::MinOverTime => Box::new(FloatsOnly(Extreme::<false> { output: Output::Value })),
        Function::MaxOverTime => Box::new(FloatsOnly(Extreme::<true> { output: Output::Value })),
        Function::TsOfMinOverTime => Box::new(FloatsOnly(Extreme::<false> { output: Output::Time })),
        Function::TsOfMaxOverTime => Box::new(FloatsOnly(Extreme::<true> { output: Output::Time })),
        Function::StddevOverTime => Box::new(FloatsOnly(variance::Variance { root: true })),
        Function::StdvarOverTime => Box::new(FloatsOnly(variance::Variance { root: false })),
        Function::Deriv => Box::new(FloatsOnly(regression::Deriv)),
        Function::PredictLinear => Box::new(FloatsOnly(regression::PredictLinear)),
        Function::DoubleExponentialSmoothing => Box::new(smoothing::DoubleExponential),
        Function::QuantileOverTime => Box::new(FloatsOnly(quantile::QuantileOverTime)),
        Function::MadOverTime => Box::new(FloatsOnly(quantile::MadOverTime)),
        Function::Changes => Box::new(changes::Changes { anchored: false }),
        Function::Resets => Box::new(changes::Resets { anchored: false }),
        Function::CountOverTime => Box::new(edge::Count),
        Function::PresentOverTime | Function::AbsentOverTime => Box::new(edge::Present),
        Function::FirstOverTime => Box::new(edge::First),
        Function::LastOverTime => Box::new(edge::Last),
        Function::TsOfFirstOverTime => Box::new(edge::TimeOfFirst),
        Function::TsOfLastOverTime => Box::new(edge::TimeOfLast),
        _ => return None,
    })
}

/// Scalar argument number `index`.
fn argument<'a>(context: &KernelContext<'a>, index: usize) -> Result<&'a ScalarArg> {
    context.args.get(index).ok_or_else(|| Error::Internal(format!("a range function lacks its argument {index}")))
}

#[cfg(test)]
mod tests;
