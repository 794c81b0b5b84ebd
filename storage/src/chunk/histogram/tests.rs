use proptest::prelude::*;

use super::super::tests::{check_damage, check_interval, decoded};
use super::super::{PushOutcome, counter_reset_header, sample_count};
use super::*;
use crate::model::{CUSTOM_BUCKETS_SCHEMA, Span, stale_nan};

const HISTOGRAM: u8 = 2;

fn span(offset: i32, length: u32) -> Span {
    Span { offset, length }
}

/// Three positive buckets in two spans, one negative.
fn sample(count: u64) -> Histogram {
    Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: count,
        count: 6 * count,
        sum: count as f64 * 1.5,
        positive_spans: vec![span(0, 2), span(1, 1)],
        negative_spans: vec![span(-3, 1)],
        positive_deltas: vec![count as i64, 0, 1],
        negative_deltas: vec![2 * count as i64 - 1],
        ..Histogram::default()
    }
}

fn encode(samples: &[(Timestamp, Histogram)]) -> Vec<u8> {
    let mut encoder = HistogramEncoder::new();
    for (t, histogram) in samples {
        assert_eq!(encoder.push(*t, histogram), Ok(PushOutcome::Appended), "{t} {histogram:?}");
    }
    encoder.finish()
}

fn integers(encoding: u8, data: &[u8]) -> Vec<(Timestamp, Histogram)> {
    let mut out = Vec::new();
    decode_integer(encoding, data, TimeInterval::ALL, &mut out).unwrap();
    out
}

/// What comes back: the first hint is unknown, the others say that there was no reset.
fn hinted(samples: &[(Timestamp, Histogram)]) -> Vec<(Timestamp, Histogram)> {
    let mut samples = samples.to_vec();
    for (i, (_, histogram)) in samples.iter_mut().enumerate() {
        if histogram.counter_reset_hint != CounterResetHint::Gauge && i > 0 && !is_stale_nan(histogram.sum) {
            histogram.counter_reset_hint = CounterResetHint::NotCounterReset;
        }
    }
    samples
}

fn check_round_trip(samples: &[(Timestamp, Histogram)]) {
    let data = encode(samples);
    let expected = hinted(samples);
    // As text, since NaN is not equal to itself.
    assert_eq!(format!("{:?}", integers(HISTOGRAM, &data)), format!("{expected:?}"));
    let mut floats = SampleBuffer::new();
    expected.iter().for_each(|(t, histogram)| floats.push_histogram(*t, histogram.to_float()));
    assert_eq!(format!("{:?}", decoded(HISTOGRAM, &data).unwrap()), format!("{floats:?}"));
    assert_eq!(sample_count(HISTOGRAM, &data), Ok(samples.len()));
}

#[test]
fn bytes_are_prometheus_s() {
    let h = |count| Histogram {
        count,
        sum: 1.0,
        positive_spans: vec![span(0, 1)],
        positive_deltas: vec![count as i64],
        ..Histogram::default()
    };
    let mut writer = BitWriter::after(&[0, 2, 0]);
    writer.write_bits(0, 8); // zero threshold
    writer.write_bits(0, 1); // schema
    writer.write_bits(0b10_001, 5); // one positive span:
    writer.write_bits(0b10_001, 5); // length 1
    writer.write_bits(0, 1); // offset 0
    writer.write_bits(0, 1); // no negative span
    writer.write_bits(0b10_100, 5); // t = 4
    writer.write_bits(0b10_011, 5); // count 3
    writer.write_bits(0, 1); // zero count
    writer.write_bits(1.0_f64.to_bits(), 64);
    writer.write_bits(0b10_011, 5); // bucket 3
    writer.write_bits(0b110_000110, 9); // 6 ms later
    writer.write_bits(0b10_001, 5); // one more
    writer.write_bits(0, 1); // zero count steps by 0
    writer.write_bits(0, 1); // sum unchanged
    writer.write_bits(0b10_001, 5); // bucket one more
    assert_eq!(encode(&[(4, h(3)), (10, h(4))]), writer.into_bytes());
}

#[test]
fn samples_round_trip() {
    check_round_trip(&[]);
    check_round_trip(&[(i64::MIN, sample(1)), (i64::MAX, sample(2))]);
    let regular: Vec<_> = (0..120).map(|i| (i * 15_000, sample(i as u64 * i as u64 + 1))).collect();
    check_round_trip(&regular);
    let no_buckets = Histogram { sum: f64::NAN, ..Histogram::default() };
    check_round_trip(&[(1, no_buckets.clone()), (1, no_buckets)]);
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        zero_threshold: 0.0,
        zero_count: 0,
        negative_spans: Vec::new(),
        negative_deltas: Vec::new(),
        custom_values: vec![0.005, 0.1, 1.0 / 3.0],
        ..sample(3)
    };
    check_round_trip(&[(1, custom.clone()), (2, custom)]);
    let huge = Histogram { count: u64::MAX, zero_count: u64::MAX, ..sample(1) };
    check_round_trip(&[(1, sample(0)), (2, huge.clone()), (3, huge)]);
}

