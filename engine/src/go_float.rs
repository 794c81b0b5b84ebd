//! Numbers in texts, as Go's `%g` writes them.

/// The shortest digits that read back as `value`, with an exponent where it is below -4 or above 5.
pub(crate) fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    } else {
        format!("{value}")
    }
}

/// As Go's `strconv.FormatFloat(value, 'f', -1, 64)`: never an exponent.
pub(crate) fn go_decimal(value: f64) -> String {
    if value.is_infinite() { go_float(value) } else { format!("{value}") }
}

/// As Go's `%.2g`: two significant digits.
pub(crate) fn go_float_2(value: f64) -> String {
    format!("{value:.1e}").parse().map_or_else(
        |_| go_float(value),
        |rounded: f64| {
            let exponent = rounded.abs().log10().floor();
            if rounded == 0.0 || (-4.0..2.0).contains(&exponent) {
                return format!("{rounded}");
            }
            let scientific = format!("{rounded:e}");
            let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
            let sign = if exponent.starts_with('-') { '-' } else { '+' };
            format!("{digits}e{sign}{:0>2}", exponent.trim_start_matches('-'))
        },
    )
}

/// A number as the value of a label, as OpenMetrics has it: with a point or an exponent.
pub(crate) fn go_label_float(value: f64) -> String {
    let text = go_float(value);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_go() {
        for (value, text) in
            [(0.5, "0.5"), (-1.0, "-1"), (1e19, "1e+19"), (1e-5, "1e-05"), (0.0001, "0.0001"), (1e6, "1e+06")]
        {
            assert_eq!(go_float(value), text);
        }
        assert_eq!(go_float(1_234_567.0), "1.234567e+06");
        assert_eq!(go_decimal(1e21), "1000000000000000000000");
    }
}
