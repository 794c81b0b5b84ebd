//! Whether series of an expression may differ in nothing but their metric name.
//!
//! Where they may, dropping the name can make two series equal, which Prometheus refuses at every step at which both
//! have a sample. Where they may not, that check is left out of the plan.

use promql::Function;
use promql::tree::{Binary, Node, VectorSelector};
use storage::model::{METRIC_NAME, MatchOp};

use crate::binary::changes_metric;

/// Whether two series of `node` may differ in their metric name alone.
pub(super) fn may_differ_in_name(node: &Node) -> bool {
    match node {
        Node::Number(_) | Node::String(_) => false,
        Node::Vector(selector) => selects_several_names(selector),
        Node::Matrix(matrix) => selects_several_names(&matrix.selector),
        Node::Subquery(subquery) => may_differ_in_name(&subquery.expr),
        Node::Call(call) => match call.function {
            // these leave labels as they are
            Function::LastOverTime
            | Function::FirstOverTime
            | Function::Sort
            | Function::SortDesc
            | Function::SortByLabel
            | Function::SortByLabelDesc => call.args.iter().any(may_differ_in_name),
            // these write labels, the name among them
            Function::LabelReplace | Function::LabelJoin | Function::Info => true,
            _ => false,
        },
        // a group's labels come from the grouping, where a name can stand only next to others
        Node::Aggregate(_) => true,
        Node::Binary(binary) => keeps_name(binary),
        Node::Negate(_) => false,
        Node::Plus(inner) | Node::StepInvariant(inner) => may_differ_in_name(inner),
    }
}

fn keeps_name(binary: &Binary) -> bool {
    if binary.op.is_set() {
        return true;
    }
    if binary.return_bool || changes_metric(binary.op) {
        return false;
    }
    // what stands for a missing sample has no name, beside samples that have one
    let fills = binary.matching.as_ref().is_some_and(|m| m.fill_left.is_some() || m.fill_right.is_some());
    fills || may_differ_in_name(&binary.lhs) || may_differ_in_name(&binary.rhs)
}

fn selects_several_names(selector: &VectorSelector) -> bool {
    !selector.matchers.iter().any(|m| m.name() == METRIC_NAME && m.op() == MatchOp::Equal)
}
