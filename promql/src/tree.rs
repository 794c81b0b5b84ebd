//! The query tree: what is to be evaluated, with nothing left to look up.
//!
//! Lowering has resolved `start()` and `end()` to times, folded constants, dropped parentheses, filled in
//! default subquery steps, and wrapped in [`Node::StepInvariant`] what has one value for all steps. The engine turns each
//! node into an operator.

use std::fmt;
use std::sync::Arc;

use storage::model::{Matcher, Timestamp};

use crate::function::Function;

/// Where in the query text something stands, in bytes, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// First byte after.
    pub end: usize,
}

/// The instants at which an expression is evaluated: `start`, `start + step`, … up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// First instant.
    pub start: Timestamp,
    /// No instant is later; not itself an instant unless it falls on a step.
    pub end: Timestamp,
    /// Milliseconds between instants; positive.
    pub step_ms: i64,
}

impl Grid {
    /// The grid of an instant query.
    #[must_use]
    pub const fn instant(t: Timestamp) -> Self {
        Self { start: t, end: t, step_ms: 1 }
    }

    /// Number of instants; 0 where `end < start`.
    #[must_use]
    pub fn steps(&self) -> usize {
        if self.end < self.start {
            0
        } else {
            usize::try_from((self.end - self.start) / self.step_ms + 1).unwrap_or(usize::MAX)
        }
    }

    /// Instant number `step`.
    #[must_use]
    pub fn at(&self, step: usize) -> Timestamp {
        self.start + i64::try_from(step).unwrap_or(i64::MAX) * self.step_ms
    }
}

/// The type of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One float a step.
    Scalar,
    /// A set of series, at most one sample each a step.
    Vector,
    /// A set of series with the samples of a range each.
    Matrix,
    /// Text.
    String,
}

/// An expression to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A scalar constant.
    Number(f64),
    /// A text constant.
    String(Arc<str>),
    /// An instant vector selector.
    Vector(VectorSelector),
    /// A range vector selector: an argument of a range function, or the root of an instant query.
    Matrix(MatrixSelector),
    /// A subquery: likewise.
    Subquery(Subquery),
    /// A function call.
    Call(Call),
    /// An aggregation.
    Aggregate(Aggregate),
    /// A binary operation.
    Binary(Binary),
    /// Unary minus.
    Negate(Box<Node>),
    /// Unary plus of an instant vector selector, which to `timestamp` and `absent` is a selector no longer. Elsewhere unary plus
    /// is dropped.
    Plus(Box<Node>),
    /// Has the same value at every step: evaluated once, at the first one, and repeated.
    StepInvariant(Box<Node>),
}

/// Which of a series' labels the rest of the query can see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Projection {
    /// All of them.
    #[default]
    All,
    /// Only these, sorted.
    Only(Vec<String>),
    /// All but these, sorted.
    Without(Vec<String>),
}

/// An instant vector selector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// All must pass, the metric name's among them.
    pub matchers: Vec<Matcher>,
    /// Subtracted from each instant before looking.
    pub offset_ms: i64,
    /// Looks at this instant instead of the step's own (before the offset).
    pub at: Option<Timestamp>,
    /// For an instant vector only `Smoothed` means anything (the value between the samples around the instant); the border of a
    /// range's window is [`MatrixSelector::border`].
    pub border: Border,
    /// Labels that the query needs of this selector.
    pub projection: Projection,
    /// Of native histograms only count, sum and whether they follow a counter reset are needed.
    pub histogram_stats: bool,
    /// Where it stands in the text.
    pub span: Span,
}

/// Prometheus 3.14's experimental window borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Border {
    /// Only samples inside the window.
    #[default]
    Plain,
    /// `anchored`: the last sample before the window counts as its first.
    Anchored,
    /// `smoothed`: values at both borders are interpolated.
    Smoothed,
}

/// A range vector selector: the samples in `(t - range, t]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// Which series, and where `t` is.
    pub selector: VectorSelector,
    /// Length of the window.
    pub range_ms: i64,
    /// How the window's borders are treated.
    pub border: Border,
    /// Where it stands in the text, range included.
    pub span: Span,
}

/// A subquery: `expr` on its own grid, aligned to absolute multiples of its step, as a range vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Box<Node>,
    /// Length of the window.
    pub range_ms: i64,
    /// Step of the inner grid; the default evaluation interval where none was written.
    pub step_ms: i64,
    /// Subtracted from each instant before looking.
    pub offset_ms: i64,
    /// Looks at this instant instead of the step's own (before the offset).
    pub at: Option<Timestamp>,
    /// Where it stands in the text.
    pub span: Span,
}

/// A function call. The number and types of arguments have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Which function.
    pub function: Function,
    /// In the order written. Where a default argument was left out (`day_of_month()`), lowering has written it.
    pub args: Vec<Node>,
    /// Where each argument stands in the text, for annotations; as long as `args`.
    pub arg_spans: Vec<Span>,
    /// Where the call stands in the text.
    pub span: Span,
}

