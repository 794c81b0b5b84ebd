//! Dates: days are counted from the epoch one year after another.

use promql::Function;
use promql::ast::Call;

use super::{Computed, Naive, Naively, Row, Value, map_rows};

impl Naive<'_> {
    /// A part of the date that a sample, or the step, is as seconds since the epoch.
    pub(super) fn date(&self, call: &Call, steps: &[i64]) -> Naively<Computed> {
        let Some(arg) = call.args.first() else {
            let row = |t: &i64| {
                let value = Value::Float(part(call.function, t.div_euclid(1000)));
                vec![Row::new(super::LabelSet::new(), value)]
            };
            return Ok(Computed::Vector(steps.iter().map(row).collect()));
        };
        let vectors = self.vectors(arg, steps)?;
        self.unique(map_rows(vectors, |row| match row.value {
            Value::Float(value) => {
                let value = Value::Float(part(call.function, whole_seconds(value)));
                Some(self.nameless(row.labels, value))
            }
            Value::Histogram(_) => None,
        }))
    }
}

/// Go's conversion on amd64: what does not fit is the least number.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn whole_seconds(value: f64) -> i64 {
    if value.abs() < 9.2e18 { value as i64 } else { i64::MIN }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[expect(clippy::cast_precision_loss, reason = "years are less than 2^53")]
fn part(function: Function, unix: i64) -> f64 {
    let day_number = unix.div_euclid(86_400);
    let second = unix.rem_euclid(86_400);
    // the calendar repeats every 400 years
    let cycles = day_number.div_euclid(146_097);
    let (mut year, mut day) = (1970 + cycles * 400, day_number.rem_euclid(146_097));
    while day >= days_of_year(year) {
        day -= days_of_year(year);
        year += 1;
    }
    let day_of_year = day + 1;
    let mut month = 1;
    while day >= days_of_month(year, month) {
        day -= days_of_month(year, month);
        month += 1;
    }
    let value = match function {
        Function::Year => year,
        Function::Month => month,
        Function::DayOfMonth => day + 1,
        Function::DayOfYear => day_of_year,
        // the epoch was a Thursday
        Function::DayOfWeek => (day_number + 4).rem_euclid(7),
        Function::DaysInMonth => days_of_month(year, month),
        Function::Hour => second / 3600,
        _ => second / 60 % 60,
    };
    value as f64
}

#[test]
fn dates_are_right() {
    // 2024-02-29T23:59:59Z, a Thursday
    let parts = [Function::Year, Function::Month, Function::DayOfMonth, Function::DayOfYear, Function::DayOfWeek];
    assert_eq!(parts.map(|function| part(function, 1_709_251_199)), [2024.0, 2.0, 29.0, 60.0, 4.0]);
    assert_eq!(
        [Function::DaysInMonth, Function::Hour, Function::Minute].map(|f| part(f, 1_709_251_199)),
        [29.0, 23.0, 59.0]
    );
    assert_eq!(part(Function::Year, -1), 1969.0);
}
