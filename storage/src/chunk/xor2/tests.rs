#![expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]

use proptest::prelude::*;

use super::super::bits::BitWriter;
use super::super::tests::{check_damage, check_interval, decoded, value_bits};
use super::*;

const XOR2: u8 = 4;

/// A writer of the code for tests: (time, value, start timestamp difference), always with new windows unless `reuse`.
fn encode(samples: &[(Timestamp, f64, i64)], start_timestamps: u8, reuse: bool) -> Vec<u8> {
    let count = u16::try_from(samples.len()).unwrap().to_be_bytes();
    let mut w = BitWriter::after(&[count[0], count[1], start_timestamps]);
    let (mut t, mut step, mut baseline, mut window) = (0_i64, 0_u64, 0.0_f64, None);
    for (i, (now, value, start)) in samples.iter().enumerate() {
        let new_step = now.wrapping_sub(t).cast_unsigned();
        let xor = value.to_bits() ^ baseline.to_bits();
        let change = new_step.wrapping_sub(step).cast_signed();
        let stale = is_stale_nan(*value);
        match i {
            0 => {
                w.write_varint(*now);
                w.write_f64(*value);
            }
            1 => w.write_uvarint(new_step),
            _ if change == 0 && stale => w.write_bits(0b11111, 5),
            _ if change == 0 && xor == 0 => w.write_bit(false),
            _ if change == 0 => w.write_bits(0b10, 2),
            _ if (-4096..4096).contains(&change) => {
                w.write_bits(0b110, 3);
                w.write_bits(change.cast_unsigned(), 13);
            }
            _ if (-524_288..524_288).contains(&change) => {
                w.write_bits(0b1110, 4);
                w.write_bits(change.cast_unsigned(), 20);
            }
            _ => {
                w.write_bits(0b11110, 5);
                w.write_bits(change.cast_unsigned(), 64);
            }
        }
        let joint = i > 1 && change == 0;
        if i > 0 && !(joint && (stale || xor == 0)) {
            write_value(&mut w, xor, stale, joint, window.filter(|_| reuse), &mut window);
        }
        if i == 0 && start_timestamps & 0x80 != 0 {
            w.write_varint(*start);
        } else if i > 0 && start_timestamps & 0x7f != 0 && i >= usize::from(start_timestamps & 0x7f) {
            w.write_varbit_int(*start);
        }
        (t, step) = (*now, if i == 0 { 0 } else { new_step });
        if !stale {
            baseline = *value;
        }
    }
    w.into_bytes()
}

fn write_value(
    w: &mut BitWriter,
    xor: u64,
    stale: bool,
    joint: bool,
    old: Option<(u32, u32)>,
    new: &mut Option<(u32, u32)>,
) {
    if !joint && stale {
        return w.write_bits(0b111, 3);
    }
    if !joint && xor == 0 {
        return w.write_bit(false);
    }
    let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
    if !joint {
        w.write_bit(true);
    }
    if let Some((l, t)) = old.filter(|(l, t)| leading >= *l && trailing >= *t) {
        w.write_bit(false);
        return w.write_bits(xor >> t, 64 - l - t);
    }
    w.write_bits(if joint { 0b1 } else { 0b10 }, if joint { 1 } else { 2 });
    w.write_bits(u64::from(leading), 5);
    w.write_bits(u64::from(64 - leading - trailing), 6);
    w.write_bits(xor >> trailing, 64 - leading - trailing);
    *new = Some((leading, trailing));
}

fn check(samples: &[(Timestamp, f64, i64)], start_timestamps: u8, reuse: bool) {
    let expected: Vec<_> = samples.iter().map(|(t, v, _)| (*t, v.to_bits())).collect();
    let data = encode(samples, start_timestamps, reuse);
    assert_eq!(value_bits(&decoded(XOR2, &data).unwrap()), expected);
}

#[test]
fn bytes_are_prometheus_s() {
    let mut data = vec![0, 6, 0, 2];
    data.extend(1.0_f64.to_be_bytes());
    // Step 15 and as before; then as before; 10 1 with bit 51; stale; 13 bits of −1 and stale.
    data.extend([15, 0b0_0_10_1_011, 0b00_000001, 0b1_11111_11, 0b0_1111111, 0b111111_11, 0b1_0000000]);
    let samples = decoded(XOR2, &data).unwrap();
    assert_eq!(samples.timestamps, [1, 16, 31, 46, 61, 75]);
    assert_eq!(samples.floats[..4], [1.0, 1.0, 1.0, 1.5]);
    assert!(samples.floats[4..].iter().all(|v| is_stale_nan(*v)));
}

