//! Selectors, and the modifiers that follow an operand.

use storage::model::{METRIC_NAME, MatchOp, Matcher};

use super::{Measured, Parser};
use crate::ast::{At, Duration, Expr, MatrixSelector, Subquery, VectorSelector};
use crate::error::{Fault, Parsed};
use crate::lexer::{Token, TokenKind};
use crate::regex_error;
use crate::tree::{Border, Span};

/// What an operand's modifiers set.
struct Modified<'e> {
    offset: &'e mut Option<Duration>,
    at: &'e mut Option<At>,
    /// `None` for a subquery, which has no borders to treat.
    border: Option<&'e mut Border>,
    span: &'e mut Span,
}

fn modified(expr: &mut Expr) -> Option<Modified<'_>> {
    match expr {
        Expr::Vector(e) => {
            let VectorSelector { offset, at, border, span, .. } = &mut **e;
            Some(Modified { offset, at, border: Some(border), span })
        }
        Expr::Matrix(e) => {
            let MatrixSelector { selector: VectorSelector { offset, at, border, .. }, span, .. } = &mut **e;
            Some(Modified { offset, at, border: Some(border), span })
        }
        Expr::Subquery(e) => {
            let Subquery { offset, at, span, .. } = &mut **e;
            Some(Modified { offset, at, border: None, span })
        }
        _ => None,
    }
}

