use super::*;
use crate::compact::group::groups;
use crate::compact::testing::{block, id, sourced, with_index};

/// Number, first and last millisecond.
type Blocks<'a> = &'a [(u64, Timestamp, Timestamp)];

fn settings() -> PlanSettings {
    PlanSettings::default().with_ranges(vec![20, 60, 180, 540, 1620]).unwrap()
}

fn vertical() -> PlanSettings {
    PlanSettings { vertical: true, ..settings() }
}

fn plan_of(blocks: Vec<BlockMeta>, settings: &PlanSettings, no_compact: &[u64]) -> Plan {
    let blocks: Vec<_> = blocks.into_iter().map(Arc::new).collect();
    let Some(group) = groups(&blocks).into_iter().next() else {
        return Plan { marks: Vec::new(), step: Step::Nothing };
    };
    plan(&group, settings, &no_compact.iter().map(|&n| id(n)).collect(), &HashMap::new())
}

fn ids(step: &Step) -> Vec<BlockId> {
    match step {
        Step::Merge(_, blocks) => blocks.iter().map(|block| block.id()).collect(),
        Step::Halt(halt) => halt.blocks().iter().map(|block| block.id()).collect(),
        Step::NeedsIndexSizes(ids) => ids.clone(),
        Step::Nothing => Vec::new(),
    }
}

/// Whole planning, with indexes too small to matter; nothing is to be marked.
#[track_caller]
fn check(blocks: Blocks<'_>, no_compact: &[u64], settings: &PlanSettings, expected: Option<(Reason, &[u64])>) {
    let blocks = blocks.iter().map(|&(n, mint, maxt)| with_index(block(n, (mint, maxt)), 1)).collect();
    let plan = plan_of(blocks, settings, no_compact);
    assert_eq!(plan.marks, []);
    match expected {
        None => assert_eq!(plan.step, Step::Nothing),
        Some((reason, expected)) => {
            assert!(matches!(plan.step, Step::Merge(found, _) if found == reason), "{:?}", plan.step);
            assert_eq!(ids(&plan.step), expected.iter().map(|&n| id(n)).collect::<Vec<_>>());
        }
    }
}

#[track_caller]
fn merges(blocks: Blocks<'_>, expected: &[u64]) {
    check(blocks, &[], &settings(), Some((Reason::Range, expected)));
}

#[track_caller]
fn waits(blocks: Blocks<'_>) {
    check(blocks, &[], &settings(), None);
}

#[test]
fn blocks_wait_until_their_range_is_full() {
    waits(&[]);
    waits(&[(1, 0, 20)]);
    waits(&[(1, 0, 20), (2, 20, 40)]);
    // the newest does not count, even where it fills the range
    waits(&[(1, 0, 20), (2, 20, 40), (3, 40, 60)]);
    merges(&[(1, 0, 20), (2, 20, 40), (3, 40, 60), (4, 60, 80)], &[1, 2, 3]);
    // newest is what begins last, whatever its name and however long it is
    merges(&[(4, 0, 20), (3, 20, 40), (2, 40, 60), (1, 60, 300)], &[4, 3, 2]);
}

#[test]
fn a_range_with_a_gap_is_due_once_later_blocks_stand() {
    waits(&[(1, 0, 20), (2, 20, 40), (4, 60, 80)]);
    merges(&[(1, 0, 20), (2, 20, 40), (4, 60, 80), (5, 80, 100)], &[1, 2]);
    // a gap inside of a full range
    merges(&[(1, 0, 20), (3, 40, 60), (4, 60, 80)], &[1, 3]);
    merges(&[(1, 0, 60), (3, 120, 180), (4, 180, 200), (5, 200, 220)], &[1, 3]);
    // nothing to merge with
    waits(&[(1, 0, 20), (4, 60, 80), (5, 120, 140)]);
}

#[test]
fn shorter_ranges_come_first_and_earlier_ones() {
    let three = [(1, 0, 20), (2, 20, 40), (3, 40, 60), (4, 60, 120), (5, 120, 180), (6, 180, 200)];
    merges(&three, &[1, 2, 3]);
    merges(&[(1, 0, 60), (4, 60, 120), (5, 120, 180), (6, 180, 200), (7, 200, 220)], &[1, 4, 5]);
    merges(&[(1, 20, 40), (2, 60, 120), (3, 120, 180), (4, 720, 960), (5, 960, 980)], &[1, 2, 3]);
    // what is as long as the range already is its own set
    merges(&[(1, 0, 360), (2, 360, 420), (3, 420, 540), (4, 540, 560)], &[2, 3]);
}

