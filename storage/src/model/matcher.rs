//! Label matchers with Prometheus's semantics: anchored, RE2 syntax, linear time, bounded size.

use std::fmt;
use std::sync::Arc;

use super::quote;

mod class;
mod regex;
mod replace;
mod syntax;

pub use replace::ReplaceRegex;

use regex::ValueRegex;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// A matcher that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MatcherError(pub String);

/// One condition on one label. A label that a series does not have counts as empty.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Arc<ValueRegex>>,
}

impl Matcher {
    /// Compiles the matcher.
    ///
    /// # Errors
    /// [`MatcherError`] where a regular expression is not RE2 syntax or compiles to too large a program.
    pub fn try_new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(ValueRegex::try_new(&value)?)),
        };
        Ok(Self { name, op, value, regex })
    }

    /// `name = value`, which cannot fail.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// The label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value passes; an absent label is `""`.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => self.value == value,
            (MatchOp::NotEqual, _) => self.value != value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }

    /// The values that a regular expression is a list of, ascending and without duplicates: `a|b` has `a` and `b`.
    /// With `=~` these are all values that pass, with `!~` all that do not. `None` for other operators.
    #[must_use]
    pub fn set_matches(&self) -> Option<&[String]> {
        self.regex.as_ref()?.set()
    }

    /// What all values that a regular expression matches begin with, where that is known and not empty: `foo.*` has
    /// `foo`. With `!~` a value that begins otherwise passes. `None` for other operators, and for those with
    /// [`set_matches`](Self::set_matches).
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        self.regex.as_ref()?.prefix()
    }

    /// Whether a series without the label passes.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{}", quote::label_name(&self.name), quote::quote_go(&self.value))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
