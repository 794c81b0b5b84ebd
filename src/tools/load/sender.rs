//! Sending: each worker has batches of its own and one connection, so the samples of a series go out in order.
//!
//! ```text
//! worker w: for each round: for each batch of w: wait for its turn ─> fill in ─> post ─┬─ 2xx ─> count, ledger
//!                                                  ▲                                  ├─ 5xx, 429, no answer ─> wait, again
//!                                                  └──────────────────────────────────┴─ else ─> count, next batch
//! ```
//!
//! Waiting doubles from 30 ms to 5 s, or is as long as `Retry-After` says, as in Prometheus. A request counts only when all of it was
//! acknowledged.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use parking_lot::Mutex;
use storage::{Clock, SystemClock};
use tokio::sync::watch;
use tokio::time::Instant;

use super::body::Body;
use super::client::{Answer, Client};
use super::ledger::{Acknowledged, Ledger};
use super::report::Counts;
use super::workload::Workload;

const BACKOFF_MIN: Duration = Duration::from_millis(30);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Failures that are told; the others are counted.
const TOLD_MAX: u64 = 5;
/// How far ahead of the clock servers take samples.
const AHEAD_MS: i64 = 600_000;
const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";

/// What workers share.
pub struct Sending {
    /// What is sent.
    pub workload: Workload,
    /// Samples a second of all workers; 0 is no limit.
    pub rate: u64,
    /// When the first request was due.
    pub began: Instant,
    /// After which no request is sent.
    pub deadline: Instant,
    /// Becomes true when the load has to stop.
    pub stop: watch::Receiver<bool>,
    /// Header that names the tenant.
    pub tenant_header: HeaderName,
    /// Where acknowledged requests are entered.
    pub ledger: Option<Ledger>,
    /// What happened so far.
    pub counts: Mutex<Counts>,
    /// The latest timestamp acknowledged.
    pub last_ms: AtomicI64,
    /// How many failures were told.
    pub told: AtomicU64,
}

/// What an answer means.
enum Verdict {
    Acknowledged,
    Again(Option<Duration>),
    GivenUp,
}

impl Sending {
    /// One worker's part, until the end of the load.
    ///
    /// # Errors
    /// Where the ledger cannot be written.
    pub async fn work(&self, mut client: Client, mut batches: Vec<(u64, Body)>) -> anyhow::Result<()> {
        for round in 0.. {
            let Some(t) = self.workload.time(round) else { break };
            if t > SystemClock.now().saturating_add(AHEAD_MS) {
                self.tell(|| "timestamps are more than 10 minutes ahead of the clock; see --start".to_owned());
            }
            for (batch, body) in &mut batches {
                self.pause_until(self.due(round, *batch)).await;
                if self.is_over() {
                    return Ok(());
                }
                let samples = body.samples();
                let bytes = Bytes::copy_from_slice(body.at(&self.workload, t));
                if self.send(&mut client, *batch, bytes, samples).await {
                    self.last_ms.fetch_max(t, Ordering::Relaxed);
                    if let Some(ledger) = &self.ledger {
                        ledger.enter(Acknowledged { batch: *batch, t })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// When a request has its turn.
    #[expect(clippy::cast_precision_loss, reason = "samples of a load as seconds")]
    fn due(&self, round: u64, batch: u64) -> Instant {
        if self.rate == 0 {
            return self.began;
        }
        let before = round as f64 * self.workload.series as f64 + self.workload.slots(batch).start as f64;
        let since = Duration::try_from_secs_f64(before / self.rate as f64).unwrap_or(Duration::MAX);
        self.began.checked_add(since).unwrap_or(self.deadline)
    }

    fn is_over(&self) -> bool {
        *self.stop.borrow() || Instant::now() >= self.deadline
    }

    /// Waits until then, or until the load ends.
    async fn pause_until(&self, then: Instant) {
        if then <= Instant::now() {
            return;
        }
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep_until(then.min(self.deadline)) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Sends a request until it is acknowledged, given up, or the load ends; says whether it was acknowledged.
    async fn send(&self, client: &mut Client, batch: u64, body: Bytes, samples: u64) -> bool {
        let tenant = self.workload.tenant(batch).and_then(|tenant| HeaderValue::try_from(tenant).ok());
        let mut backoff = BACKOFF_MIN;
        loop {
            let began = Instant::now();
            let answer = client.post(body.clone(), tenant.as_ref().map(|tenant| (&self.tenant_header, tenant))).await;
            let took = began.elapsed();
            let verdict = self.judge(answer, samples, took, body.len() as u64);
            let after = match verdict {
                Verdict::Acknowledged => return true,
                Verdict::GivenUp => return false,
                Verdict::Again(after) => after.unwrap_or(backoff),
            };
            self.pause_until(Instant::now() + after.min(Duration::from_mins(5))).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let mut counts = self.counts.lock();
            if self.is_over() {
                counts.unanswered += 1;
                return false;
            }
            counts.retries += 1;
        }
    }

    /// Counts an attempt and says what comes of it.
    fn judge(&self, answer: anyhow::Result<Answer>, samples: u64, took: Duration, bytes: u64) -> Verdict {
        let mut counts = self.counts.lock();
        counts.bytes += bytes;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                counts.broken += 1;
                self.tell(|| format!("{error:#}"));
                return Verdict::Again(None);
            }
        };
        let text = || format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim_end());
        if answer.status == StatusCode::TOO_MANY_REQUESTS || answer.status.is_server_error() {
            counts.unavailable += 1;
            self.tell(text);
            return Verdict::Again(retry_after(&answer.headers));
        }
        let written = answer.headers.get(SAMPLES_WRITTEN).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if !answer.status.is_success() || written.is_some_and(|written| written < samples) {
            counts.refused += 1;
            self.tell(|| format!("a request of {samples} samples was not all written, {}", text()));
            return Verdict::GivenUp;
        }
        counts.requests += 1;
        counts.samples += samples;
        counts.latencies.add(took);
        Verdict::Acknowledged
    }

    /// Logs what went wrong, the first times.
    fn tell(&self, text: impl FnOnce() -> String) {
        if self.told.fetch_add(1, Ordering::Relaxed) < TOLD_MAX {
            tracing::warn!("{}", text());
        }
    }
}

/// What a server asks to wait, where it says so in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
