//! The labels that a block's producer carries for all of its series.

use std::collections::BTreeMap;

use super::labels::Labels;
use super::matcher::Matcher;

/// External labels of a block, sorted by name. They win over a series' own label of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalLabels(BTreeMap<String, String>);

impl ExternalLabels {
    /// From name and value pairs; empty values are dropped.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(n, v)| (n.into(), v.into())).filter(|(_, v)| !v.is_empty()).collect())
    }

    /// The value of `name`, if present.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pairs in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The same labels without `names`.
    #[must_use]
    pub fn without(&self, names: &[String]) -> Self {
        Self(self.0.iter().filter(|(n, _)| !names.contains(n)).map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    /// As a label set.
    #[must_use]
    pub fn to_labels(&self) -> Labels {
        Labels::from_pairs(self.iter())
    }

    /// Splits `matchers` into those that must still be asked of the series, having checked those on external
    /// labels here: `None` where one of these does not match, so that nothing of the block can.
    #[must_use]
    pub fn resolve(&self, matchers: &[Matcher]) -> Option<Vec<Matcher>> {
        let mut rest = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            match self.get(matcher.name()) {
                Some(value) if matcher.matches(value) => {}
                Some(_) => return None,
                None => rest.push(matcher.clone()),
            }
        }
        Some(rest)
    }
}
