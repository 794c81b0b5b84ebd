use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::displayable;
use proptest::prelude::*;
use storage::model::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Labels, kahan_add};

use super::*;
use crate::error::Error;
use crate::testing::{self, End, SourceExec, histogram, labels};
use crate::vector::{Sample, VectorBuilder, VectorColumns, vector_schema};

const OPS: [AggregateOp; 8] = [
    AggregateOp::Sum,
    AggregateOp::Avg,
    AggregateOp::Count,
    AggregateOp::Min,
    AggregateOp::Max,
    AggregateOp::Group,
    AggregateOp::Stddev,
    AggregateOp::Stdvar,
];

const POSITION: &str = "1:5";
const MIXED: &str = "PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)";
const INCOMPATIBLE: &str = "PromQL warning: vector contains a mix of histograms with exponential and custom buckets \
                            schemas for metric name \"m\" (1:5)";

fn by(names: &[&str]) -> Grouping {
    Grouping::By(names.iter().map(|&name| name.to_owned()).collect())
}

fn without(names: &[&str]) -> Grouping {
    Grouping::Without(names.iter().map(|&name| name.to_owned()).collect())
}

/// A sample as tests write it.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Float(f64),
    Histogram(FloatHistogram),
}

type SeriesRow = (Labels, Vec<Option<Value>>);

fn batch(steps: usize, rows: &[SeriesRow]) -> RecordBatch {
    let mut builder = VectorBuilder::new(steps);
    for (labels, samples) in rows {
        let mut row = builder.start_row();
        for (step, sample) in samples.iter().enumerate() {
            match sample {
                None => {}
                Some(Value::Float(value)) => row.set(step, *value),
                Some(Value::Histogram(histogram)) => row.set_histogram(step, histogram.clone()),
            }
        }
        builder.finish_row(labels.as_key());
    }
    builder.finish().unwrap()
}

fn plan_in(
    context: &QueryContext,
    op: AggregateOp,
    grouping: &Grouping,
    steps: usize,
    partitions: Vec<Vec<RecordBatch>>,
) -> Arc<dyn ExecutionPlan> {
    let source = SourceExec::of(vector_schema(steps), partitions, End::Done);
    aggregate_plan(Arc::new(source), op, grouping, steps, context, POSITION.to_owned()).unwrap()
}

/// Runs a plan of one partition on a runtime of its own, since joining partitions spawns tasks.
fn rows_of(plan: &Arc<dyn ExecutionPlan>, steps: usize) -> Vec<SeriesRow> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime
        .block_on(datafusion::physical_plan::collect(Arc::clone(plan), Arc::new(TaskContext::default())))
        .unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let columns = VectorColumns::try_new(batch).unwrap();
        for row in 0..columns.len() {
            let samples = (0..steps).map(|step| match columns.row(row).sample(step) {
                None => None,
                Some(Sample::Float(value)) => Some(Value::Float(value)),
                Some(Sample::Histogram(histogram)) => Some(Value::Histogram(histogram.clone())),
            });
            rows.push((Labels::from_key(columns.labels(row)), samples.collect()));
        }
    }
    rows
}

/// What Prometheus makes of the samples of one group at one step, in the order of their series.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Nothing,
    Mixed,
    Float(f64),
    /// Count and sum.
    Histogram(f64, f64),
}

fn outcome(op: AggregateOp, samples: &[&Value]) -> Outcome {
    let floats: Vec<f64> =
        samples.iter().filter_map(|v| if let Value::Float(value) = v { Some(*value) } else { None }).collect();
    let histograms: Vec<&FloatHistogram> =
        samples.iter().filter_map(|v| if let Value::Histogram(value) = v { Some(value) } else { None }).collect();
    match op {
        _ if samples.is_empty() => Outcome::Nothing,
        AggregateOp::Count => Outcome::Float(samples.len() as f64),
        AggregateOp::Group => Outcome::Float(1.0),
        AggregateOp::Sum | AggregateOp::Avg if !histograms.is_empty() => {
            if !floats.is_empty() {
                return Outcome::Mixed;
            }
            let divisor = if op == AggregateOp::Avg { histograms.len() as f64 } else { 1.0 };
            let total = |field: fn(&FloatHistogram) -> f64| histograms.iter().map(|h| field(h)).sum::<f64>() / divisor;
            Outcome::Histogram(total(|h| h.count), total(|h| h.sum))
        }
        _ if floats.is_empty() => Outcome::Nothing,
        _ => Outcome::Float(float_outcome(op, &floats)),
    }
}

