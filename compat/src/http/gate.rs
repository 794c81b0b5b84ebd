//! How many queries run at once, and how many may wait.
//!
//! A query takes a pass before it runs and gives it back when its answer is complete or its client has gone. Those past
//! `--query.max-concurrent` wait in order; past [`WAITING_MAX`] they are refused at once, so that a flood costs no memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::error::{ApiError, ErrorKind};

/// Most queries that wait for a pass: each holds a connection and a few kilobytes.
pub const WAITING_MAX: usize = 500;

/// Lets so many queries run at once.
#[derive(Debug)]
pub struct QueryGate {
    passes: Arc<Semaphore>,
    waiting: AtomicUsize,
    in_flight: Gauge<i64, AtomicI64>,
    total: Counter,
    waited_seconds: Histogram,
}

/// The right to run one query. Held while it runs.
#[derive(Debug)]
pub struct GatePass<'a> {
    _permit: SemaphorePermit<'a>,
    in_flight: &'a Gauge<i64, AtomicI64>,
}

impl QueryGate {
    /// A gate for `max` queries, at least one, whose metrics go into `registry`.
    #[must_use]
    pub fn new(max: usize, registry: &mut Registry) -> Self {
        const PREFIX: &str = "thanos_query_concurrent_gate_queries";
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        let in_flight = Gauge::<i64, AtomicI64>::default();
        let limit = Gauge::<i64, AtomicI64>::default();
        limit.set(i64::try_from(max).unwrap_or(i64::MAX));
        let total = Counter::default();
        let waited_seconds = Histogram::new([0.01, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 9.0, 20.0, 30.0, 60.0, 90.0, 120.0]);
        registry.register(format!("{PREFIX}_in_flight"), "Queries that run now", in_flight.clone());
        registry.register(format!("{PREFIX}_max"), "Most queries that may run at once", limit);
        registry.register(PREFIX, "Queries that were let through", total.clone());
        registry.register(
            format!("{PREFIX}_duration_seconds"),
            "How long queries waited at the gate",
            waited_seconds.clone(),
        );
        Self { passes: Arc::new(Semaphore::new(max)), waiting: AtomicUsize::new(0), in_flight, total, waited_seconds }
    }

    /// Waits for a pass, at most for `patience`.
    ///
    /// # Errors
    /// [`ErrorKind::TooMany`] where too many wait already, [`ErrorKind::Timeout`] where it took too long.
    pub async fn enter(&self, patience: Duration) -> Result<GatePass<'_>, ApiError> {
        let began = Instant::now();
        let permit = match self.passes.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait(patience, self.passes.acquire()).await?,
        };
        self.count(began);
        Ok(GatePass { _permit: permit, in_flight: &self.in_flight })
    }

    /// As [`enter`](Self::enter); the pass can outlive the call, as an answer does that is sent while it is read.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub async fn enter_owned(self: Arc<Self>, patience: Duration) -> Result<OwnedGatePass, ApiError> {
        let began = Instant::now();
        let permit = match Arc::clone(&self.passes).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait(patience, Arc::clone(&self.passes).acquire_owned()).await?,
        };
        self.count(began);
        Ok(OwnedGatePass { _permit: permit, in_flight: self.in_flight.clone() })
    }

    fn count(&self, began: Instant) {
        self.waited_seconds.observe(began.elapsed().as_secs_f64());
        self.total.inc();
        self.in_flight.inc();
    }

    async fn wait<T>(
        &self,
        patience: Duration,
        permit: impl Future<Output = Result<T, AcquireError>>,
    ) -> Result<T, ApiError> {
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.waiting);
        if ahead >= WAITING_MAX {
            let message = format!("{WAITING_MAX} queries wait already; see --query.max-concurrent");
            return Err(ApiError::new(ErrorKind::TooMany, message));
        }
        match tokio::time::timeout(patience, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ApiError::new(ErrorKind::Unavailable, "the server is stopping")),
            Err(_) => Err(engine::Error::Timeout("query queue").into()),
        }
    }
}

/// A pass that is held for longer than a call. Given back on drop.
#[derive(Debug)]
pub struct OwnedGatePass {
    _permit: OwnedSemaphorePermit,
    in_flight: Gauge<i64, AtomicI64>,
}

impl Drop for OwnedGatePass {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

impl Drop for GatePass<'_> {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn queries_past_the_limit_wait_and_then_time_out() {
        let gate = QueryGate::new(1, &mut Registry::default());
        let pass = gate.enter(Duration::ZERO).await.unwrap();
        assert_eq!(gate.in_flight.get(), 1);
        let late = gate.enter(Duration::ZERO).await.unwrap_err();
        assert_eq!((late.kind, late.message.as_ref()), (ErrorKind::Timeout, "query timed out in query queue"));
        let mut waiting = Box::pin(gate.enter(Duration::from_secs(3600)));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(pass);
        waiting.await.unwrap();
        assert_eq!((gate.in_flight.get(), gate.total.get()), (0, 2));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let gate = QueryGate::new(1, &mut Registry::default());
        let _pass = gate.enter(Duration::ZERO).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(gate.enter(Duration::from_secs(3600)))).collect();
        for query in &mut waiting {
            assert!(query.as_mut().now_or_never().is_none());
        }
        assert_eq!(gate.enter(Duration::from_secs(3600)).await.unwrap_err().kind, ErrorKind::TooMany);
        waiting.clear();
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }
}
