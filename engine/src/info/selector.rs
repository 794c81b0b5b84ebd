//! What the arguments of `info()` say about the info series: which, when, and what of them is wanted.

use std::fmt;

use promql::tree::Node;
use storage::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};

use crate::error::{Error, Result};

/// The info metric where none is named.
const DEFAULT_METRIC: &str = "target_info";
/// What a metric's name looks like where it is only said what it is not.
const ANY_INFO_METRIC: &str = ".+_info";

/// The second argument of `info()`, taken apart.
#[derive(Debug, Clone)]
pub struct InfoSelector {
    /// What the name of an info metric matches.
    names: Vec<Matcher>,
    /// What the other labels of an info series match.
    data: Vec<Matcher>,
}

impl InfoSelector {
    /// From the matchers of the second argument, none where it is left out.
    ///
    /// # Errors
    /// [`Error::Internal`] where a constant expression does not compile.
    pub fn try_new(matchers: &[Matcher]) -> Result<Self> {
        let (mut names, data): (Vec<_>, Vec<_>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, DEFAULT_METRIC));
        } else if !names.iter().any(|name| matches!(name.op(), MatchOp::Equal | MatchOp::Regex)) {
            let any = Matcher::try_new(MatchOp::Regex, METRIC_NAME, ANY_INFO_METRIC);
            names.insert(0, any.map_err(|e| Error::Internal(e.to_string()))?);
        }
        Ok(Self { names, data })
    }

    /// What the info series are selected by.
    #[must_use]
    pub fn matchers(&self) -> Vec<Matcher> {
        self.names.iter().chain(&self.data).cloned().collect()
    }

    /// Whether `name` is that of an info metric, whose series are not enriched themselves.
    pub(super) fn is_info_metric(&self, name: &str) -> bool {
        self.names.iter().all(|matcher| matcher.matches(name))
    }

    /// Whether series take over the label `name`: any label where none is named, else those that are.
    pub(super) fn takes(&self, mut is_name: impl FnMut(&str) -> bool) -> bool {
        self.data.is_empty() || self.data.iter().any(|matcher| is_name(matcher.name()))
    }

    /// Whether series for which there is no info series are left out.
    pub(super) fn requires_info(&self) -> bool {
        !self.data.iter().all(Matcher::matches_empty)
    }
}

impl fmt::Display for InfoSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, matcher) in self.names.iter().chain(&self.data).enumerate() {
            write!(f, "{}{matcher}", if index == 0 { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

/// The instant (`@`) and the offset in milliseconds at which info series are looked at, given the first argument of
/// `info()`: those of the first selector in it, seen through the subqueries around it. Offsets add up until an `@`
/// fixes the time.
#[must_use]
pub fn info_reference(base: &Node) -> (Option<Timestamp>, i64) {
    first_selector(base).unwrap_or_default()
}

fn first_selector(node: &Node) -> Option<(Option<Timestamp>, i64)> {
    match node {
        Node::Number(_) | Node::String(_) => None,
        Node::Vector(selector) => Some((selector.at, selector.offset_ms)),
        Node::Matrix(matrix) => Some((matrix.selector.at, matrix.selector.offset_ms)),
        Node::Subquery(subquery) => Some(match first_selector(&subquery.expr)? {
            (None, offset) => (subquery.at, offset.saturating_add(subquery.offset_ms)),
            fixed => fixed,
        }),
        Node::Call(call) => call.args.iter().find_map(first_selector),
        Node::Aggregate(aggregate) => {
            first_selector(&aggregate.expr).or_else(|| aggregate.param.as_deref().and_then(first_selector))
        }
        Node::Binary(binary) => first_selector(&binary.lhs).or_else(|| first_selector(&binary.rhs)),
        Node::Negate(inner) | Node::Plus(inner) | Node::StepInvariant(inner) => first_selector(inner),
    }
}
