//! What was written: the syntax tree of a query, with positions.
//!
//! Every node knows its [`Span`]. Parentheses, unary plus and the form of each number are kept, so that printing a tree gives the
//! query in its canonical form.

use storage::model::{Matcher, Timestamp};

use crate::function::Function;
use crate::tree::{AggregateOp, BinaryOp, Border, Cardinality, Span, ValueType};

/// An expression. All boxed: a small enum keeps the frames of recursive functions small.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `1`, `0x1f`, `Inf`, `5m`.
    Number(Box<NumberLiteral>),
    /// `"text"`.
    String(Box<StringLiteral>),
    /// `up{job="api"} offset 5m`.
    Vector(Box<VectorSelector>),
    /// `up[5m]`.
    Matrix(Box<MatrixSelector>),
    /// `rate(x[5m])[1h:1m]`.
    Subquery(Box<Subquery>),
    /// `rate(x[5m])`.
    Call(Box<Call>),
    /// `sum by (job) (x)`.
    Aggregate(Box<Aggregate>),
    /// `a + b`.
    Binary(Box<Binary>),
    /// `-a`. A signed number is an [`Expr::Number`].
    Unary(Box<Unary>),
    /// `(a)`.
    Paren(Box<Paren>),
}

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberLiteral {
    /// The value; seconds where it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration (`5m`).
    pub duration: bool,
    /// Where, a sign included.
    pub span: Span,
}

/// A text.
#[derive(Debug, Clone, PartialEq)]
pub struct StringLiteral {
    /// The text without quotes and escapes; bytes that are not UTF-8 are replaced.
    pub value: String,
    /// The text's bytes where they are not UTF-8 (`"\xff"`).
    pub invalid_utf8: Option<Vec<u8>>,
    /// Where, quotes included.
    pub span: Span,
}

/// What follows `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A time.
    Time(Timestamp),
    /// `start()` of the query's range.
    Start,
    /// `end()` of the query's range.
    End,
}

/// A range, a step or an offset.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// A number or a duration, in nanoseconds.
    Literal {
        /// Negative only in an offset.
        nanos: i64,
        /// Where.
        span: Span,
    },
    /// Arithmetic whose value depends on the query.
    Expr(DurationExpr),
}

impl Duration {
    /// Whole milliseconds; `None` for an expression, whose value only a query's times give.
    #[must_use]
    pub fn millis(&self) -> Option<i64> {
        match self {
            Self::Literal { nanos, .. } => Some(nanos / 1_000_000),
            Self::Expr(_) => None,
        }
    }
}

/// Arithmetic on durations, in seconds.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "fields named as in Binary")]
pub enum DurationExpr {
    /// A number or a duration.
    Number(NumberLiteral),
    /// `step()`.
    Step(Span),
    /// `range()`.
    Range(Span),
    /// `min_of(lhs, rhs)`.
    MinOf { lhs: Box<DurationExpr>, rhs: Box<DurationExpr>, span: Span },
    /// `max_of(lhs, rhs)`.
    MaxOf { lhs: Box<DurationExpr>, rhs: Box<DurationExpr>, span: Span },
    /// `-expr`.
    Negate { expr: Box<DurationExpr>, span: Span },
    /// One of `+`, `-`, `*`, `/`, `%`, `^`.
    Binary { op: BinaryOp, lhs: Box<DurationExpr>, rhs: Box<DurationExpr>, span: Span },
    /// `(expr)`; doubled parentheses count once.
    Paren { expr: Box<DurationExpr>, span: Span },
}

impl DurationExpr {
    /// Where it stands. Parentheses count only around a number, as in Prometheus's positions.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(number) => number.span,
            Self::Step(span) | Self::Range(span) => *span,
            Self::MinOf { span, .. } | Self::MaxOf { span, .. } => *span,
            Self::Negate { span, .. } | Self::Binary { span, .. } | Self::Paren { span, .. } => *span,
        }
    }
}