#[test]
fn ranges_begin_at_multiples_also_before_the_epoch() {
    merges(&[(1, -60, -40), (2, -40, -20), (3, -20, 0), (4, 0, 20)], &[1, 2, 3]);
    // 2 lies across a border of 60
    waits(&[(1, 40, 50), (2, 50, 70), (3, 70, 80), (4, 80, 100)]);
    let extreme = [(1, i64::MIN, i64::MIN + 9), (2, i64::MAX - 9, i64::MAX - 5), (3, i64::MAX - 3, i64::MAX)];
    waits(&extreme);
}

#[test]
fn one_range_merges_nothing() {
    let blocks = [(1, 0, 20), (2, 20, 40), (3, 40, 60), (4, 60, 80)];
    check(&blocks, &[], &settings().with_ranges(vec![60]).unwrap(), None);
    for bad in [vec![], vec![0, 60], vec![-1], vec![60, 60]] {
        assert!(settings().with_ranges(bad).is_err());
    }
    assert_eq!(settings().with_level_max(2).unwrap().ranges_ms, RANGES_MS[..3]);
    assert!(settings().with_level_max(5).is_err());
}

#[test]
fn a_set_with_a_failed_block_is_passed_over() {
    let mut failed = block(2, (20, 40));
    failed.compaction.failed = true;
    let rest = [(1, 0, 20), (3, 40, 60), (4, 60, 80), (5, 80, 100), (6, 100, 120), (7, 120, 140)];
    let rest = rest.iter().map(|&(n, mint, maxt)| block(n, (mint, maxt)));
    let blocks = rest.chain([failed]).map(|meta| with_index(meta, 1)).collect();
    assert_eq!(ids(&plan_of(blocks, &settings(), &[]).step), [id(4), id(5), id(6)]);
}

#[test]
fn no_plan_has_or_spans_a_block_that_is_set_aside() {
    let four: Blocks<'_> = &[(1, 0, 20), (2, 20, 40), (3, 40, 60), (4, 60, 80)];
    let set_aside = |no_compact: &[u64], expected: &[u64]| {
        let expected = (!expected.is_empty()).then_some((Reason::Range, expected));
        check(four, no_compact, &settings(), expected);
    };
    set_aside(&[1], &[2, 3]);
    set_aside(&[2], &[]);
    set_aside(&[3], &[1, 2]);
    set_aside(&[1, 2, 3, 4], &[]);
    // the newest is left out although it is set aside
    set_aside(&[4], &[1, 2, 3]);
    let long: Blocks<'_> = &[(2, 20, 40), (4, 60, 120), (6, 120, 180), (7, 720, 960), (5, 960, 980)];
    check(long, &[6], &settings(), Some((Reason::Range, &[2, 4])));
    check(long, &[4], &settings(), None);
    // the first long enough run of a set
    let runs: Blocks<'_> = &[(1, 0, 10), (2, 10, 20), (3, 20, 30), (4, 30, 40), (5, 40, 50), (6, 50, 60), (7, 60, 70)];
    check(runs, &[2], &settings(), Some((Reason::Range, &[3, 4, 5, 6])));
}

#[test]
fn overlaps_halt_unless_they_are_merged() {
    let check_overlap = |blocks: Blocks<'_>, expected: &[u64]| {
        check(blocks, &[], &vertical(), Some((Reason::Overlap, expected)));
        let metas = blocks.iter().map(|&(n, mint, maxt)| block(n, (mint, maxt))).collect();
        let plan = plan_of(metas, &settings(), &[]);
        assert!(matches!(plan.step, Step::Halt(Halt::Overlap(_))));
        assert_eq!(ids(&plan.step), expected.iter().map(|&n| id(n)).collect::<Vec<_>>());
    };
    check_overlap(&[(1, 0, 20), (2, 19, 40), (3, 40, 60)], &[1, 2]);
    check_overlap(&[(1, 0, 20), (2, 20, 40), (3, 30, 50)], &[2, 3]);
    check_overlap(&[(1, 0, 20), (2, 10, 40), (3, 30, 50)], &[1, 2, 3]);
    check_overlap(&[(5, 0, 360), (6, 340, 560), (7, 360, 420), (8, 420, 540)], &[5, 6, 7, 8]);
    // the first of two runs, by time
    check_overlap(&[(5, 40, 60), (6, 50, 60), (1, 0, 10), (2, 9, 20), (3, 20, 30)], &[1, 2]);
    // one of them is the newest
    check_overlap(&[(1, 0, 20), (2, 0, 20)], &[1, 2]);
    // before any due range
    check_overlap(&[(1, 0, 20), (2, 20, 40), (3, 40, 60), (4, 60, 80), (5, 60, 80)], &[4, 5]);
    // blocks are half-open
    waits(&[(1, 0, 20), (2, 20, 40)]);
}