/// An aggregation operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named as in PromQL")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    CountValues,
    Topk,
    Bottomk,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// As written in PromQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it takes a parameter before its operand.
    #[must_use]
    pub fn takes_parameter(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::Quantile | Self::CountValues | Self::Limitk | Self::LimitRatio
        )
    }

    /// Whether it needs [`ParseOptions::experimental_functions`](crate::ParseOptions::experimental_functions).
    #[must_use]
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }

    /// Whether it passes series on instead of making new ones.
    #[must_use]
    pub fn selects(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio)
    }
}

/// By which labels series are grouped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// Only these labels, sorted and distinct; none puts all series in one group.
    By(Vec<String>),
    /// All labels but these and the metric name, sorted and distinct.
    Without(Vec<String>),
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// What.
    pub expr: Box<Node>,
    /// The parameter of topk, quantile and their like: a scalar, or a string for `count_values`.
    pub param: Option<Box<Node>>,
    /// By which labels.
    pub grouping: Grouping,
    /// Where the aggregated expression stands in the text, for annotations.
    pub expr_span: Span,
    /// Where the parameter stands in the text.
    pub param_span: Span,
    /// Where the aggregation stands in the text.
    pub span: Span,
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named as in Prometheus")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eql,
    Neq,
    Gtr,
    Lss,
    Gte,
    Lte,
    /// `</`: keeps the part of a histogram below a bound.
    TrimUpper,
    /// `>/`: keeps the part of a histogram above a bound.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// Whether this compares.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eql | Self::Neq | Self::Gtr | Self::Lss | Self::Gte | Self::Lte)
    }

    /// Whether this combines sets of series.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// As written in PromQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eql => "==",
            Self::Neq => "!=",
            Self::Gtr => ">",
            Self::Lss => "<",
            Self::Gte => ">=",
            Self::Lte => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }
}

/// How many series of each side may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One on each side.
    OneToOne,
    /// `group_left`: many on the left.
    ManyToOne,
    /// `group_right`: many on the right.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How series of the two sides find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// How many on each side.
    pub cardinality: Cardinality,
    /// Whether `labels` are the ones to match on, or the ones to leave out.
    pub on: bool,
    /// Sorted, distinct.
    pub labels: Vec<String>,
    /// Labels copied from the one side.
    pub include: Vec<String>,
    /// What stands for a missing left sample.
    pub fill_left: Option<f64>,
    /// What stands for a missing right sample.
    pub fill_right: Option<f64>,
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// How.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Box<Node>,
    /// Right operand.
    pub rhs: Box<Node>,
    /// A comparison yields 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// Set where both sides are vectors.
    pub matching: Option<VectorMatching>,
    /// Where the operation stands in the text.
    pub span: Span,
}

impl fmt::Display for ValueType {
    /// As Prometheus's messages name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        })
    }
}

impl ValueType {
    /// As Prometheus's responses name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }
}

impl Node {
    /// The type of this node's value.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Node::Number(_) => ValueType::Scalar,
            Node::String(_) => ValueType::String,
            Node::Vector(_) | Node::Aggregate(_) => ValueType::Vector,
            Node::Matrix(_) | Node::Subquery(_) => ValueType::Matrix,
            Node::Call(call) => call.function.return_type(),
            Node::Binary(binary) => {
                if binary.lhs.value_type() == ValueType::Scalar && binary.rhs.value_type() == ValueType::Scalar {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            Node::Negate(inner) | Node::Plus(inner) | Node::StepInvariant(inner) => inner.value_type(),
        }
    }

    /// The nodes directly below, in the order of evaluation; an aggregation's operand before its parameter.
    #[must_use]
    pub fn children(&self) -> Vec<&Node> {
        match self {
            Node::Number(_) | Node::String(_) | Node::Vector(_) | Node::Matrix(_) => Vec::new(),
            Node::Subquery(subquery) => vec![&*subquery.expr],
            Node::Call(call) => call.args.iter().collect(),
            Node::Aggregate(aggregate) => std::iter::once(&*aggregate.expr).chain(aggregate.param.as_deref()).collect(),
            Node::Binary(binary) => vec![&*binary.lhs, &*binary.rhs],
            Node::Negate(inner) | Node::Plus(inner) | Node::StepInvariant(inner) => vec![&**inner],
        }
    }

    /// All series selectors, instant and range, left to right.
    pub fn selectors(&self) -> impl Iterator<Item = &VectorSelector> {
        let mut open = vec![self];
        std::iter::from_fn(move || {
            loop {
                let node = open.pop()?;
                open.extend(node.children().into_iter().rev());
                match node {
                    Node::Vector(selector) => return Some(selector),
                    Node::Matrix(matrix) => return Some(&matrix.selector),
                    _ => {}
                }
            }
        })
    }
}
