//! A lease: which of several compactors works on a bucket. It saves double work; the data is safe without it.
//!
//! A lease is a row of objects, one a generation, each written once by put-if-absent and never changed. The newest says who
//! holds the lease and until when, by the holder's clock:
//!
//! ```text
//! <prefix>/quiver/leases/<name>/00000000000000000007.json    {holder, nonce, expires_ms, released}
//! ```
//!
//! - **Taking**: note the time, list the generations, read the newest. If it is released, or over by more than clocks may
//!   differ, create the next one with an expiry of noted time + `ttl`. Who creates it holds the lease; for all others the
//!   object is there already.
//! - **Renewing**, before the expiry: the same with one's own generation. Whoever finds it there has lost.
//! - **Holding** is a look at one's own clock: now is before the expiry. It costs no request.
//! - **Releasing**: create the next generation, released.
//! - After each creation the generations are listed once more: a newer one wins. Those older than several `ttl` are removed,
//!   by the store's clock, so that a reader whose list lags cannot create one of them anew. The newest always stays, so
//!   numbers never begin again.
//!
//! **Why at most one holds it.** Let clocks differ by at most `skew_max`. A holder stops at its expiry by its own clock. Others
//! create the next generation only when their clocks show more than that expiry plus `skew_max`, when the holder's shows more
//! than the expiry. Of those who try at once, one creates the object. An expiry counts from before the list was asked for, so
//! whoever is slow has nothing left when it is done. Where clocks differ by more, or a store breaks its promise, two may hold
//! the lease: both then do the same work, and one output becomes [garbage](super::garbage()).
//!
//! A store that cannot put if absent has no lease: [`Acquired::Unsupported`]. Folders whose names are not ULIDs are none of
//! Thanos's business.

mod object;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::shipper::Retry;

pub use object::LeaseHolder;
use object::{Created, Generations, nonce};

/// How a lease is held.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// Which lease: compactors that share work ask for the same, those of different shards for others.
    pub name: String,
    /// Who asks, for people.
    pub holder: String,
    /// How long it lasts unrenewed, in milliseconds. To be renewed after a third of it.
    pub ttl_ms: i64,
    /// By how much clocks may differ, in milliseconds.
    pub skew_max_ms: i64,
    /// How requests are tried again.
    pub retry: Retry,
}

impl LeaseSettings {
    /// Three minutes, clocks at most half a minute apart.
    #[must_use]
    pub fn new(name: impl Into<String>, holder: impl Into<String>) -> Self {
        Self { name: name.into(), holder: holder.into(), ttl_ms: 180_000, skew_max_ms: 30_000, retry: Retry::default() }
    }
}

/// What asking for a lease comes to.
#[derive(Debug)]
pub enum Acquired {
    /// It is held, until it is released or not renewed in time.
    Held(Arc<Lease>),
    /// Another one has it, or was faster. To be asked again later.
    Other(LeaseHolder),
    /// The store cannot put if absent, and why that is thought. To be warned of, once.
    Unsupported(String),
}

/// A lease that is held, or was.
#[derive(Debug)]
pub struct Lease {
    generations: Generations,
    settings: LeaseSettings,
    clock: Arc<dyn Clock>,
    /// Of this taking: what tells our objects from those of anybody else, also of our own namesake.
    nonce: String,
    /// The newest generation that is ours. Locked by whoever renews or releases.
    generation: Mutex<u64>,
    /// First millisecond of our clock at which it is not ours any more.
    expires_ms: AtomicI64,
}

impl Lease {
    /// Asks for the lease under `prefix` of `store`.
    ///
    /// # Errors
    /// Where the store does not answer; asking again is safe.
    pub async fn acquire(
        store: Arc<dyn ObjectStore>,
        prefix: &Path,
        settings: LeaseSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Acquired> {
        let generations = Generations::new(store, prefix, &settings.name, settings.retry);
        let begun = clock.now();
        let newest = generations.list().await?.pop();
        if let Some(newest) = &newest {
            let holder = generations.read(newest.number, || newest.assumed(settings.ttl_ms)).await?;
            match holder {
                Some(holder) if holder.is_over(begun, settings.skew_max_ms) => {}
                Some(holder) => return Ok(Acquired::Other(holder)),
                // removed since, which only happens to old ones
                None => return Ok(Acquired::Other(newest.assumed(settings.ttl_ms))),
            }
        }
        let nonce = nonce();
        let number = newest.map_or(0, |newest| newest.number).saturating_add(1);
        let wanted = LeaseHolder {
            version: object::VERSION,
            holder: settings.holder.clone(),
            nonce: nonce.clone(),
            expires_ms: begun.saturating_add(settings.ttl_ms),
            released: false,
        };
        match generations.create(number, &wanted).await? {
            Created::Ours => {}
            Created::Others(holder) => return Ok(Acquired::Other(holder)),
            Created::Unsupported(why) => return Ok(Acquired::Unsupported(why)),
        }
        if !generations.refuses(number, &wanted).await? {
            return Ok(Acquired::Unsupported("it writes over an object that should be absent".to_owned()));
        }
        let lease = Self {
            generations,
            settings,
            clock,
            nonce,
            generation: Mutex::new(number),
            expires_ms: AtomicI64::new(wanted.expires_ms),
        };
        if lease.is_newest(number).await? && lease.is_held() {
            return Ok(Acquired::Held(Arc::new(lease)));
        }
        Ok(Acquired::Other(wanted))
    }

    /// Whether it is held now, by our clock. To be asked before anything that others should not do at the same time.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.remaining_ms() > 0
    }

