//! Known answers and laws of histogram arithmetic.

use super::*;
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use proptest::prelude::*;

fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
    spans.iter().map(|&(offset, length)| Span { offset, length }).collect()
}

/// A histogram with populations that floats add exactly.
fn any_histogram() -> impl Strategy<Value = FloatHistogram> {
    let side = || prop::collection::vec((0..4_i32, prop::collection::vec(0..100_u32, 0..4)), 0..4);
    let threshold = prop::sample::select(vec![0.0, 1e-128, 0.01, 1.0, 3.0, 100.0]);
    (-4..=8_i32, threshold, 0..100_u32, side(), side(), 0..20_i32).prop_map(
        |(schema, zero_threshold, zero_count, positive, negative, start)| {
            // Buckets lie outside of the zero bucket, which may end anywhere.
            let inside = (-2000..).find(|i| exponential_bound(i - 1, schema) >= zero_threshold).unwrap();
            let layout = |side: &[(i32, Vec<u32>)]| -> (Vec<Span>, Vec<f64>) {
                let mut spans: Vec<Span> =
                    side.iter().map(|(offset, n)| Span { offset: *offset, length: n.len() as u32 }).collect();
                if let Some(first) = spans.first_mut() {
                    first.offset += start + inside.max(-20) as i32;
                }
                (spans, side.iter().flat_map(|(_, n)| n.iter().map(|n| f64::from(*n))).collect())
            };
            let (positive_spans, positive_buckets) = layout(&positive);
            let (negative_spans, negative_buckets) = layout(&negative);
            let zero_count = f64::from(zero_count);
            let count = zero_count + positive_buckets.iter().chain(&negative_buckets).sum::<f64>();
            FloatHistogram {
                schema,
                zero_threshold,
                zero_count,
                count,
                sum: count * 2.0,
                positive_spans,
                negative_spans,
                positive_buckets,
                negative_buckets,
                ..FloatHistogram::default()
            }
        },
    )
}

fn in_buckets(h: &FloatHistogram) -> f64 {
    h.zero_count + h.positive_buckets.iter().chain(&h.negative_buckets).sum::<f64>()
}

fn compacted(mut h: FloatHistogram) -> FloatHistogram {
    h.compact(0);
    h
}

fn sum_of(a: &FloatHistogram, b: &FloatHistogram) -> FloatHistogram {
    let mut sum = a.clone();
    sum.add(b).unwrap();
    compacted(sum)
}

