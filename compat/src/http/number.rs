//! Numbers and times as Prometheus writes them into JSON.
//!
//! A float is written with the fewest digits that read back as the same bits: plainly where its magnitude lies in
//! `[1e-6, 1e21)` or is 0, otherwise as `1.5e+21` with at least two digits of exponent. Not-a-number and the infinities are
//! `NaN`, `+Inf` and `-Inf`. The digits come from the Ryu algorithm; this module only lays them out as Go does. Two kinds of
//! floats that most series are made of need no Ryu, and are written three times as fast: integers, and what has up to three
//! decimals.

use storage::model::Timestamp;

/// Largest magnitude below which every integral float is written from an integer.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Below this, an integer of thousandths has no more than 15 digits.
const EXACT_THOUSANDTHS_MAX: f64 = 1e15;

/// Appends `value` without quotes.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    if value.abs() < EXACT_INTEGER_MAX && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
        push_integer(out, value as i64);
        return;
    }
    // The division rounds n / 1000 to the nearest float: where that is `value`, the decimal reads back as it. No two decimals
    // of up to 15 digits read back as the same float, so none with fewer digits does.
    let thousandths = (value * 1000.0).round();
    if thousandths.abs() < EXACT_THOUSANDTHS_MAX && thousandths / 1000.0 == value && thousandths != 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "integral and below 10^15")]
        push_thousandths(out, thousandths as i64);
        return;
    }
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    match text.as_bytes().iter().position(|&b| b == b'e') {
        None => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
        Some(e) => push_scientific(out, value, &text[..e], text[e + 1..].parse().unwrap_or(0)),
    }
}

/// Lays out what Ryu wrote as `mantissa`e`exponent` the way Go would.
fn push_scientific(out: &mut Vec<u8>, value: f64, mantissa: &str, exponent: i32) {
    let magnitude = value.abs();
    if !(1e-6..1e21).contains(&magnitude) {
        out.extend_from_slice(mantissa.as_bytes());
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        push_integer(out, i64::from(exponent.abs()));
        return;
    }
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    if unsigned.len() < mantissa.len() {
        out.push(b'-');
    }
    let digits = unsigned.bytes().filter(|&b| b != b'.');
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', usize::try_from(-exponent - 1).unwrap_or(0)));
        out.extend(digits);
        return;
    }
    // Ryu writes an exponent from 1e16 on, and there are at most 17 digits: none of them follows the point
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    let start = out.len();
    out.extend(digits);
    let written = out.len() - start;
    out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(written)));
}

/// Appends a float in quotes.
pub fn push_quoted_float(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    push_float(out, value);
    out.push(b'"');
}

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a time in seconds, with three decimals unless all are 0: `1435781451.780`, `1435781451`.
pub fn push_timestamp(out: &mut Vec<u8>, t: Timestamp) {
    if let Some(fraction) = push_whole(out, t) {
        out.push(b'.');
        out.extend_from_slice(&fraction);
    }
}

/// Appends `n` / 1000 without zeros at the end: `0.25`, `-7`.
fn push_thousandths(out: &mut Vec<u8>, n: i64) {
    if let Some(fraction) = push_whole(out, n) {
        let digits = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        out.push(b'.');
        out.extend_from_slice(&fraction[..digits]);
    }
}

/// Appends the sign and what is before the point of `n` / 1000. Returns the three digits after it, unless all are 0.
fn push_whole(out: &mut Vec<u8>, n: i64) -> Option<[u8; 3]> {
    let magnitude = n.unsigned_abs();
    if n < 0 {
        out.push(b'-');
    }
    push_integer(out, i64::try_from(magnitude / 1000).unwrap_or(i64::MAX));
    let fraction = u16::try_from(magnitude % 1000).unwrap_or(0);
    let digit = |n: u16| b'0' + u8::try_from(n % 10).unwrap_or(0);
    (fraction != 0).then(|| [digit(fraction / 100), digit(fraction / 10), digit(fraction)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn float(value: f64) -> String {
        text(|out| push_float(out, value))
    }

    #[test]
    fn floats_are_laid_out_as_go_does() {
        let table: &[(f64, &str)] = &[
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (0.1, "0.1"),
            (1.5, "1.5"),
            (-23.768_421_052_631_577, "-23.768421052631577"),
            (1e-6, "0.000001"),
            (1.25e-6, "0.00000125"),
            (-3.5e-5, "-0.000035"),
            (9.999e-7, "9.999e-07"),
            (1e-7, "1e-07"),
            (1.5e-10, "1.5e-10"),
            (1e-100, "1e-100"),
            (5e-324, "5e-324"),
            (2.225_073_858_507_201_4e-308, "2.2250738585072014e-308"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (9_007_199_254_740_994.0, "9007199254740994"),
            (1_234_567_890_123_456_789.0, "1234567890123456800"),
            (1e16, "10000000000000000"),
            (1e17, "100000000000000000"),
            (-1.2e20, "-120000000000000000000"),
            (999_999_999_999_999_900_000.0, "999999999999999900000"),
            (1e21, "1e+21"),
            (1.5e21, "1.5e+21"),
            (-1e22, "-1e+22"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in table {
            assert_eq!(float(*value), *expected, "{value:e}");
        }
    }

    #[test]
    fn every_float_reads_back_bit_for_bit() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(state ^ (state >> 29));
            if value.is_finite() {
                let written = float(value);
                assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{written}");
            }
            let near_one = (value.to_bits() % 2_000_003) as f64 / 997.0 - 1000.0;
            assert_eq!(float(near_one).parse::<f64>().unwrap().to_bits(), near_one.to_bits());
        }
    }

    #[test]
    fn floats_with_few_decimals_are_as_short_as_can_be() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for i in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // of all lengths, and the neighbours of each
            let thousandths = (state >> (24 + i % 40)) as f64;
            let value = thousandths / [1000.0, -1000.0, 100.0, 10_000.0][i % 4];
            for value in [value, value.next_up(), value.next_down()] {
                if (1e-6..1e21).contains(&value.abs()) {
                    assert_eq!(float(value), value.to_string());
                }
            }
        }
    }

    #[test]
    fn times_have_up_to_three_decimals() {
        let time = |t| text(|out| push_timestamp(out, t));
        for (t, expected) in [
            (0, "0"),
            (1, "0.001"),
            (12, "0.012"),
            (1_435_781_451_781, "1435781451.781"),
            (1_435_781_451_780, "1435781451.780"),
            (1_435_781_451_000, "1435781451"),
            (-1, "-0.001"),
            (-1_500, "-1.500"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(time(t), expected);
        }
    }
}
