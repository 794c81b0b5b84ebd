use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use parking_lot::Mutex as Lock;

use super::*;
use crate::bucket::MetaSync;
use crate::clock::ManualClock;
use crate::compact::testing::{Faulty, at_once, faulty};

const TTL_MS: i64 = 1_000;
const SKEW_MAX_MS: i64 = 100;

fn settings(holder: &str) -> LeaseSettings {
    LeaseSettings { ttl_ms: TTL_MS, skew_max_ms: SKEW_MAX_MS, retry: at_once(), ..LeaseSettings::new("main", holder) }
}

async fn ask(store: &Arc<impl ObjectStore>, clock: &Arc<ManualClock>, holder: &str) -> Acquired {
    let (store, clock) = (Arc::clone(store) as Arc<dyn ObjectStore>, Arc::clone(clock) as _);
    Lease::acquire(store, &Path::default(), settings(holder), clock).await.unwrap()
}

async fn held(store: &Arc<impl ObjectStore>, clock: &Arc<ManualClock>, holder: &str) -> Arc<Lease> {
    match ask(store, clock, holder).await {
        Acquired::Held(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(acquired: &Acquired, holder: &str) {
    assert!(matches!(acquired, Acquired::Other(other) if other.holder == holder), "{acquired:?}");
}

async fn names(store: &Arc<impl ObjectStore>) -> Vec<String> {
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    objects.iter().map(|object| object.location.to_string()).collect()
}

#[tokio::test]
async fn another_one_waits_until_it_is_over_by_any_clock() {
    let (store, clock) = (Arc::new(InMemory::new()), Arc::new(ManualClock::new(5_000)));
    let first = held(&store, &clock, "a").await;
    assert_eq!((first.is_held(), first.remaining_ms()), (true, TTL_MS));
    refused(&ask(&store, &clock, "b").await, "a");
    clock.set(5_000 + TTL_MS - 1);
    assert!(first.is_held());
    clock.set(5_000 + TTL_MS);
    assert_eq!((first.is_held(), first.remaining_ms()), (false, 0));
    assert!(!first.renew().await.unwrap(), "too late");
    refused(&ask(&store, &clock, "b").await, "a");
    clock.set(5_000 + TTL_MS + SKEW_MAX_MS);
    refused(&ask(&store, &clock, "b").await, "a");
    clock.set(5_000 + TTL_MS + SKEW_MAX_MS + 1);
    let second = held(&store, &clock, "b").await;
    assert!(second.is_held() && !first.is_held());
    first.release().await.unwrap();
    assert!(second.renew().await.unwrap(), "what is not held cannot be released");
}

#[tokio::test]
async fn renewing_keeps_it_and_releasing_gives_it_up_at_once() {
    let (store, clock) = (Arc::new(InMemory::new()), Arc::new(ManualClock::new(0)));
    let lease = held(&store, &clock, "a").await;
    for n in 1..20 {
        clock.set(n * TTL_MS / 3);
        assert!(lease.renew().await.unwrap());
        assert_eq!(lease.remaining_ms(), TTL_MS);
        refused(&ask(&store, &clock, "b").await, "a");
    }
    lease.release().await.unwrap();
    assert!(!lease.is_held() && !lease.renew().await.unwrap());
    let other = held(&store, &clock, "b").await;
    assert!(other.is_held());
    let other_name = LeaseSettings { name: "shard-2".to_owned(), ..settings("c") };
    let acquired = Lease::acquire(Arc::clone(&store) as _, &Path::default(), other_name, Arc::clone(&clock) as _).await;
    assert!(matches!(acquired.unwrap(), Acquired::Held(_)), "another lease");
}

#[tokio::test]
async fn thanos_and_we_take_no_lease_for_a_block() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let clock = Arc::new(ManualClock::new(0));
    let lease = held(&store, &clock, "a").await;
    refused(&ask(&store, &clock, "b").await, "a");
    lease.release().await.unwrap();
    let mut names = names(&store).await;
    names.sort();
    assert_eq!(names, ["quiver/leases/main/00000000000000000001.json", "quiver/leases/main/00000000000000000002.json"]);
    let found = MetaSync::new(store, Path::default(), 1).for_compactor().fetch().await.unwrap();
    assert!(found.metas.is_empty() && found.without_meta.is_empty() && found.unreadable.is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_put_if_absent_has_no_lease() {
    let clock = Arc::new(ManualClock::new(0));
    let store = Arc::new(faulty(0, 0).with_create(false));
    assert!(matches!(ask(&store, &clock, "a").await, Acquired::Unsupported(why) if why.contains("put if absent")));
    let store = Arc::new(faulty(0, 0).overwriting());
    assert!(matches!(ask(&store, &clock, "a").await, Acquired::Unsupported(why) if why.contains("writes over")));
}

#[tokio::test]
async fn a_generation_that_says_nothing_sensible_counts_for_its_time() {
    for nonsense in [&b"{"[..], b"", br#"{"version":2,"holder":"z","nonce":"","expires_ms":0}"#, &[b' '; 70_000]] {
        let (store, clock) = (Arc::new(InMemory::new()), Arc::new(ManualClock::new(0)));
        let path = Path::from("quiver/leases/main/00000000000000000041.json");
        store.put(&path, Bytes::copy_from_slice(nonsense).into()).await.unwrap();
        store.put(&Path::from("quiver/leases/main/99.json"), "{}".into()).await.unwrap();
        let written = store.head(&path).await.unwrap().last_modified.timestamp_millis();
        clock.set(written + TTL_MS + SKEW_MAX_MS);
        refused(&ask(&store, &clock, "a").await, "unknown");
        clock.set(written + TTL_MS + SKEW_MAX_MS + 1);
        let lease = held(&store, &clock, "a").await;
        assert_eq!(*lease.generation.lock().await, 42);
    }
}

#[tokio::test]
async fn whoever_finds_a_newer_generation_has_lost() {
    let (store, clock) = (Arc::new(InMemory::new()), Arc::new(ManualClock::new(0)));
    let first = held(&store, &clock, "a").await;
    for _ in 0..3 {
        assert!(first.renew().await.unwrap());
    }
    // somebody empties the folder, and numbers begin again
    for name in names(&store).await {
        store.delete(&Path::from(name)).await.unwrap();
    }
    let second = held(&store, &clock, "b").await;
    assert!(first.renew().await.unwrap());
    assert!(!second.renew().await.unwrap());
    assert!(first.is_held() && !second.is_held());
}

#[tokio::test]
async fn old_generations_are_removed_by_the_clock_of_the_store() {
    let clock = Arc::new(ManualClock::new(0));
    let store = Arc::new(faulty(0, 0).with_clock(Arc::clone(&clock) as _));
    let lease = held(&store, &clock, "a").await;
    for n in 1..100 {
        clock.set(n * TTL_MS / 2);
        assert!(lease.renew().await.unwrap());
    }
    let kept = usize::try_from(KEPT_FOR_TTLS * (TTL_MS + SKEW_MAX_MS) / (TTL_MS / 2)).unwrap() + 1;
    assert_eq!(names(&store).await.len(), kept);
    assert!(lease.is_held());
}

/// A clock that is ahead or behind.
#[derive(Debug)]
struct Skewed(Arc<ManualClock>, i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }
}

/// Several that ask, renew, forget and release, over a store that fails and whose lists lag, by clocks that differ.
struct World {
    clock: Arc<ManualClock>,
    holders: Lock<Vec<Option<Arc<Lease>>>>,
    held: AtomicUsize,
    seed: u64,
}

impl World {
    /// Time goes on a little; then at most one holds the lease.
    fn step(&self, random: u64) {
        let now = self.clock.now();
        let pause = if random.is_multiple_of(50) { 700 } else { 20 };
        self.clock.set(now + i64::try_from((random >> 8) % pause).unwrap());
        let holding = self.holders.lock().iter().flatten().filter(|lease| lease.is_held()).count();
        assert!(holding <= 1, "seed {}: {holding} hold the lease", self.seed);
        self.held.fetch_max(holding, Ordering::SeqCst);
    }
}

async fn act(world: Arc<World>, store: Arc<Faulty>, me: usize, skew_ms: i64) -> usize {
    let clock: Arc<dyn Clock> = Arc::new(Skewed(Arc::clone(&world.clock), skew_ms));
    let mut taken = 0;
    for turn in 0..60_u64 {
        tokio::task::yield_now().await;
        let random = (world.seed * 7 + turn * 31 + me as u64 * 13) % 100;
        let current = world.holders.lock()[me].clone();
        match current {
            Some(lease) if random < 5 => {
                let _ = lease.release().await;
                world.holders.lock()[me] = None;
            }
            Some(lease) if random < 10 => {
                // it dies; what it held is over some time
                drop(lease);
                world.holders.lock()[me] = None;
            }
            Some(lease) => {
                if !lease.renew().await.unwrap_or(true) {
                    world.holders.lock()[me] = None;
                }
            }
            None => {
                let (settings, clock) = (settings(&format!("actor {me}")), Arc::clone(&clock));
                let asked = Lease::acquire(Arc::clone(&store) as _, &Path::default(), settings, clock).await;
                if let Ok(Acquired::Held(lease)) = asked {
                    world.holders.lock()[me] = Some(lease);
                    taken += 1;
                }
            }
        }
        world.step(random + 1);
    }
    taken
}

#[tokio::test]
async fn at_most_one_holds_it_whatever_fails() {
    let mut taken = 0;
    for seed in 0..400 {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let world = Arc::new(World {
            clock: Arc::clone(&clock),
            holders: Lock::new(vec![None, None, None]),
            held: AtomicUsize::new(0),
            seed,
        });
        let watched = Arc::clone(&world);
        let store = faulty(seed, seed % 25).with_lag(seed % 3).with_clock(clock as _);
        let store = Arc::new(store.with_hook(move |random| watched.step(random)));
        let half = SKEW_MAX_MS / 2;
        let act = |me, skew| act(Arc::clone(&world), Arc::clone(&store), me, skew);
        let (a, b, c) = futures::join!(act(0, -half), act(1, half), act(2, 0));
        taken += a + b + c;
        assert_eq!(world.held.load(Ordering::SeqCst), 1, "seed {seed}: nobody ever held it");
    }
    assert!(taken > 1_000, "{taken}");
}
