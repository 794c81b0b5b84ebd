//! Series with histograms, and series that mix them with floats.

use storage::model::{CounterResetHint, Span};

use super::*;
use crate::vector::Sample;

const MINUTE: i64 = 60_000;

/// A histogram with one bucket.
fn histogram(count: f64) -> FloatHistogram {
    FloatHistogram {
        count,
        sum: 3.0 * count,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![count],
        ..FloatHistogram::default()
    }
}

fn gauge(count: f64) -> FloatHistogram {
    FloatHistogram { counter_reset_hint: CounterResetHint::Gauge, ..histogram(count) }
}

fn custom(count: f64) -> FloatHistogram {
    FloatHistogram { schema: -53, custom_values: vec![1.0], ..histogram(count) }
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Float(f64),
    Histogram(FloatHistogram),
    Nothing,
}

/// Evaluates at one instant, minute 10, over the ten minutes before; checks the value, the warnings and the infos.
fn check(
    function: Function,
    floats: &[(i64, f64)],
    histograms: &[(i64, FloatHistogram)],
    want: &Value,
    told: (&[&str], &[&str]),
) {
    let annotations = AnnotationSink::default();
    let windows = Windows {
        grid: Grid::instant(10 * MINUTE),
        offset_ms: 0,
        at: None,
        range_ms: 10 * MINUTE,
        margin: Margin::default(),
    };
    let args = args_of(function, 1);
    let context = KernelContext {
        windows,
        args: &args,
        annotations: &annotations,
        metric_name: "x",
        type_label: None,
        layout: &WindowLayout::default(),
        position: "1:6",
    };
    let (float_t, floats): (Vec<i64>, Vec<f64>) = floats.iter().map(|(t, v)| (t * MINUTE, *v)).unzip();
    let (histogram_t, histograms): (Vec<i64>, Vec<Arc<FloatHistogram>>) =
        histograms.iter().map(|(t, h)| (t * MINUTE, Arc::new(h.clone()))).unzip();
    let series = Series {
        float_t: &float_t,
        floats: &floats,
        histogram_t: &histogram_t,
        histograms: &histograms,
        ..Series::default()
    };
    let mut builder = VectorBuilder::new(1);
    let mut row = builder.start_row();
    range_kernel(function, Border::Plain).unwrap().evaluate(&series, &context, &mut row).unwrap();
    let got = if builder.finish_row("") == 0 {
        Value::Nothing
    } else {
        let columns = VectorColumns::try_new(&builder.finish().unwrap()).unwrap();
        match columns.row(0).sample(0).unwrap() {
            Sample::Float(value) => Value::Float(value),
            Sample::Histogram(h) => Value::Histogram(h.clone()),
        }
    };
    assert_eq!(got, *want, "{function:?}");
    let (warnings, infos) = annotations.take();
    assert_eq!((warnings, infos), (to_owned(told.0), to_owned(told.1)), "{function:?}");
}

fn to_owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

const MIXED: &str = "PromQL warning: encountered a mix of histograms and floats for metric name \"x\" (1:6)";
const IGNORED: &str =
    "PromQL info: ignored histograms in a range containing both floats and histograms for metric name \"x\" (1:6)";
const NOT_GAUGE: &str = "PromQL warning: this native histogram metric is not a gauge: \"x\" (1:6)";
const NOT_COUNTER: &str = "PromQL warning: this native histogram metric is not a counter: \"x\" (1:6)";
const SCHEMAS: &str = "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for metric name \"x\" (1:6)";
const NAMED: &str =
    "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"x\" (1:6)";

#[test]
fn growth_of_histograms() {
    // samples every two minutes: a growth of 20 in 8 minutes, extrapolated to the 10 of the window
    let rising: Vec<_> = (1..=5).map(|i| (2 * i, histogram(95.0 + 5.0 * i as f64))).collect();
    check(Function::Increase, &[], &rising, &Value::Histogram(gauge(25.0)), (&[], &[]));
    check(Function::Delta, &[], &rising, &Value::Histogram(gauge(25.0)), (&[NOT_GAUGE], &[]));
    check(Function::Idelta, &[], &rising, &Value::Histogram(gauge(5.0)), (&[NOT_GAUGE], &[]));
    check(Function::Irate, &[], &rising, &Value::Histogram(gauge(5.0 / 120.0)), (&[], &[]));
    check(Function::Resets, &[], &rising, &Value::Float(0.0), (&[], &[]));
    check(Function::Changes, &[], &rising, &Value::Float(4.0), (&[], &[]));

    let reset = [(4, histogram(100.0)), (6, histogram(8.0)), (8, histogram(16.0))];
    // 16 - 100 + 100 in 4 minutes; 2 before the first and 2 after the last are near enough
    check(Function::Increase, &[], &reset[..], &Value::Histogram(gauge(28.0)), (&[], &[]));
    check(Function::Resets, &[], &reset, &Value::Float(1.0), (&[], &[]));
    check(Function::Rate, &[], &reset[..1], &Value::Nothing, (&[], &[]));
}

#[test]
fn the_wrong_kind_of_histogram_is_told() {
    let gauges = [(2, gauge(1.0)), (6, gauge(3.0)), (10, gauge(5.0))];
    check(Function::Delta, &[], &gauges, &Value::Histogram(gauge(5.0)), (&[], &[]));
    check(Function::Irate, &[], &gauges, &Value::Histogram(gauge(2.0 / 240.0)), (&[NOT_COUNTER], &[]));
    let schemas = [(2, histogram(1.0)), (6, histogram(2.0)), (10, custom(5.0))];
    for function in [Function::Rate, Function::SumOverTime, Function::AvgOverTime, Function::Delta] {
        check(function, &[], &schemas, &Value::Nothing, (&[SCHEMAS], &[]));
    }
}