impl Parser<'_> {
    /// `name` or `name{…}`.
    pub(super) fn named_selector(&mut self, name: Token) -> Parsed<VectorSelector> {
        let text = self.slice(name).to_string();
        let mut selector = match self.peek()? {
            TokenKind::LeftBrace => self.nameless_selector()?,
            _ => Self::selector(Vec::new(), name.span),
        };
        selector.span.start = name.span.start;
        selector.matchers.push(Matcher::equal(METRIC_NAME, text.as_str()));
        selector.name = text;
        Ok(selector)
    }

    /// `{…}`.
    pub(super) fn nameless_selector(&mut self) -> Parsed<VectorSelector> {
        const CONTEXT: &str = "label matching";
        let open = self.bump()?;
        let mut matchers = Vec::new();
        loop {
            match self.peek()? {
                TokenKind::RightBrace => break,
                TokenKind::Identifier | TokenKind::String => matchers.push(self.matcher()?),
                _ => return self.unexpected(CONTEXT, "identifier or \"}\""),
            }
            match self.peek()? {
                TokenKind::Comma => self.bump()?,
                TokenKind::RightBrace => break,
                _ => return self.unexpected(CONTEXT, "\",\" or \"}\""),
            };
        }
        let close = self.bump()?;
        Ok(Self::selector(matchers, Span { start: open.span.start, end: close.span.end }))
    }

    fn selector(matchers: Vec<Matcher>, span: Span) -> VectorSelector {
        VectorSelector { name: String::new(), matchers, offset: None, at: None, border: Border::Plain, span }
    }

    /// `label="value"`, `"label"="value"` or `"metric"`.
    fn matcher(&mut self) -> Parsed<Matcher> {
        const CONTEXT: &str = "label matching";
        let label = self.bump()?;
        let quoted = label.kind == TokenKind::String;
        let name = if quoted { self.unquoted_text(label)? } else { self.slice(label).to_string() };
        let op = match self.peek()? {
            TokenKind::Eql => MatchOp::Equal,
            TokenKind::Neq => MatchOp::NotEqual,
            TokenKind::EqlRegex => MatchOp::Regex,
            TokenKind::NeqRegex => MatchOp::NotRegex,
            _ if quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return self.unexpected(CONTEXT, "label matching operator"),
        };
        self.bump()?;
        let Some(value) = self.accept(TokenKind::String)? else {
            return self.unexpected(CONTEXT, "string");
        };
        let text = self.unquoted_text(value)?;
        Matcher::try_new(op, name, text.as_str()).or_else(|e| {
            let span = Span { start: label.span.start, end: value.span.end };
            Fault::new(span, regex_error::message(&text, &e))
        })
    }

    /// The modifiers after an operand.
    pub(super) fn modifiers(&mut self, mut operand: Measured) -> Parsed<Measured> {
        loop {
            match self.peek()? {
                TokenKind::Offset => self.offset(&mut operand.expr)?,
                TokenKind::At => self.at(&mut operand.expr)?,
                TokenKind::Anchored => self.border(&mut operand.expr, Border::Anchored)?,
                TokenKind::Smoothed => self.border(&mut operand.expr, Border::Smoothed)?,
                TokenKind::LeftBracket => operand = self.range(operand)?,
                _ => return Ok(operand),
            }
        }
    }

    fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.bump()?;
        let value = self.offset_duration()?;
        let end = self.last_end;
        let whole = expr.span();
        let Some(modified) = modified(expr) else {
            let rule = "must be preceded by an instant vector selector or range vector selector or a subquery";
            return Fault::new(whole, format!("offset modifier {rule}"));
        };
        if modified.offset.is_some() {
            return Fault::new(whole, "offset may not be set multiple times");
        }
        *modified.offset = Some(value).filter(|value| !matches!(value, Duration::Literal { nanos: 0, .. }));
        modified.span.end = end;
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        const CONTEXT: &str = "@";
        const EXPECTED: &str = "timestamp";
        self.bump()?;
        let whole = expr.span();
        let at = match self.peek()? {
            kind @ (TokenKind::Start | TokenKind::End) => {
                self.bump()?;
                for wanted in [TokenKind::LeftParen, TokenKind::RightParen] {
                    if self.accept(wanted)?.is_none() {
                        return self.unexpected(CONTEXT, EXPECTED);
                    }
                }
                if kind == TokenKind::Start { At::Start } else { At::End }
            }
            _ => match self.signed_number()? {
                Some(seconds) => At::Time(timestamp(seconds, whole)?),
                None => return self.unexpected(CONTEXT, EXPECTED),
            },
        };
        let end = self.last_end;
        let Some(modified) = modified(expr) else {
            let rule = "must be preceded by an instant vector selector or range vector selector or a subquery";
            return Fault::new(whole, format!("@ modifier {rule}"));
        };
        if modified.at.is_some() {
            return Fault::new(whole, "@ <timestamp> may not be set multiple times");
        }
        *modified.at = Some(at);
        modified.span.end = end;
        Ok(())
    }

    fn border(&mut self, expr: &mut Expr, wanted: Border) -> Parsed<()> {
        let end = self.bump()?.span.end;
        let whole = expr.span();
        let name = if wanted == Border::Anchored { "anchored" } else { "smoothed" };
        if !self.options.extended_range_selectors {
            return Fault::new(whole, format!("{name} modifier is experimental and not enabled"));
        }
        match modified(expr) {
            Some(Modified { border: Some(border), span, .. }) => {
                if *border != Border::Plain && *border != wanted {
                    return Fault::new(whole, "anchored and smoothed modifiers cannot be used together");
                }
                *border = wanted;
                span.end = end;
                Ok(())
            }
            Some(_) => Fault::new(whole, format!("{name} modifier is not supported for subqueries")),
            None => Fault::new(whole, format!("{name} modifier not implemented")),
        }
    }

    /// `[range]` or `[range:step]` after `operand`.
    fn range(&mut self, operand: Measured) -> Parsed<Measured> {
        let open = self.bump()?;
        let range = self.positive_duration("subquery or range selector", "number, duration, step(), or range()")?;
        match self.peek()? {
            TokenKind::RightBracket => {
                let close = self.bump()?;
                self.matrix(operand, range, Span { start: open.span.start, end: close.span.end })
            }
            TokenKind::Colon => {
                self.bump()?;
                self.subquery(operand, range)
            }
            _ => self.unexpected("subquery or range", "\":\" or \"]\""),
        }
    }

    fn matrix(&mut self, operand: Measured, range: Duration, brackets: Span) -> Parsed<Measured> {
        let Expr::Vector(selector) = operand.expr else {
            return Fault::new(brackets, "ranges only allowed for vector selectors");
        };
        if selector.offset.is_some() {
            return Fault::new(brackets, "no offset modifiers allowed before range");
        }
        if selector.at.is_some() {
            return Fault::new(brackets, "no @ modifiers allowed before range");
        }
        let span = Span { start: selector.span.start, end: brackets.end };
        Ok(Measured { expr: Expr::Matrix(Box::new(MatrixSelector { selector: *selector, range, span })), ..operand })
    }

    fn subquery(&mut self, operand: Measured, range: Duration) -> Parsed<Measured> {
        const CONTEXT: &str = "subquery selector";
        let step = match self.peek()? {
            TokenKind::RightBracket => None,
            _ => Some(self.positive_duration(CONTEXT, "number, duration, step(), range(), or \"]\"")?),
        };
        let Some(close) = self.accept(TokenKind::RightBracket)? else {
            return self.unexpected(CONTEXT, "\"]\"");
        };
        let Measured { expr, height } = operand;
        let span = Span { start: expr.span().start, end: close.span.end };
        self.node(Expr::Subquery(Box::new(Subquery { expr, range, step, offset: None, at: None, span })), height)
    }
}

/// Seconds to a time, to the nearest millisecond.
fn timestamp(seconds: f64, span: Span) -> Parsed<i64> {
    /// 2^63: the first float beyond 64 bits.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if seconds.is_nan() || seconds.abs() >= LIMIT {
        let shown = match seconds {
            _ if seconds.is_nan() => "NaN".to_string(),
            _ if seconds.is_infinite() => if seconds > 0.0 { "+Inf" } else { "-Inf" }.to_string(),
            _ => format!("{seconds:.6}"),
        };
        return Fault::new(span, format!("timestamp out of bounds for @ modifier: {shown}"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    Ok((seconds * 1000.0).round() as i64)
}
