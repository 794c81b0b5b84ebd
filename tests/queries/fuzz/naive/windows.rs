//! Functions of range vectors: each looks at one window of one series.

use std::cmp::Ordering;
use std::sync::Arc;

use promql::tree::Border;
use promql::{Expr, Function};
use storage::model::{CounterResetHint, FloatHistogram};

use super::numbers::{count, mean, quantile, seconds, sum, variance};
use super::select::Window;
use super::{Failure, LabelSet, Naive, Naively, Row, Value, Vector, label, notes, same_labelset};

impl Window {
    /// The numbers in it.
    pub(super) fn floats(&self) -> Vec<f64> {
        self.timed_floats().into_iter().map(|(_, value)| value).collect()
    }

    /// The numbers in it with their times.
    pub(super) fn timed_floats(&self) -> Vec<(i64, f64)> {
        let float = |(t, value): &(i64, Value)| match value {
            Value::Float(value) => Some((*t, *value)),
            Value::Histogram(_) => None,
        };
        self.samples.iter().filter_map(float).collect()
    }

    /// The histograms in it.
    pub(super) fn histograms(&self) -> Vec<Arc<FloatHistogram>> {
        let histogram = |(_, value): &(i64, Value)| match value {
            Value::Float(_) => None,
            Value::Histogram(histogram) => Some(Arc::clone(histogram)),
        };
        self.samples.iter().filter_map(histogram).collect()
    }
}

