//! Every kernel against an oracle that evaluates window by window, over random series and grids.

mod extended;
mod histograms;
mod oracle;

use proptest::prelude::*;

use super::*;
use crate::vector::{VectorBuilder, VectorColumns};

/// Evaluates a function of floats; `None` where a step has no value.
fn run(function: Function, t: &[i64], v: &[f64], windows: Windows, args: &[ScalarArg]) -> Vec<Option<f64>> {
    run_over(function, Border::Plain, t, v, windows, args)
}

fn run_over(
    function: Function,
    border: Border,
    t: &[i64],
    v: &[f64],
    windows: Windows,
    args: &[ScalarArg],
) -> Vec<Option<f64>> {
    let annotations = AnnotationSink::default();
    let context = KernelContext {
        windows,
        args,
        annotations: &annotations,
        metric_name: "x_total",
        type_label: None,
        layout: &WindowLayout::default(),
        position: "1:6",
    };
    let series = Series { float_t: t, floats: v, ..Series::default() };
    let mut builder = VectorBuilder::new(windows.steps());
    let mut row = builder.start_row();
    range_kernel(function, border).unwrap().evaluate(&series, &context, &mut row).unwrap();
    if builder.finish_row("") == 0 {
        return vec![None; windows.steps()];
    }
    let columns = VectorColumns::try_new(&builder.finish().unwrap()).unwrap();
    let row = columns.row(0);
    (0..windows.steps()).map(|step| row.float(step)).collect()
}

const FUNCTIONS: [Function; 26] = [
    Function::Rate,
    Function::Increase,
    Function::Delta,
    Function::Irate,
    Function::Idelta,
    Function::SumOverTime,
    Function::AvgOverTime,
    Function::MinOverTime,
    Function::MaxOverTime,
    Function::TsOfMinOverTime,
    Function::TsOfMaxOverTime,
    Function::StddevOverTime,
    Function::StdvarOverTime,
    Function::Deriv,
    Function::PredictLinear,
    Function::DoubleExponentialSmoothing,
    Function::QuantileOverTime,
    Function::MadOverTime,
    Function::Changes,
    Function::Resets,
    Function::CountOverTime,
    Function::PresentOverTime,
    Function::FirstOverTime,
    Function::LastOverTime,
    Function::TsOfFirstOverTime,
    Function::TsOfLastOverTime,
];

fn args_of(function: Function, steps: usize) -> Vec<ScalarArg> {
    match function {
        Function::PredictLinear => {
            vec![ScalarArg::Steps((0..steps).map(|step| step as f64 * 60.0 - 600.0).collect::<Vec<_>>().into())]
        }
        Function::DoubleExponentialSmoothing => vec![ScalarArg::Constant(0.3), ScalarArg::Constant(0.6)],
        Function::QuantileOverTime => vec![ScalarArg::Constant(0.9)],
        _ => Vec::new(),
    }
}

/// Whether `got` is as near to Prometheus's `want` as the function promises.
fn agrees(function: Function, got: f64, want: f64) -> bool {
    if got == want || (got.is_nan() && want.is_nan()) {
        return true;
    }
    let tolerance = match function {
        Function::SumOverTime | Function::AvgOverTime => 1e-14,
        Function::StddevOverTime | Function::StdvarOverTime | Function::Deriv | Function::PredictLinear => 1e-9,
        _ => 0.0,
    };
    (got - want).abs() <= tolerance * want.abs()
}

fn check(t: &[i64], v: &[f64], windows: Windows) -> Result<(), TestCaseError> {
    for function in FUNCTIONS {
        let args = args_of(function, windows.steps());
        let got = run(function, t, v, windows, &args);
        for (step, got) in got.into_iter().enumerate() {
            let (start, end) = (windows.start(step), windows.end(step));
            let lo = t.partition_point(|t| *t <= start);
            let hi = t.partition_point(|t| *t <= end);
            let numbers: Vec<f64> = args.iter().map(|arg| arg.at(step)).collect();
            let eval = windows.eval_time(step);
            let samples = oracle::Samples { t: &t[lo..hi], v: &v[lo..hi], start, end, eval, args: &numbers };
            let want = oracle::evaluate(function, &samples);
            let same = match (got, want) {
                (Some(got), Some(want)) => agrees(function, got, want),
                (got, want) => got.is_none() && want.is_none(),
            };
            prop_assert!(
                same,
                "{function:?} at {step}: {got:?}, not {want:?}, of {:?} at {:?}",
                &v[lo..hi],
                &t[lo..hi]
            );
        }
    }
    Ok(())
}

