//! Binary operators and what stands between them and their right operand.

use super::{Measured, Parser};
use crate::ast::{Binary, Expr, VectorMatching};
use crate::error::{Fault, Parsed};
use crate::lexer::TokenKind;
use crate::tree::{BinaryOp, Cardinality, Span};

/// How tight `^` binds; signs bind tighter than all but it.
pub(super) const POW: u8 = 6;

/// How tight an operator binds.
pub(super) fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eql
        | BinaryOp::Neq
        | BinaryOp::Gtr
        | BinaryOp::Lss
        | BinaryOp::Gte
        | BinaryOp::Lte
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => POW,
    }
}

/// What may stand after an operator.
struct Modifiers {
    return_bool: bool,
    matching: VectorMatching,
}

impl Parser<'_> {
    /// The operators after `lhs` that bind at least as tight as `min`, with their right operands.
    pub(super) fn binary_tail(&mut self, mut lhs: Measured, min: u8) -> Parsed<Measured> {
        while let Some(op) = self.peek()?.binary_op() {
            let precedence = precedence(op);
            if precedence < min {
                break;
            }
            lhs = self.binary(lhs, op, precedence)?;
        }
        Ok(lhs)
    }

    fn binary(&mut self, lhs: Measured, op: BinaryOp, precedence: u8) -> Parsed<Measured> {
        let op_span = self.bump()?.span;
        let Modifiers { return_bool, matching } = self.binary_modifiers()?;
        let rhs = self.expr(if op == BinaryOp::Pow { POW } else { precedence + 1 })?;
        let span = Span { start: lhs.expr.span().start, end: rhs.expr.span().end };
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.fill_modifiers {
            return Fault::new(span, "binop fill modifiers are experimental and not enabled");
        }
        let height = lhs.height.max(rhs.height);
        let (lhs, rhs, matching) = (lhs.expr, rhs.expr, Some(matching));
        self.node(Expr::Binary(Box::new(Binary { op, lhs, rhs, return_bool, matching, op_span, span })), height)
    }

    fn binary_modifiers(&mut self) -> Parsed<Modifiers> {
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let return_bool = self.accept(TokenKind::Bool)?.is_some();
        let matcher = self.peek()?;
        if matches!(matcher, TokenKind::On | TokenKind::Ignoring) {
            self.bump()?;
            matching.on = matcher == TokenKind::On;
            matching.labels = self.grouping_labels()?;
            let group = self.peek()?;
            if matches!(group, TokenKind::GroupLeft | TokenKind::GroupRight) {
                self.bump()?;
                let left = group == TokenKind::GroupLeft;
                matching.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.peek()? == TokenKind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        match self.peek()? {
            TokenKind::Fill => {
                self.bump()?;
                matching.fill_left = Some(self.fill_value()?);
                matching.fill_right = matching.fill_left;
            }
            TokenKind::FillLeft => {
                self.bump()?;
                matching.fill_left = Some(self.fill_value()?);
                if self.accept(TokenKind::FillRight)?.is_some() {
                    matching.fill_right = Some(self.fill_value()?);
                }
            }
            TokenKind::FillRight => {
                self.bump()?;
                matching.fill_right = Some(self.fill_value()?);
                if self.accept(TokenKind::FillLeft)?.is_some() {
                    matching.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok(Modifiers { return_bool, matching })
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(TokenKind::LeftParen)?;
        let Some(value) = self.signed_number()? else {
            return self.unexpected("", "");
        };
        self.expect(TokenKind::RightParen)?;
        Ok(value)
    }

    /// A number or duration with at most one sign; `None`, and nothing more read, where there is none.
    pub(super) fn signed_number(&mut self) -> Parsed<Option<f64>> {
        let sign = self.peek()?;
        if matches!(sign, TokenKind::Add | TokenKind::Sub) {
            self.bump()?;
        }
        if !matches!(self.peek()?, TokenKind::Number | TokenKind::Duration) {
            return Ok(None);
        }
        let value = self.number()?.value;
        Ok(Some(if sign == TokenKind::Sub { -value } else { value }))
    }

    /// `(a, "b.c")`.
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        let mut labels = Vec::new();
        if self.accept(TokenKind::LeftParen)?.is_none() {
            return self.unexpected(CONTEXT, "\"(\"");
        }
        loop {
            match self.peek()? {
                TokenKind::RightParen => break,
                TokenKind::String => {
                    let token = self.bump()?;
                    let label = self.unquoted_text(token)?;
                    if label.is_empty() {
                        return Fault::new(token.span, "invalid label name for grouping: \"\"");
                    }
                    labels.push(label);
                }
                kind if kind.is_label_name() => {
                    let token = self.bump()?;
                    labels.push(self.slice(token).to_string());
                }
                _ => return self.unexpected(CONTEXT, "label"),
            }
            match self.peek()? {
                TokenKind::Comma => self.bump()?,
                TokenKind::RightParen => break,
                _ => return self.unexpected(CONTEXT, "\",\" or \")\""),
            };
        }
        self.bump()?;
        Ok(labels)
    }
}
