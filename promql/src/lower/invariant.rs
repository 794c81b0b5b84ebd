//! What has the same value at every step is evaluated once.
//!
//! A selector with `@` is step-invariant, and so is everything computed from nothing but such selectors and constants, unless a
//! function on the way reads the evaluation time or its samples' timestamps. The largest such subtrees are wrapped in
//! [`Node::StepInvariant`]. Constants are not worth it, and range vectors are wrapped only together with the function that eats
//! them. Inside a subquery the wrapping is by the subquery's own steps, whether or not it has an `@` itself.

use crate::function::Function;
use crate::tree::{Call, Node};

/// What a subtree is, seen from above.
#[derive(Debug, Clone, Copy)]
struct Invariance {
    /// Has one value for all steps.
    invariant: bool,
    /// Is to be wrapped if what is above it varies.
    worth_wrapping: bool,
}

const VARIES: Invariance = Invariance { invariant: false, worth_wrapping: false };
const WRAPPED: Invariance = Invariance { invariant: true, worth_wrapping: true };
const CONSTANT: Invariance = Invariance { invariant: true, worth_wrapping: false };

/// Wraps the largest step-invariant subtrees.
pub(super) fn wrap(mut node: Node) -> Node {
    let invariance = visit(&mut node);
    wrap_if(&mut node, invariance.worth_wrapping);
    node
}

fn wrap_if(node: &mut Node, wrap: bool) {
    if wrap {
        let inner = std::mem::replace(node, Node::Number(0.0));
        *node = Node::StepInvariant(Box::new(inner));
    }
}

fn visit(node: &mut Node) -> Invariance {
    match node {
        Node::Number(_) | Node::String(_) => CONSTANT,
        Node::Vector(selector) => {
            if selector.at.is_some() {
                WRAPPED
            } else {
                VARIES
            }
        }
        Node::Matrix(matrix) => Invariance { invariant: matrix.selector.at.is_some(), worth_wrapping: false },
        Node::Subquery(subquery) => {
            let inner = visit(&mut subquery.expr);
            wrap_if(&mut subquery.expr, inner.worth_wrapping);
            Invariance { invariant: subquery.at.is_some(), worth_wrapping: false }
        }
        Node::Call(call) => visit_call(call),
        Node::Aggregate(aggregate) => match &mut aggregate.param {
            Some(param) => visit_both(&mut aggregate.expr, param),
            None => visit(&mut aggregate.expr),
        },
        Node::Binary(binary) => visit_both(&mut binary.lhs, &mut binary.rhs),
        Node::Negate(inner) | Node::Plus(inner) | Node::StepInvariant(inner) => visit(inner),
    }
}

fn visit_both(a: &mut Node, b: &mut Node) -> Invariance {
    let (of_a, of_b) = (visit(a), visit(b));
    if of_a.invariant && of_b.invariant {
        return WRAPPED;
    }
    wrap_if(a, of_a.worth_wrapping);
    wrap_if(b, of_b.worth_wrapping);
    VARIES
}

fn visit_call(call: &mut Call) -> Invariance {
    let of_args: Vec<Invariance> = call.args.iter_mut().map(visit).collect();
    let args_invariant = of_args.iter().all(|arg| arg.invariant);
    // `timestamp(x @ 1)` reads the sample's own timestamp, any other argument has that of the step.
    let of_samples = call.function == Function::Timestamp && matches!(call.args.as_slice(), [Node::Vector(_)]);
    if args_invariant && (of_samples || !call.function.depends_on_time()) {
        return WRAPPED;
    }
    for (arg, of_arg) in call.args.iter_mut().zip(of_args) {
        wrap_if(arg, of_arg.worth_wrapping);
    }
    VARIES
}
