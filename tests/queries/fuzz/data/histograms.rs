//! Histograms that grow from sample to sample, and now and then begin anew in another layout.

use storage::model::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Span};

use crate::fuzz::random::Random;

/// What kind of histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Both signs, a zero bucket, a gap between spans.
    Exponential,
    /// A lower resolution and a wide zero bucket; no negative buckets.
    Coarse,
    /// Goes up and down.
    Gauge,
    /// Counts observations of NaN, which are in no bucket.
    WithNan,
    /// Custom bounds.
    Custom,
    /// Other custom bounds, of which some are the same.
    OtherCustom,
}

/// The state of one series.
pub struct Growing {
    shape: Shape,
    now: FloatHistogram,
}

impl Growing {
    /// A histogram without observations.
    pub fn new(shape: Shape) -> Self {
        Self { shape, now: empty(shape, 0) }
    }

    /// The next sample.
    pub fn next(&mut self, random: &mut Random) -> FloatHistogram {
        if random.percent(4) {
            self.now = empty(self.shape, random.below(3));
        }
        let gauge = self.shape == Shape::Gauge;
        let mut grow = |population: &mut f64| {
            if random.percent(40) {
                let by = f64::from(u8::try_from(random.between(0, 8)).unwrap());
                *population = if gauge { by } else { *population + by };
            }
            *population
        };
        let histogram = &mut self.now;
        let buckets = histogram.positive_buckets.iter_mut().chain(&mut histogram.negative_buckets);
        let mut count: f64 = buckets.map(&mut grow).sum();
        if !histogram.uses_custom_buckets() {
            count += grow(&mut histogram.zero_count);
        }
        let before = histogram.count;
        histogram.count = count;
        histogram.sum = if gauge { count * 1.5 } else { histogram.sum + (count - before) * 0.75 };
        if self.shape == Shape::WithNan {
            // some that no bucket counts
            let unseen = count / 4.0;
            return FloatHistogram { count: count + unseen.ceil(), sum: f64::NAN, ..histogram.clone() };
        }
        histogram.clone()
    }
}

/// A histogram without observations in one of three layouts.
fn empty(shape: Shape, variant: usize) -> FloatHistogram {
    let spans =
        |spans: &[(i32, u32)]| -> Vec<Span> { spans.iter().map(|&(offset, length)| Span { offset, length }).collect() };
    let mut histogram = FloatHistogram {
        schema: [1, 1, 0][variant],
        zero_threshold: [0.125, 0.125, 0.25][variant],
        positive_spans: spans(if variant == 1 { &[(-2, 4)] } else { &[(-1, 2), (1, 2)] }),
        negative_spans: spans(if variant == 2 { &[] } else { &[(0, 2)] }),
        ..FloatHistogram::default()
    };
    match shape {
        Shape::Exponential | Shape::WithNan => {}
        Shape::Gauge => histogram.counter_reset_hint = CounterResetHint::Gauge,
        Shape::Coarse => {
            histogram.schema = -1;
            histogram.zero_threshold = 1.0;
            histogram.positive_spans = spans(&[(1, 3)]);
            histogram.negative_spans.clear();
        }
        Shape::Custom | Shape::OtherCustom => {
            let bounds: &[f64] = match (shape, variant) {
                (Shape::Custom, 0 | 1) => &[0.0, 1.0, 2.0, 5.0],
                (Shape::Custom, _) => &[-1.0, 1.0, 5.0],
                _ => &[1.0, 5.0, 10.0],
            };
            histogram = FloatHistogram {
                schema: CUSTOM_BUCKETS_SCHEMA,
                custom_values: bounds.to_vec(),
                positive_spans: spans(&[(0, u32::try_from(bounds.len()).unwrap() + 1)]),
                ..FloatHistogram::default()
            };
        }
    }
    let length = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum();
    histogram.positive_buckets = vec![0.0; length(&histogram.positive_spans)];
    histogram.negative_buckets = vec![0.0; length(&histogram.negative_spans)];
    histogram
}