/// Kinds of values: counters with resets, gauges small beside their level, repeated ones, everything that hurts.
fn values() -> impl Strategy<Value = Vec<f64>> {
    let counter = prop::collection::vec((0..50_u32, 0..20_u32), 0..200).prop_map(|steps| {
        let mut total = 0.0;
        let step = |(growth, reset): (u32, u32)| {
            total = if reset == 0 { f64::from(growth) } else { total + f64::from(growth) };
            total
        };
        steps.into_iter().map(step).collect()
    });
    let level = prop::sample::select(vec![0.0, 1.0, 1e6, 1e11, -3e9]);
    let gauge = (level, prop::collection::vec(-1e3..1e3, 0..200))
        .prop_map(|(level, noise): (f64, Vec<f64>)| noise.into_iter().map(|x| level + x).collect());
    let repeated = prop::collection::vec(prop::sample::select(vec![0.1, 0.1, 0.1, 2.5, -0.0, 0.0]), 0..200);
    let hostile = prop::collection::vec(
        prop_oneof![
            6 => -100.0..100.0_f64,
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
            1 => Just(f64::MAX),
            1 => Just(-f64::MAX),
            1 => Just(5e-324),
            1 => Just(1e-200),
            1 => Just(1e100),
        ],
        0..200,
    );
    let rare = (prop::collection::vec(-1e3..1e3_f64, 1..200), any::<prop::sample::Index>()).prop_map(|(mut v, i)| {
        let at = i.index(v.len());
        v[at] = if at % 2 == 0 { f64::INFINITY } else { f64::NAN };
        v
    });
    prop_oneof![counter, gauge, repeated, hostile, rare]
}

fn times(n: usize) -> impl Strategy<Value = Vec<i64>> {
    // mostly regular scrapes, now and then late, now and then a gap
    let gap = prop_oneof![12 => Just(15_000_i64), 3 => 14_900..15_100_i64, 1 => 1..400_000_i64];
    (prop::collection::vec(gap, n), -50_000..1_700_000_000_000_i64).prop_map(|(gaps, start)| {
        let mut t = start;
        let next = |gap: i64| {
            t += gap;
            t
        };
        gaps.into_iter().map(next).collect()
    })
}

fn series() -> impl Strategy<Value = (Vec<i64>, Vec<f64>)> {
    values().prop_flat_map(|v| (times(v.len()), Just(v)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernels_agree_with_their_definitions(
        (t, v) in series(),
        step_ms in prop::sample::select(vec![1_000, 15_000, 60_000, 77_777, 3_600_000]),
        range_ms in prop::sample::select(vec![1_000, 60_000, 300_000, 301_234, 3_000_000]),
        offset_ms in prop::sample::select(vec![0, 7_000, -20_000]),
        fixed in any::<bool>(),
        instant in prop::bool::weighted(0.1),
        lead in -100_000..400_000_i64,
    ) {
        let first = t.first().copied().unwrap_or(0) - lead;
        let last = t.last().copied().unwrap_or(0) + 400_000;
        let end = if instant { last } else { last.min(first + 300 * step_ms) };
        let start = if instant { last } else { first };
        let middle = t.get(t.len() / 2).copied().unwrap_or(0) + 10;
        let at = (fixed && step_ms == 60_000).then_some(middle);
        check(&t, &v, Windows { grid: Grid { start, end, step_ms }, offset_ms, at, range_ms, margin: Margin::default() })?;
    }
}
