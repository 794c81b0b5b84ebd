use super::*;
use crate::block::marker::DeletionMark;
use crate::block::meta::{Downsample, ThanosMeta};
use crate::model::TimeRange;

const NOW: Timestamp = 1_000_000;

fn id(n: u64) -> BlockId {
    BlockId::new(ulid::Ulid::from_parts(n, 0))
}

fn meta(n: u64, range: (Timestamp, Timestamp), sources: &[u64], labels: &[(&str, &str)]) -> BlockMeta {
    let mut meta = BlockMeta::new(id(n), TimeRange { mint: range.0, maxt: range.1 });
    meta.compaction.sources = sources.iter().map(|&source| id(source)).collect();
    let labels = labels.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
    meta.thanos = Some(ThanosMeta { labels, source: "sidecar".to_owned(), ..ThanosMeta::default() });
    meta
}

fn found(metas: Vec<BlockMeta>) -> FoundBlocks {
    FoundBlocks { metas: metas.into_iter().map(|m| (m.id(), Arc::new(m))).collect(), ..FoundBlocks::default() }
}

fn check(filters: &BlockFilters, found: FoundBlocks, loaded: &[u64], left_out: &[(u64, BlockState)]) {
    let (metas, report) = filters.apply(found, NOW);
    assert_eq!(metas.keys().copied().collect::<Vec<_>>(), loaded.iter().map(|&n| id(n)).collect::<Vec<_>>());
    let states: Vec<_> = report.left_out.iter().map(|(id, (state, _))| (*id, *state)).collect();
    assert_eq!(states, left_out.iter().map(|&(n, state)| (id(n), state)).collect::<Vec<_>>());
    assert_eq!(report.count(BlockState::Loaded), loaded.len() as u64);
    for &(_, state) in left_out {
        assert_eq!(report.count(state), left_out.iter().filter(|(_, other)| *other == state).count() as u64);
    }
}

#[test]
fn time_bounds_move_with_now() {
    let blocks =
        || found(vec![meta(1, (0, 100), &[1], &[]), meta(2, (100, 200), &[2], &[]), meta(3, (201, 300), &[3], &[])]);
    let filters = |min_time, max_time| BlockFilters { min_time, max_time, ..BlockFilters::default() };
    check(&filters(None, None), blocks(), &[1, 2, 3], &[]);
    let absolute = filters(Some(TimeBound::Absolute(101)), Some(TimeBound::Absolute(200)));
    check(&absolute, blocks(), &[2], &[(1, BlockState::TimeExcluded), (3, BlockState::TimeExcluded)]);
    let relative = filters(Some(TimeBound::FromNow(250 - NOW)), None);
    check(&relative, blocks(), &[3], &[(1, BlockState::TimeExcluded), (2, BlockState::TimeExcluded)]);
}

#[test]
fn a_shard_sees_external_labels_and_the_block() {
    let blocks = || found(vec![meta(1, (0, 1), &[1], &[("c", "x")]), meta(2, (0, 1), &[2], &[("c", "y")])]);
    let by_label = KeepBlock::new(|labels| labels.get("c").as_deref() == Some("x"));
    let filters = BlockFilters { keep: Some(by_label), ..BlockFilters::default() };
    check(&filters, blocks(), &[1], &[(2, BlockState::LabelExcluded)]);
    let by_id = KeepBlock::new(|labels| labels.get("__block_id").as_deref() == Some(&id(2).to_string()));
    let filters = BlockFilters { keep: Some(by_id), ..BlockFilters::default() };
    check(&filters, blocks(), &[2], &[(1, BlockState::LabelExcluded)]);
}

#[test]
fn young_blocks_wait_unless_a_compactor_made_them() {
    let young = NOW.unsigned_abs() - 10;
    let mut compacted = meta(young + 1, (0, 1), &[1], &[]);
    compacted.thanos.as_mut().unwrap().source = "compactor".to_owned();
    let blocks = found(vec![meta(5, (0, 1), &[5], &[]), meta(young, (0, 1), &[6], &[]), compacted]);
    let filters = BlockFilters { consistency_delay_ms: 100, ..BlockFilters::default() };
    check(&filters, blocks, &[5, young + 1], &[(young, BlockState::TooFresh)]);
}

#[test]
fn marked_blocks_are_served_for_the_delay() {
    let mut blocks = found(vec![meta(1, (0, 1), &[1], &[]), meta(2, (0, 1), &[2], &[])]);
    for (n, age_s) in [(1, 61), (2, 60)] {
        blocks.deletion_marks.insert(id(n), DeletionMark::new(id(n), NOW / 1_000 - age_s, ""));
    }
    let filters = BlockFilters { deletion_mark_delay_ms: 60_000, ..BlockFilters::default() };
    check(&filters, blocks, &[2], &[(1, BlockState::MarkedForDeletion)]);
}

