//! Tokens to a syntax tree, by precedence climbing, with the first fault worded and placed as Prometheus does.
//!
//! An operand is a literal, a selector, a call, an aggregation, parentheses or a signed operand, followed by any number of modifiers
//! (`[5m]`, `offset`, `@`, `anchored`, `smoothed`), which bind tightest. Operators bind, loosest first: `or`; `and`, `unless`;
//! comparisons and trims; `+`, `-`; `*`, `/`, `%`, `atan2` and signs; `^`, the only one that groups to the right.
//!
//! Hostile queries are bounded three ways, see [`ParseOptions`]: by length, by number of nodes, and by depth, which bounds both this
//! recursion and every later one over the tree.

mod binary;
mod call;
mod duration;
mod options;
mod selector;

pub use options::ParseOptions;

use storage::model::Matcher;

use crate::ast::{Expr, NumberLiteral, Paren, StringLiteral, Unary};
use crate::check;
use crate::error::{Fault, ParseError, Parsed};
use crate::lexer::{Lexer, Token, TokenKind, parse_duration, parse_number, unquote};
use crate::quote::quote;
use crate::tree::Span;

/// Parses and type-checks a query.
///
/// # Errors
/// The first fault, worded as Prometheus does.
pub fn parse(query: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    Parser::new(query, options)
        .and_then(|mut parser| parser.query())
        .and_then(|mut expr| check::check(&mut expr).map(|()| expr))
        .map_err(|fault| ParseError::new(*fault, query))
}

/// Parses an instant vector selector without modifiers, as in `match[]`. It may match everything.
///
/// # Errors
/// The first fault, worded as Prometheus does.
pub fn parse_selector(selector: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    Parser::new(selector, options)
        .and_then(|mut parser| parser.lone_selector())
        .map_err(|fault| ParseError::new(*fault, selector))
}

