//! The regular expression and template of `label_replace`.

use regex_automata::meta::Regex;
use regex_automata::nfa::thompson::WhichCaptures;

use super::regex::compile;
use super::{MatcherError, syntax};

/// An expression over whole values, with capturing groups.
#[derive(Debug, Clone)]
pub struct ReplaceRegex {
    regex: Regex,
    /// Names of the groups from 1 on.
    capture_names: Vec<Option<String>>,
}

impl ReplaceRegex {
    /// Compiles `pattern`, which a value has to match as a whole.
    ///
    /// # Errors
    /// [`MatcherError`] as for a matcher. As in Prometheus the pattern is put into `^(?s:…)$` as text, and errors may
    /// show that.
    pub fn try_new(pattern: &str) -> Result<Self, MatcherError> {
        let whole = format!("^(?s:{pattern})$");
        let parsed = syntax::parse(&whole, false, true)?;
        let regex = compile(&parsed.hir, WhichCaptures::All, &whole)?;
        Ok(Self { regex, capture_names: parsed.capture_names })
    }

    /// Whether the whole of `input` matches.
    #[must_use]
    pub fn is_match(&self, input: &str) -> bool {
        self.regex.is_match(input)
    }

    /// The template with the groups of `input` put in; `None` where `input` does not match.
    ///
    /// `$1`, `${1}`, `$name` and `${name}` stand for groups, empty where there is no such group; a name is as long as
    /// letters, digits and `_` go; `$$` is a dollar sign, and so is one that nothing sensible follows.
    #[must_use]
    pub fn expand(&self, input: &str, template: &str) -> Option<String> {
        let mut captures = self.regex.create_captures();
        self.regex.captures(input, &mut captures);
        if !captures.is_match() {
            return None;
        }
        let group = |index: usize| captures.get_group(index).map(|span| &input[span.range()]);
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = reference(rest) {
                rest = after;
                let text = match number(name) {
                    Some(index) => group(index),
                    None => {
                        let mut named =
                            self.capture_names.iter().enumerate().filter(|(_, n)| n.as_deref() == Some(name));
                        named.find_map(|(i, _)| group(i + 1))
                    }
                };
                out.push_str(text.unwrap_or_default());
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        Some(out)
    }
}

/// The name after a dollar sign, with or without braces, and what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let braced = text.strip_prefix('{');
    let text = braced.unwrap_or(text);
    let length = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    if name.is_empty() {
        return None;
    }
    if braced.is_some() { rest.strip_prefix('}').map(|rest| (name, rest)) } else { Some((name, rest)) }
}

/// The number that a group's name is, if it is one: decimal, without leading zeros.
fn number(name: &str) -> Option<usize> {
    let well_formed =
        name.len() <= 9 && name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if well_formed { name.parse().ok() } else { None }
}
