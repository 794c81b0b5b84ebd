//! One pool of memory for all queries of the process, with a fair share for each.
//!
//! A query may hold the whole pool's three quarters while it is alone, so that the next one finds room to start, and
//! the pool divided by the number of queries while there are more. A query past its share fails; nothing is ever
//! taken from another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use storage::model::{Budget, BudgetExceeded};

/// The memory that all queries of the process may use together.
#[derive(Debug)]
pub struct ProcessPool {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    queries: AtomicUsize,
}

impl ProcessPool {
    /// A pool of `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0), queries: AtomicUsize::new(0) })
    }

    /// What is held now, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What may be held, in bytes.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    fn share_bytes(&self) -> usize {
        match self.queries.load(Ordering::Relaxed) {
            0 | 1 => self.limit_bytes / 4 * 3,
            queries => self.limit_bytes / queries,
        }
    }
}

/// One query's part of a [`ProcessPool`].
#[derive(Debug)]
pub struct QueryPool {
    process: Arc<ProcessPool>,
    used_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
}

impl QueryPool {
    /// A part for one more query, given back on drop.
    #[must_use]
    pub fn new(process: Arc<ProcessPool>) -> Self {
        process.queries.fetch_add(1, Ordering::Relaxed);
        Self { process, used_bytes: AtomicUsize::new(0), peak_bytes: AtomicUsize::new(0) }
    }

    /// The most that was held at one time, in bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for QueryPool {
    fn drop(&mut self) {
        self.process.queries.fetch_sub(1, Ordering::Relaxed);
        self.process.used_bytes.fetch_sub(self.used_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl std::fmt::Display for QueryPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "query pool: {} of {} bytes", self.used_bytes.load(Ordering::Relaxed), self.process.share_bytes())
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "quiver query pool"
    }

    fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
        self.process.used_bytes.fetch_add(additional, Ordering::Relaxed);
        let used = self.used_bytes.fetch_add(additional, Ordering::Relaxed) + additional;
        self.peak_bytes.fetch_max(used, Ordering::Relaxed);
    }

    fn shrink(&self, _reservation: &MemoryReservation, shrink: usize) {
        self.process.used_bytes.fetch_sub(shrink, Ordering::Relaxed);
        self.used_bytes.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        let share = self.process.share_bytes();
        let used = self.used_bytes.load(Ordering::Relaxed);
        let process_used = self.process.used_bytes();
        if used.saturating_add(additional) > share || process_used.saturating_add(additional) > self.process.limit_bytes
        {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "the query needs more memory than it may use: {} asks for {additional} bytes more; the query holds {used} of \
                 its share of {share}, all queries {process_used} of --query.max-memory {}",
                reservation.consumer().name(),
                self.process.limit_bytes
            )));
        }
        self.grow(reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.process.share_bytes())
    }
}

/// What storage reserves from: the query's pool.
#[derive(Debug)]
pub struct PoolBudget(MemoryReservation);

impl PoolBudget {
    /// A budget on `pool` under the name of `consumer`.
    #[must_use]
    pub fn new(pool: &Arc<dyn MemoryPool>, consumer: &str) -> Self {
        Self(MemoryConsumer::new(consumer.to_owned()).register(pool))
    }
}

impl Budget for PoolBudget {
    fn try_grow(&self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.0.try_grow(bytes).map_err(|error| match error {
            DataFusionError::ResourcesExhausted(message) => BudgetExceeded(message),
            other => BudgetExceeded(other.to_string()),
        })
    }

    fn shrink(&self, bytes: usize) {
        self.0.shrink(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(process: &Arc<ProcessPool>) -> (Arc<QueryPool>, MemoryReservation) {
        let query = Arc::new(QueryPool::new(Arc::clone(process)));
        let pool: Arc<dyn MemoryPool> = Arc::clone(&query) as Arc<dyn MemoryPool>;
        let reservation = MemoryConsumer::new("test operator").register(&pool);
        (query, reservation)
    }

    fn limit(query: &QueryPool) -> usize {
        match query.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => panic!("a query's memory is finite"),
        }
    }

    #[test]
    fn shares() {
        let process = ProcessPool::new(1200);
        let (first, first_memory) = query(&process);
        assert_eq!(limit(&first), 900);
        first_memory.try_grow(900).unwrap();
        assert!(first_memory.try_grow(1).is_err());

        // what the first holds beyond its half stays with it, but it gets no more
        let (second, second_memory) = query(&process);
        assert_eq!((limit(&first), limit(&second)), (600, 600));
        assert!(second_memory.try_grow(301).is_err(), "the process has only 300 left");
        second_memory.try_grow(300).unwrap();
        assert_eq!(process.used_bytes(), 1200);
        first_memory.shrink(500);
        assert!(first_memory.try_grow(201).is_err());
        first_memory.try_grow(200).unwrap();
        assert!(second_memory.try_grow(301).is_err());
        second_memory.try_grow(300).unwrap();

        let third = query(&process);
        assert_eq!(limit(&third.0), 400);
        drop(third);
        drop((second_memory, second));
        assert_eq!((process.used_bytes(), limit(&first)), (600, 900));
        assert_eq!(first.peak_bytes(), 900);
        drop((first_memory, first));
        assert_eq!(process.used_bytes(), 0);
    }

    #[test]
    fn a_drop_gives_everything_back() {
        let process = ProcessPool::new(1000);
        let (query, memory) = query(&process);
        memory.try_grow(100).unwrap();
        // memory that a leaked reservation holds comes back with the pool
        query.grow(&memory, 50);
        assert_eq!((process.used_bytes(), query.reserved()), (150, 150));
        drop(memory);
        assert_eq!((process.used_bytes(), query.reserved()), (50, 50));
        drop(query);
        assert_eq!(process.used_bytes(), 0);
    }

    #[test]
    fn the_error_says_who_asked_and_what_there_is() {
        let process = ProcessPool::new(1000);
        let (_query, memory) = query(&process);
        memory.try_grow(10).unwrap();
        let error = crate::Error::from(memory.try_grow(1000).unwrap_err());
        assert!(matches!(error, crate::Error::Limit(_)), "{error:?}");
        let text = "the query needs more memory than it may use: test operator asks for 1000 bytes more; the query holds \
                    10 of its share of 750, all queries 10 of --query.max-memory 1000";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_budget_reserves_from_the_pool() {
        let process = ProcessPool::new(1000);
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&process)));
        let budget = PoolBudget::new(&pool, "series selection");
        budget.try_grow(700).unwrap();
        let BudgetExceeded(text) = budget.try_grow(100).unwrap_err();
        assert!(text.contains("series selection asks for 100 bytes more"), "{text}");
        budget.shrink(600);
        assert_eq!(process.used_bytes(), 100);
        drop(budget);
        assert_eq!(process.used_bytes(), 0);
    }
}