/// An expression and the height of its tree.
struct Measured {
    expr: Expr,
    height: usize,
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    peeked: Option<Token>,
    /// First byte after the last token taken.
    last_end: usize,
    options: &'a ParseOptions,
    /// Calls of [`Self::expr`] and [`Self::duration`] under way.
    depth: usize,
    /// Nodes made.
    nodes: usize,
    /// Operators met inside durations, which bounds the height of those.
    duration_operators: usize,
    /// Aggregations under way, which the messages for unexpected tokens mention.
    aggregations: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: &'a ParseOptions) -> Parsed<Self> {
        if text.len() > options.max_length {
            let message = format!("query is too long: {} bytes, the limit is {}", text.len(), options.max_length);
            return Fault::new(Span::default(), message);
        }
        Ok(Self {
            text,
            lexer: Lexer::new(text),
            peeked: None,
            last_end: 0,
            options,
            depth: 0,
            nodes: 0,
            duration_operators: 0,
            aggregations: 0,
        })
    }

    fn query(&mut self) -> Parsed<Expr> {
        if self.peek()? == TokenKind::Eof {
            return Fault::new(Span::default(), "no expression found in input");
        }
        let expr = self.expr(0)?.expr;
        match self.peek()? {
            TokenKind::Eof => Ok(expr),
            _ => self.unexpected("", ""),
        }
    }

    fn lone_selector(&mut self) -> Parsed<Vec<Matcher>> {
        let selector = match self.peek()? {
            kind if kind.is_metric_name() => {
                let name = self.bump()?;
                self.named_selector(name)?
            }
            TokenKind::LeftBrace => self.nameless_selector()?,
            _ => return self.unexpected("", ""),
        };
        match self.peek()? {
            TokenKind::Eof => Ok(selector.matchers),
            _ => self.unexpected("", ""),
        }
    }

    /// An expression of operators that bind at least as tight as `min`.
    fn expr(&mut self, min: u8) -> Parsed<Measured> {
        self.enter()?;
        let operand = self.operand()?;
        let expr = self.binary_tail(operand, min)?;
        self.depth -= 1;
        Ok(expr)
    }

    /// An operand with its modifiers. What recurses is called from here directly, everything else out of line, since this
    /// function's frame counts once for each level of nesting.
    fn operand(&mut self) -> Parsed<Measured> {
        let kind = self.peek()?;
        let operand = match kind {
            TokenKind::Add | TokenKind::Sub => return self.signed(),
            TokenKind::LeftParen => self.parenthesized()?,
            TokenKind::Aggregator(_) | TokenKind::Identifier => self.named()?,
            _ if kind.is_function_keyword() => self.named()?,
            _ => self.simple_operand(kind)?,
        };
        self.modifiers(operand)
    }

    /// What starts with a word that may name a function or an aggregation.
    fn named(&mut self) -> Parsed<Measured> {
        let name = self.bump()?;
        match (name.kind, self.peek()?) {
            (TokenKind::Aggregator(op), TokenKind::LeftParen | TokenKind::By | TokenKind::Without) => {
                self.aggregate(op, name)
            }
            (TokenKind::Aggregator(_), _) => self.named_operand(name),
            (_, TokenKind::LeftParen) => self.call(name),
            _ => self.named_operand(name),
        }
    }

    /// Literals, and selectors that cannot be mistaken for calls.
    fn simple_operand(&mut self, kind: TokenKind) -> Parsed<Measured> {
        match kind {
            TokenKind::Number | TokenKind::Duration => {
                let number = self.number()?;
                self.leaf(Expr::Number(Box::new(number)))
            }
            TokenKind::String => self.string(),
            TokenKind::LeftBrace => {
                let selector = self.nameless_selector()?;
                self.leaf(Expr::Vector(Box::new(selector)))
            }
            _ if kind.is_metric_name() => {
                let name = self.bump()?;
                self.named_operand(name)
            }
            _ => self.unexpected("", ""),
        }
    }

    fn named_operand(&mut self, name: Token) -> Parsed<Measured> {
        let selector = self.named_selector(name)?;
        self.leaf(Expr::Vector(Box::new(selector)))
    }

    fn parenthesized(&mut self) -> Parsed<Measured> {
        let open = self.bump()?;
        let inner = self.expr(0)?;
        let close = self.expect(TokenKind::RightParen)?;
        let span = Span { start: open.span.start, end: close.span.end };
        self.node(Expr::Paren(Box::new(Paren { expr: inner.expr, span })), inner.height)
    }

    fn signed(&mut self) -> Parsed<Measured> {
        let sign = self.bump()?;
        let negative = sign.kind == TokenKind::Sub;
        let Measured { expr, height } = self.expr(binary::POW)?;
        let span = Span { start: sign.span.start, end: expr.span().end };
        if let Expr::Number(mut number) = expr {
            number.value = if negative { -number.value } else { number.value };
            number.span = span;
            return Ok(Measured { expr: Expr::Number(number), height });
        }
        self.node(Expr::Unary(Box::new(Unary { negative, expr, span })), height)
    }

    fn string(&mut self) -> Parsed<Measured> {
        let token = self.bump()?;
        let (value, invalid_utf8) = match String::from_utf8(self.unquoted(token)?) {
            Ok(value) => (value, None),
            Err(e) => (String::from_utf8_lossy(e.as_bytes()).into_owned(), Some(e.into_bytes())),
        };
        self.leaf(Expr::String(Box::new(StringLiteral { value, invalid_utf8, span: token.span })))
    }

    /// A number or a duration.
    fn number(&mut self) -> Parsed<NumberLiteral> {
        let token = self.bump()?;
        let duration = token.kind == TokenKind::Duration;
        let text = self.slice(token);
        match if duration { parse_duration(text) } else { parse_number(text) } {
            Ok(value) => Ok(NumberLiteral { value, duration, span: token.span }),
            Err(message) => Fault::new(token.span, message),
        }
    }

    fn unquoted(&self, token: Token) -> Parsed<Vec<u8>> {
        match unquote(self.slice(token)) {
            Some(bytes) => Ok(bytes),
            None => {
                let text = quote(self.slice(token));
                Fault::new(token.span, format!("error unquoting string {text}: invalid syntax"))
            }
        }
    }

    /// A string that must be text: label names and values are.
    fn unquoted_text(&self, token: Token) -> Parsed<String> {
        String::from_utf8(self.unquoted(token)?).or_else(|_| {
            let text = quote(self.slice(token));
            Fault::new(token.span, format!("error unquoting string {text}: invalid UTF-8"))
        })
    }

    fn slice(&self, token: Token) -> &'a str {
        &self.text[token.span.start..token.span.end]
    }

    fn peek(&mut self) -> Parsed<TokenKind> {
        match self.peeked {
            Some(token) => Ok(token.kind),
            None => {
                let token = self.lexer.next_token()?;
                self.peeked = Some(token);
                Ok(token.kind)
            }
        }
    }

    fn bump(&mut self) -> Parsed<Token> {
        let token = match self.peeked.take() {
            Some(token) => token,
            None => self.lexer.next_token()?,
        };
        self.last_end = token.span.end;
        Ok(token)
    }

    fn accept(&mut self, kind: TokenKind) -> Parsed<Option<Token>> {
        if self.peek()? == kind { self.bump().map(Some) } else { Ok(None) }
    }

    fn expect(&mut self, kind: TokenKind) -> Parsed<Token> {
        match self.accept(kind)? {
            Some(token) => Ok(token),
            None => self.unexpected("", ""),
        }
    }

    /// The fault of the next token's being where it is: in what, and what should stand there instead, if that is known.
    fn unexpected<T>(&mut self, context: &str, expected: &str) -> Parsed<T> {
        let token = self.bump()?;
        let mut message = format!("unexpected {}", token.kind.describe(self.slice(token)));
        let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
        for (word, text) in [(" in ", context), (", expected ", expected)] {
            if !text.is_empty() {
                message.push_str(word);
                message.push_str(text);
            }
        }
        Fault::new(token.span, message)
    }

    /// Counts one recursion more; the caller counts it off when it returns without a fault.
    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth <= self.options.max_nesting {
            return Ok(());
        }
        let at = self.peeked.map_or_else(Span::default, |token| token.span);
        Fault::new(at, format!("query is nested too deeply, the limit is {} levels", self.options.max_nesting))
    }

    fn too_deep<T>(&self, span: Span) -> Parsed<T> {
        Fault::new(span, format!("query has too many operators in a row, the limit is {}", self.options.max_depth))
    }

    fn leaf(&mut self, expr: Expr) -> Parsed<Measured> {
        self.node(expr, 0)
    }

    /// Counts a node whose highest child has height `below`.
    fn node(&mut self, expr: Expr, below: usize) -> Parsed<Measured> {
        self.nodes += 1;
        let height = below + 1;
        if height > self.options.max_depth {
            return self.too_deep(expr.span());
        }
        if self.nodes > self.options.max_nodes {
            let message = format!("query is too large, the limit is {} expressions", self.options.max_nodes);
            return Fault::new(expr.span(), message);
        }
        Ok(Measured { expr, height })
    }
}

#[cfg(test)]
mod tests;
