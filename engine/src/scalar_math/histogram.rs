//! Functions of one native histogram at a time: averages, spread, quantiles and fractions.

use storage::model::{FloatHistogram, NanNote, quote_go};

/// `histogram_avg`.
#[must_use]
pub fn histogram_avg(h: &FloatHistogram) -> f64 {
    h.sum / h.count
}

/// `histogram_stdvar`: the variance, each observation taken to lie in the middle of its bucket.
#[must_use]
pub fn histogram_stdvar(h: &FloatHistogram) -> f64 {
    h.variance()
}

/// `histogram_stddev`.
#[must_use]
pub fn histogram_stddev(h: &FloatHistogram) -> f64 {
    h.variance().sqrt()
}

/// `histogram_quantile` of a native histogram.
#[derive(Debug, Clone, Copy)]
pub struct NativeQuantile {
    /// The quantile.
    pub value: f64,
    /// Whether NaN observations had a part in it.
    pub note: NanNote,
}

impl NativeQuantile {
    /// The `q`-quantile of `h`.
    #[must_use]
    pub fn of(q: f64, h: &FloatHistogram) -> Self {
        let (value, note) = h.quantile(q);
        Self { value, note }
    }

    /// What to tell the user, as an info.
    #[must_use]
    pub fn info(&self, metric_name: &str, position: &str) -> Option<String> {
        let what = match self.note {
            NanNote::None => return None,
            NanNote::NanResult => "result is NaN",
            NanNote::Skewed => "result is skewed higher",
        };
        let name = for_metric_name(metric_name);
        Some(format!("PromQL info: input to histogram_quantile has NaN observations, {what}{name} ({position})"))
    }
}

/// `histogram_fraction` of a native histogram.
#[derive(Debug, Clone, Copy)]
pub struct NativeFraction {
    /// The part of observations between the bounds.
    pub value: f64,
    /// Whether there were NaN observations.
    pub note: NanNote,
}

impl NativeFraction {
    /// The part of the observations of `h` that lies between `lower` and `upper`.
    #[must_use]
    pub fn of(lower: f64, upper: f64, h: &FloatHistogram) -> Self {
        let (value, note) = h.fraction(lower, upper);
        Self { value, note }
    }

    /// What to tell the user, as an info.
    #[must_use]
    pub fn info(&self, metric_name: &str, position: &str) -> Option<String> {
        let name = for_metric_name(metric_name);
        (self.note != NanNote::None).then(|| {
            format!(
                "PromQL info: input to histogram_fraction has NaN observations, which are excluded from all \
                 fractions{name} ({position})"
            )
        })
    }
}

fn for_metric_name(metric_name: &str) -> String {
    if metric_name.is_empty() { String::new() } else { format!(" for metric name {}", quote_go(metric_name)) }
}
