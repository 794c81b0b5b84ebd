//! What happened: counts that all workers share, latencies, and the summary at the end.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Buckets of an octave: a quantile is off by less than 2 %.
const PER_OCTAVE_BITS: u32 = 6;

/// Counts of latencies in buckets whose width grows with them.
#[derive(Debug, Default)]
pub struct Latencies {
    counts: Vec<u64>,
    max_us: u64,
}

impl Latencies {
    /// Enters one.
    pub fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.max_us = self.max_us.max(us);
        let bucket = bucket(us);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    /// The least latency, in milliseconds, that a share `q` of all is not above.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    pub fn quantile_ms(&self, q: f64) -> f64 {
        let rank = self.counts.iter().sum::<u64>() as f64 * q;
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if *count > 0 && below as f64 >= rank {
                return upper_us(bucket).min(self.max_us) as f64 / 1e3;
            }
        }
        0.0
    }

    /// The longest, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a request")]
    pub fn max_ms(&self) -> f64 {
        self.max_us as f64 / 1e3
    }
}

fn bucket(us: u64) -> usize {
    let octave = us.max(1).ilog2().saturating_sub(PER_OCTAVE_BITS);
    // at most 2^7 of 64 octaves
    ((octave as usize) << PER_OCTAVE_BITS) + usize::try_from(us >> octave).unwrap_or(0)
}

fn upper_us(bucket: usize) -> u64 {
    let octave = (bucket >> PER_OCTAVE_BITS).saturating_sub(1);
    let mantissa = bucket as u64 - ((octave as u64) << PER_OCTAVE_BITS);
    let within = (1_u64 << octave.min(63)) - 1;
    (mantissa << octave.min(63)) + within
}

/// What workers count.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests acknowledged.
    pub requests: u64,
    /// Their samples.
    pub samples: u64,
    /// Bytes of bodies sent, retries included.
    pub bytes: u64,
    /// Requests tried again, after 5xx, 429 or without an answer.
    pub retries: u64,
    /// Attempts without an answer.
    pub broken: u64,
    /// Answers of 5xx and 429.
    pub unavailable: u64,
    /// Requests answered with another status, which are given up.
    pub refused: u64,
    /// Requests given up without an answer at the end.
    pub unanswered: u64,
    /// Of acknowledged requests.
    pub latencies: Latencies,
}

/// The summary, as `--json` has it.
#[derive(Debug, Serialize)]
pub struct Summary {
    samples_acknowledged: u64,
    requests_acknowledged: u64,
    seconds: f64,
    samples_per_second: f64,
    cpu_seconds: f64,
    preparation_seconds: f64,
    preparation_cpu_seconds: f64,
    bytes_sent: u64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    latency_max_ms: f64,
    retries: u64,
    attempts_without_answer: u64,
    answers_5xx_429: u64,
    requests_refused: u64,
    requests_unanswered: u64,
    start_ms: i64,
    last_ms: i64,
}

/// Wall-clock and CPU time since something began.
pub struct Stopwatch {
    began: std::time::Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Begins.
    pub fn start() -> Self {
        Self { began: std::time::Instant::now(), cpu: process_cpu() }
    }

    /// Seconds of the clock and of the process's CPU.
    pub fn seconds(&self) -> (f64, f64) {
        (self.began.elapsed().as_secs_f64(), process_cpu().saturating_sub(self.cpu).as_secs_f64())
    }
}

/// CPU time of this process, of user and system.
fn process_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

impl Summary {
    /// Puts it together; `sending` and `preparing` are clock and CPU, `times` the first timestamp and the last acknowledged.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn new(counts: &Counts, sending: (f64, f64), preparing: (f64, f64), times: (i64, i64)) -> Self {
        Self {
            samples_acknowledged: counts.samples,
            requests_acknowledged: counts.requests,
            seconds: sending.0,
            samples_per_second: counts.samples as f64 / sending.0.max(1e-9),
            cpu_seconds: sending.1,
            preparation_seconds: preparing.0,
            preparation_cpu_seconds: preparing.1,
            bytes_sent: counts.bytes,
            latency_p50_ms: counts.latencies.quantile_ms(0.5),
            latency_p99_ms: counts.latencies.quantile_ms(0.99),
            latency_max_ms: counts.latencies.max_ms(),
            retries: counts.retries,
            attempts_without_answer: counts.broken,
            answers_5xx_429: counts.unavailable,
            requests_refused: counts.refused,
            requests_unanswered: counts.unanswered,
            start_ms: times.0,
            last_ms: times.1,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        format!(
            "acknowledged  {} samples in {:.1} s, {:.0} samples/s\n\
             sent          {} bytes in {} acknowledged requests\n\
             latency       p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n\
             own CPU       {:.2} s, and {:.2} s before the first request\n\
             errors        {} retries ({} without an answer, {} of 5xx and 429), {} refused, {} unanswered at the end\n",
            self.samples_acknowledged,
            self.seconds,
            self.samples_per_second,
            self.bytes_sent,
            self.requests_acknowledged,
            self.latency_p50_ms,
            self.latency_p99_ms,
            self.latency_max_ms,
            self.cpu_seconds,
            self.preparation_cpu_seconds,
            self.retries,
            self.attempts_without_answer,
            self.answers_5xx_429,
            self.requests_refused,
            self.requests_unanswered,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        for us in (0..2_000).chain([1 << 20, (1 << 20) + 12_345, u64::from(u32::MAX), u64::MAX]) {
            let upper = upper_us(bucket(us));
            assert!(upper >= us && upper - us <= us / 64, "{us} {upper}");
            assert!(us == 0 || bucket(us - 1) <= bucket(us), "{us}");
        }
    }

    #[test]
    fn quantiles() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile_ms(0.5), 0.0);
        (1..=1000).for_each(|ms| latencies.add(Duration::from_millis(ms)));
        assert!((latencies.quantile_ms(0.5) / 500.0 - 1.0).abs() < 0.02, "{}", latencies.quantile_ms(0.5));
        assert!((latencies.quantile_ms(0.99) / 990.0 - 1.0).abs() < 0.02);
        assert_eq!((latencies.quantile_ms(1.0), latencies.max_ms()), (1000.0, 1000.0));
    }
}
