//! Which selectors are asked only for counts and sums of native histograms.
//!
//! Below `histogram_count`, `histogram_sum` and `histogram_avg` buckets play no part, unless something above or between needs them: a
//! subquery, which has to detect counter resets itself, a function of quantiles or fractions, or a trim. Prometheus reads
//! histograms without buckets there, and finds counter resets while it does, which what is computed of them tells.

use crate::function::Function;
use crate::tree::{BinaryOp, Node};

/// What lies above a node.
#[derive(Debug, Clone, Copy, Default)]
struct Above {
    /// A function of counts and sums.
    wants_stats: bool,
    /// Something that needs the buckets.
    needs_buckets: bool,
}

/// Marks the selectors below `node`.
pub(super) fn assign(node: &mut Node) {
    visit(node, Above::default());
}

fn visit(node: &mut Node, mut above: Above) {
    match node {
        Node::Number(_) | Node::String(_) => {}
        Node::Vector(selector) => selector.histogram_stats = above.wants_stats && !above.needs_buckets,
        Node::Matrix(matrix) => matrix.selector.histogram_stats = above.wants_stats && !above.needs_buckets,
        Node::Subquery(subquery) => visit(&mut subquery.expr, Above { needs_buckets: true, ..above }),
        Node::Call(call) => {
            match call.function {
                Function::HistogramCount | Function::HistogramSum | Function::HistogramAvg => above.wants_stats = true,
                Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
                    above.needs_buckets = true;
                }
                _ => {}
            }
            call.args.iter_mut().for_each(|arg| visit(arg, above));
        }
        Node::Aggregate(aggregate) => {
            visit(&mut aggregate.expr, above);
            if let Some(param) = &mut aggregate.param {
                visit(param, above);
            }
        }
        Node::Binary(binary) => {
            above.needs_buckets |= matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
            visit(&mut binary.lhs, above);
            visit(&mut binary.rhs, above);
        }
        Node::Negate(inner) | Node::Plus(inner) | Node::StepInvariant(inner) => visit(inner, above),
    }
}
