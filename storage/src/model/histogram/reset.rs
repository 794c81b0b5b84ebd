//! Whether a histogram's counter was reset between two samples.

use super::bounds::exponential_bound;
use super::spans::{Side, in_schema};
use super::{CounterResetHint, FloatHistogram, custom, is_exponential_schema};

impl FloatHistogram {
    /// Whether a counter reset lies between `previous` and this sample.
    ///
    /// The hint decides where it knows. Else there was one if any population or the count fell, if a populated
    /// bucket is gone, if the resolution rose or the zero bucket shrank, or if the zero bucket grew into the middle of
    /// a populated bucket. A gauge is judged like a counter. The sum plays no part.
    #[must_use]
    pub fn detect_reset(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::CounterReset => return true,
            CounterResetHint::NotCounterReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count || (self.uses_custom_buckets() && !previous.uses_custom_buckets()) {
            return true;
        }
        if custom::bounds_differ(self, previous) {
            return custom::any_fell(self, previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (previous_zero, threshold) = previous.zero_bucket_at(self.zero_threshold, None);
        if threshold != self.zero_threshold || self.zero_count < previous_zero.sum {
            return true;
        }
        self.any_fell(self.positive_side(), previous.positive_side(), previous.schema)
            || self.any_fell(self.negative_side(), previous.negative_side(), previous.schema)
    }

    /// Whether a bucket outside of our zero bucket has fewer observations than in `previous`, which is brought to our
    /// schema. What our zero bucket holds of the previous one was judged there, and is left out by its own bounds.
    fn any_fell(&self, current: Side<'_, f64>, previous: Side<'_, f64>, previous_schema: i32) -> bool {
        let in_zero_bucket = |index: i64, schema: i32| {
            self.zero_threshold != 0.0
                && is_exponential_schema(schema)
                && exponential_bound(index, schema) <= self.zero_threshold
        };
        let mut current = current.skip_while(|(index, _)| in_zero_bucket(*index, self.schema)).peekable();
        let previous = previous.skip_while(|(index, _)| in_zero_bucket(*index, previous_schema));
        in_schema(previous, previous_schema, self.schema).any(|(index, before)| {
            while current.next_if(|(i, _)| *i < index).is_some() {}
            match current.peek() {
                Some(&(i, now)) if i == index => now < before,
                _ => before != 0.0,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn histogram(offset: i32, buckets: &[f64]) -> FloatHistogram {
        FloatHistogram {
            zero_threshold: 0.01,
            zero_count: 2.0,
            count: 100.0,
            positive_spans: vec![Span { offset, length: u32::try_from(buckets.len()).unwrap() }],
            positive_buckets: buckets.to_vec(),
            ..FloatHistogram::default()
        }
    }

    #[test]
    fn populations_decide() {
        let h = histogram(1, &[1.0, 0.0, 3.0]);
        assert!(!h.detect_reset(&h));
        assert!(h.detect_reset(&histogram(1, &[1.0, 0.0, 4.0])));
        assert!(!h.detect_reset(&histogram(0, &[0.0, 1.0, 0.0])));
        assert!(h.detect_reset(&histogram(0, &[1.0, 1.0, 0.0])));
        assert!(h.detect_reset(&histogram(1, &[1.0, 0.0, 3.0, 1.0])));
        assert!(!h.detect_reset(&histogram(1, &[1.0, 0.0, 3.0, 0.0])));
        assert!(h.detect_reset(&FloatHistogram { count: 101.0, ..h.clone() }));
        assert!(h.detect_reset(&FloatHistogram { zero_count: 2.5, ..h.clone() }));
        assert!(!h.detect_reset(&FloatHistogram { sum: 7.0, ..h.clone() }));
    }

    #[test]
    fn hints_decide_first() {
        let h = histogram(1, &[1.0]);
        let hinted = |counter_reset_hint| FloatHistogram { counter_reset_hint, ..h.clone() };
        assert!(hinted(CounterResetHint::CounterReset).detect_reset(&h));
        assert!(!hinted(CounterResetHint::NotCounterReset).detect_reset(&histogram(1, &[9.0])));
        assert!(hinted(CounterResetHint::Gauge).detect_reset(&histogram(1, &[9.0])));
    }

    #[test]
    fn layout_changes() {
        let h = FloatHistogram { schema: 0, ..histogram(1, &[3.0, 7.0]) };
        let finer = FloatHistogram { schema: 1, ..histogram(1, &[1.0, 2.0, 3.0, 4.0]) };
        assert!(!h.detect_reset(&finer), "a lower resolution that kept all");
        assert!(finer.detect_reset(&h), "a higher resolution");
        let wider = FloatHistogram { zero_threshold: 2.0, zero_count: 5.0, ..histogram(2, &[7.0]) };
        assert!(!wider.detect_reset(&h), "the zero bucket took in the first bucket");
        assert!(h.detect_reset(&wider), "the zero bucket shrank");
        let cutting = FloatHistogram { zero_threshold: 1.5, zero_count: 5.0, ..histogram(2, &[7.0]) };
        assert!(cutting.detect_reset(&h), "the zero bucket ends inside a populated bucket");
    }

    #[test]
    fn custom_bounds_that_differ() {
        let custom = |bounds: &[f64], buckets: &[f64]| FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            zero_threshold: 0.0,
            zero_count: 0.0,
            custom_values: bounds.to_vec(),
            ..histogram(0, buckets)
        };
        let before = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        assert!(!custom(&[1.0, 3.0], &[1.0, 2.0, 1.0]).detect_reset(&before));
        assert!(custom(&[1.0, 3.0], &[1.0, 1.0, 2.0]).detect_reset(&before));
        assert!(before.detect_reset(&histogram(1, &[1.0])));
        assert!(histogram(1, &[1.0]).detect_reset(&before));
    }
}
