//! Which labels each selector is asked for.
//!
//! An aggregation sees only the labels it groups by, `absent` and `scalar` see none. That need passes down through operations that
//! treat every series by itself. It stops, and all labels are needed, wherever series meet by their labels (matching, `topk`,
//! `label_replace`, `histogram_quantile`, …) and wherever dropping the metric name could make two series one, which Prometheus
//! refuses and which cannot be seen with labels missing: a call or an operator over a selector that does not fix the name. The metric
//! name is always among the labels, since annotations mention it.

use storage::model::{METRIC_NAME, MatchOp, Matcher};

use crate::function::Function;
use crate::tree::{Aggregate, AggregateOp, Call, Grouping, Node, Projection, ValueType, VectorSelector};

/// What is needed of a subtree's labels.
#[derive(Debug, Clone)]
struct Need {
    labels: Projection,
    /// The metric name may be dropped between the selector and what needs its labels.
    name_dropped: bool,
}

impl Need {
    fn all() -> Self {
        Self { labels: Projection::All, name_dropped: false }
    }

    fn none() -> Self {
        Self::only(&[])
    }

    fn only(labels: &[String]) -> Self {
        let mut labels = labels.to_vec();
        labels.push(METRIC_NAME.to_string());
        labels.sort_unstable();
        labels.dedup();
        Self { labels: Projection::Only(labels), name_dropped: false }
    }

    fn without(labels: &[String]) -> Self {
        let labels: Vec<String> = labels.iter().filter(|label| *label != METRIC_NAME).cloned().collect();
        if labels.is_empty() {
            return Self::all();
        }
        Self { labels: Projection::Without(labels), name_dropped: false }
    }

    fn through_operation(&self) -> Self {
        Self { labels: self.labels.clone(), name_dropped: true }
    }
}

/// Sets the projection of every selector below `node`, whose own labels are all needed.
pub(super) fn assign(node: &mut Node) {
    visit(node, &Need::all());
}

fn visit(node: &mut Node, need: &Need) {
    match node {
        Node::Number(_) | Node::String(_) => {}
        Node::Vector(selector) => set(selector, need),
        Node::Matrix(matrix) => set(&mut matrix.selector, need),
        Node::Subquery(subquery) => visit(&mut subquery.expr, need),
        Node::Call(call) => visit_call(call, need),
        Node::Aggregate(aggregate) => visit_aggregate(aggregate),
        Node::Binary(binary) => {
            let need = match binary.matching {
                Some(_) => Need::all(),
                None => need.through_operation(),
            };
            visit(&mut binary.lhs, &need);
            visit(&mut binary.rhs, &need);
        }
        Node::Negate(inner) => visit(inner, &need.through_operation()),
        Node::Plus(inner) | Node::StepInvariant(inner) => visit(inner, need),
    }
}

fn set(selector: &mut VectorSelector, need: &Need) {
    let fixed = |matcher: &Matcher| {
        matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !matcher.value().is_empty()
    };
    let safe = !need.name_dropped || selector.matchers.iter().any(fixed);
    selector.projection = if safe { need.labels.clone() } else { Projection::All };
}

fn visit_aggregate(aggregate: &mut Aggregate) {
    let need = match aggregate.op {
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => Need::all(),
        _ => match &aggregate.grouping {
            Grouping::By(labels) => Need::only(labels),
            Grouping::Without(labels) => Need::without(labels),
        },
    };
    visit(&mut aggregate.expr, &need);
    if let Some(param) = &mut aggregate.param {
        visit(param, &Need::all());
    }
}

fn visit_call(call: &mut Call, need: &Need) {
    let need = match call.function {
        Function::Absent | Function::AbsentOverTime | Function::Scalar => Need::none(),
        Function::HistogramFraction
        | Function::HistogramQuantile
        | Function::HistogramQuantiles
        | Function::Info
        | Function::LabelJoin
        | Function::LabelReplace
        | Function::SortByLabel
        | Function::SortByLabelDesc => Need::all(),
        _ => need.through_operation(),
    };
    for arg in &mut call.args {
        match arg.value_type() {
            // A scalar argument is a computation of its own.
            ValueType::Scalar => visit(arg, &Need::all()),
            _ => visit(arg, &need),
        }
    }
}
