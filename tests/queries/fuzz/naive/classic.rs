//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, of classic and of native histograms.

use std::collections::BTreeMap;

use promql::ast::Call;
use promql::{Expr, Function};
use storage::model::FloatHistogram;

use super::calls::text;
use super::numbers::open_metrics_text;
use super::{Computed, LabelSet, Naive, Naively, Value, Vector, label, notes};

/// Upper bound and observations up to it.
type Buckets = Vec<(f64, f64)>;

/// What is asked of histograms at one step.
enum Question {
    Quantile(f64),
    Fraction(f64, f64),
}

/// One bucket of either kind with what lies before it.
#[derive(Clone, Copy)]
struct Bucket {
    lower: f64,
    upper: f64,
    count: f64,
}

impl Naive<'_> {
    /// A call of one of the three.
    pub(super) fn of_buckets(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let (vector, numbers): (&Expr, &[Expr]) = match call.function {
            Function::HistogramQuantile => (&call.args[1], &call.args[..1]),
            Function::HistogramFraction => (&call.args[2], &call.args[..2]),
            _ => (&call.args[0], &call.args[2..]),
        };
        let numbers = numbers.iter().map(|arg| self.scalars(arg, steps)).collect::<Naively<Vec<_>>>()?;
        let mut result = Vec::new();
        for (i, rows) in self.vectors(vector, steps)?.into_iter().enumerate() {
            let (natives, classics) = self.sorted_out(rows);
            let at: Vec<f64> = numbers.iter().map(|values| values[i]).collect();
            let questions = match call.function {
                Function::HistogramFraction => vec![Question::Fraction(at[0], at[1])],
                _ => at.iter().map(|q| Question::Quantile(*q)).collect(),
            };
            let mut vector = Vector::new();
            for question in &questions {
                if let Question::Quantile(q) = question
                    && !(0.0..=1.0).contains(q)
                {
                    self.note(notes::QUANTILE);
                }
                let natives = natives.iter().map(|(labels, histogram)| (labels, self.of_native(question, histogram)));
                let classics = classics.iter().map(|(labels, buckets)| (labels, self.of_classic(question, buckets)));
                for (labels, value) in natives.chain(classics) {
                    let mut labels = labels.clone();
                    if let (Function::HistogramQuantiles, Question::Quantile(q)) = (call.function, question) {
                        labels.insert(text(&call.args[1]).to_owned(), open_metrics_text(*q));
                    }
                    vector.push(self.nameless(labels, Value::Float(self.rounded(value))));
                }
            }
            result.push(vector);
        }
        self.unique(result)
    }

    /// Native histograms, and classic ones by all labels but `le`. Of the same labels, neither counts.
    fn sorted_out(&self, rows: Vector) -> (BTreeMap<LabelSet, FloatHistogram>, BTreeMap<LabelSet, Buckets>) {
        let mut natives = BTreeMap::new();
        let mut classics: BTreeMap<LabelSet, Buckets> = BTreeMap::new();
        for mut row in rows {
            match row.value {
                Value::Histogram(histogram) => {
                    natives.insert(row.labels, (*histogram).clone());
                }
                Value::Float(count) => match bound(label(&row.labels, "le")) {
                    Some(bound) => {
                        row.labels.remove("le");
                        classics.entry(row.labels).or_default().push((bound, count));
                    }
                    None => self.note(notes::BUCKET_LABEL),
                },
            }
        }
        let both: Vec<LabelSet> = natives.keys().filter(|labels| classics.contains_key(*labels)).cloned().collect();
        for labels in both {
            self.note(notes::CLASSIC_AND_NATIVE);
            natives.remove(&labels);
            classics.remove(&labels);
        }
        (natives, classics)
    }

    fn of_classic(&self, question: &Question, buckets: &Buckets) -> f64 {
        let mut sorted = buckets.clone();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut merged = Buckets::new();
        for (bound, count) in sorted {
            match merged.last_mut() {
                Some(last) if last.0 == bound => last.1 += count,
                _ => merged.push((bound, count)),
            }
        }
        let ends = merged.last().is_some_and(|last| last.0 == f64::INFINITY);
        match *question {
            Question::Quantile(q) if q.is_nan() => f64::NAN,
            Question::Quantile(q) if q < 0.0 => f64::NEG_INFINITY,
            Question::Quantile(q) if q > 1.0 => f64::INFINITY,
            _ if !ends => f64::NAN,
            Question::Quantile(q) => self.classic_quantile(q, merged),
            Question::Fraction(lower, upper) => classic_fraction(lower, upper, &merged),
        }
    }

    fn classic_quantile(&self, q: f64, mut buckets: Buckets) -> f64 {
        let mut before = buckets[0].1;
        for (_, count) in &mut buckets[1..] {
            let near = (*count - before).abs() <= 1e-12 * (*count).abs().max(before.abs());
            if *count < before && !near {
                self.note(notes::MONOTONICITY);
            }
            if near || *count < before {
                *count = before;
            }
            before = *count;
        }
        let all = buckets[buckets.len() - 1].1;
        if buckets.len() < 2 || all == 0.0 {
            return f64::NAN;
        }
        let rank = q * all;
        let last = buckets.len() - 1;
        let at = buckets[..last].iter().position(|(_, count)| *count >= rank).unwrap_or(last);
        let upper = buckets[at].0;
        if at == last {
            return buckets[last - 1].0;
        }
        if at == 0 && upper <= 0.0 {
            return upper;
        }
        let (lower, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
        lower + (upper - lower) * ((rank - below) / (buckets[at].1 - below))
    }

    fn of_native(&self, question: &Question, histogram: &FloatHistogram) -> f64 {
        match *question {
            Question::Quantile(q) => self.native_quantile(q, histogram),
            Question::Fraction(lower, upper) => self.native_fraction(lower, upper, histogram),
        }
    }

    fn native_quantile(&self, q: f64, histogram: &FloatHistogram) -> f64 {
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        if histogram.count == 0.0 || q.is_nan() {
            return f64::NAN;
        }
        let mut buckets = buckets_of(histogram);
        let upward = histogram.sum.is_nan() || q < 0.5;
        if !upward {
            buckets.reverse();
        }
        let mut rank = if upward { q * histogram.count } else { (1.0 - q) * histogram.count };
        let mut count = 0.0;
        let mut bucket = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
        let mut rest = buckets.iter();
        for next in rest.by_ref() {
            bucket = *next;
            count += bucket.count;
            if bucket.count != 0.0 && count >= rank {
                break;
            }
        }
        let custom = histogram.uses_custom_buckets();
        if custom {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return bucket.upper;
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return bucket.lower;
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            bucket = one_sided(bucket, histogram);
        }
        count = count.min(histogram.count);
        if count < rank {
            if histogram.sum.is_nan() {
                self.note(notes::NAN_RESULT);
                return f64::NAN;
            }
            return bucket.upper;
        }
        if histogram.sum.is_nan() && rest.fold(count, |count, bucket| count + bucket.count) < histogram.count {
            self.note(notes::NAN_SKEW);
        }
        rank = if upward { rank - (count - bucket.count) } else { count - rank };
        let fraction = rank / bucket.count;
        if custom || bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction;
        }
        let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (low + (high - low) * fraction).exp2()
        } else {
            -(high + (low - high) * (1.0 - fraction)).exp2()
        }
    }

    fn native_fraction(&self, lower: f64, upper: f64, histogram: &FloatHistogram) -> f64 {
        if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let buckets = buckets_of(histogram);
        let inside: f64 = buckets.iter().map(|bucket| bucket.count).sum();
        let mut most = histogram.count;
        if histogram.sum.is_nan() {
            most = inside;
            if inside < histogram.count {
                self.note(notes::NAN_FRACTION);
            }
        }
        let below = |v: f64| -> f64 {
            let mut rank = 0.0;
            for bucket in &buckets {
                let mut bucket = *bucket;
                let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
                if zero {
                    bucket = one_sided(bucket, histogram);
                }
                if bucket.lower >= v {
                    return rank;
                }
                if bucket.upper > v {
                    return part_below(v, rank, bucket, zero || histogram.uses_custom_buckets());
                }
                rank += bucket.count;
            }
            most
        };
        (below(upper).min(most) - below(lower).min(most)) / histogram.count
    }
}