#[test]
fn a_staleness_marker_is_only_its_sum() {
    let stale = Histogram { sum: stale_nan(), ..Histogram::default() };
    check_round_trip(&[(1, stale.clone()), (2, stale.clone())]);
    let data = encode(&[(1, sample(1)), (2, sample(2)), (3, stale.clone())]);
    let samples = decoded(HISTOGRAM, &data).unwrap();
    assert_eq!(samples.histograms.len(), 2);
    assert!(is_stale_nan(samples.floats[2]));
    let mut encoder = HistogramEncoder::new();
    assert_eq!(encoder.push(1, &stale), Ok(PushOutcome::Appended));
    assert_eq!(encoder.push(2, &sample(1)), Ok(PushOutcome::NewChunk));
}

/// That `next` after `sample(5)` needs a new chunk with this header, or none.
fn check_cut(next: &Histogram, header: Option<CounterResetHint>) {
    let mut encoder = HistogramEncoder::new();
    assert_eq!(encoder.push(1, &sample(5)), Ok(PushOutcome::Appended));
    let outcome = encoder.push(2, next).unwrap();
    assert_eq!(outcome, if header.is_some() { PushOutcome::NewChunk } else { PushOutcome::Appended }, "{next:?}");
    let mut successor = encoder.successor(next);
    assert_eq!(successor.push(2, next), Ok(PushOutcome::Appended));
    let header = header.unwrap_or(CounterResetHint::NotCounterReset);
    assert_eq!(counter_reset_header(HISTOGRAM, &successor.finish()), Ok(header), "{next:?}");
}

#[test]
fn chunks_are_cut_where_a_histogram_does_not_fit() {
    use CounterResetHint::{CounterReset, Gauge, NotCounterReset, Unknown};
    check_cut(&sample(5), None);
    check_cut(&sample(4), Some(CounterReset));
    check_cut(&Histogram { counter_reset_hint: CounterReset, ..sample(6) }, Some(CounterReset));
    check_cut(&Histogram { counter_reset_hint: Gauge, ..sample(6) }, Some(Gauge));
    check_cut(&Histogram { schema: 2, ..sample(6) }, Some(Unknown));
    check_cut(&Histogram { zero_threshold: 0.5, ..sample(6) }, Some(Unknown));
    check_cut(&Histogram { zero_count: 4, ..sample(6) }, Some(CounterReset));
    // A bucket fell though the count rose, and one is missing.
    check_cut(&Histogram { positive_deltas: vec![6, -2, 6], ..sample(6) }, Some(CounterReset));
    check_cut(&Histogram { negative_spans: Vec::new(), negative_deltas: Vec::new(), ..sample(6) }, Some(CounterReset));
    // Another bucket than the chunk has.
    let wider = Histogram { positive_spans: vec![span(0, 4)], positive_deltas: vec![6, 0, -6, 7], ..sample(6) };
    check_cut(&wider, Some(NotCounterReset));
}

#[test]
fn empty_buckets_that_a_histogram_lacks_are_filled_in() {
    let with_empty = Histogram {
        positive_spans: vec![span(0, 4)],
        positive_deltas: vec![1, -1, 2, -2],
        negative_spans: Vec::new(),
        negative_deltas: Vec::new(),
        ..sample(1)
    };
    let sparse = Histogram {
        positive_spans: vec![span(0, 1), span(1, 1)],
        positive_deltas: vec![2, 1],
        negative_spans: Vec::new(),
        negative_deltas: Vec::new(),
        ..sample(2)
    };
    let decoded = integers(HISTOGRAM, &encode(&[(1, with_empty), (2, sparse)]));
    assert_eq!(decoded[1].1.positive_spans, [span(0, 4)]);
    assert_eq!(decoded[1].1.positive_deltas, [2, -2, 3, -3]);
}

#[test]
fn gauges_may_fall() {
    let gauge = |count| Histogram { counter_reset_hint: CounterResetHint::Gauge, ..sample(count) };
    check_round_trip(&[(1, gauge(9)), (2, gauge(3)), (3, gauge(5))]);
    let mut encoder = HistogramEncoder::new();
    assert_eq!(encoder.push(1, &gauge(1)), Ok(PushOutcome::Appended));
    assert_eq!(encoder.push(2, &sample(2)), Ok(PushOutcome::NewChunk));
}

#[test]
fn contradictory_histograms_are_refused() {
    let mut encoder = HistogramEncoder::new();
    assert!(encoder.push(1, &Histogram { positive_deltas: vec![1], ..sample(1) }).is_err());
    assert!(encoder.push(1, &Histogram { positive_spans: vec![span(0, 2), span(-1, 1)], ..sample(1) }).is_err());
    assert!(encoder.is_empty());
}

