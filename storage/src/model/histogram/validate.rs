//! Whether a histogram is consistent: what ingestion must check before anything is computed with it.

use super::{FloatHistogram, Histogram, HistogramError, Span, is_exponential_schema};

impl FloatHistogram {
    /// Checks the layout against the schema and that nothing is negative. The count is not compared with the
    /// buckets, because float sums need not agree.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), HistogramError> {
        self.layout().check(self.schema, self.zero_count != 0.0)?;
        if !self.uses_custom_buckets() {
            check_populations(&self.negative_buckets).map_err(|e| e.on("negative side"))?;
            if self.zero_count < 0.0 {
                return Err(HistogramError::NegativeZeroCount(self.zero_count));
            }
        }
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount(self.count));
        }
        check_populations(&self.positive_buckets).map_err(|e| e.on("positive side"))
    }

    fn layout(&self) -> Layout<'_> {
        Layout {
            zero_threshold: self.zero_threshold,
            positive: (&self.positive_spans, self.positive_buckets.len()),
            negative: (&self.negative_spans, self.negative_buckets.len()),
            custom_values: &self.custom_values,
        }
    }
}

impl Histogram {
    /// Checks the layout against the schema, that no population is negative, and that the buckets hold as many
    /// observations as the count says — or fewer, where the sum is NaN and so NaNs were observed, which no bucket
    /// holds.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), HistogramError> {
        let layout = Layout {
            zero_threshold: self.zero_threshold,
            positive: (&self.positive_spans, self.positive_deltas.len()),
            negative: (&self.negative_spans, self.negative_deltas.len()),
            custom_values: &self.custom_values,
        };
        layout.check(self.schema, self.zero_count != 0)?;
        let negative = sum_of_deltas(&self.negative_deltas).map_err(|e| e.on("negative side"))?;
        let positive = sum_of_deltas(&self.positive_deltas).map_err(|e| e.on("positive side"))?;
        let sum_of_buckets = negative.wrapping_add(positive).wrapping_add(self.zero_count);
        let count = self.count;
        if self.sum.is_nan() {
            if sum_of_buckets > count {
                return Err(HistogramError::CountNotBigEnough { sum_of_buckets, count });
            }
        } else if sum_of_buckets != count {
            return Err(HistogramError::CountMismatch { sum_of_buckets, count });
        }
        Ok(())
    }
}

/// What both kinds of histogram have.
struct Layout<'a> {
    zero_threshold: f64,
    positive: (&'a [Span], usize),
    negative: (&'a [Span], usize),
    custom_values: &'a [f64],
}

impl Layout<'_> {
    fn check(&self, schema: i32, has_zero_count: bool) -> Result<(), HistogramError> {
        if schema == super::CUSTOM_BUCKETS_SCHEMA {
            self.check_custom_bounds().map_err(|e| e.on("custom buckets"))?;
            let wrong = if has_zero_count {
                "have zero count of 0"
            } else if self.zero_threshold != 0.0 {
                "have zero threshold of 0"
            } else if !self.negative.0.is_empty() {
                "not have negative spans"
            } else if self.negative.1 > 0 {
                "not have negative buckets"
            } else {
                return Ok(());
            };
            return Err(HistogramError::CustomBuckets(wrong));
        }
        if !is_exponential_schema(schema) {
            return Err(HistogramError::InvalidSchema(schema));
        }
        check_spans(self.positive.0, self.positive.1).map_err(|e| e.on("positive side"))?;
        check_spans(self.negative.0, self.negative.1).map_err(|e| e.on("negative side"))?;
        if self.custom_values.is_empty() { Ok(()) } else { Err(HistogramError::ExponentialWithCustomBounds) }
    }

    fn check_custom_bounds(&self) -> Result<(), HistogramError> {
        let bounds = self.custom_values;
        if bounds.iter().any(|bound| bound.is_nan()) {
            return Err(HistogramError::CustomBoundNan);
        }
        if let Some(pair) = bounds.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(HistogramError::CustomBoundsOrder { previous: pair[0], current: pair[1] });
        }
        if bounds.last() == Some(&f64::INFINITY) {
            return Err(HistogramError::CustomBoundInfinite);
        }
        let (spans, have) = self.positive;
        check_spans(spans, have)?;
        if let Some(Span { offset, .. }) = spans.first().filter(|span| span.offset < 0) {
            return Err(HistogramError::SpanNegativeOffset { number: 1, offset: *offset });
        }
        let length = spans.iter().map(|s| u64::from(s.length) + u64::from(s.offset.unsigned_abs())).sum();
        if (bounds.len() as u64) + 1 < length {
            return Err(HistogramError::CustomBoundsTooFew { bounds: bounds.len(), length });
        }
        Ok(())
    }
}

