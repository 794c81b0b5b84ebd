//! What range functions compute: one series, all windows of a query, no Arrow and no plan.
//!
//! A kernel is handed the samples of one series with staleness markers taken out, and writes a row. Windows are
//! `(end - range, end]`, one a step. Both borders only move forward, so a kernel keeps two indices instead of
//! searching, and its work a step does not depend on the window's length where the function allows it.
//!
//! ```text
//! RangeKernel ─┬─ FloatsOnly<K>: histograms in a window are left out, and the user told
//!              ├─ EitherKind<K>: a window holds floats or histograms; one that holds both has no answer
//!              └─ kernels of their own: first, last, count, changes, resets, irate, idelta
//! ```

mod both_kinds;
mod changes;
mod counter;
mod edge;
mod either_kind;
mod floats_only;
mod fold;
mod histogram_rate;
mod histogram_sum;
mod instant_rate;
mod minmax;
mod note;
mod positions;
mod quantile;
mod regression;
mod smoothing;
mod sum;
mod two_stack;
mod variance;
mod window;

use std::sync::Arc;

use promql::Function;
use promql::tree::Grid;
use storage::model::{FloatHistogram, Timestamp};

use crate::annotations::AnnotationSink;
use crate::error::{Error, Result};
use crate::vector::Row;

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
    /// `line:column` of the call's first argument in the query text, for annotations. That is the range vector
    /// in all functions but `quantile_over_time`.
    pub position: &'a str,
}

/// A range function.
pub trait RangeKernel: Send + Sync + std::fmt::Debug {
    /// Evaluates one series over all windows. Steps that get no sample stay empty.
    ///
    /// # Errors
    /// [`Error::Execution`](crate::Error::Execution) where a scalar argument is not one the function takes, at
    /// a step that has samples.
    fn evaluate(&self, series: &Series<'_>, context: &KernelContext<'_>, row: &mut Row<'_>) -> Result<()>;
}

/// The kernel of `function`; none where it is no range function.
///
/// `absent_over_time` has the kernel of `present_over_time`: the operator turns presence into absence.
#[must_use]
pub fn range_kernel(function: Function) -> Option<Box<dyn RangeKernel>> {
    use either_kind::EitherKind;
    use floats_only::FloatsOnly;
    use minmax::{Extreme, Output};

    Some(match function {
        Function::Rate => Box::new(EitherKind(counter::ExtrapolatedRate::<true, true>)),
        Function::Increase => Box::new(EitherKind(counter::ExtrapolatedRate::<true, false>)),
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
        Function::DoubleExponentialSmoothing => Box::new(FloatsOnly(smoothing::DoubleExponential)),
        Function::QuantileOverTime => Box::new(FloatsOnly(quantile::QuantileOverTime)),
        Function::MadOverTime => Box::new(FloatsOnly(quantile::MadOverTime)),
        Function::Changes => Box::new(changes::Changes),
        Function::Resets => Box::new(changes::Resets),
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
