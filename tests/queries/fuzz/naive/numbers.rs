//! Sums, means, quantiles, and numbers as text.

use std::cmp::Ordering;

/// The exact sum, rounded once: partial sums that do not overlap, after Shewchuk.
pub fn sum(values: &[f64]) -> f64 {
    let plain: f64 = values.iter().sum();
    if !plain.is_finite() {
        return plain;
    }
    let mut partials: Vec<f64> = Vec::new();
    for &value in values {
        let mut x = value;
        let mut kept = Vec::new();
        for &partial in &partials {
            let (big, small) = if x.abs() < partial.abs() { (partial, x) } else { (x, partial) };
            let high = big + small;
            let low = small - (high - big);
            if low != 0.0 {
                kept.push(low);
            }
            x = high;
        }
        kept.push(x);
        partials = kept;
    }
    partials.iter().rev().sum::<f64>() + 0.0
}

/// The mean; of finite values it is finite, and an infinity is not lost where the sum of the others overflows.
pub fn mean(values: &[f64]) -> f64 {
    let count = count(values.len());
    let infinities: Vec<f64> = values.iter().copied().filter(|value| !value.is_finite()).collect();
    if !infinities.is_empty() {
        return infinities.iter().sum();
    }
    let total = sum(values);
    if total.is_infinite() {
        let parts: Vec<f64> = values.iter().map(|value| value / count).collect();
        return sum(&parts);
    }
    total / count
}

/// The mean square of the distances to the mean; after Welford, counted from the first value, which loses fewer digits.
pub fn variance(values: &[f64]) -> f64 {
    let (mut seen, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values.iter().map(|value| value - values[0]) {
        seen += 1.0;
        let delta = value - mean;
        mean += delta / seen;
        squares += delta * (value - mean);
    }
    squares / seen
}

/// The quantile between the closest ranks; NaN counts as least.
pub fn quantile(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(b).unwrap(),
        (a, b) => b.cmp(&a),
    });
    let rank = q * (count(sorted.len()) - 1.0);
    let below = rank.floor();
    let weight = rank - below;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let below = below as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] * (1.0 - weight) + sorted[above] * weight
}

/// A length as a number.
pub fn count(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap())
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "times of tests are exact")]
pub fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// The greater one as Go has it: an infinity wins over NaN.
pub fn greater(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a > b || (a == b && a.is_sign_positive()) {
        a
    } else {
        b
    }
}

/// The smaller one as Go has it.
pub fn smaller(a: f64, b: f64) -> f64 {
    -greater(-a, -b)
}

/// A number as `count_values` writes it.
pub fn plain_text(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

/// A number as `histogram_quantiles` writes it; of those that a test asks for, none needs an exponent.
pub fn open_metrics_text(value: f64) -> String {
    let text = plain_text(value);
    if text.contains(['.', 'N', 'I']) { text } else { format!("{text}.0") }
}

/// Texts in natural order: digits count as numbers.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (a, b) = (chunks(a), chunks(b));
    for (a, b) in a.iter().zip(&b) {
        let order = match (a.parse::<i64>(), b.parse::<i64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Runs of digits and runs of what is none.
fn chunks(text: &str) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for c in text.chars() {
        match chunks.last_mut() {
            Some(chunk) if chunk.ends_with(|last: char| last.is_ascii_digit() == c.is_ascii_digit()) => chunk.push(c),
            _ => chunks.push(c.to_string()),
        }
    }
    chunks
}

#[test]
fn sums_are_exact() {
    assert!(sum(&[1e16, 1.0, -1e16, 1.0]) == 2.0);
    assert!(sum(&[1e308, 1e308]) == f64::INFINITY && mean(&[1e308, 1e308]) == 1e308);
    assert!(mean(&[1e308, 1e308, f64::NEG_INFINITY]) == f64::NEG_INFINITY && mean(&[1.0, f64::NAN]).is_nan());
    assert!(quantile(0.5, &[f64::NAN, 1.0, 3.0]) == 1.0);
    assert_eq!(natural("h10", "h2"), Ordering::Greater);
    assert!(greater(f64::NAN, f64::INFINITY) == f64::INFINITY && smaller(f64::NAN, 1.0).is_nan());
}
