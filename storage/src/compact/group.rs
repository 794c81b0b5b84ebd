//! Blocks that can be merged with one another.
//!
//! A group has one resolution and one set of external labels. Groups have no block in common, so they are worked on
//! independently, and what is wrong with one does not stop another.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use twox_hash::XxHash64;

use crate::block::BlockMeta;
use crate::model::{BlockId, ExternalLabels};

/// What follows a name and a value in what is hashed; no UTF-8 text has it.
const SEPARATOR: u8 = 0xff;

/// Blocks of one resolution with the same external labels.
#[derive(Debug, Clone)]
pub struct Group {
    key: String,
    resolution_ms: i64,
    labels: ExternalLabels,
    blocks: Vec<Arc<BlockMeta>>,
}

/// The name of a group, as Thanos writes it: `<resolution in milliseconds>@<hash of the labels>`.
///
/// The hash is XXH64 of names and values in order of names, each followed by the byte 255.
#[must_use]
pub fn group_key(resolution_ms: i64, labels: &ExternalLabels) -> String {
    let mut bytes = Vec::new();
    for (name, value) in labels.iter() {
        for text in [name, value] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(SEPARATOR);
        }
    }
    format!("{resolution_ms}@{}", XxHash64::oneshot(0, &bytes))
}

/// Sorts blocks into groups, in order of their keys.
#[must_use]
pub fn groups<'a>(blocks: impl IntoIterator<Item = &'a Arc<BlockMeta>>) -> Vec<Group> {
    let mut groups: BTreeMap<(i64, ExternalLabels), Vec<Arc<BlockMeta>>> = BTreeMap::new();
    for block in blocks {
        groups.entry((block.resolution_ms(), block.external_labels())).or_default().push(Arc::clone(block));
    }
    let groups = groups.into_iter();
    let mut groups: Vec<Group> =
        groups.map(|((resolution_ms, labels), blocks)| Group::new(resolution_ms, labels, blocks)).collect();
    groups.sort_by(|a, b| a.key.cmp(&b.key));
    groups
}

impl Group {
    fn new(resolution_ms: i64, labels: ExternalLabels, mut blocks: Vec<Arc<BlockMeta>>) -> Self {
        blocks.sort_by_key(|block| (block.min_time, block.id()));
        Self { key: group_key(resolution_ms, &labels), resolution_ms, labels, blocks }
    }

    /// Its name; see [`group_key`].
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Milliseconds between samples, 0 for raw ones.
    #[must_use]
    pub fn resolution_ms(&self) -> i64 {
        self.resolution_ms
    }

    /// External labels of all its blocks.
    #[must_use]
    pub fn labels(&self) -> &ExternalLabels {
        &self.labels
    }

    /// Its blocks in order of their first millisecond.
    #[must_use]
    pub fn blocks(&self) -> &[Arc<BlockMeta>] {
        &self.blocks
    }

    /// What of `extensions` a block made in this group keeps: the keys that every block of the group has.
    #[must_use]
    pub fn extensions(&self) -> Option<Value> {
        let mut maps = self.blocks.iter().map(|block| match block.thanos.as_ref()?.extensions.as_ref()? {
            Value::Object(map) => Some(map),
            _ => None,
        });
        let mut common: Map<String, Value> = maps.next()??.clone();
        for map in maps {
            let map = map?;
            common.retain(|key, _| map.contains_key(key));
        }
        (!common.is_empty()).then_some(Value::Object(common))
    }

    /// Puts `output` in place of the blocks that it was made of, as the bucket will have it.
    pub fn replace(&mut self, inputs: &[Arc<BlockMeta>], output: Arc<BlockMeta>) {
        let inputs: HashSet<BlockId> = inputs.iter().map(|block| block.id()).collect();
        self.blocks.retain(|block| !inputs.contains(&block.id()));
        let place = self.blocks.partition_point(|block| block.min_time <= output.min_time);
        self.blocks.insert(place, output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::testing::{block, id, labeled};

    #[test]
    fn keys_are_those_of_thanos() {
        let odd = (r"foo/some..thing/some.thing/../", r"a_b_c/bar-something-a\metric/a\x");
        for (resolution, labels, expected) in [
            (0, vec![], "0@17241709254077376921"),
            (0, vec![("foo", "bar"), ("foo1", "bar2")], "0@2124638872457683483"),
            (0, vec![("foo1", "bar2"), ("foo", "bar")], "0@2124638872457683483"),
            (300_000, vec![("foo", "bar"), ("foo1", "bar2")], "300000@2124638872457683483"),
            (0, vec![odd], "0@16590761456214576373"),
        ] {
            assert_eq!(group_key(resolution, &ExternalLabels::from_pairs(labels)), expected);
        }
    }

    #[test]
    fn resolution_and_labels_make_a_group_in_order_of_time() {
        let mut fine = labeled(4, (0, 10), &[("c", "x")]);
        fine.thanos.as_mut().unwrap().downsample.resolution = 300_000;
        let blocks = [
            labeled(1, (10, 20), &[("c", "x")]),
            labeled(2, (0, 10), &[("c", "x")]),
            labeled(3, (0, 10), &[("c", "y")]),
            fine,
            block(5, (0, 10)),
        ]
        .map(Arc::new);
        let found: Vec<_> = groups(&blocks)
            .into_iter()
            .map(|group| {
                let ids: Vec<_> = group.blocks().iter().map(|block| block.id()).collect();
                (group.resolution_ms(), group.labels().get("c").unwrap_or("").to_owned(), ids)
            })
            .collect();
        let with = |n| vec![id(n)];
        assert_eq!(found.len(), 4);
        assert!(found.contains(&(0, "x".to_owned(), vec![id(2), id(1)])));
        assert!(found.contains(&(0, "y".to_owned(), with(3))));
        assert!(found.contains(&(300_000, "x".to_owned(), with(4))));
        assert!(found.contains(&(0, String::new(), with(5))));
        let keys: Vec<_> = groups(&blocks).iter().map(|group| group.key().to_owned()).collect();
        assert!(keys.is_sorted());
    }

    #[test]
    fn extensions_survive_where_all_have_them() {
        let with = |n, json: Option<&str>| {
            let mut block = block(n, (0, 10));
            block.thanos.as_mut().unwrap().extensions = json.map(|json| serde_json::from_str(json).unwrap());
            Arc::new(block)
        };
        let both = with(1, Some(r#"{"parquet_migrated":true,"x":1}"#));
        let check = |other: Arc<BlockMeta>, expected: Option<&str>| {
            let group = groups([&both, &other]).remove(0);
            assert_eq!(group.extensions().map(|value| value.to_string()).as_deref(), expected);
        };
        check(with(2, Some(r#"{"x":2}"#)), Some(r#"{"x":1}"#));
        check(with(2, Some("{}")), None);
        check(with(2, Some("7")), None);
        check(with(2, None), None);
    }
}
