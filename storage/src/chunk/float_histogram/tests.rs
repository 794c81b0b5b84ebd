#![expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]

use proptest::prelude::*;

use super::super::tests::{check_damage, check_interval, decoded};
use super::super::{PushOutcome, counter_reset_header, sample_count};
use super::*;
use crate::model::{CounterResetHint, Span, stale_nan};

const FLOAT_HISTOGRAM: u8 = 3;

/// Two positive buckets and a negative one.
fn sample(count: f64) -> FloatHistogram {
    FloatHistogram {
        schema: 0,
        zero_threshold: 2f64.powi(-128),
        zero_count: count / 2.0,
        count: count * 4.0,
        sum: -count,
        positive_spans: vec![Span { offset: -5, length: 1 }, Span { offset: 9, length: 1 }],
        negative_spans: vec![Span { offset: 2, length: 1 }],
        positive_buckets: vec![count, count * 1.25],
        negative_buckets: vec![count / 3.0],
        ..FloatHistogram::default()
    }
}

fn encode(samples: &[(Timestamp, FloatHistogram)]) -> Vec<u8> {
    let mut encoder = FloatHistogramEncoder::new();
    for (t, histogram) in samples {
        assert_eq!(encoder.push(*t, histogram), Ok(PushOutcome::Appended), "{t} {histogram:?}");
    }
    encoder.finish()
}

fn check_round_trip(samples: &[(Timestamp, FloatHistogram)]) {
    let data = encode(samples);
    let mut expected = SampleBuffer::new();
    for (i, (t, histogram)) in samples.iter().enumerate() {
        let mut histogram = histogram.clone();
        if i > 0 && histogram.counter_reset_hint != CounterResetHint::Gauge {
            histogram.counter_reset_hint = CounterResetHint::NotCounterReset;
        }
        expected.push_histogram(*t, histogram);
    }
    // As text, since NaN is not equal to itself.
    assert_eq!(format!("{:?}", decoded(FLOAT_HISTOGRAM, &data).unwrap()), format!("{expected:?}"));
    assert_eq!(sample_count(FLOAT_HISTOGRAM, &data), Ok(samples.len()));
}

#[test]
fn bytes_are_prometheus_s() {
    let h = |count| FloatHistogram {
        count,
        sum: 1.0,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![count],
        ..FloatHistogram::default()
    };
    let mut writer = BitWriter::after(&[0, 2, 0]);
    writer.write_bits(0, 8); // zero threshold
    writer.write_bits(0b0_10001_10001_0_0, 13); // schema 0; one positive span of length 1 at 0; no negative one
    writer.write_bits(0b10_100, 5); // t = 4
    for first in [1.0_f64, 0.0, 1.0, 1.0] {
        writer.write_bits(first.to_bits(), 64);
    }
    writer.write_bits(0b110_000110, 9); // 6 ms later
    writer.write_bits(0b11_01100_000001_1, 14); // count 1.0 ^ 1.5 is bit 51
    writer.write_bits(0b00, 2); // zero count, sum
    writer.write_bits(0b11_01100_000001_1, 14); // the bucket, with a window of its own
    assert_eq!(encode(&[(4, h(1.0)), (10, h(1.5))]), writer.into_bytes());
}

#[test]
fn samples_round_trip() {
    check_round_trip(&[]);
    check_round_trip(&[(i64::MIN, sample(0.1)), (i64::MAX, sample(f64::MAX))]);
    check_round_trip(&[(1, sample(5e-324)), (1, sample(1.0)), (9, sample(f64::INFINITY))]);
    let stale = FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() };
    check_round_trip(&[(1, sample(3.0)), (2, stale.clone()), (3, stale.clone())]);
    check_round_trip(&[(1, stale)]);
    let gauge = |count| FloatHistogram { counter_reset_hint: CounterResetHint::Gauge, ..sample(count) };
    check_round_trip(&[(1, gauge(9.0)), (2, gauge(1.0)), (3, gauge(4.0))]);
    check_round_trip(&(0..120).map(|i| (i * 15_000, sample(i as f64 / 7.0))).collect::<Vec<_>>());
}

