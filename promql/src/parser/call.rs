//! Function calls and aggregations.

use super::{Measured, Parser};
use crate::ast::{Aggregate, Call, Expr};
use crate::error::{Fault, Parsed};
use crate::function::Function;
use crate::lexer::{Token, TokenKind};
use crate::quote::quote;
use crate::tree::{AggregateOp, Span};

/// Arguments in parentheses.
struct Args {
    exprs: Vec<Expr>,
    /// Height of the highest.
    height: usize,
    /// First byte after the closing parenthesis.
    end: usize,
}

/// `by (…)` or `without (…)`.
struct Grouping {
    labels: Vec<String>,
    without: bool,
}

impl Parser<'_> {
    /// A call of the function named by `name`; `(` comes next.
    pub(super) fn call(&mut self, name: Token) -> Parsed<Measured> {
        let args = self.args()?;
        let text = self.slice(name);
        let Some(function) = Function::from_name(text) else {
            return Fault::new(name.span, format!("unknown function with name {}", quote(text)));
        };
        if function.signature().experimental && !self.options.experimental_functions {
            return Fault::new(name.span, format!("function {} is not enabled", quote(text)));
        }
        let span = Span { start: name.span.start, end: args.end };
        self.node(Expr::Call(Box::new(Call { function, args: args.exprs, span })), args.height)
    }

    /// An aggregation whose operator is `name`; `(`, `by` or `without` comes next.
    pub(super) fn aggregate(&mut self, op: AggregateOp, name: Token) -> Parsed<Measured> {
        self.aggregations += 1;
        let mut grouping = self.grouping()?;
        let args = self.args()?;
        let mut end = args.end;
        if grouping.is_none() {
            grouping = self.grouping()?;
            if grouping.is_some() {
                end = self.last_end;
            }
        }
        self.aggregations -= 1;
        let Grouping { labels, without } = grouping.unwrap_or(Grouping { labels: Vec::new(), without: false });
        let span = Span { start: name.span.start, end };
        let (param, expr) = self.operands(op, args.exprs, span)?;
        let aggregate = Aggregate { op, expr, param, grouping: labels, without, span };
        self.node(Expr::Aggregate(Box::new(aggregate)), args.height)
    }

    /// The parameter and the operand among an aggregation's arguments.
    fn operands(&self, op: AggregateOp, args: Vec<Expr>, span: Span) -> Parsed<(Option<Expr>, Expr)> {
        let given = args.len();
        if given == 0 {
            return Fault::new(span, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let message = "is experimental and must be enabled with --enable-feature=promql-experimental-functions";
            return Fault::new(span, format!("{}() {message}", op.as_str()));
        }
        let mut args = args.into_iter();
        let operands = match (op.takes_parameter(), args.next(), args.next(), args.next()) {
            (true, param @ Some(_), Some(expr), None) => Some((param, expr)),
            (false, Some(expr), None, None) => Some((None, expr)),
            _ => None,
        };
        match operands {
            Some(operands) => Ok(operands),
            None => {
                let expected = 1 + usize::from(op.takes_parameter());
                let what = "wrong number of arguments for aggregate expression provided";
                Fault::new(span, format!("{what}, expected {expected}, got {given}"))
            }
        }
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let kind = self.peek()?;
        if !matches!(kind, TokenKind::By | TokenKind::Without) {
            return Ok(None);
        }
        self.bump()?;
        Ok(Some(Grouping { labels: self.grouping_labels()?, without: kind == TokenKind::Without }))
    }

    /// `(a, b)`.
    fn args(&mut self) -> Parsed<Args> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Args { exprs: Vec::new(), height: 0, end: 0 };
        if self.peek()? != TokenKind::RightParen {
            loop {
                let arg = self.expr(0)?;
                args.height = args.height.max(arg.height);
                args.exprs.push(arg.expr);
                let Some(comma) = self.accept(TokenKind::Comma)? else { break };
                if !self.peek()?.starts_expr() {
                    return Fault::new(comma.span, "trailing commas not allowed in function call args");
                }
            }
        }
        args.end = self.expect(TokenKind::RightParen)?.span.end;
        Ok(args)
    }
}