fn float_outcome(op: AggregateOp, floats: &[f64]) -> f64 {
    let first = floats[0];
    let rest = &floats[1..];
    match op {
        AggregateOp::Sum => {
            let (sum, compensation) = rest.iter().fold((first, 0.0), |(s, c), &v| kahan_add(v, s, c));
            sum + compensation
        }
        AggregateOp::Avg => average(first, rest),
        AggregateOp::Min => rest.iter().fold(first, |min, &v| if min > v || min.is_nan() { v } else { min }),
        AggregateOp::Max => rest.iter().fold(first, |max, &v| if max < v || max.is_nan() { v } else { max }),
        _ => {
            let (mut count, mut mean, mut squares) = (1.0, first, if first.is_finite() { 0.0 } else { f64::NAN });
            for &value in rest {
                count += 1.0;
                let delta = value - mean;
                mean += delta / count;
                squares += delta * (value - mean);
            }
            let variance = squares / count;
            if op == AggregateOp::Stddev { f64::sqrt(variance) } else { variance }
        }
    }
}

fn average(first: f64, rest: &[f64]) -> f64 {
    let (mut sum, mut compensation, mut count) = (first, 0.0, 1.0);
    let (mut mean, mut incremental) = (first, false);
    for &value in rest {
        count += 1.0;
        if !incremental {
            let (next, next_compensation) = kahan_add(value, sum, compensation);
            if !next.is_infinite() {
                (sum, compensation) = (next, next_compensation);
                continue;
            }
            incremental = true;
            mean = sum / (count - 1.0);
            compensation /= count - 1.0;
        }
        let q = (count - 1.0) / count;
        (mean, compensation) = kahan_add(value / count, q * mean, q * compensation);
    }
    if incremental { mean + compensation } else { sum / count + compensation / count }
}

/// The groups in the order of their first series, each with the samples of its series step by step.
fn groups<'a>(grouping: &Grouping, steps: usize, rows: &'a [SeriesRow]) -> Vec<(Labels, Vec<Vec<&'a Value>>)> {
    let mut groups: Vec<(Labels, Vec<Vec<&Value>>)> = Vec::new();
    // a series without a sample never gets here
    for (labels, samples) in rows.iter().filter(|(_, samples)| samples.iter().any(Option::is_some)) {
        let key = match grouping {
            Grouping::By(names) => labels.only(names),
            Grouping::Without(names) => labels.without(names).without(&["__name__"]),
        };
        let at = groups.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            groups.push((key, vec![Vec::new(); steps]));
            groups.len() - 1
        });
        for (step, sample) in samples.iter().enumerate() {
            groups[at].1[step].extend(sample);
        }
    }
    groups
}

/// How far results may be apart. `None`: not at all.
fn is_close(op: AggregateOp, actual: f64, expected: f64, samples: &[&Value], exact: bool) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    if exact || !expected.is_finite() {
        return same(actual, expected);
    }
    let magnitude = samples.iter().fold(1.0_f64, |magnitude, value| match value {
        Value::Float(value) => magnitude.max(value.abs()),
        Value::Histogram(_) => magnitude,
    });
    let apart = (actual - expected).abs();
    match op {
        AggregateOp::Sum => apart <= 1e-12 * magnitude * samples.len() as f64,
        AggregateOp::Avg => apart <= 1e-12 * magnitude,
        AggregateOp::Stdvar => apart <= 1e-12 * magnitude * magnitude,
        AggregateOp::Stddev => (actual * actual - expected * expected).abs() <= 1e-12 * magnitude * magnitude,
        _ => same(actual, expected),
    }
}