#[test]
fn setting_one_side_of_an_overlap_aside_lets_the_rest_go_on() {
    let blocks: Blocks<'_> = &[(1, 0, 20), (2, 19, 40), (3, 40, 60), (4, 60, 80)];
    check(blocks, &[1], &settings(), Some((Reason::Range, &[2, 3])));
    check(blocks, &[1], &vertical(), Some((Reason::Range, &[2, 3])));
    check(&blocks[..3], &[1], &settings(), None);
    // as Thanos has it
    let strict = PlanSettings { marked_overlaps_halt: true, ..settings() };
    let metas = || blocks.iter().map(|&(n, mint, maxt)| block(n, (mint, maxt))).collect();
    assert!(matches!(plan_of(metas(), &strict, &[1]).step, Step::Halt(_)));
    let strict = PlanSettings { vertical: true, index_size_max: u64::MAX, ..strict };
    assert_eq!(ids(&plan_of(metas(), &strict, &[1]).step), [id(2), id(3)]);
}

#[test]
fn blocks_that_share_a_source_halt_unless_overlaps_are_merged() {
    let blocks = || {
        [(1, 0, 20, &[1_u64, 9][..]), (2, 20, 40, &[2]), (3, 40, 60, &[3, 9]), (4, 60, 80, &[4])]
            .into_iter()
            .map(|(n, mint, maxt, sources)| with_index(sourced(n, (mint, maxt), 0, sources), 1))
            .collect()
    };
    let plan = plan_of(blocks(), &settings(), &[]);
    assert!(matches!(plan.step, Step::Halt(Halt::SharedSource(source, _)) if source == id(9)), "{plan:?}");
    assert_eq!(ids(&plan_of(blocks(), &vertical(), &[]).step), [id(1), id(2), id(3)]);
}

#[test]
fn downsampled_blocks_that_overlap_are_set_aside() {
    let blocks = || {
        [(1, 0, 20), (2, 10, 20), (3, 20, 40), (4, 40, 60), (5, 60, 80)]
            .into_iter()
            .map(|(n, mint, maxt)| with_index(sourced(n, (mint, maxt), 300_000, &[n]), 1))
            .collect::<Vec<_>>()
    };
    let plan = plan_of(blocks(), &vertical(), &[]);
    let marks: Vec<_> = plan.marks.iter().map(|request| (request.id, request.reason)).collect();
    assert_eq!(marks, [(id(1), "downsample-vertical-compaction"), (id(2), "downsample-vertical-compaction")]);
    assert_eq!(ids(&plan.step), [id(3), id(4)]);
    assert_eq!(plan.marks[0].mark(5_999).no_compact_time_s, 5);
    assert!(matches!(plan_of(blocks(), &settings(), &[]).step, Step::Halt(_)));
}

#[test]
fn long_blocks_with_many_tombstones_are_rewritten() {
    let deleted = |n: u64, range, num_series, num_tombstones| {
        let mut meta = with_index(block(n, range), 1);
        meta.stats.num_series = num_series;
        meta.stats.num_tombstones = num_tombstones;
        meta
    };
    let check = |blocks: Vec<BlockMeta>, no_compact: &[u64], expected: &[u64]| {
        let plan = plan_of(blocks, &settings(), no_compact);
        assert_eq!(ids(&plan.step), expected.iter().map(|&n| id(n)).collect::<Vec<_>>());
        if !expected.is_empty() {
            assert!(matches!(plan.step, Step::Merge(Reason::Tombstones, _)));
        }
    };
    let newest = || deleted(9, (540, 560), 0, 0);
    check(vec![deleted(1, (0, 540), 10, 3), newest()], &[], &[1]);
    check(vec![deleted(1, (0, 540), 10, 3)], &[], &[]);
    check(vec![deleted(1, (0, 540), 10, 3), newest()], &[1], &[]);
    // 5 % of one more than the series there are
    check(vec![deleted(1, (0, 540), 19, 1), newest()], &[], &[]);
    check(vec![deleted(1, (0, 540), 18, 1), newest()], &[], &[1]);
    check(vec![deleted(1, (0, 540), 0, 0), newest()], &[], &[]);
    check(vec![deleted(1, (0, 540), u64::MAX, u64::MAX), newest()], &[], &[1]);
    // from the middle range on
    check(vec![deleted(1, (360, 540), 10, 3), newest()], &[], &[1]);
    check(vec![deleted(1, (361, 540), 10, 3), newest()], &[], &[]);
    // the newest of them; a short one ends the search
    let two = vec![deleted(1, (-540, 0), 10, 3), deleted(2, (0, 540), 10, 3), newest()];
    check(two.clone(), &[], &[2]);
    check(two.clone(), &[2], &[1]);
    check([two, vec![deleted(3, (560, 580), 1, 0), deleted(4, (600, 610), 1, 0)]].concat(), &[], &[]);
}

