use promql::Function;
use promql::tree::{Border, Grid, Projection};
use proptest::prelude::*;
use storage::model::{Labels, SampleBuffer, is_stale_nan};

use super::*;
use crate::error::Error;
use crate::kernel::range_kernel;
use crate::testing::series::{TestSeries, chunks, samples, series_batch, series_source};
use crate::testing::{self, End, check_cancel, check_error, grid};

/// The series of each line, `name{…} t:value …`, in chunks of at most 2 samples; `---` ends a batch.
fn series(text: &str) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    let mut rows: Vec<TestSeries> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line == "---" {
            batches.push(series_batch(&std::mem::take(&mut rows)));
            continue;
        }
        let (labels, rest) = line.split_once(' ').unwrap_or((line, ""));
        rows.push((testing::labels(labels).into_key(), chunks(&samples(rest), 2, 0)));
    }
    batches.push(series_batch(&rows));
    batches
}

fn spec(windows: Windows, function: WindowFunction) -> WindowSpec {
    let (name, labels) = ("select", LabelOutput::default());
    WindowSpec {
        windows,
        function,
        name,
        counter: false,
        downsampled: None,
        start_times: false,
        histogram_stats: false,
        args: vec![],
        labels,
        span: Span::default(),
    }
}

/// Windows of `range_ms` at minutes 0, 1, 2, …
fn windows(steps: usize, range_ms: i64) -> Windows {
    Windows { grid: grid(steps), offset_ms: 0, at: None, range_ms, margin: Margin::default() }
}

#[track_caller]
fn check(spec: WindowSpec, input: &str, expected: &str) {
    let source = Arc::new(series_source(series(input), End::Done));
    testing::check(Arc::new(WindowExec::new(source, spec, testing::context())), expected);
}

#[test]
fn the_left_border_is_outside_and_the_right_one_inside() {
    let select = spec(windows(3, 60_000), WindowFunction::Select);
    check(select.clone(), "m 0:1 60:2", "m 1 2 _");
    check(select.clone(), "m 0.001:1 60.001:2", "m _ 1 2");
    check(select.clone(), "m -60:9 60:2", "m _ 2 _");
    check(select.clone(), "m -59.999:9 61:2", "m 9 _ 2");
    check(select, "m -60:9 120.001:2", "");
}

#[test]
fn only_the_last_sample_of_a_window_counts() {
    check(spec(windows(3, 300_000), WindowFunction::Select), "m -10:1 -5:2 30:NaN 119:-0", "m 2 NaN -0");
}

#[test]
fn a_staleness_marker_ends_a_series() {
    check(spec(windows(4, 300_000), WindowFunction::Select), "m 0:1 50:stale 170:3", "m 1 _ _ 3");
    check(spec(windows(2, 300_000), WindowFunction::Select), "m 0:stale", "");
    let last = WindowFunction::Range(Arc::from(range_kernel(Function::LastOverTime, Border::Plain).unwrap()));
    check(spec(windows(4, 300_000), last), "m 0:1 50:stale 170:3", "m 1 1 1 3");
    check(spec(windows(3, 300_000), WindowFunction::Select), "m 0:h:4:10 50:stale 110:h:5:11", "m h:4:10 _ h:5:11");
}

#[test]
fn offsets_and_fixed_times() {
    let moved =
        |offset_ms: i64, at: Option<i64>| spec(Windows { offset_ms, at, ..windows(3, 60_000) }, WindowFunction::Select);
    let input = "m -60:1 0:2 60:3 120:4 180:5";
    check(moved(60_000, None), input, "m 1 2 3");
    check(moved(-60_000, None), input, "m 3 4 5");
    check(moved(0, Some(60_000)), input, "m 3 3 3");
    check(moved(120_000, Some(60_000)), input, "m 1 1 1");
    check(moved(240_000, Some(60_000)), input, "");
}

#[test]
fn times_of_samples() {
    check(spec(windows(3, 300_000), WindowFunction::Timestamp), "m 0.5:1 60:h:1:1 90:stale", "m _ 60 _");
    check(spec(windows(3, 300_000), WindowFunction::Timestamp), "m -0.25:1", "m -0.25 -0.25 -0.25");
}

#[test]
fn rows_without_a_sample_are_left_out() {
    let input = r#"
        m{a="1"} 0:1
        m{a="2"}
        m{a="3"} 600:1
        ---
        m{a="4"} 60:4
    "#;
    check(spec(windows(2, 300_000), WindowFunction::Select), input, "m{a=\"1\"} 1 1\nm{a=\"4\"} _ 4");
}