/// Checks that spans after the first do not go backwards and that they name as many buckets as there are.
pub(super) fn check_spans(spans: &[Span], have: usize) -> Result<(), HistogramError> {
    if let Some((i, span)) = spans.iter().enumerate().skip(1).find(|(_, span)| span.offset < 0) {
        return Err(HistogramError::SpanNegativeOffset { number: i + 1, offset: span.offset });
    }
    let need = spans.iter().map(|span| u64::from(span.length)).sum();
    if need == have as u64 { Ok(()) } else { Err(HistogramError::SpansBucketsMismatch { need, have }) }
}

fn check_populations(populations: &[f64]) -> Result<(), HistogramError> {
    match populations.iter().position(|population| *population < 0.0) {
        Some(i) => Err(HistogramError::NegativeBucketCount { number: i + 1, count: populations[i] }),
        None => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the number only goes into an error text")]
fn sum_of_deltas(deltas: &[i64]) -> Result<u64, HistogramError> {
    let (mut population, mut sum) = (0_i64, 0_u64);
    for (i, delta) in deltas.iter().enumerate() {
        population = population.wrapping_add(*delta);
        let count = u64::try_from(population)
            .map_err(|_| HistogramError::NegativeBucketCount { number: i + 1, count: population as f64 })?;
        sum = sum.wrapping_add(count);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;

    fn check(h: &Histogram, expected: &str) {
        let error = h.validate().err().map_or(String::new(), |e| e.to_string());
        assert_eq!(error, expected);
    }

    #[test]
    fn what_prometheus_says() {
        let span = |offset, length| Span { offset, length };
        let h = Histogram {
            count: 5,
            zero_count: 1,
            positive_spans: vec![span(-3, 2)],
            positive_deltas: vec![1, 2],
            ..Histogram::default()
        };
        check(&h, "");
        check(&Histogram { sum: f64::NAN, count: 6, ..h.clone() }, "");
        check(
            &Histogram { count: 6, ..h.clone() },
            "5 observations found in buckets, but the Count field is 6: histogram's observation count should equal the \
             number of observations found in the buckets (in absence of NaN)",
        );
        check(
            &Histogram { positive_deltas: vec![1, -2], ..h.clone() },
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation count \
             is negative",
        );
        check(
            &Histogram { positive_spans: vec![span(-3, 1), span(-1, 1)], ..h.clone() },
            "positive side: span number 2 with offset -1: histogram has a span whose offset is negative",
        );
        check(
            &Histogram { schema: 9, ..h.clone() },
            "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom \
             buckets, got schema 9",
        );
        let custom = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 4,
            zero_count: 0,
            positive_spans: vec![span(0, 2)],
            custom_values: vec![1.0],
            ..h
        };
        check(&custom, "");
        check(
            &Histogram { custom_values: vec![2.0, 1.0], ..custom.clone() },
            "custom buckets: previous bound is 2.000000 and current is 1.000000: histogram custom bounds must be in \
             strictly increasing order",
        );
        check(
            &Histogram { custom_values: vec![], ..custom },
            "custom buckets: only 0 custom bounds defined which is insufficient to cover total span length of 2: \
             histogram custom bounds are too few",
        );
    }
}