#[test]
fn duplicates_are_found_within_a_group_and_resolution() {
    let mut downsampled = meta(7, (0, 1), &[1, 2], &[]);
    downsampled.thanos.as_mut().unwrap().downsample = Downsample { resolution: 300_000 };
    let blocks = found(vec![
        meta(1, (0, 1), &[1], &[]),
        meta(2, (0, 1), &[2], &[]),
        meta(3, (0, 1), &[1, 2], &[]),
        meta(4, (0, 1), &[1, 2], &[]),
        meta(5, (0, 1), &[2, 9], &[]),
        meta(6, (0, 1), &[1], &[("c", "x")]),
        downsampled,
    ]);
    let duplicate = BlockState::Duplicate;
    let left_out = [(1, duplicate), (2, duplicate), (4, duplicate)];
    check(&BlockFilters::default(), blocks, &[3, 5, 6, 7], &left_out);
}

#[test]
fn what_is_to_be_deleted_loses_against_its_equal() {
    let mark = |blocks: &mut FoundBlocks, n| blocks.deletion_marks.insert(id(n), DeletionMark::new(id(n), 999, ""));
    let filters = BlockFilters { deletion_mark_delay_ms: 60_000, ..BlockFilters::default() };
    // rewritten in place: the new block has the sources of the old one, which is marked
    let mut blocks = found(vec![meta(1, (0, 1), &[1], &[]), meta(2, (0, 1), &[1], &[])]);
    mark(&mut blocks, 1);
    check(&filters, blocks, &[2], &[(1, BlockState::Duplicate)]);
    // of two that hold it, the one that stays is named
    let mut blocks =
        found(vec![meta(1, (0, 1), &[1], &[]), meta(2, (0, 1), &[1, 2, 3], &[]), meta(3, (0, 1), &[1, 4], &[])]);
    mark(&mut blocks, 2);
    assert_eq!(filters.apply(blocks, NOW).1.duplicates, [(id(1), id(3))].into());
    // nobody knows what is in a block without sources
    let blocks = found(vec![meta(1, (0, 1), &[], &[]), meta(2, (0, 1), &[1], &[])]);
    check(&filters, blocks, &[1, 2], &[]);
}

#[test]
fn replicas_become_one_group_without_their_labels() {
    let replicas = || {
        found(vec![
            meta(1, (0, 1), &[1], &[("c", "x"), ("replica", "a")]),
            meta(2, (0, 1), &[2], &[("c", "x"), ("replica", "b")]),
            meta(3, (0, 1), &[1, 2], &[("c", "x")]),
            meta(4, (0, 1), &[4], &[("replica", "a"), ("rule", "1")]),
            meta(5, (0, 1), &[5], &[]),
        ])
    };
    check(&BlockFilters::default(), replicas(), &[1, 2, 3, 4, 5], &[]);
    let replica_labels = vec!["replica".to_owned(), "rule".to_owned()];
    let filters = BlockFilters { replica_labels, ..BlockFilters::default() };
    check(&filters, replicas(), &[3, 4, 5], &[(1, BlockState::Duplicate), (2, BlockState::Duplicate)]);
    let (metas, _) = filters.apply(replicas(), NOW);
    for (n, expected) in [(3, r#"{c="x"}"#), (4, r#"{replica="deduped"}"#), (5, r#"{replica="deduped"}"#)] {
        assert_eq!(metas[&id(n)].external_labels().to_labels().to_string(), expected);
    }
    // a shard is chosen without them, so that replicas meet
    let keep = KeepBlock::new(|labels| labels.get("replica").is_none());
    check(
        &BlockFilters { keep: Some(keep), ..filters },
        replicas(),
        &[3, 4, 5],
        &[(1, BlockState::Duplicate), (2, BlockState::Duplicate)],
    );
}

#[test]
fn what_could_not_be_read_is_counted() {
    let unreadable = |corrupt, made| Unreadable { file: "meta.json", corrupt, reason: "x".to_owned(), made };
    let mut blocks = found(vec![meta(4, (0, 1), &[4], &[])]);
    blocks.without_meta = [(id(1), 0)].into();
    blocks.unreadable =
        [(id(2), unreadable(true, NOW - 10)), (id(3), unreadable(false, 0)), (id(4), unreadable(true, 0))].into();
    let left_out = [(1, BlockState::NoMeta), (2, BlockState::CorruptedMeta), (3, BlockState::Failed)];
    check(&BlockFilters::default(), blocks.clone(), &[4], &left_out);
    let reported =
        |filters: BlockFilters| filters.apply(blocks.clone(), NOW).1.unreadable.into_keys().collect::<Vec<_>>();
    assert_eq!(reported(BlockFilters::default()), [id(2), id(3), id(4)]);
    let patient = BlockFilters { consistency_delay_ms: 100, ..BlockFilters::default() };
    assert_eq!(reported(patient), [id(3), id(4)], "a young one may still be written");
    assert_eq!(BlockState::ALL.map(BlockState::as_str)[0], "corrupted-meta-json");
}
