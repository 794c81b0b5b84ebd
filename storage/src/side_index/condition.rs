//! What a matcher says about a part of a column, before it is read.
//!
//! A part is a row group's or a page's. Its bounds are the smallest and largest value in it and how many rows lack the
//! label. Equality, a set (`a|b|c`) and a prefix (`abc.*`) rule parts out by them; every other matcher only by presence.

use crate::model::{MatchOp, Matcher};

/// The values that a matcher can accept, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Values {
    /// Only these, sorted, none empty.
    Set(Vec<String>),
    /// Only values that begin so.
    Prefix(String),
    /// Any.
    Any,
}

/// A matcher prepared for pruning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    values: Values,
    absent: bool,
}

/// Bounds of the values of one page or row group. Bounds that are not known are `None`.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// No larger than any value.
    pub min: Option<&'a [u8]>,
    /// No smaller than any value.
    pub max: Option<&'a [u8]>,
    /// Whether a row may lack the label.
    pub some_absent: bool,
    /// Whether all rows lack it.
    pub all_absent: bool,
}

impl Condition {
    /// Prepares `matcher`.
    #[must_use]
    pub fn new(matcher: &Matcher) -> Self {
        let values = match matcher.op() {
            MatchOp::Equal => Values::Set(vec![matcher.value().to_owned()]),
            MatchOp::Regex => match (matcher.set_matches(), matcher.prefix()) {
                (Some(set), _) => Values::Set(set.to_vec()),
                (None, Some(prefix)) => Values::Prefix(prefix.to_owned()),
                (None, None) => Values::Any,
            },
            MatchOp::NotEqual | MatchOp::NotRegex => Values::Any,
        };
        let values = match values {
            Values::Set(mut set) => {
                set.retain(|value| !value.is_empty());
                set.sort();
                Values::Set(set)
            }
            other => other,
        };
        Self { values, absent: matcher.matches_empty() }
    }

    /// Whether a row of the part with these bounds can pass.
    #[must_use]
    pub fn may_match(&self, part: Bounds<'_>) -> bool {
        if self.absent && part.some_absent {
            return true;
        }
        if part.all_absent {
            return false;
        }
        match &self.values {
            Values::Any => true,
            Values::Set(set) => {
                let first = part.min.map_or(0, |min| set.partition_point(|value| value.as_bytes() < min));
                set.get(first).is_some_and(|value| part.max.is_none_or(|max| value.as_bytes() <= max))
            }
            Values::Prefix(prefix) => {
                let prefix = prefix.as_bytes();
                let below = part.max.is_some_and(|max| max < prefix);
                let above = part.min.is_some_and(|min| min > prefix && !min.starts_with(prefix));
                !below && !above
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatchOp, value: &str, page: (&str, &str, bool), expected: bool) {
        let condition = Condition::new(&Matcher::try_new(op, "n", value).unwrap());
        let bounds = Bounds {
            min: (!page.0.is_empty()).then_some(page.0.as_bytes()),
            max: (!page.1.is_empty()).then_some(page.1.as_bytes()),
            some_absent: page.2,
            all_absent: page.0.is_empty() && page.2,
        };
        assert_eq!(condition.may_match(bounds), expected, "{op:?} {value} on {page:?}");
    }

    #[test]
    fn pages_are_ruled_out_by_bounds() {
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        check(Equal, "b", ("a", "c", false), true);
        check(Equal, "b", ("c", "d", false), false);
        check(Equal, "b", ("a", "az", true), false);
        check(Equal, "", ("a", "b", false), false);
        check(Equal, "", ("a", "b", true), true);
        check(NotEqual, "", ("", "", true), false);
        check(NotEqual, "a", ("a", "a", false), true);
        check(Regex, "b|e|", ("c", "d", false), false);
        check(Regex, "b|e|", ("c", "d", true), true);
        check(Regex, "b|e", ("c", "f", false), true);
        check(Regex, "x[12]", ("x2", "x9", false), true);
        check(Regex, "x[12]", ("x3", "x9", false), false);
        check(Regex, "abc.*", ("abcd", "abce", false), true);
        check(Regex, "abc.*", ("aa", "abb", false), false);
        check(Regex, "abc.+", ("abd", "b", false), false);
        check(Regex, "abc.+", ("a", "b", false), true);
        check(Regex, ".*", ("", "", true), true);
        check(Regex, ".+", ("", "", true), false);
        check(NotRegex, "a|b", ("a", "b", false), true);
        check(Regex, "(?i)ab|c", ("x", "y", false), false);
    }
}