fn check_all(op: AggregateOp, grouping: &Grouping, steps: usize, partitions: &[Vec<Vec<SeriesRow>>]) {
    let context = testing::context();
    let batches =
        partitions.iter().map(|partition| partition.iter().map(|rows| batch(steps, rows)).collect()).collect();
    let actual = rows_of(&plan_in(&context, op, grouping, steps, batches), steps);
    let rows: Vec<SeriesRow> = partitions.iter().flatten().flatten().cloned().collect();
    let mut actual = actual.into_iter();
    let mut mixed = false;
    for (labels, samples) in groups(grouping, steps, &rows) {
        let expected: Vec<Outcome> = samples.iter().map(|samples| outcome(op, samples)).collect();
        mixed |= expected.contains(&Outcome::Mixed);
        if expected.iter().all(|outcome| matches!(outcome, Outcome::Nothing | Outcome::Mixed)) {
            continue;
        }
        let (actual_labels, actual) = actual.next().expect("a group is missing");
        assert_eq!(actual_labels, labels);
        for step in 0..steps {
            match (&actual[step], &expected[step]) {
                (None, Outcome::Nothing | Outcome::Mixed) => {}
                (Some(Value::Float(actual)), Outcome::Float(expected)) => {
                    let exact = partitions.len() == 1;
                    assert!(
                        is_close(op, *actual, *expected, &samples[step], exact),
                        "{op:?} of {:?}: {actual:e} is not {expected:e}",
                        samples[step]
                    );
                }
                (Some(Value::Histogram(actual)), Outcome::Histogram(count, sum)) => {
                    assert_eq!((actual.count, actual.sum), (*count, *sum));
                    assert_eq!(actual.positive_buckets, [*count]);
                }
                (actual, expected) => panic!("{op:?} at step {step}: {actual:?} is not {expected:?}"),
            }
        }
    }
    assert_eq!(actual.next(), None);
    let left_out = matches!(op, AggregateOp::Min | AggregateOp::Max | AggregateOp::Stddev | AggregateOp::Stdvar)
        && rows.iter().any(|(_, samples)| samples.iter().any(|sample| matches!(sample, Some(Value::Histogram(_)))));
    let warnings = if mixed { vec![MIXED.to_owned()] } else { vec![] };
    let info = format!("PromQL info: ignored histogram in {} aggregation (1:5)", op.as_str());
    assert_eq!(context.annotations.take(), (warnings, if left_out { vec![info] } else { vec![] }));
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-8000_i32..8000).prop_map(|i| f64::from(i) / 8.0),
        4 => -1e3..1e3_f64,
        1 => prop::sample::select(vec![-0.0, 0.0, 0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        1 => prop::sample::select(vec![1e308, -1e308, 1.7e308, f64::MAX, -f64::MAX]),
    ]
}

/// Row by row: labels `a` and `b`, and the samples. `kinds` is how often a sample is missing, a float, a histogram.
fn series(steps: usize) -> impl Strategy<Value = Vec<(u8, u8, Vec<Option<Value>>)>> {
    let sample = prop_oneof![
        2 => Just(None),
        8 => float().prop_map(|value| Some(Value::Float(value))),
        1 => (1_u8..9, 0_u8..99).prop_map(|(n, s)| Some(Value::Histogram(histogram(f64::from(n), f64::from(s))))),
    ];
    prop::collection::vec((0_u8..3, 0_u8..4, prop::collection::vec(sample, steps)), 0..14)
}

