//! The distribution behind a histogram, and the histogram at any moment.
//!
//! Each bucket counts on a clock of its own, at a part of the series' rate. So its population only grows, and that of
//! all buckets together too. Sums take each observation for the middle of its bucket.

use super::busy::BusyClock;
use super::seed::Seed;
use crate::model::{Histogram, Span, Timestamp};

/// Upper bounds of the classic buckets but the last, as they stand in `le`, and where the bucket stands by size. In the order
/// of the label's values; +Inf comes first.
pub(super) const CLASSIC_BOUNDS: [(&str, usize); 12] = [
    ("+Inf", 11),
    ("0.005", 0),
    ("0.01", 1),
    ("0.025", 2),
    ("0.05", 3),
    ("0.1", 4),
    ("0.25", 5),
    ("0.5", 6),
    ("1.0", 7),
    ("10.0", 10),
    ("2.5", 8),
    ("5.0", 9),
];
/// Middles of the classic buckets, in seconds, by size.
const CLASSIC_MIDDLES: [f64; 12] = [0.003, 0.0075, 0.0175, 0.0375, 0.075, 0.175, 0.375, 0.75, 1.75, 3.75, 7.5, 15.0];

/// Schema of the native histograms: eight buckets from a power of two to the next.
pub(super) const NATIVE_SCHEMA: i32 = 3;
/// Fewest and most buckets of a native histogram.
const NATIVE_BUCKETS: [u64; 2] = [8, 48];
/// The first bucket is between these; 0 ends at one second.
const NATIVE_FIRST: [i32; 2] = [-56, -24];
/// What a native histogram counts as zero.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;
/// 2^(-1/16), the middle of the bucket that ends at one second.
const NATIVE_MIDDLE: f64 = 0.957_603_280_698_573_6;
/// 2^(1/8).
const NATIVE_GROWTH: f64 = 1.090_507_732_665_257_7;

/// One bucket.
#[derive(Debug, Clone, Copy)]
struct Counted {
    clock: BusyClock,
    rate_per_ms: f64,
    middle: f64,
}

/// What is observed, by bucket.
#[derive(Debug, Clone)]
pub(super) struct Latency {
    buckets: Vec<Counted>,
    /// Index of the first bucket; of native histograms.
    first: i32,
}

impl Latency {
    /// In classic buckets. `rate_per_ms` is that of all observations together.
    pub fn classic(seed: Seed, place: Seed, rate_per_ms: f64) -> Self {
        let peak = 1.0 + 5.0 * seed.named("peak").fraction();
        Self { buckets: buckets(seed, place, rate_per_ms, peak, 6.0, &CLASSIC_MIDDLES), first: 0 }
    }

    /// In native buckets, of a number that the seed decides.
    pub fn native(seed: Seed, place: Seed, rate_per_ms: f64) -> Self {
        let [fewest, most] = NATIVE_BUCKETS;
        let count = fewest + seed.named("buckets").below(most - fewest + 1);
        let range = i64::from(NATIVE_FIRST[1] - NATIVE_FIRST[0]);
        let first = NATIVE_FIRST[0] + i32::try_from(seed.named("first").below_ms(range)).unwrap_or(0);
        let mut middle = NATIVE_MIDDLE;
        for _ in first..0 {
            middle /= NATIVE_GROWTH;
        }
        let middles: Vec<f64> = std::iter::successors(Some(middle), |m| Some(m * NATIVE_GROWTH))
            .take(usize::try_from(count).unwrap_or(1))
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "at most 48")]
        let half = middles.len() as f64 / 2.0;
        Self { buckets: buckets(seed, place, rate_per_ms, half * 0.8, half, &middles), first }
    }

    /// Observations at `t` since `start` in the smallest `buckets` buckets.
    pub fn cumulative(&self, start: Timestamp, t: Timestamp, buckets: usize) -> f64 {
        self.buckets.iter().take(buckets).map(|bucket| bucket.population(start, t)).sum()
    }

    /// All observations.
    pub fn count(&self, start: Timestamp, t: Timestamp) -> f64 {
        self.cumulative(start, t, self.buckets.len())
    }

    /// Sum of the observations, in seconds.
    pub fn sum(&self, start: Timestamp, t: Timestamp) -> f64 {
        self.buckets.iter().map(|bucket| bucket.population(start, t) * bucket.middle).sum()
    }

    /// The native histogram.
    #[expect(clippy::cast_possible_truncation, reason = "whole numbers far below 2^53")]
    pub fn histogram(&self, start: Timestamp, t: Timestamp) -> Histogram {
        let mut histogram = Histogram {
            schema: NATIVE_SCHEMA,
            zero_threshold: ZERO_THRESHOLD,
            positive_spans: vec![Span { offset: self.first, length: self.buckets.len() as u32 }],
            positive_deltas: Vec::with_capacity(self.buckets.len()),
            ..Histogram::default()
        };
        let mut before = 0;
        for bucket in &self.buckets {
            let population = bucket.population(start, t);
            histogram.sum += population * bucket.middle;
            let population = population as i64;
            histogram.count += population.cast_unsigned();
            histogram.positive_deltas.push(population - before);
            before = population;
        }
        histogram
    }
}

impl Counted {
    fn population(&self, start: Timestamp, t: Timestamp) -> f64 {
        (self.clock.passed(start, t) * self.rate_per_ms).floor()
    }
}

/// Parts of the rate fall with the square of the distance from the peak, and never to nothing.
#[expect(clippy::cast_precision_loss, reason = "few buckets")]
fn buckets(seed: Seed, place: Seed, rate_per_ms: f64, peak: f64, width: f64, middles: &[f64]) -> Vec<Counted> {
    let weight = |i: usize| {
        let near = (1.0 - (i as f64 - peak).abs() / width).max(0.02);
        near * near
    };
    let total: f64 = (0..middles.len()).map(weight).sum();
    let bucket = |(i, middle): (usize, &f64)| Counted {
        clock: BusyClock::new(seed.child(i as u64), place),
        rate_per_ms: rate_per_ms * weight(i) / total,
        middle: *middle,
    };
    middles.iter().enumerate().map(bucket).collect()
}
