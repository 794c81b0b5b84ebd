//! Adding, subtracting and scaling histograms.
//!
//! Two histograms meet in the lower of their schemas and the wider of their zero buckets; custom buckets with other
//! bounds meet in the bounds that both have. Buckets that one side lacks count as empty there. Results may hold empty
//! buckets: [`FloatHistogram::compact`] removes them. Rounding follows Prometheus: plain sums for
//! [`add`](FloatHistogram::add) and [`sub`](FloatHistogram::sub), compensated ones for
//! [`kahan_add`](FloatHistogram::kahan_add), which `sum` and `avg` are made of.

use super::bounds::exponential_bound;
use super::custom;
use super::kahan::{Compensated, Population, kahan_add};
use super::spans::{Side, SideBuilder, in_schema, union};
use super::{CounterResetHint, FloatHistogram, HistogramError, Span, is_exponential_schema};

/// What a query should tell its user about an addition or subtraction that was done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Combined {
    /// One operand says that it follows a counter reset and the other that it does not.
    pub counter_reset_collision: bool,
    /// The custom bounds differed, and the result has those that both had.
    pub bounds_reconciled: bool,
}

/// One side of an operand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand<'a, P> {
    pub(super) spans: &'a [Span],
    pub(super) populations: &'a [P],
    pub(super) schema: i32,
}

impl<'a, P: Population> Operand<'a, P> {
    pub(super) fn side(&self) -> Side<'a, P> {
        Side::new(self.spans, self.populations)
    }
}

/// The layout that operands meet in.
#[derive(Debug, Clone, Copy)]
struct Common {
    schema: i32,
    zero_threshold: f64,
}

impl FloatHistogram {
    /// Adds `other`, which keeps its own schema and zero bucket.
    ///
    /// # Errors
    /// [`HistogramError::IncompatibleSchemas`] where just one of the two has custom buckets; nothing is changed then.
    pub fn add(&mut self, other: &Self) -> Result<Combined, HistogramError> {
        self.combine(other, 1.0)
    }

    /// Subtracts `other`. The `-` operator of PromQL must mark the result as a gauge itself.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn sub(&mut self, other: &Self) -> Result<Combined, HistogramError> {
        self.combine(other, -1.0)
    }

    /// Adds `other` with compensated sums. `compensation` collects the lost low bits of all fields in the layout of
    /// `self`; begin with `None`, and at the end [`add`](Self::add) it.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn kahan_add(&mut self, other: &Self, compensation: &mut Option<Self>) -> Result<Combined, HistogramError> {
        let counter_reset_collision = self.meet(other)?;
        let c = compensation.get_or_insert_with(|| self.empty_compensation());
        if !self.uses_custom_buckets() {
            let other_zero = self.reconcile_zero_buckets(other, Some(c));
            let mut zero = Compensated { sum: self.zero_count, compensation: c.zero_count };
            zero.merge(other_zero);
            (self.zero_count, c.zero_count) = (zero.sum, zero.compensation);
        }
        (self.count, c.count) = kahan_add(other.count, self.count, c.count);
        (self.sum, c.sum) = kahan_add(other.sum, self.sum, c.sum);
        let bounds_reconciled = self.kahan_add_buckets(other, c);
        c.schema = self.schema;
        c.zero_threshold = self.zero_threshold;
        c.positive_spans.clone_from(&self.positive_spans);
        c.negative_spans.clone_from(&self.negative_spans);
        Ok(Combined { counter_reset_collision, bounds_reconciled })
    }

    /// Multiplies all populations, the count and the sum. A negative factor makes a gauge.
    pub fn mul(&mut self, factor: f64) {
        self.scale(|value| value * factor);
        if factor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Divides all populations, the count and the sum. A negative divisor makes a gauge; division by zero leaves no
    /// buckets.
    pub fn div(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive_spans.clear();
            self.negative_spans.clear();
            self.positive_buckets.clear();
            self.negative_buckets.clear();
        }
        self.scale(|value| value / divisor);
        if divisor < 0.0 {
            self.counter_reset_hint = CounterResetHint::Gauge;
        }
    }

    /// Whether any field has overflowed to an infinity.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        let buckets = [&self.positive_buckets, &self.negative_buckets, &self.custom_values];
        [self.zero_count, self.count, self.sum].iter().chain(buckets.into_iter().flatten()).any(|v| v.is_infinite())
    }

    fn scale(&mut self, change: impl Fn(f64) -> f64) {
        let fields = [&mut self.zero_count, &mut self.count, &mut self.sum];
        for value in fields.into_iter().chain(&mut self.positive_buckets).chain(&mut self.negative_buckets) {
            *value = change(*value);
        }
    }

    /// Checks that the two can be combined and settles the counter reset hint; whether the hints collided.
    fn meet(&mut self, other: &Self) -> Result<bool, HistogramError> {
        use CounterResetHint::{Gauge, Unknown};
        if self.uses_custom_buckets() != other.uses_custom_buckets() {
            return Err(HistogramError::IncompatibleSchemas);
        }
        let (ours, theirs) = (self.counter_reset_hint, other.counter_reset_hint);
        let known = ![Gauge, Unknown].contains(&ours) && ![Gauge, Unknown].contains(&theirs);
        self.counter_reset_hint = match (ours, theirs) {
            (ours, theirs) if ours == theirs => ours,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        Ok(known && ours != theirs)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Combined, HistogramError> {
        let counter_reset_collision = self.meet(other)?;
        if !self.uses_custom_buckets() {
            self.zero_count += sign * self.reconcile_zero_buckets(other, None).sum;
        }
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        if custom::bounds_differ(self, other) {
            let (bounds, side) =
                custom::combine(self.positive_side().map(|(i, n)| (i, Compensated::from(n))), self, other, sign);
            self.custom_values = bounds;
            self.positive_spans = side.spans;
            self.positive_buckets = side.populations.into_iter().map(|n| n.sum).collect();
            return Ok(Combined { counter_reset_collision, bounds_reconciled: true });
        }
        let common = Common { schema: self.schema.min(other.schema), zero_threshold: self.zero_threshold };
        let schema = std::mem::replace(&mut self.schema, common.schema);
        let ours = (&mut self.positive_spans, &mut self.positive_buckets);
        combine_side(ours, schema, positive(other), common, |n| sign * n);
        let ours = (&mut self.negative_spans, &mut self.negative_buckets);
        combine_side(ours, schema, negative(other), common, |n| sign * n);
        Ok(Combined { counter_reset_collision, bounds_reconciled: false })
    }

    /// Adds the buckets of `other`; whether custom bounds had to be reconciled.
    fn kahan_add_buckets(&mut self, other: &Self, c: &mut Self) -> bool {
        let mut positive_populations = compensated(&self.positive_buckets, &c.positive_buckets);
        let bounds_differ = custom::bounds_differ(self, other);
        if bounds_differ {
            let side = Side::new(&self.positive_spans, &positive_populations);
            let (bounds, side) = custom::combine(side, self, other, 1.0);
            self.custom_values.clone_from(&bounds);
            c.custom_values = bounds;
            self.positive_spans = side.spans;
            positive_populations = side.populations;
        } else {
            let common = Common { schema: self.schema.min(other.schema), zero_threshold: self.zero_threshold };
            let schema = std::mem::replace(&mut self.schema, common.schema);
            let mut negative_populations = compensated(&self.negative_buckets, &c.negative_buckets);
            let ours = (&mut self.positive_spans, &mut positive_populations);
            combine_side(ours, schema, positive(other), common, Compensated::from);
            let ours = (&mut self.negative_spans, &mut negative_populations);
            combine_side(ours, schema, negative(other), common, Compensated::from);
            split_into(&negative_populations, &mut self.negative_buckets, &mut c.negative_buckets);
        }
        split_into(&positive_populations, &mut self.positive_buckets, &mut c.positive_buckets);
        bounds_differ
    }

    /// Zeros in the layout of `self`.
    fn empty_compensation(&self) -> Self {
        Self {
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive_buckets: vec![0.0; self.positive_buckets.len()],
            negative_buckets: vec![0.0; self.negative_buckets.len()],
            ..self.clone()
        }
    }
}

fn positive(h: &FloatHistogram) -> Operand<'_, f64> {
    Operand { spans: &h.positive_spans, populations: &h.positive_buckets, schema: h.schema }
}

