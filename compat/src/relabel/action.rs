//! What a relabelling rule can do, and which keys each kind of rule takes.

use std::fmt;
use std::str::FromStr;

use super::{DEFAULT_REGEX, DEFAULT_REPLACEMENT, DEFAULT_SEPARATOR, RuleYaml};

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label to the replacement, where the expression matches.
    Replace,
    /// Drops label sets that do not match.
    Keep,
    /// Drops label sets that match.
    Drop,
    /// Drops label sets whose target label is not the value.
    Keepequal,
    /// Drops label sets whose target label is the value.
    Dropequal,
    /// Sets the target label to a hash of the value, modulo a number.
    Hashmod,
    /// Copies labels whose names match to names made by the replacement.
    Labelmap,
    /// Removes labels whose names match.
    Labeldrop,
    /// Removes labels whose names do not match.
    Labelkeep,
    /// Sets the target label to the value in lower case.
    Lowercase,
    /// Sets the target label to the value in upper case.
    Uppercase,
}

impl Action {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::Keepequal,
        Self::Dropequal,
        Self::Hashmod,
        Self::Labelmap,
        Self::Labeldrop,
        Self::Labelkeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Keepequal => "keepequal",
            Self::Dropequal => "dropequal",
            Self::Hashmod => "hashmod",
            Self::Labelmap => "labelmap",
            Self::Labeldrop => "labeldrop",
            Self::Labelkeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// Prometheus refuses keys that an action would ignore, and so does this.
    pub(super) fn check_keys(self, rule: &RuleYaml) -> Result<(), String> {
        let targeted = matches!(
            self,
            Self::Replace | Self::Hashmod | Self::Lowercase | Self::Uppercase | Self::Keepequal | Self::Dropequal
        );
        let differs = |value: &Option<String>, default: &str| value.as_deref().is_some_and(|value| value != default);
        let has_target = rule.target_label.as_deref().is_some_and(|label| !label.is_empty());
        let has_modulus = rule.modulus.is_some_and(|modulus| modulus != 0);
        let separated = differs(&rule.separator, DEFAULT_SEPARATOR);
        let replaced = differs(&rule.replacement, DEFAULT_REPLACEMENT);
        if self == Self::Hashmod && !has_modulus {
            return Err("action hashmod needs a modulus that is not zero".to_owned());
        }
        if targeted && !has_target {
            return Err(format!("action {self} needs target_label"));
        }
        let wrong = match self {
            Self::Lowercase | Self::Uppercase => replaced.then_some("takes no replacement"),
            Self::Keepequal | Self::Dropequal => {
                let more = differs(&rule.regex, DEFAULT_REGEX) || has_modulus || separated || replaced;
                more.then_some("takes only source_labels and target_label")
            }
            Self::Labeldrop | Self::Labelkeep => {
                let more = rule.source_labels.is_some() || has_target || has_modulus || separated || replaced;
                more.then_some("takes only regex")
            }
            Self::Labelmap => rule.replacement.as_deref().is_some_and(str::is_empty).then_some("needs a replacement"),
            _ => None,
        };
        wrong.map_or(Ok(()), |wrong| Err(format!("action {self} {wrong}")))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    /// Upper and lower case are the same, as in Prometheus.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        let known = Self::ALL.into_iter().find(|action| action.as_str() == lower);
        known.ok_or_else(|| format!("action {text:?} is not known"))
    }
}
