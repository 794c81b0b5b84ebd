//! The tenants of a head. A tenant costs a few hundred bytes; everything else is shared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::settings::HeadSettings;
use crate::model::{ExternalLabels, TimeInterval, Timestamp};

/// A tenant.
#[derive(Debug)]
pub(super) struct Tenant {
    pub name: Arc<str>,
    pub number: u32,
    pub external: ExternalLabels,
    /// The newest sample; the least of all times where there was none.
    newest: AtomicI64,
    /// The oldest sample; the greatest of all times where there is none.
    oldest: AtomicI64,
    /// The oldest of those that came since a truncation began, see [`begin_oldest`](Self::begin_oldest).
    oldest_since: AtomicI64,
    /// Samples in order are not taken before this: blocks have what was there.
    min_valid: AtomicI64,
    /// What was in order before this was dropped.
    truncated: AtomicI64,
    /// When samples came last, by the clock.
    written: AtomicI64,
    /// When it was first or last heard of in another way than by a sample, by the clock.
    seen: AtomicI64,
    pub series: AtomicU64,
}

impl Tenant {
    pub fn newest(&self) -> Timestamp {
        self.newest.load(Ordering::SeqCst)
    }

    pub fn min_valid(&self) -> Timestamp {
        self.min_valid.load(Ordering::SeqCst)
    }

    /// From now on nothing before `t` is taken in order.
    pub fn raise_min_valid(&self, t: Timestamp) {
        self.min_valid.fetch_max(t, Ordering::SeqCst);
    }

    /// Up to where samples in order were dropped.
    pub fn truncated(&self) -> Timestamp {
        self.truncated.load(Ordering::SeqCst)
    }

    /// Notes that samples in order before `t` were dropped.
    pub fn raise_truncated(&self, t: Timestamp) {
        self.truncated.fetch_max(t, Ordering::SeqCst);
    }

    /// Notes that samples of this time were taken.
    pub fn saw(&self, times: TimeInterval) {
        self.newest.fetch_max(times.maxt, Ordering::SeqCst);
        // in this order: see below
        self.oldest_since.fetch_min(times.mint, Ordering::SeqCst);
        self.oldest.fetch_min(times.mint, Ordering::SeqCst);
    }

    /// To be called before it is looked what is left of the tenant.
    pub fn begin_oldest(&self) {
        self.oldest_since.store(Timestamp::MAX, Ordering::SeqCst);
    }

    /// Says from what time on samples are left after some were dropped. What [came](Self::saw) since [`begin_oldest`](Self::begin_oldest)
    /// may have been missed, and counts: either before this stores, or it lowers what was stored.
    pub fn set_oldest(&self, t: Timestamp) {
        self.oldest.store(t, Ordering::SeqCst);
        self.oldest.fetch_min(self.oldest_since.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub fn wrote(&self, now: Timestamp) {
        self.written.fetch_max(now, Ordering::SeqCst);
    }

    pub fn last_write(&self) -> Timestamp {
        self.written.load(Ordering::SeqCst)
    }

    /// Notes that it was heard of.
    pub fn saw_sign(&self, now: Timestamp) {
        self.seen.fetch_max(now, Ordering::SeqCst);
    }

    /// Whether it has no series, and neither has a sample of a later time than `since` nor was heard of later.
    fn is_idle(&self, since: Timestamp) -> bool {
        let newest = self.newest().max(self.last_write()).max(self.seen.load(Ordering::SeqCst));
        self.series.load(Ordering::SeqCst) == 0 && newest <= since
    }

    /// From the oldest to the newest sample; empty where there is none.
    pub fn interval(&self) -> TimeInterval {
        if self.series.load(Ordering::SeqCst) == 0 {
            return TimeInterval::new(Timestamp::MAX, Timestamp::MIN);
        }
        TimeInterval::new(self.oldest.load(Ordering::SeqCst), self.newest())
    }
}

/// All tenants that wrote and were not removed since.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: HashMap<Arc<str>, Arc<Tenant>>,
    /// A number is never given a second time: an answer under way may still have it.
    by_number: BTreeMap<u32, Arc<Tenant>>,
    next_number: u32,
}

impl Inner {
    fn add(&mut self, name: &str, settings: &HeadSettings, now: Timestamp) -> Arc<Tenant> {
        let own = [(settings.tenant_label.as_str(), name)].into_iter().filter(|(label, _)| !label.is_empty());
        let external = ExternalLabels::from_pairs(settings.external_labels.iter().chain(own));
        let tenant = Arc::new(Tenant {
            name: name.into(),
            number: self.next_number,
            external,
            newest: AtomicI64::new(Timestamp::MIN),
            oldest: AtomicI64::new(Timestamp::MAX),
            oldest_since: AtomicI64::new(Timestamp::MAX),
            min_valid: AtomicI64::new(Timestamp::MIN),
            truncated: AtomicI64::new(Timestamp::MIN),
            written: AtomicI64::new(Timestamp::MIN),
            seen: AtomicI64::new(now),
            series: AtomicU64::new(0),
        });
        self.by_name.insert(Arc::clone(&tenant.name), Arc::clone(&tenant));
        self.by_number.insert(tenant.number, Arc::clone(&tenant));
        // a process does not live to see four thousand million tenants
        self.next_number = self.next_number.wrapping_add(1);
        tenant
    }
}

impl Tenants {
    /// The tenant of this name, if it wrote.
    pub fn find(&self, name: &str) -> Option<Arc<Tenant>> {
        self.inner.read().by_name.get(name).cloned()
    }

