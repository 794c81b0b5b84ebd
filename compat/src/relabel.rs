//! Relabelling: rules that change a label set or throw it away, as Prometheus and Thanos write them in YAML.
//!
//! ```yaml
//! - source_labels: [cluster, replica]     # joined by separator
//!   regex: eu-.*;a                        # which all of it must match
//!   action: keep
//! ```
//!
//! The rules are applied in order; the first that drops ends it. What each action does, and which keys it takes, is as in
//! Prometheus 3.14.

mod action;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use storage::model::{Labels, ReplaceRegex};

use crate::yaml::{ConfigError, Document};
pub use action::Action;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// The actions that can choose among blocks: none of these changes a label that counts.
pub const SELECTING: [Action; 3] = [Action::Keep, Action::Drop, Action::Hashmod];

/// Rules, in the order in which they apply.
#[derive(Debug, Clone, Default)]
pub struct Relabel {
    rules: Vec<Rule>,
}

#[derive(Clone)]
struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    regex: ReplaceRegex,
    regex_is_default: bool,
    target_label: String,
    replacement: String,
    modulus: u64,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?} into {:?}", self.action, self.source_labels, self.target_label)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleYaml {
    source_labels: Option<Vec<String>>,
    separator: Option<String>,
    regex: Option<String>,
    modulus: Option<u64>,
    target_label: Option<String>,
    replacement: Option<String>,
    action: Option<String>,
}

impl Relabel {
    /// Reads a list of rules; `source` names the text in errors. Empty text is no rule. With `allowed`, only these actions may
    /// occur.
    ///
    /// # Errors
    /// [`ConfigError`] with the place of what is wrong.
    pub fn from_yaml(text: &str, source: &str, allowed: Option<&[Action]>) -> Result<Self, ConfigError> {
        let document = Document::new(text, source);
        let rules: Option<Vec<RuleYaml>> = if text.trim().is_empty() { None } else { document.parse()? };
        let checked = rules.into_iter().flatten().enumerate().map(|(index, rule)| {
            rule.check(allowed).map_err(|message| document.unusable(format!("rule {}: {message}", index + 1)))
        });
        Ok(Self { rules: checked.collect::<Result<_, _>>()? })
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The labels as the rules leave them; `None` where one drops them.
    #[must_use]
    pub fn apply(&self, labels: &Labels) -> Option<Labels> {
        let mut pairs: BTreeMap<String, String> =
            labels.iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
        self.rules.iter().all(|rule| rule.apply(&mut pairs)).then(|| Labels::from_pairs(&pairs))
    }
}

impl RuleYaml {
    fn check(self, allowed: Option<&[Action]>) -> Result<Rule, String> {
        let action: Action = self.action.as_deref().unwrap_or("replace").parse()?;
        if allowed.is_some_and(|allowed| !allowed.contains(&action)) {
            return Err(format!("action {action} is not one that chooses: keep, drop or hashmod"));
        }
        action.check_keys(&self)?;
        let regex = self.regex.as_deref().unwrap_or(DEFAULT_REGEX);
        let compiled = ReplaceRegex::try_new(regex).map_err(|error| format!("regex: {error}"))?;
        Ok(Rule {
            action,
            regex: compiled,
            regex_is_default: regex == DEFAULT_REGEX,
            source_labels: self.source_labels.unwrap_or_default(),
            separator: self.separator.unwrap_or_else(|| DEFAULT_SEPARATOR.to_owned()),
            target_label: self.target_label.unwrap_or_default(),
            replacement: self.replacement.unwrap_or_else(|| DEFAULT_REPLACEMENT.to_owned()),
            modulus: self.modulus.unwrap_or(0),
        })
    }
}

impl Rule {
    /// Whether the label set stays.
    fn apply(&self, pairs: &mut BTreeMap<String, String>) -> bool {
        let get = |name: &String| pairs.get(name).map_or("", String::as_str);
        let value = self.source_labels.iter().map(get).collect::<Vec<_>>().join(&self.separator);
        match self.action {
            Action::Keep => return self.regex.is_match(&value),
            Action::Drop => return !self.regex.is_match(&value),
            Action::Keepequal => return get(&self.target_label) == value,
            Action::Dropequal => return get(&self.target_label) != value,
            Action::Replace => self.replace(&value, pairs),
            Action::Lowercase => set(pairs, &self.target_label, value.to_lowercase()),
            Action::Uppercase => set(pairs, &self.target_label, value.to_uppercase()),
            Action::Hashmod => set(pairs, &self.target_label, hashmod(&value, self.modulus).to_string()),
            Action::Labeldrop => pairs.retain(|name, _| !self.regex.is_match(name)),
            Action::Labelkeep => pairs.retain(|name, _| self.regex.is_match(name)),
            Action::Labelmap => {
                let renamed = |(name, value): (&String, &String)| {
                    Some((self.regex.expand(name, &self.replacement)?, value.clone()))
                };
                let mapped: Vec<_> = pairs.iter().filter_map(renamed).collect();
                mapped.into_iter().for_each(|(name, value)| set(pairs, &name, value));
            }
        }
        true
    }

    fn replace(&self, value: &str, pairs: &mut BTreeMap<String, String>) {
        let fixed = |template: &str| !template.contains('$');
        if value.is_empty() && self.regex_is_default && fixed(&self.target_label) && fixed(&self.replacement) {
            set(pairs, &self.target_label, self.replacement.clone());
            return;
        }
        let expanded = self.regex.expand(value, &self.target_label).zip(self.regex.expand(value, &self.replacement));
        if let Some((target, replacement)) = expanded.filter(|(target, _)| !target.is_empty()) {
            set(pairs, &target, replacement);
        }
    }
}

/// An empty value is no label.
fn set(pairs: &mut BTreeMap<String, String>, name: &str, value: String) {
    if value.is_empty() {
        pairs.remove(name);
    } else {
        pairs.insert(name.to_owned(), value);
    }
}

/// The last eight bytes of the MD5 sum, as Prometheus has them.
fn hashmod(value: &str, modulus: u64) -> u64 {
    use md5::{Digest, Md5};
    let sum: [u8; 16] = Md5::digest(value.as_bytes()).into();
    let mut last = [0; 8];
    last.copy_from_slice(&sum[8..]);
    u64::from_be_bytes(last).checked_rem(modulus).unwrap_or(0)
}

#[cfg(test)]
mod tests;