impl Naive<'_> {
    /// A function of a range vector at every step. `range` is its range vector, `scalars` the other arguments by step.
    pub(super) fn range_function(
        &self,
        function: Function,
        range: &Expr,
        scalars: &[Vec<f64>],
        steps: &[i64],
    ) -> Naively<Vec<Vector>> {
        self.check_border(function, range)?;
        let keeps_name = matches!(function, Function::FirstOverTime | Function::LastOverTime);
        let mut vectors: Vec<Vector> = vec![Vec::new(); steps.len()];
        let mut seen: Vec<LabelSet> = Vec::new();
        for series in self.ranges(range, steps)? {
            let named = |value: Value| match keeps_name {
                true => Row { labels: series.labels.clone(), value, unnamed: series.unnamed },
                false => self.nameless(series.labels.clone(), value),
            };
            let (mut any, mut any_float) = (false, false);
            for (i, window) in series.windows.iter().enumerate().filter(|(_, window)| !window.samples.is_empty()) {
                let scalars: Vec<f64> = scalars.iter().map(|values| values[i]).collect();
                if let Some(value) = self.of_window(function, window, &scalars, steps[i])? {
                    any_float |= matches!(value, Value::Float(_));
                    vectors[i].push(named(value));
                    any = true;
                }
            }
            if any_float {
                self.note_rate(function, &series.labels);
            }
            if any {
                seen.push(named(Value::Float(0.0)).labels);
            }
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        // two series of the same labels are refused even where they never have a value at the same step
        let minded = function != Function::AbsentOverTime && !self.names_at_end;
        if seen.len() < all && minded { Err(same_labelset()) } else { Ok(vectors) }
    }

    /// Refuses functions that cannot mind samples outside of a window.
    fn check_border(&self, function: Function, range: &Expr) -> Naively<()> {
        use Function::{Changes, Delta, Increase, Rate, Resets};
        let Expr::Matrix(matrix) = range.unparenthesized() else { return Ok(()) };
        let fits = match matrix.selector.border {
            Border::Plain => true,
            Border::Anchored => matches!(function, Changes | Delta | Increase | Rate | Resets),
            Border::Smoothed => matches!(function, Delta | Increase | Rate),
        };
        if fits { Ok(()) } else { Err(Failure::new("modifier can only be used with")) }
    }

    fn note_rate(&self, function: Function, labels: &LabelSet) {
        let name = label(labels, "__name__");
        let counts = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if matches!(function, Function::Rate | Function::Increase) && !name.is_empty() && !counts {
            self.note(notes::MAYBE_NO_COUNTER);
        }
    }

    /// What a function makes of a window that is not empty, at step `t`.
    fn of_window(&self, function: Function, window: &Window, scalars: &[f64], t: i64) -> Naively<Option<Value>> {
        let samples = &window.samples;
        let (first, last) = (&samples[0], &samples[samples.len() - 1]);
        let float = |value: f64| Ok(Some(Value::Float(self.rounded(value))));
        match function {
            Function::Rate => Ok(self.extrapolated(window, true, true)),
            Function::Increase => Ok(self.extrapolated(window, true, false)),
            Function::Delta => Ok(self.extrapolated(window, false, false)),
            Function::Irate => Ok(self.last_two(window, true)),
            Function::Idelta => Ok(self.last_two(window, false)),
            Function::Changes | Function::Resets => {
                let samples = self.anchored(window);
                if samples.is_empty() {
                    return Ok(None);
                }
                let skipped = window.samples.len() - samples.len();
                let resets = |i: &usize| {
                    let began = began_between(&window.starts, &window.samples, *i + skipped);
                    began || reset(&samples[*i].1, &samples[*i + 1].1)
                };
                let pairs = 0..samples.len() - 1;
                float(count(match function {
                    Function::Changes => pairs.filter(|i| changed(&samples[*i].1, &samples[*i + 1].1)).count(),
                    _ => pairs.filter(resets).count(),
                }))
            }
            Function::CountOverTime => float(count(samples.len())),
            Function::PresentOverTime | Function::AbsentOverTime => float(1.0),
            Function::FirstOverTime => Ok(Some(first.1.clone())),
            Function::LastOverTime => Ok(Some(last.1.clone())),
            Function::TsOfFirstOverTime => float(seconds(first.0)),
            Function::TsOfLastOverTime => float(seconds(last.0)),
            Function::SumOverTime | Function::AvgOverTime => Ok(self.total(function, window)),
            _ => self.of_floats(function, window, scalars, t).map(|value| value.map(|v| Value::Float(self.rounded(v)))),
        }
    }

    /// `sum_over_time` and `avg_over_time`.
    fn total(&self, function: Function, window: &Window) -> Option<Value> {
        let (floats, histograms) = (window.floats(), window.histograms());
        let average = function == Function::AvgOverTime;
        if !floats.is_empty() && !histograms.is_empty() {
            self.note(notes::MIXED);
            return None;
        }
        if histograms.is_empty() {
            let value = if average { mean(&floats) } else { sum(&floats) };
            return Some(Value::Float(self.rounded(value)));
        }
        self.note_resets(&histograms);
        let Some(mut total) = self.add_all(&histograms) else {
            self.note(notes::SCHEMAS);
            return None;
        };
        if average {
            total.div(count(histograms.len()));
        }
        Some(Value::Histogram(total.into()))
    }

    /// Tells of histograms of which some say that a counter was reset and some that it was not.
    pub(super) fn note_resets(&self, histograms: &[Arc<FloatHistogram>]) {
        let hinted = |hint: CounterResetHint| histograms.iter().any(|histogram| histogram.counter_reset_hint == hint);
        if hinted(CounterResetHint::CounterReset) && hinted(CounterResetHint::NotCounterReset) {
            self.note(notes::RESETS);
        }
    }

    /// The sum of histograms; none where some have custom buckets and others have not.
    pub(super) fn add_all(&self, histograms: &[Arc<FloatHistogram>]) -> Option<FloatHistogram> {
        let mut total = (*histograms[0]).clone();
        let mut compensation = None;
        for histogram in &histograms[1..] {
            if total.kahan_add(histogram, &mut compensation).ok()?.bounds_reconciled {
                self.note(notes::RECONCILED);
            }
        }
        if let Some(compensation) = compensation {
            total.add(&compensation).ok()?;
        }
        Some(total)
    }

    /// Functions that look at floats only.
    fn of_floats(&self, function: Function, window: &Window, scalars: &[f64], t: i64) -> Naively<Option<f64>> {
        let timed: Vec<(i64, f64)> =
            window.timed_floats().into_iter().map(|(t, value)| (t, self.blurred(value))).collect();
        let floats: Vec<f64> = timed.iter().map(|(_, value)| *value).collect();
        if function == Function::DoubleExponentialSmoothing {
            for (value, name) in scalars.iter().zip(["smoothing", "trend"]) {
                if *value <= 0.0 || *value >= 1.0 {
                    return Err(Failure::new(format!("invalid {name} factor")));
                }
            }
        }
        let least = match function {
            Function::Deriv | Function::PredictLinear | Function::DoubleExponentialSmoothing => 2,
            _ => 1,
        };
        if !floats.is_empty() && floats.len() < window.samples.len() {
            self.note(notes::IGNORED_IN_RANGE);
        }
        if floats.len() < least {
            return Ok(None);
        }
        Ok(Some(match function {
            Function::MaxOverTime => extreme(&timed, |value, best| value > best).1,
            Function::MinOverTime => extreme(&timed, |value, best| value < best).1,
            Function::TsOfMaxOverTime => seconds(extreme(&timed, |value, best| value >= best).0),
            Function::TsOfMinOverTime => seconds(extreme(&timed, |value, best| value <= best).0),
            Function::QuantileOverTime => {
                if !(0.0..=1.0).contains(&scalars[0]) {
                    self.note(notes::QUANTILE);
                }
                quantile(scalars[0], &floats)
            }
            Function::MadOverTime if floats.iter().any(|value| value.is_nan()) => f64::NAN,
            Function::MadOverTime => {
                let median = quantile(0.5, &floats);
                let distances: Vec<f64> = floats.iter().map(|value| (value - median).abs()).collect();
                quantile(0.5, &distances)
            }
            Function::StdvarOverTime => variance(&floats),
            Function::StddevOverTime => variance(&floats).sqrt(),
            Function::Deriv => regression(&timed, timed[0].0).0,
            Function::PredictLinear => {
                let (slope, intercept) = regression(&timed, t);
                slope * scalars[0] + intercept
            }
            Function::DoubleExponentialSmoothing => smoothed(&floats, scalars[0], scalars[1]),
            _ => return Err(Failure::new(format!("{} is no function of a range", function.name()))),
        }))
    }
}