#[test]
fn sums_of_histograms() {
    let samples = [(2, histogram(1.0)), (6, histogram(3.0)), (10, histogram(8.0))];
    check(Function::SumOverTime, &[], &samples, &Value::Histogram(histogram(12.0)), (&[], &[]));
    check(Function::AvgOverTime, &[], &samples, &Value::Histogram(histogram(4.0)), (&[], &[]));
    // the sum overflows, the mean does not
    let large = [(2, histogram(1.5e308 / 3.0)), (6, histogram(1.5e308 / 3.0))];
    check(Function::AvgOverTime, &[], &large, &Value::Histogram(histogram(1.5e308 / 3.0)), (&[], &[]));
    let hint = |counter_reset_hint| FloatHistogram { counter_reset_hint, ..histogram(2.0) };
    let hints = [(2, hint(CounterResetHint::CounterReset)), (6, hint(CounterResetHint::NotCounterReset))];
    let collision = "PromQL warning: conflicting counter resets during histogram aggregation (1:6)";
    check(Function::SumOverTime, &[], &hints, &Value::Histogram(histogram(4.0)), (&[collision], &[]));
}

#[test]
fn mixed_windows() {
    let floats = [(1, 1.0), (2, 4.0), (8, 2.0)];
    let histograms = [(5, histogram(7.0)), (9, histogram(9.0))];
    for function in [Function::Rate, Function::Increase, Function::Delta, Function::SumOverTime, Function::AvgOverTime]
    {
        check(function, &floats, &histograms, &Value::Nothing, (&[MIXED], &[]));
    }
    for function in [Function::Irate, Function::Idelta] {
        check(function, &floats, &histograms, &Value::Nothing, (&[MIXED], &[]));
    }
    for (function, value) in [
        (Function::MaxOverTime, 4.0),
        (Function::TsOfMaxOverTime, 120.0),
        (Function::StdvarOverTime, 14.0 / 9.0),
        (Function::MadOverTime, 1.0),
        (Function::QuantileOverTime, 3.6),
    ] {
        check(function, &floats, &histograms, &Value::Float(value), (&[], &[IGNORED]));
    }
    check(Function::Deriv, &floats[..1], &histograms, &Value::Nothing, (&[], &[IGNORED]));
    check(Function::MaxOverTime, &[], &histograms, &Value::Nothing, (&[], &[]));
    for (function, value) in [
        (Function::CountOverTime, 5.0),
        (Function::PresentOverTime, 1.0),
        (Function::TsOfFirstOverTime, 60.0),
        (Function::TsOfLastOverTime, 540.0),
        (Function::FirstOverTime, 1.0),
        // 1 4 H 2 H
        (Function::Changes, 4.0),
        (Function::Resets, 3.0),
    ] {
        check(function, &floats, &histograms, &Value::Float(value), (&[], &[]));
    }
    check(Function::LastOverTime, &floats, &histograms, &Value::Histogram(histogram(9.0)), (&[], &[]));
}

#[test]
fn a_counter_should_be_named_like_one() {
    let floats = [(1, 10.0), (9, 12.0)];
    check(Function::Increase, &floats, &[], &Value::Float(2.5), (&[], &[NAMED]));
    check(Function::Delta, &floats, &[], &Value::Float(2.5), (&[], &[]));
}

#[test]
fn arguments_out_of_range() {
    let annotations = AnnotationSink::default();
    let windows = Windows {
        grid: Grid::instant(10 * MINUTE),
        offset_ms: 0,
        at: None,
        range_ms: 10 * MINUTE,
        margin: Margin::default(),
    };
    let evaluate = |function: Function, args: &[f64]| {
        let args: Vec<_> = args.iter().map(|arg| ScalarArg::Constant(*arg)).collect();
        let context = KernelContext {
            windows,
            args: &args,
            annotations: &annotations,
            metric_name: "x",
            type_label: None,
            layout: &WindowLayout::default(),
            position: "1:6",
        };
        let series = Series { float_t: &[MINUTE, 2 * MINUTE], floats: &[1.0, 2.0], ..Series::default() };
        let mut builder = VectorBuilder::new(1);
        let mut row = builder.start_row();
        range_kernel(function, Border::Plain).unwrap().evaluate(&series, &context, &mut row).map(|()| row.get(0))
    };
    let error = evaluate(Function::DoubleExponentialSmoothing, &[1.5, 0.5]).unwrap_err();
    assert_eq!(error.to_string(), "invalid smoothing factor. Expected: 0 < sf < 1, got: 1.500000");
    let error = evaluate(Function::DoubleExponentialSmoothing, &[0.5, 0.0]).unwrap_err();
    assert_eq!(error.to_string(), "invalid trend factor. Expected: 0 < tf < 1, got: 0.000000");
    assert_eq!(evaluate(Function::QuantileOverTime, &[1.5]).unwrap(), Some(f64::INFINITY));
    assert!(evaluate(Function::QuantileOverTime, &[f64::NAN]).unwrap().is_some_and(f64::is_nan));
    // as Go's %g has them
    assert_eq!(evaluate(Function::QuantileOverTime, &[1_234_567.0]).unwrap(), Some(f64::INFINITY));
    assert_eq!(evaluate(Function::QuantileOverTime, &[-0.000_012]).unwrap(), Some(f64::NEG_INFINITY));
    assert_eq!(evaluate(Function::QuantileOverTime, &[f64::INFINITY]).unwrap(), Some(f64::INFINITY));
    let warning = |q: &str| format!("PromQL warning: quantile value should be between 0 and 1, got {q} (1:6)");
    assert_eq!(annotations.take().0, ["+Inf", "-1.2e-05", "1.234567e+06", "1.5", "NaN"].map(warning));
}
