//! Range functions written from their definitions, one window at a time, sharing no code with the kernels.

use promql::Function;

/// The samples of one window, and where it lies.
pub struct Samples<'a> {
    pub t: &'a [i64],
    pub v: &'a [f64],
    pub start: i64,
    pub end: i64,
    pub eval: i64,
    pub args: &'a [f64],
}

/// The value of a window, if it has one.
pub fn evaluate(function: Function, s: &Samples<'_>) -> Option<f64> {
    let v = s.v;
    let n = v.len();
    if n == 0 {
        return None;
    }
    let pairs = |differ: &dyn Fn(f64, f64) -> bool| v.windows(2).filter(|p| differ(p[0], p[1])).count() as f64;
    Some(match function {
        Function::Rate => {
            let (growth, factor) = extrapolated(s, true)?;
            growth * (factor / ((s.end - s.start) as f64 / 1000.0))
        }
        Function::Increase | Function::Delta => {
            let (growth, factor) = extrapolated(s, function == Function::Increase)?;
            growth * factor
        }
        Function::Irate | Function::Idelta => {
            let (a, b) = (*v.get(n.checked_sub(2)?)?, v[n - 1]);
            let seconds = (s.t[n - 1] - s.t[n - 2]) as f64 / 1000.0;
            match function {
                Function::Idelta => b - a,
                _ if b < a => b / seconds,
                _ => (b - a) / seconds,
            }
        }
        Function::SumOverTime => kahan(v),
        Function::AvgOverTime => average(v),
        Function::MinOverTime => v[extreme(v, &|new, old| new < old)],
        Function::MaxOverTime => v[extreme(v, &|new, old| new > old)],
        Function::TsOfMinOverTime => s.t[extreme(v, &|new, old| new <= old)] as f64 / 1000.0,
        Function::TsOfMaxOverTime => s.t[extreme(v, &|new, old| new >= old)] as f64 / 1000.0,
        Function::StdvarOverTime => variance(v),
        Function::StddevOverTime => variance(v).sqrt(),
        Function::Deriv => line(s, s.t[0])?.0,
        Function::PredictLinear => {
            let (slope, intercept) = line(s, s.eval)?;
            slope * s.args[0] + intercept
        }
        Function::DoubleExponentialSmoothing => holt(v, s.args[0], s.args[1])?,
        Function::QuantileOverTime => quantile(s.args[0], v.to_vec()),
        Function::MadOverTime if v.iter().any(|x| x.is_nan()) => f64::NAN,
        Function::MadOverTime => {
            let median = quantile(0.5, v.to_vec());
            quantile(0.5, v.iter().map(|x| (x - median).abs()).collect())
        }
        Function::Changes => pairs(&|a, b| a != b && !(a.is_nan() && b.is_nan())),
        Function::Resets => pairs(&|a, b| b < a),
        Function::CountOverTime => n as f64,
        Function::PresentOverTime => 1.0,
        Function::FirstOverTime => v[0],
        Function::LastOverTime => v[n - 1],
        Function::TsOfFirstOverTime => s.t[0] as f64 / 1000.0,
        Function::TsOfLastOverTime => s.t[n - 1] as f64 / 1000.0,
        other => panic!("no oracle for {other:?}"),
    })
}

/// The growth between the first and the last sample, and what extrapolation multiplies it with.
fn extrapolated(s: &Samples<'_>, counter: bool) -> Option<(f64, f64)> {
    let n = s.v.len();
    if n < 2 {
        return None;
    }
    let mut growth = s.v[n - 1] - s.v[0];
    if counter {
        growth = s.v.windows(2).filter(|p| p[1] < p[0]).fold(growth, |growth, p| growth + p[0]);
    }
    let ms = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let sampled = ms(s.t[0], s.t[n - 1]);
    let between = sampled / (n - 1) as f64;
    let border = |gap: f64| if gap < between * 1.1 { gap } else { between / 2.0 };
    let mut before = border(ms(s.start, s.t[0]));
    if counter && growth > 0.0 && s.v[0] >= 0.0 {
        before = before.min(sampled * (s.v[0] / growth));
    }
    Some((growth, (sampled + before + border(ms(s.t[n - 1], s.end))) / sampled))
}