/// The first sample, or one that `wins` against the best so far. NaN loses against everything.
fn extreme(timed: &[(i64, f64)], wins: impl Fn(f64, f64) -> bool) -> (i64, f64) {
    let mut best = timed[0];
    for &(t, value) in timed {
        if wins(value, best.1) || best.1.is_nan() {
            best = (t, value);
        }
    }
    best
}

/// Whether sample `i + 1` began to count after sample `i` was taken, which is a reset whatever the values say.
pub(super) fn began_between(starts: &[i64], samples: &[(i64, Value)], i: usize) -> bool {
    let (t, next) = (samples[i].0, samples[i + 1].0);
    let (start, next_start) = (starts[i], starts[i + 1]);
    match next_start.cmp(&t) {
        // unknown, or nonsense
        _ if next_start == 0 || next_start >= next => false,
        Ordering::Less => false,
        Ordering::Greater => true,
        // from sample to sample, if the one before has a start that makes sense
        Ordering::Equal => start != 0 && start < t,
    }
}

fn changed(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Float(a), Value::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Value::Histogram(a), Value::Histogram(b)) => !a.equals(b),
        _ => true,
    }
}

fn reset(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Float(a), Value::Float(b)) => b < a,
        (Value::Histogram(a), Value::Histogram(b)) => b.detect_reset(a),
        _ => true,
    }
}

/// Slope a second, and value at `t`, of the line of least squares.
fn regression(timed: &[(i64, f64)], t: i64) -> (f64, f64) {
    let first = timed[0].1;
    if timed.iter().skip(1).all(|(_, value)| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = count(timed.len());
    let total = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        let terms: Vec<f64> = timed.iter().map(|(at, value)| f(seconds(at - t), *value)).collect();
        sum(&terms)
    };
    let (x, y, xy, xx) = (total(&|x, _| x), total(&|_, y| y), total(&|x, y| x * y), total(&|x, _| x * x));
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// The last value of a double exponential smoothing.
fn smoothed(values: &[f64], factor: f64, trend_factor: f64) -> f64 {
    let mut level = values[0];
    let mut trend = values[1] - values[0];
    for (i, value) in values.iter().enumerate().skip(1) {
        let before = level;
        level = factor * value + (1.0 - factor) * (level + trend);
        if i + 1 < values.len() {
            trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
        }
    }
    level
}