#[test]
fn labels_that_nobody_sees_are_left_out() {
    let output = |drop_name: bool, projection: Projection| WindowSpec {
        labels: LabelOutput { drop_name, projection },
        ..spec(windows(1, 300_000), WindowFunction::Select)
    };
    let input = r#"m{a="1",b="2",c="3"} 0:1"#;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    check(output(true, Projection::All), input, r#"{a="1", b="2", c="3"} 1"#);
    check(output(false, Projection::Only(names(&["b", "x"]))), input, r#"{b="2"} 1"#);
    check(output(false, Projection::Without(names(&["b"]))), input, r#"m{a="1", c="3"} 1"#);
    check(output(true, Projection::Without(names(&["b"]))), input, r#"{a="1", c="3"} 1"#);
}

#[test]
fn replicas_are_joined() {
    let replica = |text: &str, number: u32| chunks(&samples(text), 2, number);
    let mut both = [replica("0:1 60:2", 1), replica("1:101 61:102 121:103 181:104 241:105", 2)].concat();
    both.sort_by_key(|chunk| chunk.mint);
    let batch = series_batch(&[(testing::labels("m").into_key(), both)]);
    let plan = |function, range_ms| -> Arc<dyn ExecutionPlan> {
        let source = Arc::new(series_source(vec![batch.clone()], End::Done));
        Arc::new(WindowExec::new(source, spec(windows(5, range_ms), function), testing::context()))
    };
    // 121 is no more than two intervals after 60, so it is still waited for the first replica
    testing::check(plan(WindowFunction::Select, 60_000), "m 1 2 _ _ 104");
    let resets = WindowFunction::Range(Arc::from(range_kernel(Function::Resets, Border::Plain).unwrap()));
    testing::check(plan(resets, 300_000), "m 0 0 0 0 0");
}

#[test]
fn start_timestamps_count_only_where_they_are_wanted() {
    let mut once = samples("0:1");
    once.push_float(60_000, 2.0);
    once.set_start_time(30_000);
    // another replica takes over, with its own start timestamps
    let mut other = samples("0:1 60:1 120:1 180:3 240:4");
    other.set_start_time(200_000);
    let both = [chunks(&once, 2, 1), chunks(&other, 2, 2)].concat();
    let batch = series_batch(&[(testing::labels("m").into_key(), both)]);
    for (start_times, expected) in [(false, "m 0 0 0 0 0"), (true, "m 0 1 1 1 2")] {
        let source = Arc::new(series_source(vec![batch.clone()], End::Done));
        let resets = WindowFunction::Range(Arc::from(range_kernel(Function::Resets, Border::Plain).unwrap()));
        let spec = WindowSpec { start_times, counter: true, ..spec(windows(5, 300_000), resets) };
        testing::check(Arc::new(WindowExec::new(source, spec, testing::context())), expected);
    }
}

#[test]
fn a_counter_does_not_fall_where_the_replica_changes() {
    let replica = |text: &str, number: u32| chunks(&samples(text), 2, number);
    let both = [replica("0:100 60:102", 1), replica("1:7 61:8 121:9 181:10 241:11", 2)].concat();
    let batch = series_batch(&[(testing::labels("m").into_key(), both)]);
    for (counter, expected) in [(false, "m 0 0 0 0 1"), (true, "m 0 0 0 0 0")] {
        let source = Arc::new(series_source(vec![batch.clone()], End::Done));
        let resets = WindowFunction::Range(Arc::from(range_kernel(Function::Resets, Border::Plain).unwrap()));
        let spec = WindowSpec { counter, ..spec(windows(5, 300_000), resets) };
        testing::check(Arc::new(WindowExec::new(source, spec, testing::context())), expected);
    }
}

#[test]
fn labels_tell_counters_where_types_are_labels() {
    let told = |type_labels, series_labels: &str| {
        let context = QueryContext { type_labels, ..testing::context() };
        let rate = WindowFunction::Range(Arc::from(range_kernel(Function::Rate, Border::Plain).unwrap()));
        let source = Arc::new(series_source(series(&format!("{series_labels} 0:1 60:2")), End::Done));
        let plan: Arc<dyn ExecutionPlan> =
            Arc::new(WindowExec::new(source, spec(windows(2, 300_000), rate), context.clone()));
        futures::executor::block_on(testing::run(&plan)).unwrap();
        context.annotations.take().1
    };
    let gauge = "PromQL info: metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got \"gauge\": \
                 \"m_total\" (1:1)";
    assert_eq!(told(true, "m_total{__type__=\"gauge\"}"), [gauge]);
    assert_eq!(told(true, "m{__type__=\"counter\"}"), [""; 0]);
    assert_eq!(told(false, "m_total{__type__=\"gauge\"}"), [""; 0]);
    assert!(told(true, "m_total")[0].contains("got \"\": \"m_total\""));
}

#[test]
fn the_number_of_samples_is_limited() {
    let context = QueryContext { samples: Arc::new(crate::context::SampleLimit::new(3)), ..testing::context() };
    let run = |input: &str| {
        let source = Arc::new(series_source(series(input), End::Done));
        let plan: Arc<dyn ExecutionPlan> =
            Arc::new(WindowExec::new(source, spec(windows(2, 60_000), WindowFunction::Select), context.clone()));
        futures::executor::block_on(testing::run(&plan))
    };
    assert_eq!(run("m 0:1 60:2").unwrap(), ["m 1 2"]);
    let error = run("m 0:1 60:2").unwrap_err();
    assert!(matches!(error, Error::Limit(_)));
    assert_eq!(error.to_string(), "query processing would load too many samples into memory in query execution");
}

#[test]
fn faults() {
    let window = |input| -> Arc<dyn ExecutionPlan> {
        Arc::new(WindowExec::new(input, spec(windows(2, 60_000), WindowFunction::Select), testing::context()))
    };
    check_error(window(Arc::new(series_source(series("m 0:1"), End::Error))), "the input failed");
    check_cancel(series_source(series("m 0:1"), End::Never), window);
}

#[test]
fn explain() {
    let show = |spec: WindowSpec| {
        let source = Arc::new(series_source(vec![], End::Done));
        let plan = WindowExec::new(source, spec, testing::context());
        datafusion::physical_plan::displayable(&plan).indent(false).to_string()
    };
    let one = spec(windows(1, 60_000), WindowFunction::Select);
    assert_eq!(show(one), "WindowExec: select, range=60000ms, steps=1\n  SourceExec\n");
    let windows = Windows { offset_ms: 5, at: Some(7), ..windows(3, 60_000) };
    let labels = LabelOutput { drop_name: true, projection: Projection::Only(vec!["a".to_owned()]) };
    let many = WindowSpec { labels, ..spec(windows, WindowFunction::Timestamp) };
    let expected =
        "WindowExec: select, range=60000ms, steps=3, step=60000ms, offset=5ms, at=7ms, labels=[a]\n  SourceExec\n";
    assert_eq!(show(many), expected);
}

fn random_series() -> impl Strategy<Value = SampleBuffer> {
    prop::collection::vec((1_i64..90_000, 0_u8..8, -50_i32..50), 0..40).prop_map(|steps| {
        let mut buffer = SampleBuffer::new();
        let mut t = -300_000;
        for (step, kind, value) in steps {
            t += step;
            match kind {
                0 => buffer.push_float(t, storage::model::stale_nan()),
                1 => buffer.push_histogram(t, testing::histogram(1.0, f64::from(value))),
                _ => buffer.push_float(t, f64::from(value)),
            }
        }
        buffer
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn selection_agrees_with_looking_at_every_sample(
        series in prop::collection::vec(random_series(), 1..5),
        (start, steps, step_ms) in (-100_000_i64..100_000, 1_i64..20, 1_i64..200_000),
        (range_ms, offset_ms) in (1_i64..200_000, -50_000_i64..50_000),
        per_chunk in 1_usize..10,
    ) {
        let windows = Windows {
            grid: Grid { start, end: start + (steps - 1) * step_ms, step_ms }, offset_ms, at: None, range_ms, margin: Margin::default(),
        };
        let mut rows = Vec::new();
        let mut expected = Vec::new();
        for (number, samples) in series.iter().enumerate() {
            let key = Labels::from_pairs([("n", number.to_string())]).into_key();
            rows.push((key, chunks(samples, per_chunk, 0)));
            let values: Vec<String> = (0..windows.steps()).map(|step| {
                let last = samples.timestamps.iter().rposition(|&t| t <= windows.end(step));
                match last.filter(|&i| samples.timestamps[i] > windows.start(step) && !is_stale_nan(samples.floats[i])) {
                    None => "_".to_owned(),
                    Some(i) => match samples.histogram(i) {
                        Some(histogram) => format!("h:{}:{}", histogram.count, histogram.sum),
                        None => samples.floats[i].to_string(),
                    }
                }
            }).collect();
            if values.iter().any(|value| value != "_") {
                expected.push(format!("{{n=\"{number}\"}} {}", values.join(" ")));
            }
        }
        let source = Arc::new(series_source(vec![series_batch(&rows)], End::Done));
        let plan: Arc<dyn ExecutionPlan> =
            Arc::new(WindowExec::new(source, spec(windows, WindowFunction::Select), testing::context()));
        prop_assert_eq!(futures::executor::block_on(testing::run(&plan)).unwrap(), expected);
    }
}