fn negative(h: &FloatHistogram) -> Operand<'_, f64> {
    Operand { spans: &h.negative_spans, populations: &h.negative_buckets, schema: h.schema }
}

/// Populations paired with what they have lost; a compensation that is too short counts as zeros.
fn compensated(populations: &[f64], compensation: &[f64]) -> Vec<Compensated> {
    let compensation = compensation.iter().copied().chain(std::iter::repeat(0.0));
    populations.iter().zip(compensation).map(|(&sum, compensation)| Compensated { sum, compensation }).collect()
}

/// Undoes [`compensated`].
fn split_into(populations: &[Compensated], sums: &mut Vec<f64>, compensation: &mut Vec<f64>) {
    sums.clear();
    sums.extend(populations.iter().map(|n| n.sum));
    compensation.clear();
    compensation.extend(populations.iter().map(|n| n.compensation));
}

/// Merges one side of `other` into ours, which is in `schema` so far. Buckets of the other that the zero bucket
/// holds are left out, for they were counted there; whether it does is a question of the other's own, finer bounds
/// (Prometheus asks it of the merged bounds, and then counts such a bucket twice).
fn combine_side<P: Population>(
    (spans, populations): (&mut Vec<Span>, &mut Vec<P>),
    schema: i32,
    other: Operand<'_, f64>,
    common: Common,
    convert: impl Fn(f64) -> P,
) {
    let in_zero_bucket = |index: i64| {
        is_exponential_schema(other.schema) && exponential_bound(index, other.schema) <= common.zero_threshold
    };
    // Histograms of one series hardly ever change their layout: then no index needs to be computed.
    let one_layout = schema == other.schema && spans == other.spans && populations.len() == other.populations.len();
    if one_layout && spans.first().is_none_or(|span| !in_zero_bucket(i64::from(span.offset))) {
        for (ours, &theirs) in populations.iter_mut().zip(other.populations) {
            ours.merge(convert(theirs));
        }
        return;
    }
    let mut merged = SideBuilder::with_capacity(populations.len().max(other.populations.len()));
    let ours = in_schema(Side::new(spans, populations), schema, common.schema);
    let theirs = other.side().skip_while(|(index, _)| in_zero_bucket(*index));
    let theirs = theirs.map(|(index, population)| (index, convert(population)));
    merged.extend(union(ours, in_schema(theirs, other.schema, common.schema)));
    (*spans, *populations) = (merged.spans, merged.populations);
}

#[cfg(test)]
mod tests;
