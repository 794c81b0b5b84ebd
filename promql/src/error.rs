//! Why a query was refused, and where.

use std::fmt;

use crate::tree::Span;

/// A query that does not parse, or does not type. Only the first fault is told.
///
/// Displays as Prometheus does: `1:10: parse error: unexpected end of input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Where, in bytes.
    pub span: Span,
    /// What, without the position.
    pub message: String,
    /// Line and column of the span's start, both from 1, the column in bytes; `None` where the query is empty.
    pub position: Option<(usize, usize)>,
}

impl ParseError {
    /// Finds the fault's line and column in `query`.
    pub(crate) fn new(fault: Fault, query: &str) -> Self {
        let before = query.as_bytes().get(..fault.span.start).unwrap_or(query.as_bytes());
        let position = (!query.is_empty()).then(|| {
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            (line, before.len() - line_start + 1)
        });
        Self { span: fault.span, message: fault.message, position }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{line}:{column}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// A query that parses but cannot be lowered for the times asked for: a duration expression that comes to nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LowerError {
    /// Where, in bytes.
    pub span: Span,
    /// What, as Prometheus words it.
    pub message: String,
}

/// A [`ParseError`] before its line and column are known.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
}

impl Fault {
    /// Boxed, so that the results of the parser's recursive functions stay small.
    pub(crate) fn new<T>(span: Span, message: impl Into<String>) -> Parsed<T> {
        Err(Box::new(Self { span, message: message.into() }))
    }
}

/// What the lexer's and the parser's functions answer.
pub(crate) type Parsed<T> = Result<T, Box<Fault>>;
