//! An owned label set.

use std::borrow::Cow;
use std::fmt;

use super::{label_key, quote};

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A set of labels with distinct names and no empty values, held as its [`label_key`]: comparing and hashing
/// two of them compares and hashes bytes, in Prometheus's label order.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(String);

impl Labels {
    /// Sorts the pairs; of two with one name the last wins; empty values are dropped.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut key = String::new();
        for (i, (name, value)) in pairs.iter().enumerate() {
            let last_of_name = pairs.get(i + 1).is_none_or(|next| next.0.as_ref() != name.as_ref());
            if last_of_name {
                label_key::push_pair(&mut key, name.as_ref(), value.as_ref());
            }
        }
        Self(key)
    }

    /// Takes a key that [`label_key`] made.
    #[must_use]
    pub fn from_key(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The encoded form.
    #[must_use]
    pub fn as_key(&self) -> &str {
        &self.0
    }

    /// The encoded form, owned.
    #[must_use]
    pub fn into_key(self) -> String {
        self.0
    }

    /// Whether there are no labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in name order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        label_key::pairs(&self.0).map(|pair| (pair.name.text(), pair.value.text()))
    }

    /// The value of `name`, if present.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        label_key::get(&self.0, name).map(label_key::Escaped::text)
    }

    /// The same set with `name` set to `value`, or removed where `value` is empty.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let pairs = self.iter().filter(|(n, _)| n != name).map(|(n, v)| (n.into_owned(), v.into_owned()));
        Self::from_pairs(pairs.chain([(name.to_owned(), value.to_owned())]))
    }

    /// The same set without `names`.
    #[must_use]
    pub fn without<S: AsRef<str>>(&self, names: &[S]) -> Self {
        let mut key = String::with_capacity(self.0.len());
        label_key::filter_into(&self.0, &mut key, |n| !names.iter().any(|drop| n.is(drop.as_ref())));
        Self(key)
    }

    /// Only the labels in `names`.
    #[must_use]
    pub fn only<S: AsRef<str>>(&self, names: &[S]) -> Self {
        let mut key = String::with_capacity(self.0.len());
        label_key::filter_into(&self.0, &mut key, |n| names.iter().any(|keep| n.is(keep.as_ref())));
        Self(key)
    }
}

/// As Prometheus writes it: `{__name__="up", job="api"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}={}", quote::label_name(&name), quote::quote_go(&value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display() {
        let labels = Labels::from_pairs([("job", "a\"b\u{1}"), ("__name__", "up"), ("service.name", "é\u{200b}")]);
        assert_eq!(labels.to_string(), r#"{__name__="up", job="a\"b\x01", "service.name"="é\u200b"}"#);
        assert_eq!(Labels::default().to_string(), "{}");
    }

    #[test]
    fn the_last_of_a_name_wins_and_empty_values_go() {
        let labels = Labels::from_pairs([("a", "1"), ("b", ""), ("a", "2"), ("c", "3"), ("c", "")]);
        assert_eq!(labels, Labels::from_pairs([("a", "2")]));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn changed_sets() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(labels.with("b", ""), labels.without(&["b"]));
        assert_eq!(labels.with("aa", "x").only(&["aa", "c", "d"]), Labels::from_pairs([("aa", "x"), ("c", "3")]));
        assert_eq!(labels.with("a", "9").get("a").as_deref(), Some("9"));
    }
}
