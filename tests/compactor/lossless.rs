//! No sample is lost, and none comes twice, whatever fails, whenever the process dies, and however many compactors there are.
//!
//! Samples are read by [`crate::own_reader`], which shares no code with the compactor. After every run, whatever became of it, all of
//! them are in blocks that stay: a block under a deletion mark may go at any time, so what replaces it has to be readable. When a
//! last run without faults has nothing left to do, each is there once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use storage::{Clock, ManualClock};

use crate::buckets::{HOUR_MS, NOW_MS, compactor, copy, settle, shape, small_bucket};
use crate::faulty::{Faults, FaultyBucket, Tally};
use crate::own_reader::BucketSamples;

/// Fewer find less: faults come from a seed, and each seed has others.
const SEEDS: u64 = 2_000;
/// Seeds of two compactors at once.
const PAIRS: u64 = 200;

/// Runs `check` for each seed, on all cores.
fn for_seeds<F>(seeds: u64, check: impl Fn(u64) -> F + Sync)
where
    F: Future<Output = ()>,
{
    let asked: Option<u64> = std::env::var("QUIVER_COMPACT_SEEDS").ok().and_then(|count| count.parse().ok());
    let (next, seeds) = (AtomicU64::new(0), asked.unwrap_or(seeds));
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    runtime.block_on(check(seed));
                }
            });
        }
    });
}

/// Objects with a clock, and what should be in them.
struct Scene {
    objects: Arc<InMemory>,
    clock: Arc<ManualClock>,
    scratch: tempfile::TempDir,
    expected: Arc<BucketSamples>,
}

impl Scene {
    async fn new(original: &InMemory, expected: &Arc<BucketSamples>) -> Self {
        Self {
            objects: copy(original).await,
            clock: Arc::new(ManualClock::new(NOW_MS)),
            scratch: tempfile::tempdir().unwrap(),
            expected: Arc::clone(expected),
        }
    }

    /// One run over `store` to its end.
    async fn run(&self, store: Arc<dyn ObjectStore>) {
        let ticking: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        // an error is as good as a process that died
        let _ = compactor(store, ticking, self.scratch.path(), None).run().await;
    }

    async fn check(&self, seed: u64) {
        let found = BucketSamples::read(&self.objects).await;
        assert!(
            found.distinct() == self.expected.unmarked,
            "seed {seed}: {} of {} samples are in blocks that stay",
            found.distinct().len(),
            self.expected.unmarked.len()
        );
    }

    /// Without faults, until there is nothing left to do and what was marked is gone.
    async fn end(&self, seed: u64) {
        // the last run may still have marked what another block holds
        for _ in 0..2 {
            let objects = Arc::<InMemory>::clone(&self.objects);
            let outcome = settle(objects, &self.clock, self.scratch.path()).await;
            assert!(outcome.halted.is_empty(), "seed {seed}: {outcome:?}");
        }
        let found = BucketSamples::read(&self.objects).await;
        assert!(found.unmarked == self.expected.unmarked, "seed {seed}: a sample is missing, or there more than once");
        assert!(found.all == found.unmarked, "seed {seed}: a block is still marked");
        assert_eq!(shape(&self.objects).await.len(), 3, "seed {seed}: one block of 8 h, two of 2 h");
    }
}

async fn original() -> (Arc<InMemory>, Arc<BucketSamples>) {
    let original = small_bucket().await;
    let expected = BucketSamples::read(&original).await;
    assert!(expected.unmarked.len() > 500 && expected.blocks == 6 && expected.all == expected.unmarked);
    (original, Arc::new(expected))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn no_sample_is_lost_whatever_fails() {
    let (original, expected) = block_on(original());
    let tally = Arc::new(Tally::default());
    for_seeds(SEEDS, async |seed| {
        let scene = Scene::new(&original, &expected).await;
        let faults = Faults {
            seed,
            percent: [0, 5, 20][usize::try_from(seed % 3).unwrap()],
            stale_percent: [0, 30][usize::try_from(seed % 2).unwrap()],
            dies_after: (seed % 3 != 1).then_some(seed * 7 % 90),
        };
        let faulty = FaultyBucket::new(Arc::clone(&scene.objects), faults, Arc::clone(&tally));
        for _ in 0..2 {
            tokio::select! {
                biased;
                () = Box::pin(scene.run(Arc::new(faulty.clone()))) => {}
                () = faulty.dead() => {}
            }
            scene.check(seed).await;
            scene.clock.set(scene.clock.now() + 49 * HOUR_MS);
        }
        scene.end(seed).await;
    });
    println!("{tally:?}");
    let seeds = std::env::var("QUIVER_COMPACT_SEEDS").map_or(SEEDS, |count| count.parse().unwrap());
    for (what, count) in [
        ("failed before", &tally.before),
        ("failed after", &tally.after),
        ("were read short", &tally.short_reads),
        ("were listed in part", &tally.cut_lists),
        ("were listed late", &tally.stale_lists),
        ("died", &tally.died),
        ("died in an upload", &tally.died_in_upload),
    ] {
        let count = count.load(Ordering::Relaxed);
        assert!(count >= seeds / 50, "only {count} {what}");
    }
}

#[test]
fn two_compactors_at_once_lose_nothing_and_double_nothing() {
    let (original, expected) = block_on(original());
    let tally = Arc::new(Tally::default());
    for_seeds(PAIRS, async |seed| {
        let scene = Scene::new(&original, &expected).await;
        // each has other faults, over the same objects
        let store = |number: u64| {
            let faults = Faults {
                seed: seed * 2 + number,
                percent: [0, 10][usize::try_from(seed % 2).unwrap()],
                stale_percent: [0, 0, 30][usize::try_from(seed % 3).unwrap()],
                dies_after: None,
            };
            Arc::new(FaultyBucket::new(Arc::clone(&scene.objects), faults, Arc::clone(&tally)))
        };
        for _ in 0..2 {
            let (one, two) = (Box::pin(scene.run(store(0))), Box::pin(scene.run(store(1))));
            tokio::join!(one, two);
            scene.check(seed).await;
            scene.clock.set(scene.clock.now() + 49 * HOUR_MS);
        }
        scene.end(seed).await;
    });
}
