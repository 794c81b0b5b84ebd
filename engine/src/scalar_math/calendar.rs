//! Dates of the proleptic Gregorian calendar in UTC, from Unix seconds.
//!
//! The conversion is Howard Hinnant's days-to-civil: years that begin in March, eras of 400 of them.

/// A moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// Days since the epoch.
    days: i64,
    /// Seconds since midnight.
    seconds: i64,
}

const DAY_SECONDS: i64 = 86_400;

impl Moment {
    /// The moment `v` seconds after the epoch, fractions cut off. What no `i64` holds, NaN among it, is the least one,
    /// as Go converts on amd64.
    #[expect(clippy::cast_possible_truncation, reason = "checked against the range of i64")]
    pub fn from_unix(v: f64) -> Self {
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        let unix = if v > -LIMIT && v < LIMIT { v as i64 } else { i64::MIN };
        let days = unix.div_euclid(DAY_SECONDS);
        // days since 0000-03-01
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            days,
            seconds: unix.rem_euclid(DAY_SECONDS),
        }
    }

    pub fn minute(&self) -> i64 {
        self.seconds / 60 % 60
    }

    pub fn hour(&self) -> i64 {
        self.seconds / 3600
    }

    /// 0 is Sunday.
    pub fn day_of_week(&self) -> i64 {
        // the epoch was a Thursday
        (self.days + 4).rem_euclid(7)
    }

    /// From 1.
    pub fn day_of_year(&self) -> i64 {
        (1..self.month).map(|month| days_in_month(self.year, month)).sum::<i64>() + self.day
    }

    pub fn days_in_month(&self) -> i64 {
        days_in_month(self.year, self.month)
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unix: f64, date: (i64, i64, i64), day_of_week: i64, day_of_year: i64, days_in_month: i64) {
        let moment = Moment::from_unix(unix);
        assert_eq!((moment.year, moment.month, moment.day), date, "{unix}");
        assert_eq!(moment.day_of_week(), day_of_week, "{unix}");
        assert_eq!(moment.day_of_year(), day_of_year, "{unix}");
        assert_eq!(moment.days_in_month(), days_in_month, "{unix}");
    }

    #[test]
    fn dates_of_unix_seconds() {
        check(0.0, (1970, 1, 1), 4, 1, 31);
        check(-0.9, (1970, 1, 1), 4, 1, 31);
        check(-1.0, (1969, 12, 31), 3, 365, 31);
        check(951_782_400.0, (2000, 2, 29), 2, 60, 29);
        check(1_136_239_445.0, (2006, 1, 2), 1, 2, 31);
        check(1_735_603_200.0, (2024, 12, 31), 2, 366, 31);
        check(-62_135_596_800.0, (1, 1, 1), 1, 1, 31);
        assert_eq!((Moment::from_unix(1_136_239_445.0).hour(), Moment::from_unix(1_136_239_445.0).minute()), (22, 4));
        assert_eq!(Moment::from_unix(f64::NAN), Moment::from_unix(f64::NEG_INFINITY));
    }
}