    /// The tenant of this name, first heard of at `now` where it is new.
    pub fn get(&self, name: &str, settings: &HeadSettings, now: impl FnOnce() -> Timestamp) -> Arc<Tenant> {
        if let Some(tenant) = self.find(name) {
            return tenant;
        }
        let mut inner = self.inner.write();
        if let Some(tenant) = inner.by_name.get(name) {
            return Arc::clone(tenant);
        }
        inner.add(name, settings, now())
    }

    /// Takes over the tenants of a snapshot, each with its number, and the number that the next new one gets. Only a replay may, and
    /// only where there are none.
    pub fn restore<'a>(&self, tenants: impl Iterator<Item = (u32, &'a str)>, next: u32, settings: &HeadSettings) {
        let mut inner = self.inner.write();
        for (number, name) in tenants {
            inner.next_number = number;
            inner.add(name, settings, Timestamp::MIN);
        }
        inner.next_number = next;
    }

    /// All of them with their numbers, and the number that the next new one gets.
    pub fn numbered(&self) -> (Vec<Arc<Tenant>>, u32) {
        let inner = self.inner.read();
        (inner.by_number.values().cloned().collect(), inner.next_number)
    }

    /// Forgets everybody. Only a replay that begins anew may.
    pub fn clear(&self) {
        *self.inner.write() = Inner::default();
    }

    /// Runs `work` while nobody can begin to write to the tenant, if nobody does now and it is idle since `since`. Nothing where
    /// there is no such tenant.
    pub fn while_unused<T>(&self, name: &str, since: Timestamp, work: impl FnOnce(&Tenant) -> T) -> Unused<T> {
        let inner = self.inner.write();
        match inner.by_name.get(name) {
            None => Unused::Unknown,
            Some(tenant) if !is_unused(tenant, since) => Unused::InUse,
            Some(tenant) => Unused::Done(work(tenant)),
        }
    }

    /// Forgets the tenant if nobody writes to it and it is idle since `since`.
    pub fn forget(&self, name: &str, since: Timestamp) -> Option<Arc<Tenant>> {
        let mut inner = self.inner.write();
        inner.by_name.get(name).filter(|tenant| is_unused(tenant, since))?;
        let tenant = inner.by_name.remove(name)?;
        inner.by_number.remove(&tenant.number)
    }

    /// Forgets the tenant, whatever it has. Only a replay may.
    pub fn forget_now(&self, name: &str) -> Option<Arc<Tenant>> {
        let mut inner = self.inner.write();
        let tenant = inner.by_name.remove(name)?;
        inner.by_number.remove(&tenant.number)
    }

    /// All of them, by number.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        self.inner.read().by_number.values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inner.read().by_number.len()
    }

    /// The tenant with this number.
    pub fn by_number(&self, number: u32) -> Option<Arc<Tenant>> {
        self.inner.read().by_number.get(&number).cloned()
    }
}

/// What became of work on a tenant that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unused<T> {
    /// There is no such tenant.
    Unknown,
    /// Somebody writes to it, or it is not idle.
    InUse,
    Done(T),
}

/// Whether nobody but the two maps has the tenant, and it is idle. To be asked under the lock of the maps, where nobody can get
/// it: then no write to it is under way, and none begins.
fn is_unused(tenant: &Arc<Tenant>, since: Timestamp) -> bool {
    Arc::strong_count(tenant) == 2 && tenant.is_idle(since)
}