    /// For how long it is still held if it is not renewed, in milliseconds; 0 where it is not.
    #[must_use]
    pub fn remaining_ms(&self) -> i64 {
        self.expires_ms.load(Ordering::SeqCst).saturating_sub(self.clock.now()).max(0)
    }

    /// Holds it for longer; returns whether it is held. Once it is not, it has to be acquired anew.
    ///
    /// # Errors
    /// Where the store does not answer: it is held up to its old expiry, and renewing can be tried again.
    pub async fn renew(&self) -> Result<bool> {
        let mut generation = self.generation.lock().await;
        // an earlier renewal that was said to fail may have taken effect: then its generation is ours, and we go on behind it
        for _ in 0..=self.settings.retry.attempts {
            let begun = self.clock.now();
            if !self.is_held() {
                return Ok(false);
            }
            let number = generation.saturating_add(1);
            let wanted = self.wanted(begun.saturating_add(self.settings.ttl_ms), false);
            match self.generations.create(number, &wanted).await? {
                Created::Ours => {
                    *generation = number;
                    if self.is_newest(number).await? {
                        self.expires_ms.fetch_max(wanted.expires_ms, Ordering::SeqCst);
                    } else {
                        self.drop_it();
                    }
                    return Ok(self.is_held());
                }
                Created::Others(holder) if holder.nonce == self.nonce => *generation = number,
                Created::Others(_) => {
                    self.drop_it();
                    return Ok(false);
                }
                Created::Unsupported(why) => return Err(Error::Unsupported(format!("a lease: {why}"))),
            }
        }
        Ok(self.is_held())
    }

    /// Gives it up, so that another one can take it at once.
    ///
    /// # Errors
    /// Where the store does not answer: it is given up all the same, but others wait until it is over.
    pub async fn release(&self) -> Result<()> {
        let was_held = self.is_held();
        self.drop_it();
        let mut generation = self.generation.lock().await;
        for _ in 0..=self.settings.retry.attempts {
            if !was_held {
                return Ok(());
            }
            let number = generation.saturating_add(1);
            let wanted = self.wanted(self.clock.now(), true);
            match self.generations.create(number, &wanted).await? {
                Created::Others(holder) if holder.nonce == self.nonce => *generation = number,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn drop_it(&self) {
        self.expires_ms.store(Timestamp::MIN, Ordering::SeqCst);
    }

    fn wanted(&self, expires_ms: Timestamp, released: bool) -> LeaseHolder {
        LeaseHolder {
            version: object::VERSION,
            holder: self.settings.holder.clone(),
            nonce: self.nonce.clone(),
            expires_ms,
            released,
        }
    }

    /// Whether there is no newer generation. Removes old ones.
    async fn is_newest(&self, number: u64) -> Result<bool> {
        let listed = self.generations.list().await?;
        if listed.last().is_some_and(|newest| newest.number > number) {
            return Ok(false);
        }
        if let Some(ours) = listed.iter().find(|listed| listed.number == number) {
            let kept_ms = self.settings.ttl_ms.saturating_add(self.settings.skew_max_ms).saturating_mul(KEPT_FOR_TTLS);
            let old = |listed: &&object::Listed| ours.modified.saturating_sub(listed.modified) > kept_ms;
            let old: Vec<u64> = listed.iter().filter(old).map(|listed| listed.number).collect();
            self.generations.remove(&old).await;
        }
        Ok(true)
    }
}

/// Generations are removed when they are older than so many times the time that a lease lasts.
const KEPT_FOR_TTLS: i64 = 4;

#[cfg(test)]
mod tests;
