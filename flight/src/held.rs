//! What the server remembers between calls: prepared statements, planned statements whose answers are still to be fetched,
//! and those being fetched, so that they can be cancelled.
//!
//! Each has a name of 16 random bytes, which nobody guesses, and a number of places: the oldest goes when they are full.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::sql::{ScalarValue, SqlQuery};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Status;

use crate::status::internal;

/// Most prepared statements; each is a text.
const PREPARED_MAX: usize = 1_000;
/// Most planned statements that wait to be fetched. Each holds its selected series.
const PLANNED_MAX: usize = 100;
/// How long a planned statement waits.
const PLANNED_LIFE: Duration = Duration::from_secs(60);
/// Most statements being fetched that can be cancelled by name; the gate lets fewer run.
const RUNNING_MAX: usize = 1_000;

/// A prepared statement.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    /// As they were bound last.
    pub(crate) parameters: Vec<ScalarValue>,
}

/// A planned statement.
#[derive(Debug)]
struct Planned {
    query: SqlQuery,
    /// Which parts were not fetched yet.
    left: Vec<usize>,
    since: Instant,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Held {
    prepared: Mutex<Places<Prepared>>,
    planned: Mutex<Places<Planned>>,
    running: Mutex<Places<watch::Sender<bool>>>,
}

impl Held {
    /// Remembers a prepared statement under the name that is returned.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub(crate) fn prepare(&self, text: String) -> Result<String, Status> {
        let name = new_name()?;
        self.prepared.lock().put(name.clone(), Prepared { text, parameters: Vec::new() }, PREPARED_MAX);
        Ok(name)
    }

    /// A prepared statement.
    ///
    /// # Errors
    /// `NOT_FOUND`
    pub(crate) fn prepared(&self, name: &[u8]) -> Result<Prepared, Status> {
        self.prepared.lock().by_name.get(&text(name)).cloned().ok_or_else(unknown_statement)
    }

    /// Binds parameters.
    ///
    /// # Errors
    /// `NOT_FOUND`
    pub(crate) fn bind(&self, name: &[u8], parameters: Vec<ScalarValue>) -> Result<(), Status> {
        let mut prepared = self.prepared.lock();
        prepared.by_name.get_mut(&text(name)).ok_or_else(unknown_statement)?.parameters = parameters;
        Ok(())
    }

    /// Forgets a prepared statement.
    pub(crate) fn close(&self, name: &[u8]) {
        self.prepared.lock().take(&text(name));
    }

    /// Remembers a planned statement under the name that is returned.
    ///
    /// # Errors
    /// Where there are no random numbers.
    pub(crate) fn plan(&self, query: SqlQuery) -> Result<String, Status> {
        let name = new_name()?;
        let now = Instant::now();
        let mut planned = self.planned.lock();
        planned.retain(|planned| now.duration_since(planned.since) < PLANNED_LIFE);
        let left = (0..query.partitions()).collect();
        planned.put(name.clone(), Planned { query, left, since: now }, PLANNED_MAX);
        Ok(name)
    }

    /// Takes one part of a planned statement, which can be had once.
    ///
    /// # Errors
    /// `NOT_FOUND`
    pub(crate) fn take_part(&self, name: &str, part: usize) -> Result<SqlQuery, Status> {
        let gone = || Status::not_found("the answer was fetched already, or not for too long: ask for it again");
        let mut planned = self.planned.lock();
        let known = planned.by_name.get_mut(name).ok_or_else(gone)?;
        let at = known.left.iter().position(|left| *left == part).ok_or_else(gone)?;
        known.left.swap_remove(at);
        if known.left.is_empty() {
            return planned.take(name).map(|planned| planned.query).ok_or_else(gone);
        }
        Ok(known.query.clone())
    }

    /// Drops planned statements that waited too long.
    pub(crate) fn drop_old(&self) {
        let now = Instant::now();
        self.planned.lock().retain(|planned| now.duration_since(planned.since) < PLANNED_LIFE);
    }

    /// Tells whoever fetches the statement `name` when it is cancelled.
    pub(crate) fn run(&self, name: &str) -> watch::Receiver<bool> {
        let mut running = self.running.lock();
        running.retain(|sender| !sender.is_closed());
        match running.by_name.get(name) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(false);
                running.put(name.to_owned(), sender, RUNNING_MAX);
                receiver
            }
        }
    }

    /// Forgets a planned statement and stops those who fetch it; whether there was one.
    pub(crate) fn cancel(&self, name: &str) -> bool {
        let planned = self.planned.lock().take(name).is_some();
        let running = self.running.lock().take(name);
        planned | running.is_some_and(|sender| sender.send(true).is_ok())
    }
}

/// Values by name, with the order in which they came.
#[derive(Debug)]
struct Places<T> {
    by_name: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Places<T> {
    /// Puts a value; of more than `max` the oldest goes.
    fn put(&mut self, name: String, value: T, max: usize) {
        while self.by_name.len() >= max
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_name.remove(&oldest);
        }
        self.order.push_back(name.clone());
        self.by_name.insert(name, value);
    }

    fn take(&mut self, name: &str) -> Option<T> {
        let taken = self.by_name.remove(name);
        if taken.is_some() {
            self.order.retain(|known| known != name);
        }
        taken
    }

    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.by_name.retain(|_, value| keep(value));
        self.order.retain(|name| self.by_name.contains_key(name));
    }
}

fn new_name() -> Result<String, Status> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn unknown_statement() -> Status {
    Status::not_found("there is no such prepared statement, or it was closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_where_places_are_full() {
        let mut places = Places::default();
        for number in 0..5 {
            places.put(number.to_string(), number, 3);
        }
        let mut left: Vec<i32> = places.by_name.values().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3, 4]);
        assert_eq!((places.take("3"), places.take("3")), (Some(3), None));
        places.put("5".to_owned(), 5, 3);
        assert_eq!(places.order, ["2", "4", "5"]);
    }

    #[test]
    fn prepared_statements_are_bound_and_closed() {
        let held = Held::default();
        let name = held.prepare("SELECT $1".to_owned()).unwrap();
        held.bind(name.as_bytes(), vec![ScalarValue::Int64(Some(7))]).unwrap();
        assert_eq!(held.prepared(name.as_bytes()).unwrap().parameters, [ScalarValue::Int64(Some(7))]);
        held.close(name.as_bytes());
        assert_eq!(held.prepared(name.as_bytes()).unwrap_err().code(), tonic::Code::NotFound);
    }

    #[tokio::test]
    async fn whoever_fetches_learns_of_a_cancel() {
        let held = Held::default();
        let (mut one, mut other) = (held.run("a"), held.run("a"));
        assert!(held.cancel("a"));
        assert!(*one.wait_for(|cancelled| *cancelled).await.unwrap());
        assert!(*other.wait_for(|cancelled| *cancelled).await.unwrap());
        assert!(!held.cancel("a"));
    }
}