#[test]
fn a_reset_needs_a_new_chunk_that_says_so() {
    let mut encoder = FloatHistogramEncoder::new();
    assert_eq!(encoder.push(1, &sample(2.0)), Ok(PushOutcome::Appended));
    assert_eq!(encoder.push(2, &sample(1.0)), Ok(PushOutcome::NewChunk));
    let mut next = encoder.successor(&sample(1.0));
    assert_eq!(next.push(2, &sample(1.0)), Ok(PushOutcome::Appended));
    assert_eq!((encoder.len(), next.len()), (1, 1));
    let data = next.finish();
    assert_eq!(counter_reset_header(FLOAT_HISTOGRAM, &data), Ok(CounterResetHint::CounterReset));
    // To a reader the header does not say it: the chunk before may be gone.
    let samples = decoded(FLOAT_HISTOGRAM, &data).unwrap();
    assert_eq!(samples.histograms[0].1.counter_reset_hint, CounterResetHint::Unknown);
}

#[test]
fn start_timestamps_round_trip() {
    let plain = encode(&[(1, sample(1.0)), (2, sample(2.0))]);
    let mut st = plain.clone();
    st[..3].copy_from_slice(&[plain[2] | plain[0], plain[1], 0]);
    assert_eq!(decoded(6, &st), decoded(FLOAT_HISTOGRAM, &plain));

    for starts in [[5, 5, 5, 5], [0, 0, 0, 7], [9, 0, 0, 1], [1, -2, i64::MAX, i64::MIN]] {
        let mut encoder = FloatHistogramEncoder::new().with_start_times();
        for (t, start) in (1..).zip(starts) {
            assert_eq!(encoder.push_started(t, &sample(t as f64), start), Ok(PushOutcome::Appended));
        }
        let back = decoded(6, &encoder.finish()).unwrap();
        assert_eq!([0, 1, 2, 3].map(|i| back.start_time(i)), starts);
    }
}

#[test]
fn finer_schemas_come_out_coarser() {
    let fine = FloatHistogram {
        schema: 10,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_buckets: vec![1.0, 2.0],
        ..sample(9.0)
    };
    let samples = decoded(FLOAT_HISTOGRAM, &encode(&[(1, fine)])).unwrap();
    let h = &samples.histograms[0].1;
    assert_eq!((h.schema, &h.positive_buckets[..], h.positive_spans.len()), (8, &[3.0][..], 1));
}

#[test]
fn damage_is_found_or_harmless() {
    check_damage(FLOAT_HISTOGRAM, &encode(&(1..6).map(|i| (i * 15_000, sample(i as f64))).collect::<Vec<_>>()));
}

proptest! {
    #[test]
    fn gauges_round_trip(start in any::<i64>(),
                         values in prop::collection::vec((0_i64..100_000, any::<[u64; 6]>()), 0..40)) {
        let mut t = start;
        let samples: Vec<_> = values.iter().map(|(step, bits)| {
            t = t.saturating_add(*step);
            let [count, zero_count, sum, a, b, c] = bits.map(|b| f64::from_bits(b >> (b % 50)));
            let h = FloatHistogram {
                counter_reset_hint: CounterResetHint::Gauge,
                count, zero_count, sum,
                positive_buckets: vec![a, b],
                negative_buckets: vec![c],
                ..sample(1.0)
            };
            (t, h)
        }).collect();
        check_round_trip(&samples);
        let middle = samples.get(samples.len() / 2).map_or(0, |(t, _)| *t);
        check_interval(FLOAT_HISTOGRAM, &encode(&samples), TimeInterval::new(middle, middle.saturating_add(200_000)));
    }
}
