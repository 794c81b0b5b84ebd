use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use futures::TryStreamExt;
use futures::executor::block_on;
use storage::chunk::{Encoding, sample_count};

use super::*;
use crate::testing::series::{TestSeries, chunks, samples, series_batch, series_rows, series_source};
use crate::testing::{End, check_cancel, run};

/// A series of a sample a minute from minute `from` on.
fn series(name: &str, from: usize, length: usize) -> TestSeries {
    let text: Vec<String> = (from..from + length).map(|minute| format!("{}:{minute}", minute * 60)).collect();
    (name.to_owned(), chunks(&samples(&text.join(" ")), 120, 0))
}

fn plan(batches: Vec<RecordBatch>, end: End, outputs_ms: &[i64]) -> DownsampleExec {
    DownsampleExec::try_new(Arc::new(series_source(batches, end)), 0, outputs_ms.to_vec()).unwrap()
}

/// A row's name, and the samples of each chunk.
type Row = (String, Vec<usize>);

/// The rows of each batch, and their resolution.
fn put_out(plan: &DownsampleExec) -> Vec<(i64, Vec<Row>)> {
    let stream = plan.execute(0, Arc::new(TaskContext::default())).unwrap();
    let batches: Vec<RecordBatch> = block_on(stream.try_collect()).unwrap();
    let of_batch = |batch: &RecordBatch| {
        assert_eq!(batch.schema(), plan.schema());
        let rows = series_rows(batch).into_iter().map(|(name, chunks)| {
            (name, chunks.iter().map(|chunk| sample_count(chunk.encoding, &chunk.data).unwrap()).collect())
        });
        (resolution_of(batch).unwrap(), rows.collect())
    };
    batches.iter().map(of_batch).collect()
}

#[test]
fn one_pass_makes_every_resolution() {
    let input = [series_batch(&[series("a", 0, 130), series("b", 0, 60)]), series_batch(&[series("c", 30, 40)])];
    let row = |name: &str, windows: &[usize]| (name.to_owned(), windows.to_vec());
    let found = put_out(&plan(input.to_vec(), End::Done, &[ONE_HOUR_MS, 0, FIVE_MINUTES_MS]));
    let expected = [
        (0, vec![row("a", &[120, 10]), row("b", &[60])]),
        (FIVE_MINUTES_MS, vec![row("a", &[26]), row("b", &[12])]),
        (ONE_HOUR_MS, vec![row("a", &[3]), row("b", &[1])]),
        (0, vec![row("c", &[40])]),
        (FIVE_MINUTES_MS, vec![row("c", &[8])]),
        (ONE_HOUR_MS, vec![row("c", &[2])]),
    ];
    assert_eq!(found, expected);
    // the hour is made of 5 minutes also where nobody wants those
    assert_eq!(put_out(&plan(input.to_vec(), End::Done, &[ONE_HOUR_MS]))[0], expected[2]);
}

#[test]
fn what_is_there_in_its_resolution_is_not_touched() {
    let input = series_batch(&[series("a", 0, 130)]);
    let plan = plan(vec![input.clone()], End::Done, &[0, FIVE_MINUTES_MS]);
    let batches: Vec<RecordBatch> =
        block_on(plan.execute(0, Arc::new(TaskContext::default())).unwrap().try_collect()).unwrap();
    assert_eq!(series_rows(&batches[0]), series_rows(&input));
    assert!(series_rows(&batches[1])[0].1.iter().all(|chunk| chunk.encoding == Encoding::Aggr as u8));
}

#[test]
fn series_of_which_nothing_is_left_have_no_row() {
    let gone = ("gone".to_owned(), chunks(&samples("60:stale"), 120, 0));
    let found = put_out(&plan(vec![series_batch(&[gone, series("a", 0, 10)])], End::Done, &[0, FIVE_MINUTES_MS]));
    let names: Vec<(i64, Vec<&str>)> =
        found.iter().map(|(ms, rows)| (*ms, rows.iter().map(|(name, _)| name.as_str()).collect())).collect();
    assert_eq!(names, [(0, vec!["gone", "a"]), (FIVE_MINUTES_MS, vec!["a"])]);
}

#[test]
fn resolutions_that_there_are_not_are_refused() {
    let source = || Arc::new(series_source(vec![], End::Done)) as Arc<dyn ExecutionPlan>;
    assert!(DownsampleExec::try_new(source(), 0, vec![60_000]).is_err());
    assert!(DownsampleExec::try_new(source(), ONE_HOUR_MS, vec![FIVE_MINUTES_MS]).is_err());
    assert!(DownsampleExec::try_new(source(), FIVE_MINUTES_MS, vec![FIVE_MINUTES_MS, ONE_HOUR_MS]).is_ok());
}

#[test]
fn an_error_passes_on() {
    let plan: Arc<dyn ExecutionPlan> =
        Arc::new(plan(vec![series_batch(&[series("a", 0, 9)])], End::Error, &[FIVE_MINUTES_MS]));
    let error = block_on(run(&plan)).unwrap_err();
    assert!(matches!(&error, Error::Execution(text) if text == "the input failed"), "{error:?}");
}

#[test]
fn damage_names_the_series_and_the_time() {
    let mut broken = series("a", 0, 130);
    broken.1[1].data.truncate(9);
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan(vec![series_batch(&[broken])], End::Done, &[FIVE_MINUTES_MS]));
    let error =
        block_on(plan.execute(0, Arc::new(TaskContext::default())).unwrap().try_collect::<Vec<_>>()).unwrap_err();
    let error = Error::from(error);
    assert!(matches!(&error, Error::Chunk { interval, .. } if interval.mint == 0), "{error:?}");
}

#[test]
fn memory_is_limited() {
    let batch = series_batch(&[series("a", 0, 20_000)]);
    let run = |bytes| {
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0).build_arc().unwrap();
        let context = Arc::new(TaskContext::default().with_runtime(Arc::clone(&runtime)));
        let plan = plan(vec![batch.clone()], End::Done, &[FIVE_MINUTES_MS]);
        let ended = block_on(plan.execute(0, context).unwrap().try_collect::<Vec<_>>());
        assert_eq!(runtime.memory_pool.reserved(), 0);
        ended.map_err(Error::from)
    };
    assert!(matches!(run(100 << 10), Err(Error::Limit(_))));
    assert!(run(4 << 20).is_ok());
}

#[test]
fn a_drop_cancels() {
    let batches = vec![series_batch(&[series("a", 0, 9)])];
    check_cancel(series_source(batches, End::Never), |input| {
        Arc::new(DownsampleExec::try_new(input, 0, vec![0, FIVE_MINUTES_MS]).unwrap())
    });
}
