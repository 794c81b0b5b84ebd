//! What a selector reads of downsampled data, and how coarse that may be: its function decides, Thanos's rules.
//!
//! The function is the nearest call or aggregation around the selector; one beyond an operator does not count, since what it sees is no
//! longer the selector's samples.
//!
//! | function | reads |
//! |---|---|
//! | `min`, `min_over_time`, `ts_of_min_over_time` | the smallest |
//! | `max`, `max_over_time`, `ts_of_max_over_time` | the largest |
//! | `count`, `count_over_time` | the count |
//! | `sum_over_time` | the sum |
//! | `rate`, `irate`, `increase`, `resets` | the counter |
//! | all others | the average |
//!
//! `sum` reads averages: it adds up series, not time. Functions that need two samples in a window want windows of at most half
//! their range.

use promql::Function;
use promql::tree::AggregateOp;

use crate::series_decoder::Reading;

/// The nearest function or aggregation around a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nearest {
    /// None, or an operator is nearer.
    Nothing,
    /// A function call.
    Call(Function),
    /// An aggregation.
    Aggregation(AggregateOp),
}

impl Nearest {
    /// What the selector reads.
    pub(super) fn reading(self) -> Reading {
        match self {
            Self::Aggregation(AggregateOp::Min) | Self::Call(Function::MinOverTime | Function::TsOfMinOverTime) => {
                Reading::Min
            }
            Self::Aggregation(AggregateOp::Max) | Self::Call(Function::MaxOverTime | Function::TsOfMaxOverTime) => {
                Reading::Max
            }
            Self::Aggregation(AggregateOp::Count) | Self::Call(Function::CountOverTime) => Reading::Count,
            Self::Call(Function::SumOverTime) => Reading::Sum,
            Self::Call(Function::Rate | Function::Irate | Function::Increase | Function::Resets) => Reading::Counter,
            _ => Reading::Average,
        }
    }

    /// The coarsest resolution in milliseconds that will do over a range, where the query allows `max_resolution_ms`.
    pub(super) fn resolution_ms_max(self, max_resolution_ms: i64, range_ms: i64) -> i64 {
        if needs_two_samples(self) { max_resolution_ms.min(range_ms / 2) } else { max_resolution_ms }
    }
}

/// Whether a window with one sample has no answer. Thanos's list.
fn needs_two_samples(nearest: Nearest) -> bool {
    use Function::{Delta, Deriv, DoubleExponentialSmoothing, Idelta, Increase, Irate, PredictLinear, Rate};
    matches!(
        nearest,
        Nearest::Call(Rate | Irate | Increase | Delta | Idelta | Deriv | PredictLinear | DoubleExponentialSmoothing)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_choose() {
        let call = |name: &str| {
            let function = Function::ALL.iter().find(|function| function.name() == name);
            Nearest::Call(*function.unwrap_or_else(|| panic!("{name}")))
        };
        for (names, reading) in [
            ("min_over_time ts_of_min_over_time", Reading::Min),
            ("max_over_time ts_of_max_over_time", Reading::Max),
            ("count_over_time", Reading::Count),
            ("sum_over_time", Reading::Sum),
            ("rate irate increase resets", Reading::Counter),
            ("delta deriv avg_over_time last_over_time quantile_over_time abs absent timestamp", Reading::Average),
        ] {
            names.split(' ').for_each(|name| assert_eq!(call(name).reading(), reading, "{name}"));
        }
        for (op, reading) in [
            (AggregateOp::Min, Reading::Min),
            (AggregateOp::Max, Reading::Max),
            (AggregateOp::Count, Reading::Count),
            (AggregateOp::Sum, Reading::Average),
            (AggregateOp::CountValues, Reading::Average),
            (AggregateOp::Topk, Reading::Average),
        ] {
            assert_eq!(Nearest::Aggregation(op).reading(), reading, "{op:?}");
        }
        assert_eq!(Nearest::Nothing.reading(), Reading::Average);
        for name in ["rate", "irate", "increase", "delta", "idelta", "deriv", "predict_linear"] {
            assert_eq!(call(name).resolution_ms_max(3_600_000, 600_000), 300_000, "{name}");
        }
        assert_eq!(call("double_exponential_smoothing").resolution_ms_max(100, 600_000), 100);
        assert_eq!(call("resets").resolution_ms_max(3_600_000, 600_000), 3_600_000);
    }
}
