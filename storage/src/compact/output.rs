//! `meta.json` of a block that compaction makes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::block::BlockMeta;
use crate::block::meta::{BlockStats, Compaction, Downsample, ParentBlock, ThanosMeta};
use crate::model::{BlockId, TimeRange};

use super::group::Group;
use crate::block::meta::FROM_OUT_OF_ORDER;

/// Words of Prometheus that a block keeps as soon as one of its parents has them.
const HINTS_OF_ANY: [&str; 2] = ["from-stale-series", "from-selected-series"];

/// What will stand in the `meta.json` of block `id`, merged from `inputs` of `group`, before anything is counted: range and
/// sources are those of all inputs, the level is one above the highest. Files and [`BlockStats`] are the writer's to fill in.
///
/// External labels are the group's, that is without replica labels.
#[must_use]
pub fn output_meta(id: BlockId, group: &Group, inputs: &[Arc<BlockMeta>]) -> BlockMeta {
    let mint = inputs.iter().map(|block| block.min_time).min().unwrap_or(0);
    let maxt = inputs.iter().map(|block| block.max_time).max().unwrap_or(0);
    let sources: BTreeSet<BlockId> = inputs.iter().flat_map(|block| &block.compaction.sources).copied().collect();
    let has = |block: &BlockMeta, word: &str| block.compaction.hints.iter().any(|hint| hint == word);
    let mut hints = Vec::new();
    for word in HINTS_OF_ANY {
        if inputs.iter().any(|block| has(block, word)) {
            hints.push(word.to_owned());
        }
    }
    if !inputs.is_empty() && inputs.iter().all(|block| block.is_from_out_of_order()) {
        hints.push(FROM_OUT_OF_ORDER.to_owned());
    }
    let parents =
        inputs.iter().map(|block| ParentBlock { ulid: block.id(), min_time: block.min_time, max_time: block.max_time });
    BlockMeta {
        stats: BlockStats::default(),
        compaction: Compaction {
            level: inputs.iter().map(|block| block.compaction.level).max().unwrap_or(0).saturating_add(1),
            sources: sources.into_iter().collect(),
            parents: parents.collect(),
            hints,
            ..Compaction::default()
        },
        thanos: Some(ThanosMeta {
            version: 1,
            labels: group.labels().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            downsample: Downsample { resolution: group.resolution_ms() },
            source: "compactor".to_owned(),
            extensions: group.extensions(),
            ..ThanosMeta::default()
        }),
        ..BlockMeta::new(id, TimeRange { mint, maxt })
    }
}

/// What will stand in the `meta.json` of block `id`, downsampled from `input` to `resolution_ms`: level, sources, range and
/// labels are the input's. Files and [`BlockStats`] are the writer's to fill in.
#[must_use]
pub fn downsampled_meta(id: BlockId, input: &BlockMeta, resolution_ms: i64) -> BlockMeta {
    let mut thanos = input.thanos.clone().unwrap_or_default();
    thanos.downsample = Downsample { resolution: resolution_ms };
    thanos.source = "compactor".to_owned();
    thanos.segment_files.clear();
    thanos.files.clear();
    thanos.upload_time = None;
    BlockMeta { compaction: input.compaction.clone(), thanos: Some(thanos), ..BlockMeta::new(id, input.range()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::group::groups;
    use crate::compact::testing::{block, id};

    #[test]
    fn ancestry_is_that_of_all_inputs() {
        let made = |n: u64, range, level, sources: &[u64], hints: &[&str]| {
            let mut block = block(n, range);
            block.compaction.level = level;
            block.compaction.sources = sources.iter().map(|&n| id(n)).collect();
            block.compaction.hints = hints.iter().map(|&hint| hint.to_owned()).collect();
            Arc::new(block)
        };
        let late = "from-out-of-order";
        let inputs =
            [made(9, (0, 20), 2, &[2, 1], &[late, "from-stale-series"]), made(5, (-7, 10), 1, &[5, 2], &[late])];
        let group = groups(&inputs).remove(0);
        let meta = output_meta(id(10), &group, &inputs);
        assert_eq!((meta.id(), meta.min_time, meta.max_time, meta.compaction.level), (id(10), -7, 20, 3));
        assert_eq!(meta.compaction.sources, [id(1), id(2), id(5)]);
        assert_eq!(
            meta.compaction.parents.iter().map(|p| (p.ulid, p.max_time)).collect::<Vec<_>>(),
            [(id(9), 20), (id(5), 10)]
        );
        assert_eq!(meta.compaction.hints, ["from-stale-series", late]);
        let thanos = meta.thanos.unwrap();
        assert_eq!((thanos.source.as_str(), thanos.downsample.resolution), ("compactor", 0));
        let inputs = [made(9, (0, 20), 2, &[2], &[late]), made(5, (20, 30), 1, &[5], &[])];
        assert!(output_meta(id(10), &group, &inputs).compaction.hints.is_empty());
    }

    #[test]
    fn a_downsampled_block_keeps_its_ancestry() {
        let mut input = block(3, (0, 20));
        input.compaction.level = 4;
        input.thanos.as_mut().unwrap().segment_files = vec!["000001".to_owned()];
        let meta = downsampled_meta(id(8), &input, 300_000);
        assert_eq!((meta.id(), meta.range(), meta.resolution_ms()), (id(8), input.range(), 300_000));
        assert_eq!(meta.compaction, input.compaction);
        let thanos = meta.thanos.unwrap();
        assert_eq!((thanos.source.as_str(), thanos.segment_files.len()), ("compactor", 0));
        assert_eq!(thanos.labels, input.thanos.unwrap().labels);
    }
}