#[test]
fn indexes_stay_below_the_limit() {
    let limited = |max| PlanSettings { index_size_max: max, ..settings() };
    let check = |blocks: &[(u64, Timestamp, Timestamp, u64)], settings: &PlanSettings, marks: &[u64], step: &[u64]| {
        let blocks = blocks.iter().map(|&(n, mint, maxt, size)| with_index(block(n, (mint, maxt)), size)).collect();
        let plan = plan_of(blocks, settings, &[]);
        let expected = |ns: &[u64]| ns.iter().map(|&n| id(n)).collect::<Vec<_>>();
        assert_eq!(plan.marks.iter().map(|request| request.id).collect::<Vec<_>>(), expected(marks));
        assert!(plan.marks.iter().all(|request| request.reason == "index-size-exceeding"));
        assert_eq!(ids(&plan.step), expected(step));
    };
    let max = &limited(100);
    check(&[(1, 0, 20, 100)], max, &[], &[]);
    check(&[(1, 0, 20, 41), (2, 20, 40, 30), (3, 40, 60, 30), (4, 60, 80, 30)], max, &[1], &[2, 3]);
    check(&[(1, 0, 20, 30), (2, 20, 40, 41), (3, 40, 60, 30), (4, 60, 80, 20)], max, &[2], &[]);
    // what is not in the plan does not count
    check(&[(1, 0, 20, 10), (2, 20, 40, 10), (3, 40, 60, 10), (4, 60, 80, 90)], max, &[], &[1, 2, 3]);
    let two_large = [(1, 0, 20, 90), (2, 20, 40, 30), (3, 40, 50, 30), (4, 50, 60, 90), (5, 60, 80, 90)];
    check(&two_large, max, &[1, 4], &[2, 3]);
    // 85 % of the limit are too much, and of equal ones the first is marked
    check(&[(1, 0, 20, 42), (2, 20, 40, 42), (3, 60, 80, 1), (4, 80, 100, 1)], max, &[], &[1, 2]);
    check(&[(1, 0, 20, 42), (2, 20, 40, 43), (3, 60, 80, 1), (4, 80, 100, 1)], max, &[2], &[]);
    check(&[(1, 0, 20, 43), (2, 20, 40, 43), (3, 60, 80, 1), (4, 80, 100, 1)], max, &[1], &[]);
    // overlaps too
    let vertical = PlanSettings { vertical: true, ..limited(100) };
    check(&[(1, 0, 20, 90), (2, 19, 40, 30), (3, 40, 60, 30)], &vertical, &[1], &[]);
}

#[test]
fn sizes_that_meta_json_lacks_are_asked_for() {
    let blocks = [block(1, (0, 20)), with_index(block(2, (20, 40)), 10), block(3, (40, 60)), block(4, (60, 80))];
    let blocks = blocks.map(Arc::new);
    let group = groups(&blocks).remove(0);
    let settings = PlanSettings { index_size_max: 100, ..settings() };
    let with = |sizes: &[(u64, u64)]| {
        plan(&group, &settings, &HashSet::new(), &sizes.iter().map(|&(n, size)| (id(n), size)).collect())
    };
    assert_eq!(with(&[]).step, Step::NeedsIndexSizes(vec![id(1), id(3)]));
    assert_eq!(ids(&with(&[(1, 10), (3, 10)]).step), [id(1), id(2), id(3)]);
    let plan = with(&[(1, 90), (3, 10)]);
    assert_eq!((plan.marks[0].id, ids(&plan.step)), (id(1), vec![id(2), id(3)]));
    let unlimited = PlanSettings { index_size_max: u64::MAX, ..settings.clone() };
    let step = super::plan(&group, &unlimited, &HashSet::new(), &HashMap::new()).step;
    assert_eq!(ids(&step), [id(1), id(2), id(3)]);
}