#[test]
fn start_timestamps_lie_behind_samples() {
    // Without any, only the header differs.
    let plain = encode(&[(1, sample(1)), (2, sample(2)), (3, sample(3))]);
    let mut st = plain.clone();
    st[..3].copy_from_slice(&[plain[2] | plain[0], plain[1], 0]);
    assert_eq!(integers(5, &st), integers(HISTOGRAM, &plain));
    assert_eq!(sample_count(5, &st), Ok(3));

    let mut writer = BitWriter::after(&[0b1100_0000, 4, 0x80 | 2]);
    Layout::default().write(&mut writer);
    writer.write_varbit_int(1000);
    writer.write_varbit_uint(7);
    writer.write_varbit_uint(0);
    writer.write_f64(1.0);
    writer.write_varint(-500);
    for (i, start) in [None, Some(123), Some(-77)].into_iter().enumerate() {
        writer.write_varbit_int(if i == 0 { 10 } else { 0 });
        writer.write_bits(0b000, 3);
        if let Some(start) = start {
            writer.write_varbit_int(start);
        }
    }
    let data = writer.into_bytes();
    let samples = integers(5, &data);
    let times: Vec<_> = samples.iter().map(|(t, h)| (*t, h.count, h.counter_reset_hint)).collect();
    assert_eq!(times, [1000, 1010, 1020, 1030].map(|t| (t, 7, CounterResetHint::Gauge)));
    assert_eq!(decoded(5, &data).unwrap().start_times, [1500, 1500, 1010 - 123, 1020 - (123 - 77)]);
}

#[test]
fn finer_schemas_come_out_coarser() {
    // No histogram of schema 9 passes the encoder's users; the chunk is made by hand.
    let fine = Histogram { schema: 9, ..sample(4) };
    let samples = integers(HISTOGRAM, &encode(&[(1, fine)]));
    let h = &samples[0].1;
    assert_eq!(h.schema, 8);
    // Buckets 0, 1 and 3 of 4, 4 and 5 become 0, 1 and 2; −3 becomes −1.
    assert_eq!((&h.positive_spans[..], &h.positive_deltas[..]), (&[span(0, 3)][..], &[4, 0, 1][..]));
    assert_eq!((&h.negative_spans[..], &h.negative_deltas[..]), (&[span(-1, 1)][..], &[7][..]));
    assert_eq!(h.count, 24);
}

#[test]
fn damage_is_found_or_harmless() {
    let samples: Vec<_> = (1..8).map(|i| (i * 15_000, sample(i as u64))).collect();
    check_damage(HISTOGRAM, &encode(&samples));
}

#[test]
fn a_layout_cannot_ask_for_more_memory_than_the_chunk_explains() {
    // One span of 2³⁰ buckets.
    let mut writer = BitWriter::after(&[0, 1, 0]);
    let positive_spans = vec![span(0, 1 << 30)];
    Layout { positive_spans, ..Layout::default() }.write(&mut writer);
    assert!(decoded(HISTOGRAM, &writer.into_bytes()).is_err());
    // Many empty spans, to be copied into many samples.
    let mut writer = BitWriter::after(&[0xff, 0xff, 0]);
    Layout { positive_spans: vec![span(0, 0); 1000], ..Layout::default() }.write(&mut writer);
    let mut data = writer.into_bytes();
    data.resize(100_000, 0);
    assert!(decoded(HISTOGRAM, &data).unwrap_err().to_string().contains("1000 spans"));
}

proptest! {
    #[test]
    fn counters_round_trip(
        start in any::<i64>(),
        steps in prop::collection::vec((0_i64..100_000, prop::collection::vec(0_u32..50, 4), any::<u64>()), 0..60),
    ) {
        let (mut t, mut buckets) = (start, vec![0_i64; 4]);
        let samples: Vec<_> = steps.iter().map(|(step, grown, sum)| {
            t = t.saturating_add(*step);
            buckets.iter_mut().zip(grown).for_each(|(bucket, n)| *bucket += i64::from(*n));
            let h = Histogram {
                schema: -1,
                zero_count: buckets[3].cast_unsigned(),
                count: buckets.iter().sum::<i64>().cast_unsigned(),
                sum: if f64::from_bits(*sum).is_nan() { f64::NAN } else { f64::from_bits(*sum) },
                positive_spans: vec![span(-2, 1), span(3, 2)],
                positive_deltas: to_deltas(&buckets[..3]),
                ..Histogram::default()
            };
            (t, h)
        }).collect();
        check_round_trip(&samples);
        let data = encode(&samples);
        let middle = samples.get(samples.len() / 2).map_or(0, |(t, _)| *t);
        check_interval(HISTOGRAM, &data, TimeInterval::new(middle, middle.saturating_add(300_000)));
        check_interval(HISTOGRAM, &data, TimeInterval::new(i64::MIN, middle));
    }
}
