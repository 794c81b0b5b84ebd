//! From a series' own labels to its final ones: external labels join, labels to drop go.
//!
//! ```text
//! own      a=1 cluster=x z=9 ─┐
//! external cluster=eu replica=a ┴─> a=1 cluster=eu z=9      dropped: replica=a ──> replica number
//! ```
//!
//! External labels win. What was dropped tells replicas apart: its hash is the replica number, equal in all
//! blocks of a replica, and 0 where nothing was dropped.

use std::sync::Arc;

use twox_hash::XxHash64;

use crate::model::{ExternalLabels, label_key};

/// Joins labels for one block and request.
#[derive(Debug, Clone)]
pub struct LabelJoin {
    external: Vec<ExternalPair>,
    drop: Arc<[String]>,
    /// Whether own labels pass unchanged.
    identity: bool,
    external_replica: u32,
}

#[derive(Debug, Clone)]
struct ExternalPair {
    /// The name as it stands in a key.
    name: String,
    /// The pair as it stands in a key; empty where it does not join.
    raw: String,
    dropped: bool,
    dropped_raw: String,
}

impl LabelJoin {
    /// For series of a block with these external labels. Where they do not `join`, they still tell replicas apart.
    #[must_use]
    pub fn new(external: &ExternalLabels, drop: Arc<[String]>, join: bool) -> Self {
        let pairs: Vec<ExternalPair> = external
            .iter()
            .map(|(name, value)| {
                let mut raw = String::new();
                label_key::push_pair(&mut raw, name, value);
                let escaped = label_key::pairs(&raw).next().map(|pair| pair.name.as_str().to_owned());
                let dropped = drop.iter().any(|d| d == name);
                let dropped_raw = if dropped { raw.clone() } else { String::new() };
                let raw = if join && !dropped { raw } else { String::new() };
                ExternalPair { name: escaped.unwrap_or_default(), raw, dropped, dropped_raw }
            })
            .collect();
        let mut dropped = String::new();
        pairs.iter().for_each(|pair| dropped.push_str(&pair.dropped_raw));
        let identity = drop.is_empty() && (!join || pairs.is_empty());
        let external = if join { pairs } else { pairs.into_iter().filter(|pair| pair.dropped).collect() };
        Self { external, drop, identity, external_replica: replica_number(&dropped) }
    }

    /// Appends the final key of a series with `key` to `out`; returns its replica number.
    pub fn join(&self, key: &str, out: &mut String) -> u32 {
        if self.identity {
            out.push_str(key);
            return 0;
        }
        let mut own_dropped = false;
        let mut external = self.external.iter().peekable();
        for pair in label_key::pairs(key) {
            let name = pair.name.as_str();
            while let Some(before) = external.next_if(|e| e.name.as_str() < name) {
                out.push_str(&before.raw);
            }
            if let Some(winner) = external.next_if(|e| e.name == name) {
                out.push_str(&winner.raw);
            } else if self.drop.iter().any(|d| pair.name.is(d)) {
                own_dropped = true;
            } else {
                out.push_str(pair.raw);
            }
        }
        external.for_each(|rest| out.push_str(&rest.raw));
        if own_dropped { self.replica_of(key) } else { self.external_replica }
    }

    /// The replica number of a series that has itself labels to drop.
    fn replica_of(&self, key: &str) -> u32 {
        let mut dropped = String::new();
        let mut external = self.external.iter().peekable();
        for pair in label_key::pairs(key) {
            let name = pair.name.as_str();
            while let Some(before) = external.next_if(|e| e.name.as_str() < name) {
                dropped.push_str(&before.dropped_raw);
            }
            if let Some(winner) = external.next_if(|e| e.name == name) {
                dropped.push_str(&winner.dropped_raw);
            } else if self.drop.iter().any(|d| pair.name.is(d)) {
                dropped.push_str(pair.raw);
            }
        }
        external.for_each(|rest| dropped.push_str(&rest.dropped_raw));
        replica_number(&dropped)
    }
}

fn replica_number(dropped: &str) -> u32 {
    if dropped.is_empty() {
        return 0;
    }
    let hash = XxHash64::oneshot(0, dropped.as_bytes());
    ((hash ^ (hash >> 32)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn check(own: &[(&str, &str)], drop: &[&str], expected: &[(&str, &str)]) -> u32 {
        let external = ExternalLabels::from_pairs([("cluster", "eu"), ("replica", "a")]);
        let drop: Arc<[String]> = drop.iter().map(|&d| d.to_owned()).collect();
        let mut out = String::new();
        let replica =
            LabelJoin::new(&external, drop, true).join(Labels::from_pairs(own.iter().copied()).as_key(), &mut out);
        assert_eq!(Labels::from_key(out), Labels::from_pairs(expected.iter().copied()));
        replica
    }

    #[test]
    fn external_labels_win_and_dropped_ones_number_replicas() {
        assert_eq!(
            check(&[("a", "1"), ("z", "2")], &[], &[("a", "1"), ("cluster", "eu"), ("replica", "a"), ("z", "2")]),
            0
        );
        let a = check(&[("cluster", "x")], &["replica"], &[("cluster", "eu")]);
        assert_ne!(a, 0);
        assert_eq!(check(&[("replica", "own")], &["replica"], &[("cluster", "eu")]), a);
        let b = check(&[("prometheus", "1")], &["replica", "prometheus"], &[("cluster", "eu")]);
        let c = check(&[("prometheus", "2")], &["replica", "prometheus"], &[("cluster", "eu")]);
        assert!(a != b && b != c);
        assert_eq!(check(&[("A", "1")], &["A", "absent"], &[("cluster", "eu"), ("replica", "a")]), {
            check(&[("A", "1"), ("b", "1")], &["A"], &[("b", "1"), ("cluster", "eu"), ("replica", "a")])
        });
    }

    #[test]
    fn without_joining_external_labels_still_tell_replicas_apart() {
        let external = ExternalLabels::from_pairs([("replica", "a")]);
        let mut out = String::new();
        let own = Labels::from_pairs([("a", "1"), ("replica", "x")]);
        let join = LabelJoin::new(&external, Arc::from(["replica".to_owned()]), false);
        assert_ne!(join.join(own.as_key(), &mut out), 0);
        assert_eq!(Labels::from_key(out), Labels::from_pairs([("a", "1")]));
        let mut plain = String::new();
        assert_eq!(LabelJoin::new(&external, Arc::from([]), false).join(own.as_key(), &mut plain), 0);
        assert_eq!(plain, own.as_key());
    }
}
