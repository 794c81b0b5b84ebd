//! When a target is scraped.
//!
//! Each replica visits each target at an offset of its own into the interval. Most scrapes are on time to the
//! millisecond, since Prometheus straightens those that are nearly so; some are late, up to the jitter. Of several
//! replicas each loses some scrapes, and is away for some minutes in every fourth block or so.

use super::seed::Seed;
use super::targets::Target;
use super::workload::Workload;
use crate::model::{TimeRange, Timestamp};

/// Lateness up to this is straightened, in milliseconds; Prometheus's default.
const TOLERANCE_MS: i64 = 2;
/// Of this many scrapes a replica loses one.
const LOST_ONE_IN: u64 = 256;
/// In one of this many blocks a replica is away.
const AWAY_ONE_IN: u64 = 4;
/// How long it is away, at least and at most.
const AWAY_MS: [i64; 2] = [60_000, 300_000];

/// The scrapes of one replica in one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scrapes {
    seed: Seed,
    interval_ms: i64,
    jitter_ms: i64,
    /// What the block covers.
    range: TimeRange,
    loses: bool,
    away: Option<TimeRange>,
}

impl Scrapes {
    pub fn new(workload: &Workload, root: Seed, replica: u32, block: usize, range: TimeRange) -> Self {
        let seed = root.named("replica").child(u64::from(replica));
        let loses = workload.replicas > 1;
        let outage = seed.named("away").child(block as u64);
        let away = (loses && outage.below(AWAY_ONE_IN) == 0).then(|| {
            let mint = range.mint + outage.child(0).below_ms(range.maxt - range.mint);
            TimeRange { mint, maxt: mint + AWAY_MS[0] + outage.child(1).below_ms(AWAY_MS[1] - AWAY_MS[0]) }
        });
        Self { seed, interval_ms: workload.scrape_interval_ms, jitter_ms: workload.jitter_ms, range, loses, away }
    }

    /// Puts the times at which `target` is scraped into `times`. Returns the time of the scrape that finds it gone, if that is
    /// in this block.
    pub fn of(&self, target: &Target, times: &mut Vec<Timestamp>) -> Option<Timestamp> {
        times.clear();
        let seed = self.seed.child(target.seed.bits());
        // even a late scrape is before the next one
        let offset_ms = seed.named("offset").below_ms(self.interval_ms - self.jitter_ms);
        let mint = self.range.mint.max(target.alive.mint);
        let first = (mint - offset_ms - self.jitter_ms).div_euclid(self.interval_ms);
        for k in first.. {
            let t = k * self.interval_ms + offset_ms + self.lateness_ms(seed, k);
            if t >= self.range.maxt {
                break;
            }
            if t < mint || self.is_lost(seed, k, t) {
                continue;
            }
            if t >= target.alive.maxt {
                return Some(t);
            }
            times.push(t);
        }
        None
    }

    /// The fourth power makes most of it small.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "less than a scrape interval")]
    fn lateness_ms(&self, seed: Seed, k: i64) -> i64 {
        let u = seed.child(k.cast_unsigned()).fraction();
        let late = ((u * u) * (u * u) * (self.jitter_ms + 1) as f64) as i64;
        if late <= TOLERANCE_MS { 0 } else { late }
    }

    fn is_lost(&self, seed: Seed, k: i64, t: Timestamp) -> bool {
        let away = self.away.is_some_and(|away| (away.mint..away.maxt).contains(&t));
        away || self.loses && seed.named("lost").child(k.cast_unsigned()).below(LOST_ONE_IN) == 0
    }
}
