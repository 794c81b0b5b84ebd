//! Text to tokens, one at a time, on demand.
//!
//! The rules are Prometheus's, the odd ones included, since they decide which message a broken query gets: keywords are
//! case-insensitive; inside `{}` there are no keywords; inside `[]` only numbers, durations, operators and the four names of duration
//! expressions; `fill` is a keyword only before `(`. A closing parenthesis too many, or an end of the text inside parentheses, is
//! told here. The first fault ends the text.

mod number;
mod string;
mod token;

pub use number::parse_duration;
pub(crate) use number::parse_number;
pub(crate) use string::unquote;
pub(crate) use token::{Token, TokenKind};

use crate::error::{Fault, Parsed};
use crate::quote::{quote, quote_char};
use crate::tree::Span;
use token::{duration_keyword, keyword};

/// Which rules the next token is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Statements,
    InsideBraces,
    /// Between `[` and the first number after it.
    DurationExpr,
}

/// The scanner.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    /// The next byte to read, always on a character boundary.
    pos: usize,
    /// Where the token being read starts.
    start: usize,
    state: State,
    paren_depth: i64,
    bracket_open: bool,
    got_colon: bool,
    got_duration: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            pos: 0,
            start: 0,
            state: State::Statements,
            paren_depth: 0,
            bracket_open: false,
            got_colon: false,
            got_duration: false,
        }
    }

    /// The next token; [`TokenKind::Eof`] for ever at the end.
    pub(crate) fn next_token(&mut self) -> Parsed<Token> {
        loop {
            self.start = self.pos;
            let kind = match self.state {
                State::Statements => self.statement()?,
                State::InsideBraces => self.inside_braces()?,
                State::DurationExpr => self.duration_expr()?,
            };
            if let Some(kind) = kind {
                return Ok(Token { kind, span: Span { start: self.start, end: self.pos } });
            }
        }
    }

    /// Outside braces. `None` where only space or a comment was read.
    fn statement(&mut self) -> Parsed<Option<TokenKind>> {
        let Some(c) = self.bump() else {
            return match () {
                () if self.paren_depth != 0 => self.fault("unclosed left parenthesis"),
                () if self.bracket_open => self.fault("unclosed left bracket"),
                () => Ok(Some(TokenKind::Eof)),
            };
        };
        let kind = match c {
            '#' => return Ok(self.skip_comment()),
            _ if is_space(c) => return Ok(None),
            '=' if self.peek() == Some('~') => {
                return self.fault(format!("unexpected character after '=': {}", quote_char(Some('~'))));
            }
            '=' if self.accept('=') => TokenKind::EqlC,
            '=' => TokenKind::Eql,
            '!' => match self.bump() {
                Some('=') => TokenKind::Neq,
                other => return self.fault(format!("unexpected character after '!': {}", quote_char(other))),
            },
            '<' if self.accept('=') => TokenKind::Lte,
            '<' if self.accept('/') => TokenKind::TrimUpper,
            '<' => TokenKind::Lss,
            '>' if self.accept('=') => TokenKind::Gte,
            '>' if self.accept('/') => TokenKind::TrimLower,
            '>' => TokenKind::Gtr,
            '{' => {
                self.state = State::InsideBraces;
                TokenKind::LeftBrace
            }
            '[' if self.bracket_open => return self.fault("unexpected left bracket '['"),
            '[' => {
                self.got_colon = false;
                self.bracket_open = true;
                self.state = State::DurationExpr;
                TokenKind::LeftBracket
            }
            ']' if !self.bracket_open => return self.fault("unexpected right bracket ']'"),
            ']' => {
                self.bracket_open = false;
                TokenKind::RightBracket
            }
            '@' => TokenKind::At,
            '"' | '\'' | '`' => self.string(c)?,
            _ if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                self.pos = self.start;
                self.number_or_duration()?
            }
            _ if is_alpha(c) || c == ':' => self.word(c)?,
            _ => match self.shared_symbol(c)? {
                Some(kind) => kind,
                None => return self.fault(format!("unexpected character: {}", quote_char(Some(c)))),
            },
        };
        Ok(Some(kind))
    }

    /// A keyword, an identifier, or inside brackets a colon or the name of a duration expression.
    fn word(&mut self, first: char) -> Parsed<TokenKind> {
        if !self.bracket_open {
            while self.peek().is_some_and(|c| is_alphanumeric(c) || c == ':') {
                self.bump();
            }
            return Ok(self.keyword_or_identifier());
        }
        if first == ':' {
            if self.got_colon {
                return self.fault("unexpected colon ':'");
            }
            self.got_colon = true;
            return Ok(TokenKind::Colon);
        }
        match self.duration_keyword() {
            Some(kind) => Ok(kind),
            None => self.fault(format!(
                "unexpected character: {}, expected {}",
                quote_char(Some(first)),
                quote_char(Some(':'))
            )),
        }
    }

    fn keyword_or_identifier(&self) -> TokenKind {
        let word = &self.text[self.start..self.pos];
        match keyword(word) {
            Some(TokenKind::Fill | TokenKind::FillLeft | TokenKind::FillRight) if !self.parenthesis_follows() => {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if word.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    fn parenthesis_follows(&self) -> bool {
        self.text[self.pos..].trim_start_matches(is_space).starts_with('(')
    }

    /// Reads on to the end of a word that has begun, if it is one of `step`, `range`, `min_of`, `max_of`.
    fn duration_keyword(&mut self) -> Option<TokenKind> {
        while self.peek().is_some_and(is_alpha) {
            self.bump();
        }
        duration_keyword(&self.text[self.start..self.pos])
    }

    fn number_or_duration(&mut self) -> Parsed<TokenKind> {
        match number::scan(&self.text[self.start..]) {
            Ok((kind, length)) => {
                self.pos = self.start + length;
                Ok(kind)
            }
            Err(read) => {
                let read = &self.text[self.start..self.start + read];
                self.fault(format!("bad number or duration syntax: {}", quote(read)))
            }
        }
    }

    fn string(&mut self, delimiter: char) -> Parsed<TokenKind> {
        match string::scan(&self.text[self.pos..], delimiter) {
            Ok(length) => {
                self.pos += length;
                Ok(TokenKind::String)
            }
            Err(message) => self.fault(message),
        }
    }

    /// Inside `{}`.
    fn inside_braces(&mut self) -> Parsed<Option<TokenKind>> {
        let Some(c) = self.bump() else {
            return self.fault("unexpected end of input inside braces");
        };
        let kind = match c {
            '#' => return Ok(self.skip_comment()),
            _ if is_space(c) => return Ok(None),
            _ if is_alpha(c) => {
                while self.peek().is_some_and(is_alphanumeric) {
                    self.bump();
                }
                TokenKind::Identifier
            }
            ',' => TokenKind::Comma,
            '"' | '\'' | '`' => self.string(c)?,
            '=' if self.accept('~') => TokenKind::EqlRegex,
            '=' => TokenKind::Eql,
            '!' => match self.bump() {
                Some('~') => TokenKind::NeqRegex,
                Some('=') => TokenKind::Neq,
                other => {
                    let other = quote_char(other);
                    return self.fault(format!("unexpected character after '!' inside braces: {other}"));
                }
            },
            '{' => return self.fault("unexpected left brace '{'"),
            '}' => {
                self.state = State::Statements;
                TokenKind::RightBrace
            }
            _ => return self.fault(format!("unexpected character inside braces: {}", quote_char(Some(c)))),
        };
        Ok(Some(kind))
    }

    /// Between `[` and the first number; what follows that is read as a statement.
    fn duration_expr(&mut self) -> Parsed<Option<TokenKind>> {
        let Some(c) = self.bump() else {
            return self.fault("unexpected end of input in duration expression");
        };
        let kind = match c {
            _ if is_space(c) => return Ok(None),
            ']' => {
                self.bracket_open = false;
                self.got_colon = false;
                self.state = State::Statements;
                TokenKind::RightBracket
            }
            ':' => {
                self.start = self.pos;
                if !self.got_duration {
                    return self.fault("unexpected colon before duration in duration expression");
                }
                if self.got_colon {
                    return self.fault("unexpected repeated colon in duration expression");
                }
                self.start -= 1;
                self.got_colon = true;
                TokenKind::Colon
            }
            _ if matches!(c.to_ascii_lowercase(), 's' | 'r' | 'm') => match self.duration_keyword() {
                Some(kind) => kind,
                None => {
                    return self.fault(format!("unexpected character in duration expression: {}", quote_char(Some(c))));
                }
            },
            _ if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                self.pos = self.start;
                self.got_duration = true;
                self.state = State::Statements;
                self.number_or_duration()?
            }
            _ => match self.shared_symbol(c)? {
                Some(kind) => kind,
                None => {
                    return self.fault(format!("unexpected character in duration expression: {}", quote_char(Some(c))));
                }
            },
        };
        Ok(Some(kind))
    }

    /// Symbols that mean the same in statements and in duration expressions.
    fn shared_symbol(&mut self, c: char) -> Parsed<Option<TokenKind>> {
        let kind = match c {
            ',' => TokenKind::Comma,
            '*' => TokenKind::Mul,
            '/' => TokenKind::Div,
            '%' => TokenKind::Mod,
            '+' => TokenKind::Add,
            '-' => TokenKind::Sub,
            '^' => TokenKind::Pow,
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' => {
                self.paren_depth -= 1;
                if self.paren_depth < 0 {
                    self.start = self.pos;
                    return self.fault("unexpected right parenthesis ')'");
                }
                TokenKind::RightParen
            }
            _ => return Ok(None),
        };
        Ok(Some(kind))
    }

    fn skip_comment(&mut self) -> Option<TokenKind> {
        while self.peek().is_some_and(|c| c != '\n' && c != '\r') {
            self.bump();
        }
        None
    }

    fn peek(&self) -> Option<char> {
        self.text[self.pos..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.pos += wanted.len_utf8();
        }
        found
    }

    /// A fault at the start of the token being read.
    fn fault<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Fault::new(Span { start: self.start, end: self.text.len() }, message)
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

#[cfg(test)]
mod tests;
