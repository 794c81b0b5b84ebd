use datafusion::execution::TaskContext;
use futures::TryStreamExt;
use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::testing::series::{TestChunk, TestSeries, series_batch, series_rows, series_source};
use crate::testing::{End, check_cancel, run};

/// A series by name, its chunks by their first sample; the payload says which chunk it is.
fn series(name: &str, mints: &[i64]) -> TestSeries {
    let chunk = |&mint: &i64| TestChunk {
        mint,
        maxt: mint + 5,
        encoding: 1,
        replica: 0,
        data: format!("{name} from {mint}, long enough to be in a buffer").into_bytes(),
    };
    (format!("{name}, long enough to be in a buffer"), mints.iter().map(chunk).collect())
}

fn merged(batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
    let plan = MergeSeriesExec::new(Arc::new(series_source(batches, End::Done)));
    let stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
    block_on(stream.try_collect()).unwrap()
}

/// The rows of each batch, merged, are `expected`.
#[track_caller]
fn check(batches: &[&[TestSeries]], expected: &[TestSeries]) {
    let output = merged(batches.iter().map(|rows| series_batch(rows)).collect());
    assert!(output.iter().all(|batch| batch.num_rows() > 0));
    assert_eq!(output.iter().flat_map(series_rows).collect::<Vec<_>>(), expected);
}

#[test]
fn rows_of_one_series_become_one() {
    let one_batch = [series("a", &[1, 10]), series("b", &[1]), series("b", &[10]), series("b", &[20, 30])];
    check(&[&one_batch], &[series("a", &[1, 10]), series("b", &[1, 10, 20, 30])]);
    check(&[&one_batch[..2], &one_batch[2..]], &[series("a", &[1, 10]), series("b", &[1, 10, 20, 30])]);
    check(&[], &[]);
    check(&[&[], &[]], &[]);
}

#[test]
fn a_series_over_many_batches() {
    check(
        &[
            &[series("a", &[1])],
            &[],
            &[series("a", &[2])],
            &[series("a", &[3]), series("a", &[4])],
            &[],
            &[series("a", &[5]), series("b", &[1])],
            &[series("c", &[1])],
            &[],
        ],
        &[series("a", &[1, 2, 3, 4, 5]), series("b", &[1]), series("c", &[1])],
    );
}

#[test]
fn chunks_come_sorted() {
    check(
        &[
            &[series("a", &[5]), series("b", &[7, 9]), series("b", &[1, 8])],
            &[series("b", &[2])],
            &[series("c", &[3, 2])],
        ],
        &[series("a", &[5]), series("b", &[1, 2, 7, 8, 9]), series("c", &[2, 3])],
    );
}

#[test]
fn chunks_at_the_same_time_keep_their_order() {
    let with_replica = |replica: u32| {
        let (key, mut chunks) = series("a", &[1]);
        chunks[0].replica = replica;
        (key, chunks)
    };
    let output = merged(vec![series_batch(&[with_replica(9), series("a", &[0]), with_replica(3)])]);
    let replicas: Vec<(i64, u32)> =
        series_rows(&output[0])[0].1.iter().map(|chunk| (chunk.mint, chunk.replica)).collect();
    assert_eq!(replicas, [(0, 0), (1, 9), (1, 3)]);
}

#[test]
fn buffers_are_not_handed_on() {
    let batches: Vec<RecordBatch> = (0..50)
        .map(|n| series_batch(&[series(&format!("{n:02} a"), &[1]), series(&format!("{n:02} b"), &[2])]))
        .collect();
    let output = merged(batches);
    assert_eq!(output.iter().map(RecordBatch::num_rows).sum::<usize>(), 100);
    for batch in output {
        let columns = SeriesColumns::try_new(&batch).unwrap();
        assert!(columns.data.data_buffers().len() <= 2, "{} buffers", columns.data.data_buffers().len());
    }
}

#[test]
fn an_error_passes_on() {
    let batches = vec![series_batch(&[series("a", &[1])]), series_batch(&[series("b", &[1])])];
    let plan: Arc<dyn ExecutionPlan> = Arc::new(MergeSeriesExec::new(Arc::new(series_source(batches, End::Error))));
    let error = block_on(run(&plan)).unwrap_err();
    assert!(matches!(&error, Error::Execution(text) if text == "the input failed"), "{error:?}");
}

#[test]
fn a_drop_cancels() {
    let batches = vec![series_batch(&[series("a", &[1]), series("b", &[1])])];
    check_cancel(series_source(batches, End::Never), |input| Arc::new(MergeSeriesExec::new(input)));
}

proptest! {
    #[test]
    fn agrees_with_grouping_all_rows(
        rows in prop::collection::vec((0_u8..5, prop::collection::vec(0_i64..40, 0..4)), 0..20),
        cuts in prop::collection::vec(0_usize..21, 0..8),
        slice in any::<bool>(),
    ) {
        let mut rows = rows;
        rows.sort_by_key(|(name, _)| *name);
        let rows: Vec<TestSeries> = rows.iter().map(|(name, mints)| series(&name.to_string(), mints)).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).chain([0, rows.len()]).collect();
        cuts.sort_unstable();
        let whole = series_batch(&rows);
        let batches = cuts.windows(2).map(|cut| {
            if slice { whole.slice(cut[0], cut[1] - cut[0]) } else { series_batch(&rows[cut[0]..cut[1]]) }
        });
        let mut expected: Vec<TestSeries> = Vec::new();
        for (key, chunks) in rows.clone() {
            match expected.last_mut().filter(|(last, _)| *last == key) {
                Some((_, known)) => known.extend(chunks),
                None => expected.push((key, chunks)),
            }
        }
        for (_, chunks) in &mut expected {
            chunks.sort_by_key(|chunk| chunk.mint);
        }
        let output = merged(batches.collect());
        prop_assert_eq!(output.iter().flat_map(series_rows).collect::<Vec<_>>(), expected);
    }
}