proptest! {
    #[test]
    fn addition_commutes_and_loses_nothing(a in any_histogram(), b in any_histogram()) {
        let sum = sum_of(&a, &b);
        prop_assert_eq!(&sum, &sum_of(&b, &a));
        prop_assert_eq!(in_buckets(&sum), a.count + b.count);
        prop_assert_eq!(sum.count, a.count + b.count);
        prop_assert!(sum.validate().is_ok());
    }

    #[test]
    fn compensated_addition_agrees_on_exact_populations(a in any_histogram(), b in any_histogram(), c in any_histogram()) {
        let (mut sum, mut compensation) = (a.clone(), None);
        sum.kahan_add(&b, &mut compensation).unwrap();
        sum.kahan_add(&c, &mut compensation).unwrap();
        let compensation = compensation.unwrap();
        prop_assert_eq!(compensation.positive_buckets.len(), sum.positive_buckets.len());
        prop_assert_eq!(&compensation.negative_spans, &sum.negative_spans);
        prop_assert_eq!(in_buckets(&compensation), 0.0);
        sum.add(&compensation).unwrap();
        let sum = compacted(sum);
        prop_assert_eq!(in_buckets(&sum), a.count + b.count + c.count);
        prop_assert_eq!(sum.count, in_buckets(&sum));
    }

    #[test]
    fn subtraction_undoes_addition(a in any_histogram(), b in any_histogram()) {
        let mut sum = sum_of(&a, &b);
        // Brings a to the layout of the sum.
        let mut nothing = b.clone();
        nothing.mul(0.0);
        sum.sub(&b).unwrap();
        let mut expected = a.clone();
        expected.add(&nothing).unwrap();
        prop_assert_eq!(sum.count, a.count);
        prop_assert_eq!(in_buckets(&sum), a.count);
        if sum.zero_threshold == expected.zero_threshold {
            prop_assert_eq!(compacted(sum), compacted(expected));
        }
    }

    #[test]
    fn a_sum_has_no_reset_after_its_parts(a in any_histogram(), b in any_histogram()) {
        let sum = sum_of(&a, &b);
        prop_assert!(!sum.detect_reset(&a));
        prop_assert!(!sum.detect_reset(&b));
    }

    #[test]
    fn lower_resolution_keeps_the_count(h in any_histogram(), schema in -4..=8_i32) {
        let mut reduced = h.clone();
        if reduced.reduce_resolution(schema).is_ok() {
            prop_assert_eq!(reduced.schema, schema);
            prop_assert_eq!(in_buckets(&reduced), in_buckets(&h));
            prop_assert!(reduced.validate().is_ok());
            prop_assert!(reduced.positive_buckets.len() <= h.positive_buckets.len());
            prop_assert_eq!(h.copy_to_schema(schema), reduced);
        } else {
            prop_assert!(schema >= h.schema);
            prop_assert_eq!(reduced, h);
        }
    }

    #[test]
    fn compaction_keeps_populated_buckets(h in any_histogram(), max_empty in 0..4_u32) {
        let mut compact = h.clone();
        compact.compact(max_empty);
        let populated = |h: &FloatHistogram| h.iter_all().filter(|b| b.count != 0.0).collect::<Vec<_>>();
        prop_assert_eq!(populated(&compact), populated(&h));
        prop_assert!(compact.validate().is_ok());
        let mut again = compact.clone();
        again.compact(max_empty);
        prop_assert_eq!(again, compact);
    }

    #[test]
    fn reverse_iteration_is_the_reverse(h in any_histogram()) {
        let mut backwards: Vec<_> = h.iter_all_reversed().collect();
        backwards.reverse();
        prop_assert_eq!(backwards, h.iter_all().collect::<Vec<_>>());
        let mut bounds = h.iter_all().map(|b| (b.lower, b.upper)).peekable();
        while let Some((lower, upper)) = bounds.next() {
            prop_assert!(lower <= upper);
            if let Some((next, _)) = bounds.peek() {
                prop_assert!(lower <= *next);
            }
        }
    }

    #[test]
    fn hostile_layouts_never_panic(
        a_spans in prop::collection::vec((any::<i32>(), any::<u32>()), 0..5),
        b_spans in prop::collection::vec((any::<i32>(), 0..3_u32), 0..5),
        buckets in prop::collection::vec(any::<f64>(), 0..6),
        schemas in (-60..60_i32, -60..60_i32),
        thresholds in (any::<f64>(), any::<f64>()),
    ) {
        let h = |schema, zero_threshold, layout: &[(i32, u32)]| FloatHistogram {
            schema, zero_threshold,
            positive_spans: spans(layout), positive_buckets: buckets.clone(),
            negative_spans: spans(layout), negative_buckets: buckets.clone(),
            ..FloatHistogram::default()
        };
        let (mut a, b) = (h(schemas.0, thresholds.0, &a_spans), h(schemas.1, thresholds.1, &b_spans));
        let _ = (a.validate(), a.detect_reset(&b), b.detect_reset(&a), a.equals(&b), a.iter_all().count());
        let _ = (a.clone().add(&b), b.clone().sub(&a), a.clone().kahan_add(&b, &mut None));
        let _ = a.reduce_resolution(-4);
        a.compact(3);
    }
}

#[test]
fn zero_buckets_widen_to_the_end_of_a_populated_bucket() {
    let mut a = FloatHistogram {
        zero_threshold: 1.5,
        zero_count: 1.0,
        positive_spans: spans(&[(2, 2)]),
        positive_buckets: vec![10.0, 20.0],
        ..FloatHistogram::default()
    };
    let b = FloatHistogram {
        zero_threshold: 0.25,
        zero_count: 2.0,
        positive_spans: spans(&[(0, 3)]),
        positive_buckets: vec![1.0, 4.0, 8.0],
        negative_spans: spans(&[(1, 1)]),
        negative_buckets: vec![3.0],
        ..FloatHistogram::default()
    };
    a.add(&b).unwrap();
    assert_eq!((a.zero_threshold, a.zero_count), (2.0, 1.0 + 2.0 + 1.0 + 4.0 + 3.0));
    assert_eq!((a.positive_spans.clone(), a.positive_buckets.clone()), (spans(&[(2, 2)]), vec![18.0, 20.0]));
    assert!(a.negative_buckets.is_empty());
}

