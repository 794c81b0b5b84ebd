use super::*;

#[test]
fn numbers_as_go() {
    for (value, expected) in
        [(0.0, "0"), (1e20, "100000000000000000000"), (1e21, "1e+21"), (2.5e-7, "2.5e-07"), (0.0001, "0.0001")]
    {
        assert_eq!(general_number(value), expected);
    }
    assert_eq!(plain_number(1e21), "1000000000000000000000");
    assert_eq!(plain_number(-0.0), "-0");
    assert_eq!(plain_number(f64::NEG_INFINITY), "-Inf");
}

#[test]
fn durations_as_prometheus() {
    for (millis, expected) in [
        (0, "0s"),
        (90 * 86_400_000, "90d"),
        (7 * 86_400_000, "1w"),
        (365 * 86_400_000, "1y"),
        (3_661_001, "1h1m1s1ms"),
    ] {
        let mut out = String::new();
        write_nanos(&mut out, millis * 1_000_000);
        assert_eq!(out, expected);
    }
}
