//! Changing a layout without changing what it says: empty buckets, lower resolution.

use super::spans::{Side, SideBuilder, in_schema};
use super::{FloatHistogram, HistogramError, Span, bounds};

impl FloatHistogram {
    /// Removes empty buckets, but keeps (or puts in) runs of at most `max_empty` of them between populated buckets, so
    /// that a span is not cut for a gap that costs less. Queries use 0.
    pub fn compact(&mut self, max_empty: u32) {
        compact_side(&mut self.positive_spans, &mut self.positive_buckets, max_empty);
        compact_side(&mut self.negative_spans, &mut self.negative_buckets, max_empty);
    }

    /// Merges buckets so that the histogram has the lower exponential schema `schema`.
    ///
    /// # Errors
    /// [`HistogramError::CannotReduce`] for custom buckets on either hand or a schema that is not lower,
    /// [`HistogramError::SpanNegativeOffset`] and [`HistogramError::SpansBucketsMismatch`] for a corrupt layout. Nothing
    /// is changed then.
    pub fn reduce_resolution(&mut self, schema: i32) -> Result<(), HistogramError> {
        if self.uses_custom_buckets() || schema < bounds::MIN_EXPONENTIAL_SCHEMA || schema >= self.schema {
            return Err(HistogramError::CannotReduce { from: self.schema, to: schema });
        }
        super::validate::check_spans(&self.positive_spans, self.positive_buckets.len())?;
        super::validate::check_spans(&self.negative_spans, self.negative_buckets.len())?;
        *self = self.reduced(schema);
        Ok(())
    }

    /// A copy with the exponential schema `schema`, which is not above the present one; another is ignored. The copy
    /// of another schema says nothing of counter resets.
    #[must_use]
    pub fn copy_to_schema(&self, schema: i32) -> Self {
        if self.uses_custom_buckets() || schema < bounds::MIN_EXPONENTIAL_SCHEMA || schema >= self.schema {
            return self.clone();
        }
        Self { counter_reset_hint: super::CounterResetHint::Unknown, ..self.reduced(schema) }
    }

    fn reduced(&self, schema: i32) -> Self {
        let reduce = |side: Side<'_, f64>, buckets: usize| {
            let mut reduced = SideBuilder::with_capacity(buckets);
            reduced.extend(in_schema(side, self.schema, schema));
            reduced
        };
        let positive = reduce(self.positive_side(), self.positive_buckets.len());
        let negative = reduce(self.negative_side(), self.negative_buckets.len());
        Self {
            counter_reset_hint: self.counter_reset_hint,
            schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive_spans: positive.spans,
            negative_spans: negative.spans,
            positive_buckets: positive.populations,
            negative_buckets: negative.populations,
            custom_values: Vec::new(),
        }
    }
}

fn compact_side(spans: &mut Vec<Span>, populations: &mut Vec<f64>, max_empty: u32) {
    let compact_already = !populations.contains(&0.0)
        && spans
            .iter()
            .enumerate()
            .all(|(i, s)| s.length > 0 && (i == 0 || i64::from(s.offset) > i64::from(max_empty)));
    if compact_already {
        return;
    }
    let mut compact = SideBuilder::with_capacity(populations.len());
    let mut next_index = None;
    for (index, population) in Side::new(spans, populations).filter(|(_, population)| *population != 0.0) {
        if let Some(next) = next_index
            && index - next <= i64::from(max_empty)
        {
            compact.extend((next..index).map(|empty| (empty, 0.0)));
        }
        compact.push(index, population);
        next_index = Some(index.saturating_add(1));
    }
    (*spans, *populations) = (compact.spans, compact.populations);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: (&[(i32, u32)], &[f64]), max_empty: u32, after: (&[(i32, u32)], &[f64])) {
        let spans = |spans: &[(i32, u32)]| -> Vec<Span> {
            spans.iter().map(|&(offset, length)| Span { offset, length }).collect()
        };
        let mut h = FloatHistogram {
            positive_spans: spans(before.0),
            positive_buckets: before.1.to_vec(),
            ..FloatHistogram::default()
        };
        h.compact(max_empty);
        assert_eq!((h.positive_spans, h.positive_buckets), (spans(after.0), after.1.to_vec()));
    }

    #[test]
    fn cuts_empty_buckets() {
        check((&[(-2, 1), (2, 3)], &[1.0, 0.0, 3.3, 0.0]), 0, (&[(-2, 1), (3, 1)], &[1.0, 3.3]));
        check((&[(1, 2), (0, 2)], &[1.0, 2.0, 3.0, 4.0]), 0, (&[(1, 4)], &[1.0, 2.0, 3.0, 4.0]));
        check((&[(1, 2), (0, 0), (5, 0)], &[0.0, 0.0]), 0, (&[], &[]));
        check((&[(-2, 5)], &[0.0, 1.0, 0.0, 0.0, 2.0]), 0, (&[(-1, 1), (2, 1)], &[1.0, 2.0]));
    }

    #[test]
    fn keeps_short_gaps() {
        check((&[(-2, 5)], &[0.0, 1.0, 0.0, 0.0, 2.0]), 2, (&[(-1, 4)], &[1.0, 0.0, 0.0, 2.0]));
        check((&[(-2, 1), (2, 1)], &[1.0, 2.0]), 2, (&[(-2, 4)], &[1.0, 0.0, 0.0, 2.0]));
        check((&[(-2, 1), (3, 1)], &[1.0, 2.0]), 2, (&[(-2, 1), (3, 1)], &[1.0, 2.0]));
        check((&[(0, 2), (1, 2)], &[1.0, 0.0, 0.0, 2.0]), 3, (&[(0, 5)], &[1.0, 0.0, 0.0, 0.0, 2.0]));
    }
}
