//! Subsets of label keys: what grouping, matching and dropping the metric name come to.
//!
//! A key is copied pair by pair into a reused string; a pair is a slice of the key, so nothing is allocated a label.

use promql::tree::{Grouping, VectorMatching};
use storage::model::{METRIC_NAME, label_key};

use crate::removed_name::unmarked;

/// Labels that describe a metric rather than tell its series apart: its name, type and unit.
const RESERVED: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// Which labels of a series are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LabelSubset {
    /// Only these.
    Only(Vec<String>),
    /// All but these and the metric name.
    Without(Vec<String>),
}

impl From<&Grouping> for LabelSubset {
    fn from(grouping: &Grouping) -> Self {
        match grouping {
            Grouping::By(names) => Self::Only(names.clone()),
            Grouping::Without(names) => Self::Without(names.clone()),
        }
    }
}

impl From<&VectorMatching> for LabelSubset {
    fn from(matching: &VectorMatching) -> Self {
        let names = matching.labels.clone();
        if matching.on { Self::Only(names) } else { Self::Without(names) }
    }
}

impl LabelSubset {
    /// Replaces `out` by the key of these labels of `key`.
    pub(crate) fn write(&self, key: &str, out: &mut String) {
        out.clear();
        let key = unmarked(key);
        match self {
            Self::Only(names) if names.is_empty() => {}
            Self::Only(names) => label_key::filter_into(key, out, |name| names.iter().any(|keep| name.is(keep))),
            Self::Without(names) => label_key::filter_into(key, out, |name| {
                !name.is(METRIC_NAME) && !names.iter().any(|drop| name.is(drop))
            }),
        }
    }
}

/// Whether a function or arithmetic drops the label: it no longer describes what comes out.
pub(crate) fn is_reserved(name: label_key::Escaped<'_>) -> bool {
    name.as_str().starts_with("__") && RESERVED.iter().any(|reserved| name.is(reserved))
}

/// Replaces `out` by `key` without the metric's name, type and unit.
pub(crate) fn drop_name(key: &str, out: &mut String) {
    out.clear();
    label_key::filter_into(key, out, |name| !is_reserved(name));
}

/// Replaces `out` by the pairs of both keys in name order. The keys have no name in common.
pub(crate) fn merge_disjoint(left: &str, right: &str, out: &mut String) {
    out.clear();
    let mut right = label_key::pairs(right).peekable();
    for pair in label_key::pairs(left) {
        while let Some(other) = right.next_if(|other| other.name < pair.name) {
            out.push_str(other.raw);
        }
        out.push_str(pair.raw);
    }
    for other in right {
        out.push_str(other.raw);
    }
}

/// Replaces `out` by `key` with `name` set to `value`, or removed where `value` is empty.
pub(crate) fn set_label(key: &str, name: &str, value: &str, out: &mut String) {
    let mut rest = String::with_capacity(key.len());
    label_key::filter_into(key, &mut rest, |other| !other.is(name));
    let mut pair = String::with_capacity(name.len() + value.len() + 2);
    label_key::push_pair(&mut pair, name, value);
    merge_disjoint(&rest, &pair, out);
}

#[cfg(test)]
mod tests {
    use storage::model::Labels;

    use super::*;

    fn check(expected: &[(&str, &str)], write: impl FnOnce(&str, &mut String)) {
        let labels = Labels::from_pairs([("__name__", "m"), ("__type__", "gauge"), ("a", "1"), ("b", "2"), ("c", "3")]);
        let mut out = "left over".to_owned();
        write(labels.as_key(), &mut out);
        assert_eq!(Labels::from_key(out), Labels::from_pairs(expected.iter().copied()));
    }

    #[test]
    fn subsets() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        check(&[], |key, out| LabelSubset::Only(vec![]).write(key, out));
        check(&[("a", "1"), ("c", "3")], |key, out| LabelSubset::Only(names(&["a", "c", "d"])).write(key, out));
        check(&[("__type__", "gauge"), ("b", "2")], |key, out| {
            LabelSubset::Without(names(&["a", "c"])).write(key, out);
        });
        check(&[("a", "1"), ("b", "2"), ("c", "3")], drop_name);
    }

    #[test]
    fn setting_keeps_the_order_of_names() {
        let all = [("__name__", "m"), ("__type__", "gauge"), ("a", "1"), ("b", "2"), ("c", "3")];
        let with = |pair| [all.as_slice(), &[pair]].concat();
        check(&with(("bb", "x")), |key, out| set_label(key, "bb", "x", out));
        check(&with(("A", "x")), |key, out| set_label(key, "A", "x", out));
        check(&with(("z", "x")), |key, out| set_label(key, "z", "x", out));
        check(&with(("b", "x")), |key, out| set_label(key, "b", "x", out));
        check(&all[..4], |key, out| set_label(key, "c", "", out));
    }
}
