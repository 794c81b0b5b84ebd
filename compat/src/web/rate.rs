//! `rate_limit`: a token bucket. A request takes a token, one comes every interval, and at most `burst` are saved up.

use std::time::{Duration, Instant};

/// How many requests are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How long it takes until there is another token.
    pub interval: Duration,
    /// Most tokens.
    pub burst: u32,
}

/// The tokens of one port.
#[derive(Debug)]
pub struct Bucket {
    limit: RateLimit,
    tokens: f64,
    counted: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, tokens: f64::from(limit.burst), counted: now }
    }

    /// What it was made for.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes a token, where there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + passed / self.limit.interval.as_secs_f64()).min(f64::from(self.limit.burst));
        self.counted = self.counted.max(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_an_interval() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = Bucket::new(RateLimit { interval: Duration::from_millis(100), burst: 2 }, start);
        let taken = [0, 0, 0, 99, 100, 101, 150, 200, 10_000, 10_000, 10_000].map(|ms| bucket.take(at(ms)));
        assert_eq!(taken, [true, true, false, false, true, false, false, true, true, true, false]);
        // a clock that steps back gives nothing away
        assert!(!bucket.take(at(9_000)) && !bucket.take(at(10_050)) && bucket.take(at(10_100)));
    }
}