/// Sums and squares of huge floats depend on the order in which they overflow.
fn tame(op: AggregateOp, value: f64) -> f64 {
    match op {
        AggregateOp::Sum | AggregateOp::Stddev | AggregateOp::Stdvar if value.is_finite() && value.abs() > 1e300 => {
            value / 1e306
        }
        _ => value,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn agrees_with_prometheus(
        (steps, rows) in prop_oneof![Just(1_usize), Just(3), Just(9)].prop_flat_map(|s| (Just(s), series(s))),
        cuts in prop::collection::vec((0_usize..15, any::<bool>()), 0..5),
        grouping in prop::sample::select(vec![
            by(&[]), by(&["a"]), by(&["a", "b"]), by(&["missing"]), by(&["__name__"]),
            without(&[]), without(&["a"]), without(&["n"]), without(&["a", "b", "n"]),
        ]),
    ) {
        let rows: Vec<SeriesRow> = rows
            .into_iter()
            .enumerate()
            .map(|(n, (a, b, samples))| (labels(&format!(r#"m{{a="{a}", b="{b}", n="{n}"}}"#)), samples))
            .collect();
        for op in OPS {
            check_all(op, &grouping, steps, &[vec![rows.clone()]]);
            check_all(op, &grouping, steps, &cut(op, &rows, &cuts));
        }
    }
}

/// Cuts rows into partitions and batches.
fn cut(op: AggregateOp, rows: &[SeriesRow], cuts: &[(usize, bool)]) -> Vec<Vec<Vec<SeriesRow>>> {
    let mut partitions: Vec<Vec<Vec<SeriesRow>>> = vec![vec![vec![]]];
    for (number, (labels, samples)) in rows.iter().enumerate() {
        for &(_, partition) in cuts.iter().filter(|(at, _)| *at == number) {
            if partition && partitions.len() < 4 {
                partitions.push(vec![vec![]]);
            } else {
                partitions.last_mut().unwrap().push(vec![]);
            }
        }
        let samples = samples
            .iter()
            .map(|sample| match sample {
                Some(Value::Float(value)) => Some(Value::Float(tame(op, *value))),
                other => other.clone(),
            })
            .collect();
        partitions.last_mut().unwrap().last_mut().unwrap().push((labels.clone(), samples));
    }
    partitions
}

/// One row a series of one step, in two ways: one partition, and a partition a row.
#[track_caller]
fn check_one_step(op: AggregateOp, samples: &[Value], expected: Option<&Value>, warnings: &[&str], infos: &[&str]) {
    let rows: Vec<SeriesRow> = samples
        .iter()
        .enumerate()
        .map(|(n, sample)| (labels(&format!(r#"m{{n="{n}"}}"#)), vec![Some(sample.clone())]))
        .collect();
    let alone: Vec<Vec<RecordBatch>> = rows.iter().map(|row| vec![batch(1, std::slice::from_ref(row))]).collect();
    let in_two = (1..rows.len()).map(|at| [&rows[..at], &rows[at..]].map(|part| vec![batch(1, part)]).to_vec());
    for partitions in [vec![vec![batch(1, &rows)]], alone].into_iter().chain(in_two) {
        let context = testing::context();
        let actual = rows_of(&plan_in(&context, op, &by(&[]), 1, partitions), 1);
        let expected: Vec<SeriesRow> =
            expected.iter().map(|&value| (Labels::default(), vec![Some(value.clone())])).collect();
        assert_eq!(actual, expected);
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(context.annotations.take(), (owned(warnings), owned(infos)));
    }
}

fn custom(bounds: &[f64], populations: &[f64]) -> FloatHistogram {
    FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        custom_values: bounds.to_vec(),
        positive_buckets: populations.to_vec(),
        positive_spans: vec![storage::model::Span { offset: 0, length: u32::try_from(populations.len()).unwrap() }],
        ..histogram(populations.iter().sum(), 1.0)
    }
}

#[test]
fn an_average_of_histograms_does_not_overflow() {
    let samples: Vec<Value> =
        [(2.0, 1.5e308), (4.0, 1.5e308)].iter().map(|&(n, sum)| Value::Histogram(histogram(n, sum))).collect();
    check_one_step(AggregateOp::Avg, &samples, Some(&Value::Histogram(histogram(3.0, 1.5e308))), &[], &[]);
    check_one_step(AggregateOp::Sum, &samples, Some(&Value::Histogram(histogram(6.0, f64::INFINITY))), &[], &[]);
    let more: Vec<Value> = [(1.0, 1.5e308), (2.0, 1.5e308), (3.0, 1.5e308), (6.0, 1.5e308)]
        .iter()
        .map(|&(n, sum)| Value::Histogram(histogram(n, sum)))
        .collect();
    let context = testing::context();
    let rows: Vec<SeriesRow> = more
        .iter()
        .enumerate()
        .map(|(n, sample)| (labels(&format!(r#"m{{n="{n}"}}"#)), vec![Some(sample.clone())]))
        .collect();
    for cut in 0..4 {
        let partitions = vec![vec![batch(1, &rows[..cut])], vec![batch(1, &rows[cut..])]];
        let actual = rows_of(&plan_in(&context, AggregateOp::Avg, &by(&[]), 1, partitions), 1);
        let [(_, samples)] = actual.as_slice() else { panic!("{actual:?}") };
        let [Some(Value::Histogram(mean))] = samples.as_slice() else { panic!("{samples:?}") };
        assert!((mean.count - 3.0).abs() < 1e-12 && (mean.sum / 1.5e308 - 1.0).abs() < 1e-12, "{mean:?}");
    }
}

#[test]
fn histograms_and_floats_do_not_add_up() {
    let (float, exponential) = (Value::Float(1.0), Value::Histogram(histogram(1.0, 1.0)));
    for op in [AggregateOp::Sum, AggregateOp::Avg] {
        check_one_step(op, &[float.clone(), exponential.clone()], None, &[MIXED], &[]);
        check_one_step(op, &[exponential.clone(), float.clone()], None, &[MIXED], &[]);
    }
    for op in [AggregateOp::Min, AggregateOp::Max, AggregateOp::Stddev, AggregateOp::Stdvar] {
        let info = format!("PromQL info: ignored histogram in {} aggregation (1:5)", op.as_str());
        check_one_step(op, std::slice::from_ref(&exponential), None, &[], &[&info]);
    }
}

#[test]
fn incompatible_histograms_have_no_sum() {
    let float = Value::Float(1.0);
    let exponential = Value::Histogram(histogram(1.0, 1.0));
    let custom = Value::Histogram(custom(&[1.0, 2.0], &[1.0, 1.0]));
    for op in [AggregateOp::Sum, AggregateOp::Avg] {
        let both = [exponential.clone(), custom.clone()];
        check_one_step(op, &both, None, &[INCOMPATIBLE], &[]);
        check_one_step(op, &[&both[..], &both[..1]].concat(), None, &[INCOMPATIBLE], &[]);
        // Prometheus looks no further once histograms did not fit
        check_one_step(op, &[&both[..], std::slice::from_ref(&float)].concat(), None, &[INCOMPATIBLE], &[]);
        // and sums no histograms up that come after a float
        check_one_step(op, &[std::slice::from_ref(&float), &both[..]].concat(), None, &[MIXED], &[]);
        let between = [exponential.clone(), float.clone(), custom.clone()];
        check_one_step(op, &between, None, &[MIXED, INCOMPATIBLE], &[]);
        let behind = [custom.clone(), exponential.clone(), float.clone(), exponential.clone()];
        check_one_step(op, &behind, None, &[INCOMPATIBLE], &[]);
    }
}

#[test]
fn notes_on_histograms() {
    let hinted = |hint| Value::Histogram(FloatHistogram { counter_reset_hint: hint, ..histogram(1.0, 1.0) });
    let hints = [hinted(CounterResetHint::CounterReset), hinted(CounterResetHint::NotCounterReset)];
    let collision = "PromQL warning: conflicting counter resets during histogram aggregation (1:5)";
    check_one_step(AggregateOp::Sum, &hints, Some(&Value::Histogram(histogram(2.0, 2.0))), &[collision], &[]);

    let bounds =
        [Value::Histogram(custom(&[1.0, 2.0], &[1.0, 2.0])), Value::Histogram(custom(&[1.0, 3.0], &[1.0, 2.0]))];
    let reconciled = "PromQL info: mismatched custom buckets were reconciled during aggregation (1:5)";
    let sum = FloatHistogram { sum: 2.0, ..custom(&[1.0], &[2.0, 4.0]) };
    check_one_step(AggregateOp::Sum, &bounds, Some(&Value::Histogram(sum)), &[], &[reconciled]);
}

#[test]
fn groups_come_as_their_first_series_come() {
    let text = r#"
        m{a="z", n="1"} 1 _
        m{a="b", n="2"} 2 NaN
        ---
        m{a="z", n="3"} _ 4
        m{a="a", n="4"} 5 6
    "#;
    let plan = aggregate_plan(
        testing::source(2, text),
        AggregateOp::Sum,
        &by(&["a"]),
        2,
        &testing::context(),
        POSITION.to_owned(),
    );
    let expected = r#"
        {a="z"} 1 4
        {a="b"} 2 NaN
        {a="a"} 5 6
    "#;
    testing::check(plan.unwrap(), expected);
}

#[test]
fn explain() {
    let show = |partitions: usize, grouping: &Grouping| {
        let plan = plan_in(&testing::context(), AggregateOp::Sum, grouping, 1, vec![vec![]; partitions]);
        displayable(plan.as_ref()).indent(false).to_string()
    };
    let single = "\
UnpackExec
  AggregateExec: mode=Single, gby=[by (a, b) as labels], aggr=[sum]
    SourceExec
";
    assert_eq!(show(1, &by(&["a", "b"])), single);
    let two = "\
UnpackExec
  AggregateExec: mode=Final, gby=[labels@0 as labels], aggr=[sum]
    ConcatExec
      AggregateExec: mode=Partial, gby=[without (a) as labels], aggr=[sum]
        SourceExec
";
    assert_eq!(show(2, &without(&["a"])), two);
}

#[test]
fn faults() {
    let text = r#"
        m{a="1"} 1 2
        m{a="2"} 3 4
    "#;
    let sum = |input| {
        aggregate_plan(input, AggregateOp::Sum, &by(&["a"]), 2, &testing::context(), POSITION.to_owned()).unwrap()
    };
    let failing = SourceExec::of(vector_schema(2), vec![testing::batches(2, text)], End::Error);
    testing::check_error(sum(Arc::new(failing)), "the input failed");
    let hanging = SourceExec::of(vector_schema(2), vec![testing::batches(2, text)], End::Never);
    testing::check_cancel(hanging, sum);
    let unknown = aggregate_plan(
        testing::source(2, text),
        AggregateOp::Quantile,
        &by(&[]),
        2,
        &testing::context(),
        POSITION.to_owned(),
    );
    assert!(matches!(unknown, Err(Error::Internal(_))));
}

#[test]
fn too_little_memory_is_a_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rows: Vec<SeriesRow> =
        (0..100).map(|n| (labels(&format!(r#"m{{n="{n}"}}"#)), vec![Some(Value::Float(1.0)); 100])).collect();
    for partitions in 1..3 {
        let batches = vec![vec![batch(100, &rows)]; partitions];
        let plan = plan_in(&testing::context(), AggregateOp::Avg, &by(&["n"]), 100, batches);
        let run = |bytes: usize| {
            let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
            let environment = RuntimeEnvBuilder::new()
                .with_memory_limit(bytes, 1.0)
                .with_disk_manager_builder(disk)
                .build_arc()
                .unwrap();
            let context = TaskContext::default().with_runtime(environment);
            runtime.block_on(testing::run_in(&plan, Arc::new(context)))
        };
        assert!(matches!(run(64 * 1024), Err(Error::Limit(_))), "{partitions}");
        assert_eq!(run(64 << 20).unwrap().len(), 100);
    }
}

#[test]
fn a_state_survives_its_way_to_the_final_stage() {
    use super::histogram_state::{HistogramSlot, HistogramState};
    let mut state = HistogramState::new(true);
    for sum in [1.5e308, 1.5e308, 1.0] {
        state.add(0, 3, &histogram(1.0, sum), &"metric".into(), false);
    }
    state.add(0, 4, &histogram(1.0, 1.0), &"metric".into(), true);
    for (_, slot) in state.of_group(0) {
        let mut bytes = Vec::new();
        slot.encode(&mut bytes);
        let back = HistogramSlot::decode(&bytes).unwrap();
        assert_eq!(format!("{back:?}"), format!("{slot:?}"));
        for cut in 0..bytes.len().min(13) {
            assert!(HistogramSlot::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
    let names: BTreeSet<u32> = state.of_group(0).map(|(step, _)| step).collect();
    assert_eq!(names, BTreeSet::from([3, 4]));
    assert_eq!(state.of_group(1).count(), 0);
}