fn add(x: f64, (sum, c): (f64, f64)) -> (f64, f64) {
    let t = sum + x;
    if t.is_infinite() {
        (t, 0.0)
    } else if sum.abs() >= x.abs() {
        (t, c + ((sum - t) + x))
    } else {
        (t, c + ((x - t) + sum))
    }
}

fn kahan(v: &[f64]) -> f64 {
    let (sum, c) = v.iter().fold((0.0, 0.0), |state, x| add(*x, state));
    if sum.is_infinite() { sum } else { sum + c }
}

fn average(v: &[f64]) -> f64 {
    let mut sum = (v[0], 0.0);
    for (i, x) in v.iter().enumerate().skip(1) {
        let next = add(*x, sum);
        if next.0.is_infinite() {
            // from here on the mean itself is carried
            let mut mean = (sum.0 / i as f64, sum.1 / i as f64);
            for (i, x) in v.iter().enumerate().skip(i) {
                let n = (i + 1) as f64;
                let q = (n - 1.0) / n;
                mean = add(x / n, (q * mean.0, q * mean.1));
            }
            return mean.0 + mean.1;
        }
        sum = next;
    }
    sum.0 / v.len() as f64 + sum.1 / v.len() as f64
}

fn extreme(v: &[f64], beats: &dyn Fn(f64, f64) -> bool) -> usize {
    (0..v.len()).fold(0, |best, i| if beats(v[i], v[best]) || v[best].is_nan() { i } else { best })
}

fn variance(v: &[f64]) -> f64 {
    let (mut mean, mut squares) = ((0.0, 0.0), (0.0, 0.0));
    for (i, x) in v.iter().enumerate() {
        let delta = x - (mean.0 + mean.1);
        mean = add(delta / (i + 1) as f64, mean);
        squares = add(delta * (x - (mean.0 + mean.1)), squares);
    }
    (squares.0 + squares.1) / v.len() as f64
}

fn line(s: &Samples<'_>, origin: i64) -> Option<(f64, f64)> {
    if s.v.len() < 2 {
        return None;
    }
    if s.v.iter().all(|y| *y == s.v[0]) {
        return Some(if s.v[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, s.v[0]) });
    }
    let sum = |f: &dyn Fn(f64, f64) -> f64| {
        let sums = s.t.iter().zip(s.v).fold((0.0, 0.0), |state, (t, y)| add(f((t - origin) as f64 / 1e3, *y), state));
        sums.0 + sums.1
    };
    let n = s.v.len() as f64;
    let (x, y, xy, xx) = (sum(&|x, _| x), sum(&|_, y| y), sum(&|x, y| x * y), sum(&|x, _| x * x));
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some((slope, y / n - slope * x / n))
}

fn holt(v: &[f64], sf: f64, tf: f64) -> Option<f64> {
    if v.len() < 2 {
        return None;
    }
    let (mut s0, mut s1, mut b) = (0.0, v[0], v[1] - v[0]);
    for (i, x) in v.iter().enumerate().skip(1) {
        if i > 1 {
            b = tf * (s1 - s0) + (1.0 - tf) * b;
        }
        (s0, s1) = (s1, sf * x + (1.0 - sf) * (s1 + b));
    }
    Some(s1)
}

fn quantile(q: f64, mut v: Vec<f64>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    } else if q < 0.0 {
        return f64::NEG_INFINITY;
    } else if q > 1.0 {
        return f64::INFINITY;
    }
    v.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let rank = q * (v.len() - 1) as f64;
    let (lower, weight) = (rank.floor() as usize, rank - rank.floor());
    v[lower] * (1.0 - weight) + v[(lower + 1).min(v.len() - 1)] * weight
}