#[test]
fn a_value_after_staleness_is_against_the_value_before_it() {
    for first in [1.0, stale_nan()] {
        let samples = [(0, first, 0), (10, stale_nan(), 0), (20, stale_nan(), 0), (30, 1.0, 0), (39, stale_nan(), 0)];
        check(&samples, 0, false);
        check(&[&samples[..], &[(48, 1.0, 0), (57, 3.0, 0)]].concat(), 0, true);
    }
}

#[test]
fn start_timestamps_are_prometheus_s() {
    // the first lies 500 ms before its sample; from the third sample on the lag behind the sample before is 100, then 40 less
    let samples = [(1000, 1.0, 500), (2000, 1.0, 0), (3000, 1.0, 100), (4000, 1.0, -40)];
    let decoded = decoded(XOR2, &encode(&samples, 0x82, true)).unwrap();
    assert_eq!(decoded.start_times, [500, 500, 1900, 2940]);
    let mut encoder = Xor2Encoder::new();
    for (sample, start) in samples.iter().zip(&decoded.start_times) {
        encoder.push(sample.0, sample.1, *start);
    }
    assert_eq!(encoder.finish(), encode(&samples, 0x82, true));
}

#[test]
fn start_timestamps_that_change_late() {
    // the header can name no sample after the 127th, so from there on each has one
    for change in [1, 2, 126, 127, 128, 150, 200] {
        let mut samples = SampleBuffer::new();
        for i in 0..200 {
            samples.push_float(i * 10, 0.0);
            samples.set_start_time(if i < change { 0 } else { i });
        }
        let mut encoder = Xor2Encoder::new();
        (0..200).for_each(|i| encoder.push(samples.timestamps[i], 0.0, samples.start_time(i)));
        let data = encoder.finish();
        assert_eq!(i64::from(data[2]), change.min(127));
        assert_eq!(decoded(XOR2, &data).unwrap(), samples);
    }
}

#[test]
fn samples_decode_wherever_start_timestamps_lie() {
    let samples: Vec<_> = (0..200).map(|i| (i * 15_000, i as f64, 77 * i)).collect();
    for header in [0, 0x80, 1, 0x81, 2, 0x85, 0x7f, 0xff] {
        check(&samples, header, true);
        check(&samples[..1], header, true);
    }
}

#[test]
fn damage_is_found_or_harmless() {
    let samples: Vec<_> = (0..20).map(|i| (i * 15_000 + i % 3, (i * i) as f64, i)).collect();
    check_damage(XOR2, &encode(&samples, 0x83, true));
}

proptest! {
    #[test]
    fn samples_decode(
        start in any::<i64>(),
        samples in prop::collection::vec(
            (
                prop_oneof![3 => Just(15_000_i64), 1 => 10_000_i64..20_000, 1 => 0..1_000_000_i64, 1 => 0..i64::MAX],
                prop_oneof![3 => (0_u32..9).prop_map(f64::from), 1 => any::<u64>().prop_map(f64::from_bits), 1 => Just(stale_nan())],
                any::<i64>(),
            ),
            0..200,
        ),
        header in any::<u8>(),
        reuse in any::<bool>(),
    ) {
        let mut t = start;
        let samples: Vec<_> = samples.into_iter().map(|(step, value, start)| {
            t = t.saturating_add(step);
            (t, value, start)
        }).collect();
        check(&samples, header, reuse);
        let mut encoder = Xor2Encoder::new();
        samples.iter().for_each(|(t, value, start)| encoder.push(*t, *value, *start));
        let again = decoded(XOR2, &encoder.finish()).unwrap();
        let expected: Vec<_> = samples.iter().map(|(t, value, start)| (*t, value.to_bits(), *start)).collect();
        let found: Vec<_> = value_bits(&again).into_iter().enumerate()
            .map(|(i, (t, bits))| (t, bits, again.start_time(i))).collect();
        prop_assert_eq!(found, expected);
        let middle = samples.get(samples.len() / 2).map_or(0, |(t, ..)| *t);
        check_interval(XOR2, &encode(&samples, header, reuse), TimeInterval::new(middle, middle.saturating_add(99_999)));
    }
}
