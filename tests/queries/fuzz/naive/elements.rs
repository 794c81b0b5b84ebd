//! Functions that look at one sample at a time.

use promql::Function;
use promql::ast::Call;
use storage::model::FloatHistogram;

use super::numbers::{greater, smaller};
use super::{Computed, Failure, Naive, Naively, Value};

impl Naive<'_> {
    /// A function of single samples. The scalars that it takes come after the vector.
    pub(super) fn element_function(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let vectors = self.vectors(&call.args[0], steps)?;
        let scalars = call.args[1..].iter().map(|arg| self.scalars(arg, steps)).collect::<Naively<Vec<_>>>()?;
        let mut result = Vec::new();
        for (i, vector) in vectors.into_iter().enumerate() {
            let scalars: Vec<f64> = scalars.iter().map(|values| values[i]).collect();
            let empty = call.function == Function::Clamp && scalars[1] < scalars[0];
            let mut rows = Vec::new();
            for row in vector.into_iter().filter(|_| !empty) {
                let value = match &row.value {
                    Value::Float(value) => of_float(call.function, *value, &scalars),
                    Value::Histogram(histogram) => of_histogram(call.function, histogram),
                };
                if let Some(value) = value? {
                    rows.push(self.nameless(row.labels, Value::Float(self.rounded(value))));
                }
            }
            result.push(rows);
        }
        self.unique(result)
    }
}

fn is_of_histograms(function: Function) -> bool {
    use Function::{HistogramAvg, HistogramCount, HistogramStddev, HistogramStdvar, HistogramSum};
    matches!(function, HistogramAvg | HistogramCount | HistogramStddev | HistogramStdvar | HistogramSum)
}

fn of_float(function: Function, v: f64, scalars: &[f64]) -> Naively<Option<f64>> {
    if is_of_histograms(function) {
        return Ok(None);
    }
    Ok(Some(match function {
        Function::Abs => v.abs(),
        Function::Acos => v.acos(),
        Function::Acosh if v > 1e10 => v.ln() + std::f64::consts::LN_2,
        Function::Acosh => v.acosh(),
        Function::Asin => v.asin(),
        // the standard library's overflows
        Function::Asinh if v.abs() > 1e10 => (v.abs().ln() + std::f64::consts::LN_2).copysign(v),
        Function::Asinh => v.asinh(),
        Function::Atan => v.atan(),
        Function::Atanh => v.atanh(),
        Function::Ceil => v.ceil(),
        Function::Cos => v.cos(),
        Function::Cosh => v.cosh(),
        Function::Deg => v * 180.0 / std::f64::consts::PI,
        Function::Exp => v.exp(),
        Function::Floor => v.floor(),
        Function::Ln => v.ln(),
        Function::Log10 => v.log10(),
        Function::Log2 => v.log2(),
        Function::Rad => v * std::f64::consts::PI / 180.0,
        Function::Round => {
            let inverse = 1.0 / scalars.first().copied().unwrap_or(1.0);
            (v * inverse + 0.5).floor() / inverse
        }
        Function::Sgn if v > 0.0 => 1.0,
        Function::Sgn if v < 0.0 => -1.0,
        Function::Sgn => v,
        Function::Sin => v.sin(),
        Function::Sinh => v.sinh(),
        Function::Sqrt => v.sqrt(),
        Function::Tan => v.tan(),
        Function::Tanh => v.tanh(),
        Function::Clamp => greater(scalars[0], smaller(scalars[1], v)),
        Function::ClampMax => greater(f64::NEG_INFINITY, smaller(scalars[0], v)),
        Function::ClampMin => greater(scalars[0], smaller(f64::INFINITY, v)),
        _ => return Err(Failure::new(format!("{} is not known here", function.name()))),
    }))
}

fn of_histogram(function: Function, histogram: &FloatHistogram) -> Naively<Option<f64>> {
    Ok(match function {
        Function::HistogramCount => Some(histogram.count),
        Function::HistogramSum => Some(histogram.sum),
        Function::HistogramAvg => Some(histogram.sum / histogram.count),
        Function::HistogramStdvar => Some(spread(histogram)),
        Function::HistogramStddev => Some(spread(histogram).sqrt()),
        _ => None,
    })
}

/// The mean square distance to the mean, each observation in the middle of its bucket.
fn spread(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut total = 0.0;
    for bucket in histogram.iter_all().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.uses_custom_buckets() {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        total += bucket.count * (middle - mean) * (middle - mean);
    }
    total / histogram.count
}
