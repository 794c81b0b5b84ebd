//! How busy a series is: a clock that runs fast in busy times.
//!
//! What a counter has counted is its rate times the time that passed on its clock, rounded down. So its value at any
//! moment can be told without those before, two replicas that look at one counter a moment apart see one
//! counter, and it never falls, however much it wavers. The clock's speed is 1 on average and made of three parts:
//!
//! ```text
//! day      ±0.5   a parabola by day, its mirror image by night
//! minutes  ±0.2   straight lines between random heights, 15 minutes apart
//! seconds  ±0.2   the same, 45 seconds apart
//! ```
//!
//! All of it is addition, multiplication and division, which IEEE 754 fixes to the bit: no machine gives other bytes.

use super::seed::Seed;
use crate::model::Timestamp;

const DAY_MS: i64 = 86_400_000;
/// Distances between random heights.
const SCALES_MS: [i64; 2] = [900_000, 45_000];
/// Most that the clock's reading is off for each scale, as a part of the scale; between two heights the speed changes by
/// up to twice as much.
const SWAY: f64 = 0.1;
/// Most that the day changes the speed.
const DAY_MAX: f64 = 0.5;

/// The clock of one series.
#[derive(Debug, Clone, Copy)]
pub(super) struct BusyClock {
    seed: Seed,
    /// How strong day and night are, up to [`DAY_MAX`].
    day: f64,
    /// When the day begins.
    dawn_ms: i64,
}

impl BusyClock {
    /// The clock of the series `seed`; series with the same `place` have the same day.
    pub fn new(seed: Seed, place: Seed) -> Self {
        let day = DAY_MAX * (0.4 + 0.6 * seed.named("day").fraction());
        // 6 to 9 in the morning
        let dawn_ms = 6 * 3_600_000 + place.named("dawn").below_ms(3 * 3_600_000);
        Self { seed, day, dawn_ms }
    }

    /// What the clock shows at `t`, in milliseconds. Grows with `t`.
    #[expect(clippy::cast_precision_loss, reason = "times of this age have 42 bits")]
    pub fn at(&self, t: Timestamp) -> f64 {
        let mut shown = t as f64 + self.day * daylight(t - self.dawn_ms);
        for scale in SCALES_MS {
            shown += SWAY * scale as f64 * wander(self.seed, t, scale);
        }
        shown
    }

    /// Milliseconds that pass on the clock between two times.
    pub fn passed(&self, from: Timestamp, to: Timestamp) -> f64 {
        (self.at(to) - self.at(from)).max(0.0)
    }
}

/// The integral of day and night since dawn, in milliseconds: a day's speed is `4y(1 - y)` over its first half, with `y` from
/// 0 to 1, and the negative of it over the second.
#[expect(clippy::cast_precision_loss, reason = "less than a day")]
fn daylight(since_dawn: i64) -> f64 {
    let half = DAY_MS / 2;
    let ms = since_dawn.rem_euclid(DAY_MS);
    let y = (ms % half) as f64 / half as f64;
    let grown = y * y * (2.0 - y * (4.0 / 3.0));
    half as f64 * if ms < half { grown } else { 2.0 / 3.0 - grown }
}

/// Straight lines between random heights in [-1, 1), `scale_ms` apart.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "less than the scale")]
pub(super) fn wander(seed: Seed, t: Timestamp, scale_ms: i64) -> f64 {
    let (knot, past) = (t.div_euclid(scale_ms), t.rem_euclid(scale_ms));
    let height = |knot: i64| seed.child(knot.cast_unsigned() ^ (scale_ms.cast_unsigned() << 40)).signed_fraction();
    let (before, after) = (height(knot), height(knot + 1));
    before + (after - before) * (past as f64 / scale_ms as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_only_run_forward_and_keep_time() {
        for i in 0..20 {
            let clock = BusyClock::new(Seed::new(i), Seed::new(1));
            let times = (0..200_000).map(|k| 1_700_000_000_000 + k * 997);
            let shown: Vec<f64> = times.map(|t| clock.at(t)).collect();
            assert!(shown.windows(2).all(|pair| pair[0] < pair[1]));
            let day = clock.passed(1_700_000_000_000, 1_700_000_000_000 + 10 * DAY_MS);
            assert!((day / 864_000_000.0 - 1.0).abs() < 0.001, "{day}");
        }
    }

    #[test]
    fn days_are_busier_than_nights() {
        let clock = BusyClock::new(Seed::new(7), Seed::new(1));
        let noon = clock.dawn_ms + DAY_MS / 4;
        let hour = |t| clock.passed(t - 1_800_000, t + 1_800_000);
        assert!(hour(noon) > 1.3 * hour(noon + DAY_MS / 2));
    }
}