/// An instant vector selector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric name before the braces; empty where there is none, or where it stands inside them.
    pub name: String,
    /// In the order written; where `name` is not empty its matcher is the last.
    pub matchers: Vec<Matcher>,
    /// `offset`, unless it is zero.
    pub offset: Option<Duration>,
    /// `@`.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub border: Border,
    /// Where, modifiers included.
    pub span: Span,
}

/// A range vector selector.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// Which series. It carries the offset, `@` and border, although they are written after the range.
    pub selector: VectorSelector,
    /// Length of the window.
    pub range: Duration,
    /// Where, modifiers included.
    pub span: Span,
}

/// A subquery.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// Length of the window.
    pub range: Duration,
    /// Distance of the evaluations.
    pub step: Option<Duration>,
    /// `offset`, unless it is zero.
    pub offset: Option<Duration>,
    /// `@`.
    pub at: Option<At>,
    /// Where, modifiers included.
    pub span: Span,
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Which function.
    pub function: Function,
    /// As written: default arguments are not filled in.
    pub args: Vec<Expr>,
    /// Where.
    pub span: Span,
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// What.
    pub expr: Expr,
    /// The first argument of `topk`, `quantile`, `count_values` and their like.
    pub param: Option<Expr>,
    /// The labels of `by` or `without`, as written.
    pub grouping: Vec<String>,
    /// Whether it is `without`.
    pub without: bool,
    /// Where.
    pub span: Span,
}

/// How series of the two sides find each other, as written.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// How many on each side.
    pub cardinality: Cardinality,
    /// `on` rather than `ignoring`.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// `fill_left`, or `fill`.
    pub fill_left: Option<f64>,
    /// `fill_right`, or `fill`.
    pub fill_right: Option<f64>,
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// How.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Expr,
    /// Right operand.
    pub rhs: Expr,
    /// `bool`.
    pub return_bool: bool,
    /// Set where both operands are vectors.
    pub matching: Option<VectorMatching>,
    /// Where the operator stands.
    pub op_span: Span,
    /// Where, operands included.
    pub span: Span,
}

/// A sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Unary {
    /// Minus rather than plus.
    pub negative: bool,
    /// Its operand.
    pub expr: Expr,
    /// Where, sign included.
    pub span: Span,
}

/// Parentheses.
#[derive(Debug, Clone, PartialEq)]
pub struct Paren {
    /// What is inside.
    pub expr: Expr,
    /// Where, parentheses included.
    pub span: Span,
}

impl Expr {
    /// Where it stands.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(e) => e.span,
            Self::String(e) => e.span,
            Self::Vector(e) => e.span,
            Self::Matrix(e) => e.span,
            Self::Subquery(e) => e.span,
            Self::Call(e) => e.span,
            Self::Aggregate(e) => e.span,
            Self::Binary(e) => e.span,
            Self::Unary(e) => e.span,
            Self::Paren(e) => e.span,
        }
    }

    /// The type of its value.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(e) => e.function.return_type(),
            Self::Binary(e) => match (e.lhs.value_type(), e.rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Self::Unary(e) => e.expr.value_type(),
            Self::Paren(e) => e.expr.value_type(),
        }
    }

    /// The expressions directly below: an aggregation's operand before its parameter. A range selector has none; its
    /// [`VectorSelector`] is a part of it.
    #[must_use]
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(e) => vec![&e.expr],
            Self::Call(e) => e.args.iter().collect(),
            Self::Aggregate(e) => std::iter::once(&e.expr).chain(&e.param).collect(),
            Self::Binary(e) => vec![&e.lhs, &e.rhs],
            Self::Unary(e) => vec![&e.expr],
            Self::Paren(e) => vec![&e.expr],
        }
    }

    /// Visits this expression and all below it, each before what is below it, left to right.
    pub fn walk<'a>(&'a self, mut visit: impl FnMut(&'a Expr)) {
        let mut open = vec![self];
        while let Some(expr) = open.pop() {
            visit(expr);
            open.extend(expr.children().into_iter().rev());
        }
    }

    /// The expression inside any parentheses around this one.
    #[must_use]
    pub fn unparenthesized(&self) -> &Expr {
        let mut expr = self;
        while let Self::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }
}
