//! What there is to choose from.

use promql::Function;
use promql::tree::{AggregateOp, ValueType};

use super::Grammar;

/// All aggregations.
pub const AGGREGATES: [AggregateOp; 14] = [
    AggregateOp::Sum,
    AggregateOp::Avg,
    AggregateOp::Count,
    AggregateOp::Min,
    AggregateOp::Max,
    AggregateOp::Group,
    AggregateOp::Stddev,
    AggregateOp::Stdvar,
    AggregateOp::Quantile,
    AggregateOp::CountValues,
    AggregateOp::Topk,
    AggregateOp::Bottomk,
    AggregateOp::Limitk,
    AggregateOp::LimitRatio,
];

/// All binary operators.
pub const BINARIES: [&str; 18] =
    ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "</", ">/", "and", "or", "unless"];

/// What a query may have beside expressions, as the coverage counts it.
pub const MODIFIERS: [&str; 28] = [
    "anchored",
    "smoothed",
    "offset",
    "negative offset",
    "@ time",
    "@ start()",
    "@ end()",
    "subquery",
    "subquery default step",
    "subquery offset",
    "subquery @",
    "nested subquery",
    "duration expression",
    "by",
    "without",
    "moving parameter",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "fill_right",
    "unary minus",
    "unary plus",
    "range vector result",
    "string result",
];

impl Grammar<'_> {
    /// A function of one range vector.
    pub(super) fn range_function(&mut self) -> Function {
        let one = |function: &Function| function.signature().args == [ValueType::Matrix];
        let functions: Vec<Function> = Function::ALL.iter().copied().filter(one).collect();
        *self.random.pick(&functions)
    }

    /// A function of one instant vector, sample by sample.
    pub(super) fn element_function(&mut self) -> Function {
        let one = |function: &Function| {
            let signature = function.signature();
            signature.args == [ValueType::Vector] && signature.returns == ValueType::Vector
        };
        let functions: Vec<Function> = Function::ALL.iter().copied().filter(one).collect();
        *self.random.pick(&functions)
    }
}