/// The upper bound of a classic bucket.
fn bound(le: &str) -> Option<f64> {
    le.parse().ok()
}

/// All buckets, ascending.
fn buckets_of(histogram: &FloatHistogram) -> Vec<Bucket> {
    histogram
        .iter_all()
        .map(|bucket| Bucket { lower: bucket.lower, upper: bucket.upper, count: bucket.count })
        .collect()
}

/// A zero bucket ends at zero on the side on which there are no other buckets.
fn one_sided(mut bucket: Bucket, histogram: &FloatHistogram) -> Bucket {
    let (negative, positive) = (!histogram.negative_buckets.is_empty(), !histogram.positive_buckets.is_empty());
    match (negative, positive) {
        (false, true) => bucket.lower = 0.0,
        (true, false) => bucket.upper = 0.0,
        _ => {}
    }
    bucket
}

/// How many observations lie below a bound inside a bucket.
fn part_below(v: f64, rank: f64, bucket: Bucket, linear: bool) -> f64 {
    if bucket.lower == f64::NEG_INFINITY {
        return bucket.count;
    }
    let share = if linear {
        (v - bucket.lower) / (bucket.upper - bucket.lower)
    } else {
        let (low, high, at) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), v.abs().log2());
        if v > 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
    };
    rank + bucket.count * share
}

fn classic_fraction(lower: f64, upper: f64, buckets: &Buckets) -> f64 {
    let all = buckets[buckets.len() - 1].1;
    if all == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let below = |v: f64| -> f64 {
        let mut start = if buckets[0].0 <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
        let mut rank = 0.0;
        for &(end, count) in buckets {
            if start >= v {
                return rank;
            }
            if end > v {
                if start == f64::NEG_INFINITY {
                    return count;
                }
                return rank + (count - rank) * (v - start) / (end - start);
            }
            (start, rank) = (end, count);
        }
        all
    };
    (below(upper).min(all) - below(lower).min(all)) / all
}