#[test]
fn custom_bounds_meet_in_what_both_have() {
    let custom = |bounds: &[f64], layout: &[(i32, u32)], buckets: &[f64]| FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: buckets.iter().sum(),
        positive_spans: spans(layout),
        positive_buckets: buckets.to_vec(),
        custom_values: bounds.to_vec(),
        ..FloatHistogram::default()
    };
    let a = custom(&[1.0, 2.0, 3.0, 4.0], &[(0, 2), (1, 2)], &[1.0, 2.0, 4.0, 5.0]);
    let b = custom(&[1.0, 2.0, 4.0, 5.0], &[(0, 2), (1, 2)], &[6.0, 7.0, 8.0, 9.0]);
    let mut sum = a.clone();
    let combined = sum.add(&b).unwrap();
    assert!(combined.bounds_reconciled && !combined.counter_reset_collision);
    assert_eq!(sum, custom(&[1.0, 2.0, 4.0], &[(0, 4)], &[7.0, 9.0, 4.0, 22.0]));

    let (mut sum, mut compensation) = (a.clone(), None);
    assert!(sum.kahan_add(&b, &mut compensation).unwrap().bounds_reconciled);
    assert_eq!(sum.custom_values, compensation.unwrap().custom_values);

    let mut none_shared = a.clone();
    none_shared.sub(&custom(&[7.0], &[(0, 1)], &[2.0])).unwrap();
    assert_eq!((none_shared.custom_values, none_shared.positive_buckets), (vec![], vec![10.0]));

    assert_eq!(sum.add(&FloatHistogram::default()), Err(HistogramError::IncompatibleSchemas));
}

#[test]
fn hints_meet() {
    use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
    let check = |ours, theirs, expected, collision| {
        let mut h = FloatHistogram { counter_reset_hint: ours, ..FloatHistogram::default() };
        let other = FloatHistogram { counter_reset_hint: theirs, ..FloatHistogram::default() };
        assert_eq!(h.add(&other).unwrap().counter_reset_collision, collision);
        assert_eq!(h.counter_reset_hint, expected);
    };
    check(CounterReset, CounterReset, CounterReset, false);
    check(Gauge, CounterReset, Gauge, false);
    check(Unknown, Gauge, Gauge, false);
    check(Unknown, CounterReset, Unknown, false);
    check(NotCounterReset, Unknown, Unknown, false);
    check(CounterReset, NotCounterReset, Unknown, true);
}

#[test]
fn compensation_keeps_low_bits() {
    let h = |n: f64| FloatHistogram {
        count: n,
        sum: n,
        zero_count: n,
        positive_spans: spans(&[(1, 1)]),
        positive_buckets: vec![n],
        ..FloatHistogram::default()
    };
    let (mut sum, mut compensation) = (h(1e100), None);
    for n in [1.0, 1.0, -1e100] {
        sum.kahan_add(&h(n), &mut compensation).unwrap();
    }
    sum.add(&compensation.unwrap()).unwrap();
    assert_eq!((sum.count, sum.sum, sum.zero_count, sum.positive_buckets), (2.0, 2.0, 2.0, vec![2.0]));
}

#[test]
fn scaling() {
    let h = FloatHistogram {
        count: 6.0,
        sum: 9.0,
        zero_count: 3.0,
        positive_spans: spans(&[(1, 1)]),
        positive_buckets: vec![3.0],
        ..FloatHistogram::default()
    };
    let mut twice = h.clone();
    twice.mul(-2.0);
    assert_eq!((twice.count, twice.sum, twice.positive_buckets[0]), (-12.0, -18.0, -6.0));
    assert_eq!(twice.counter_reset_hint, CounterResetHint::Gauge);
    let mut third = h.clone();
    third.div(3.0);
    assert_eq!((third.count, third.sum, third.zero_count), (2.0, 3.0, 1.0));
    let mut none = h;
    none.div(0.0);
    assert_eq!((none.count, none.positive_spans.len(), none.positive_buckets.len()), (f64::INFINITY, 0, 0));
    assert!(none.has_overflow());
}
