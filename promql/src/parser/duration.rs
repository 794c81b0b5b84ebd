//! Ranges, steps and offsets: a number, a duration, or arithmetic on them.

use super::{Parser, binary};
use crate::ast::{Duration, DurationExpr, NumberLiteral};
use crate::error::{Fault, Parsed};
use crate::lexer::{Token, TokenKind};
use crate::tree::{BinaryOp, Span};

/// 2^63 nanoseconds in seconds.
const LIMIT_SECONDS: f64 = 9_223_372_036_854_775_808.0 / 1e9;

/// In which brackets an expression stands, for messages.
#[derive(Clone, Copy)]
struct Context {
    name: &'static str,
    expected: &'static str,
}

impl Parser<'_> {
    /// A range or a step. A literal must be above zero; an expression is checked when its value is known.
    pub(super) fn positive_duration(&mut self, name: &'static str, expected: &'static str) -> Parsed<Duration> {
        let expr = self.duration(0, Context { name, expected })?;
        if let DurationExpr::Number(number) = &expr
            && number.value <= 0.0
        {
            return Fault::new(number.span, "duration must be greater than 0");
        }
        Ok(finished(expr))
    }

    /// An offset. Arithmetic needs parentheses: an operator after a literal, a function or signed parentheses belongs to the
    /// query around it, so that `x offset 5m + 1` adds one to `x offset 5m`.
    pub(super) fn offset_duration(&mut self) -> Parsed<Duration> {
        let context = Context { name: "offset", expected: "number, duration, step(), or range()" };
        let mut sign = None;
        if matches!(self.peek()?, TokenKind::Add | TokenKind::Sub) {
            sign = Some(self.bump()?);
        }
        let kind = self.peek()?;
        let expr = match (sign, kind) {
            (Some(sign), TokenKind::LeftParen) => {
                self.bump()?;
                let inner = self.duration(0, context)?;
                self.close(context)?;
                let span = inner.span();
                return Ok(finished(self.signed_duration(sign, parenthesized(inner, span))?));
            }
            (Some(sign), TokenKind::Add | TokenKind::Sub) => {
                let inner = self.duration(binary::POW, context)?;
                let operand = self.signed_duration(sign, inner)?;
                return Ok(finished(self.duration_tail(operand, 0, context)?));
            }
            (None, TokenKind::LeftParen) => return Ok(finished(self.duration(0, context)?)),
            _ => self.duration_operand(context)?,
        };
        Ok(finished(match sign {
            Some(sign) => self.signed_duration(sign, expr)?,
            None => expr,
        }))
    }

    /// An expression of operators that bind at least as tight as `min`.
    fn duration(&mut self, min: u8, context: Context) -> Parsed<DurationExpr> {
        self.enter()?;
        let operand = match self.peek()? {
            TokenKind::Add | TokenKind::Sub => {
                let sign = self.bump()?;
                let operand = self.duration(binary::POW, context)?;
                self.signed_duration(sign, operand)?
            }
            _ => self.duration_operand(context)?,
        };
        let expr = self.duration_tail(operand, min, context)?;
        self.depth -= 1;
        Ok(expr)
    }

    fn duration_tail(&mut self, mut lhs: DurationExpr, min: u8, context: Context) -> Parsed<DurationExpr> {
        loop {
            let op = match self.peek()?.binary_op() {
                Some(
                    op
                    @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow),
                ) if binary::precedence(op) >= min => op,
                _ => return Ok(lhs),
            };
            let op_span = self.bump()?.span;
            self.duration_operators += 1;
            if self.duration_operators > self.options.max_depth {
                return self.too_deep(op_span);
            }
            let precedence = binary::precedence(op);
            let rhs = self.duration(if op == BinaryOp::Pow { precedence } else { precedence + 1 }, context)?;
            self.require_enabled(&lhs)?;
            if matches!(&rhs, DurationExpr::Number(number) if number.value == 0.0) {
                match op {
                    BinaryOp::Div => return Fault::new(op_span, "division by zero"),
                    BinaryOp::Mod => return Fault::new(op_span, "modulo by zero"),
                    _ => {}
                }
            }
            let span = Span { start: lhs.span().start, end: rhs.span().end };
            lhs = DurationExpr::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), span };
        }
    }

    /// A number, a function or parentheses.
    fn duration_operand(&mut self, context: Context) -> Parsed<DurationExpr> {
        match self.peek()? {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number()?;
                in_range(&number, number.span)?;
                Ok(DurationExpr::Number(number))
            }
            TokenKind::LeftParen => {
                let open = self.bump()?;
                let inner = self.duration(0, context)?;
                let close = self.close(context)?;
                self.require_enabled(&inner)?;
                Ok(parenthesized(inner, Span { start: open.span.start, end: close.span.end }))
            }
            TokenKind::Step | TokenKind::Range | TokenKind::MinOf | TokenKind::MaxOf => self.duration_function(context),
            _ => self.unexpected(context.name, context.expected),
        }
    }

    fn duration_function(&mut self, context: Context) -> Parsed<DurationExpr> {
        let name = self.bump()?;
        if self.accept(TokenKind::LeftParen)?.is_none() {
            return self.unexpected(context.name, context.expected);
        }
        let operands = if matches!(name.kind, TokenKind::MinOf | TokenKind::MaxOf) {
            let lhs = self.duration(0, context)?;
            if self.accept(TokenKind::Comma)?.is_none() {
                return self.unexpected(context.name, context.expected);
            }
            Some((Box::new(lhs), Box::new(self.duration(0, context)?)))
        } else {
            None
        };
        let span = Span { start: name.span.start, end: self.close(context)?.span.end };
        let expr = match (name.kind, operands) {
            (TokenKind::MinOf, Some((lhs, rhs))) => DurationExpr::MinOf { lhs, rhs, span },
            (_, Some((lhs, rhs))) => DurationExpr::MaxOf { lhs, rhs, span },
            (TokenKind::Step, None) => DurationExpr::Step(span),
            (_, None) => DurationExpr::Range(span),
        };
        self.require_enabled(&expr)?;
        Ok(expr)
    }

    fn close(&mut self, context: Context) -> Parsed<Token> {
        match self.accept(TokenKind::RightParen)? {
            Some(token) => Ok(token),
            None => self.unexpected(context.name, context.expected),
        }
    }

    /// A signed number is a number; a plus changes nothing else.
    fn signed_duration(&self, sign: Token, expr: DurationExpr) -> Parsed<DurationExpr> {
        let span = Span { start: sign.span.start, end: expr.span().end };
        let negative = sign.kind == TokenKind::Sub;
        match expr {
            DurationExpr::Number(number) => {
                let value = if negative { -number.value } else { number.value };
                let number = NumberLiteral { value, span, ..number };
                in_range(&number, sign.span)?;
                Ok(DurationExpr::Number(number))
            }
            expr if negative => Ok(DurationExpr::Negate { expr: Box::new(expr), span }),
            expr => Ok(expr),
        }
    }

    fn require_enabled(&self, expr: &DurationExpr) -> Parsed<()> {
        if self.options.duration_expressions {
            return Ok(());
        }
        Fault::new(expr.span(), "experimental duration expression is not enabled")
    }
}

fn in_range(number: &NumberLiteral, span: Span) -> Parsed<()> {
    if number.value.abs() > LIMIT_SECONDS { Fault::new(span, "duration out of range") } else { Ok(()) }
}

/// Doubled parentheses count once.
fn parenthesized(expr: DurationExpr, around: Span) -> DurationExpr {
    match expr {
        DurationExpr::Paren { .. } => expr,
        DurationExpr::Number(_) => DurationExpr::Paren { expr: Box::new(expr), span: around },
        _ => {
            let span = expr.span();
            DurationExpr::Paren { expr: Box::new(expr), span }
        }
    }
}

fn finished(expr: DurationExpr) -> Duration {
    match expr {
        #[expect(clippy::cast_possible_truncation, reason = "within 2^63 nanoseconds, and saturates")]
        DurationExpr::Number(number) => {
            Duration::Literal { nanos: (number.value * 1e9).round() as i64, span: number.span }
        }
        expr => Duration::Expr(expr),
    }
}
