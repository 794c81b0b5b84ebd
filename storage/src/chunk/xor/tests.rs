#![expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]

use proptest::prelude::*;

use super::super::tests::{check_damage, check_interval, decoded, value_bits};
use super::*;
use crate::model::{SampleBuffer, TimeInterval, stale_nan};

const XOR: u8 = 1;

fn encode(samples: &[(Timestamp, f64)]) -> Vec<u8> {
    let mut encoder = XorEncoder::new();
    samples.iter().for_each(|(t, v)| encoder.push(*t, *v));
    encoder.finish()
}

fn check_round_trip(samples: &[(Timestamp, f64)]) {
    let bits: Vec<_> = samples.iter().map(|(t, v)| (*t, v.to_bits())).collect();
    assert_eq!(value_bits(&decoded(XOR, &encode(samples)).unwrap()), bits);
}

#[test]
fn bytes_are_prometheus_s() {
    // Count 3; t = 1 as varint 2; 1.0; step 15000 as uvarint; 10-prefixed XOR; then one 14-bit change and no XOR.
    let mut expected = vec![0, 3, 2];
    expected.extend(1.0_f64.to_be_bytes());
    expected.extend([0x98, 0x75]);
    // 1.0 ^ 1.5 = bit 51: 11, leading 12, width 1, the bit; then 10, change +1 in 14 bits, 0.
    // 11 01100 000001 1 | 10 00000000000001 | 0
    expected.extend([0b1101_1000, 0b0000_1110, 0b0000_0000, 0b0000_0100]);
    assert_eq!(encode(&[(1, 1.0), (15_001, 1.5), (30_002, 1.5)]), expected);
}

#[test]
fn special_values_and_times_survive() {
    check_round_trip(&[]);
    check_round_trip(&[(-5, stale_nan())]);
    check_round_trip(&[(i64::MIN, 0.0), (i64::MAX, -0.0)]);
    check_round_trip(&[(i64::MIN, 0.0), (i64::MIN, 1.0), (0, f64::NAN), (1, f64::INFINITY), (i64::MAX, 5e-324)]);
    let nan = f64::from_bits(0xfff8_dead_beef_0001);
    check_round_trip(&[(0, nan), (0, nan), (0, f64::NEG_INFINITY), (0, f64::MIN_POSITIVE), (9, stale_nan())]);
    let constant: Vec<_> = (0..1000).map(|i| (i * 15_000, 42.0)).collect();
    check_round_trip(&constant);
}

#[test]
fn every_width_of_time_change_survives() {
    for edge in [1_i64 << 13, 1 << 16, 1 << 19, 1 << 40] {
        for change in [edge - 1, edge, edge + 1, 1 - edge, -edge, -edge - 1] {
            let step = 1 << 41;
            check_round_trip(&[(0, 1.0), (step, 1.0), (2 * step + change, 2.0), (3 * step + change, 2.0)]);
        }
    }
}

#[test]
fn a_count_that_lies_is_refused_without_allocating_for_it() {
    let mut data = encode(&[(1, 1.0), (2, 2.0)]);
    data[0] = 0xff;
    let mut out = SampleBuffer::new();
    assert!(decode(&data, TimeInterval::ALL, &mut out).is_err());
    assert_eq!(out.timestamps.capacity(), 0);
    assert!(decode(&[0], TimeInterval::ALL, &mut out).is_err());
    assert!(decode(&[], TimeInterval::ALL, &mut out).is_err());
}

#[test]
fn damage_adds_no_samples() {
    let data = encode(&(0..50).map(|i| (i * 15_000, i as f64)).collect::<Vec<_>>());
    let mut out = SampleBuffer::new();
    out.push_float(7, 7.0);
    for len in 0..data.len() {
        assert!(decode(&data[..len], TimeInterval::ALL, &mut out).is_err());
        assert_eq!((&out.timestamps[..], &out.floats[..]), (&[7][..], &[7.0][..]));
    }
}

#[test]
fn time_that_falls_is_refused() {
    assert!(decoded(XOR, &encode(&[(10, 1.0), (9, 1.0)])).is_err());
    assert!(decoded(XOR, &encode(&[(10, 1.0), (20, 1.0), (19, 1.0)])).is_err());
    assert!(decoded(XOR, &encode(&[(10, 1.0), (20, 1.0), (20, 2.0)])).is_ok());
}

#[test]
fn a_window_of_more_than_64_bits_is_refused() {
    let mut writer = BitWriter::after(&[0, 2]);
    writer.write_varint(0);
    writer.write_f64(0.0);
    writer.write_uvarint(1);
    // Leading 31, width 63.
    writer.write_bits(0b11_11111_111111, 13);
    writer.write_bits(u64::MAX, 63);
    assert_eq!(decoded(XOR, &writer.into_bytes()).unwrap_err(), ChunkError::impossible_window());
}

#[test]
fn damage_is_found_or_harmless() {
    let samples: Vec<_> = (0..20).map(|i| (1_700_000_000_000 + i * 15_000 + i % 3, (i * i) as f64)).collect();
    check_damage(XOR, &encode(&samples));
    let far: Vec<_> = (0..5).map(|i| (i64::MAX / 5 * i, 1.0 / i as f64)).collect();
    check_damage(XOR, &encode(&far));
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0_u32..100).prop_map(f64::from),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(stale_nan()),
        1 => -1e3..1e3,
    ]
}

/// Sorted, with steps of a scrape interval, with jitter, and wild ones.
fn series() -> impl Strategy<Value = Vec<(Timestamp, f64)>> {
    let steps = prop_oneof![4 => Just(15_000_i64), 2 => 14_990_i64..15_010, 1 => 0..i64::MAX, 1 => 0..2_000_000_i64];
    (any::<i64>(), prop::collection::vec((steps, values()), 0..300)).prop_map(|(start, samples)| {
        let mut t = start;
        let next = |(step, value): (i64, f64)| {
            t = t.saturating_add(step);
            (t, value)
        };
        samples.into_iter().map(next).collect()
    })
}

proptest! {
    #[test]
    fn samples_round_trip(samples in series()) {
        check_round_trip(&samples);
    }

    #[test]
    fn intervals_filter(samples in series(), a in 0_usize..300, b in 0_usize..300, off in -1_i64..2) {
        let at = |i: usize| samples.get(i).map_or(i64::MAX, |(t, _)| t.saturating_add(off));
        check_interval(XOR, &encode(&samples), TimeInterval::new(at(a), at(b)));
    }
}
