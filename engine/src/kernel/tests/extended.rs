//! `anchored` and `smoothed` against their definitions, written one window at a time.

use super::*;

const LOOKBACK: i64 = 300_000;

/// The value of one window, by the text of the proposal: what the borders' values differ by, plus what resets between them lost.
fn expected(function: Function, smoothed: bool, t: &[i64], v: &[f64], start: i64, end: i64) -> Option<f64> {
    let lo = t.partition_point(|t| *t <= start - LOOKBACK);
    let hi = t.partition_point(|t| *t <= if smoothed { end + LOOKBACK } else { end });
    let (t, v) = (&t[lo..hi], &v[lo..hi]);
    let counter = !matches!(function, Function::Delta);
    let after_start = t.iter().position(|t| *t > start)?;
    let first = after_start.saturating_sub(1);
    let at = |t0: i64| {
        let next = t.iter().position(|t| *t >= t0)?;
        if t[next] == t0 {
            return Some(v[next]);
        }
        let before = next.checked_sub(1)?;
        let from = if counter && v[next] < v[before] { 0.0 } else { v[before] };
        Some(from + (v[next] - from) * (t0 - t[before]) as f64 / (t[next] - t[before]) as f64)
    };
    match function {
        Function::Changes | Function::Resets => {
            let held = &v[first..];
            let pairs =
                held.windows(2).filter(|p| if function == Function::Resets { p[1] < p[0] } else { p[0] != p[1] });
            return Some(pairs.count() as f64);
        }
        _ if smoothed && t[first] > end => return None,
        _ => {}
    }
    let [left, right] = if smoothed {
        [at(start).unwrap_or(v[first]), at(end).unwrap_or(v[v.len() - 1])]
    } else {
        [v[first], v[v.len() - 1]]
    };
    let inside = t.iter().zip(v).filter(|(t, _)| **t > start && **t < end).map(|(_, v)| *v);
    let mut lost = 0.0;
    let mut before = left;
    for value in inside.chain([right]) {
        if value < before {
            lost += before;
        }
        before = value;
    }
    let growth = right - left + if counter { lost } else { 0.0 };
    Some(if function == Function::Rate { growth / counter::duration_seconds(end - start) } else { growth })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn extended_windows_agree_with_their_definition(
        steps in prop::collection::vec((1_i64..120_000, 0_i32..20), 0..60),
        (start, count, step_ms) in (-100_000_i64..100_000, 1_i64..20, 1_i64..200_000),
        (range_ms, offset_ms) in (1_i64..200_000, -50_000_i64..50_000),
    ) {
        let mut now = -400_000;
        let (t, v): (Vec<i64>, Vec<f64>) = steps.into_iter().map(|(step, value)| {
            now += step;
            (now, f64::from(value))
        }).unzip();
        for (border, functions) in [
            (Border::Anchored, &[Function::Rate, Function::Increase, Function::Delta, Function::Changes, Function::Resets][..]),
            (Border::Smoothed, &[Function::Rate, Function::Increase, Function::Delta]),
        ] {
            let windows = Windows {
                grid: Grid { start, end: start + (count - 1) * step_ms, step_ms },
                offset_ms,
                at: None,
                range_ms,
                margin: Margin::of_range(border, LOOKBACK),
            };
            for &function in functions {
                let got = run_over(function, border, &t, &v, windows, &[]);
                for (step, got) in got.into_iter().enumerate() {
                    let (start, end) = (windows.start(step), windows.end(step));
                    let want = expected(function, border == Border::Smoothed, &t, &v, start, end);
                    prop_assert_eq!(got, want, "{:?} {:?} of ({}, {}]: {:?} {:?}", function, border, start, end, &t, &v);
                }
            }
        }
    }
}

#[test]
fn which_functions_take_which_selector() {
    let names = |border| functions_over(border).into_iter().map(Function::name).collect::<Vec<_>>();
    assert_eq!(names(Border::Anchored), ["changes", "delta", "increase", "rate", "resets"]);
    assert_eq!(names(Border::Smoothed), ["delta", "increase", "rate"]);
}
