//! Several compactors at once, without a lease, over a store that fails, with lists that lag and compactors that die between
//! any two requests: no source of any block is ever without a block that holds it, and in the end each is held once. A hand
//! that marks what was just compacted loses nothing either.
//!
//! Blocks here are a `meta.json` and one more file; what they hold is told by their sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use ulid::Ulid;

use super::testing::{Faulty, faulty, in_bucket, labeled};
use super::*;
use crate::block::BlockMeta;
use crate::block::marker::{DeletionMark, Marker};
use crate::block::meta::META_FILE;
use crate::bucket::{BlockFilters, MetaSync};
use crate::clock::{Clock, ManualClock};
use crate::model::BlockId;

/// Blocks cut from heads.
const BLOCKS: u64 = 11;
const BLOCK_MS: i64 = 20;
const DELETE_DELAY_MS: i64 = 100_000;
/// Time between two passes of a compactor.
const WAIT_MS: i64 = 40_000;
const COMPACTORS: u64 = 3;

/// What all compactors of a test share.
struct World {
    clock: Arc<ManualClock>,
    view: ViewSettings,
    plans: PlanSettings,
    sources: Vec<BlockId>,
}

impl World {
    /// With two replicas, whose blocks overlap once their labels are gone, or with one.
    async fn new(replicas: bool, store: &dyn ObjectStore) -> Self {
        let replica_labels = if replicas { vec!["replica".to_owned()] } else { Vec::new() };
        let mut sources = Vec::new();
        for replica in 0..=u64::from(replicas) {
            for n in 0..BLOCKS {
                let mint = i64::try_from(n).unwrap() * BLOCK_MS;
                let labels = [("c", "x"), ("replica", if replica == 0 { "a" } else { "b" })];
                let mut meta = labeled(1 + n + replica * BLOCKS, (mint, mint + BLOCK_MS), &labels);
                meta.stats.num_samples = 1;
                upload(store, &meta).await.unwrap();
                sources.push(meta.id());
            }
        }
        let filters = BlockFilters { replica_labels, ..BlockFilters::default() };
        Self {
            clock: Arc::new(ManualClock::new(10_000_000)),
            view: ViewSettings { filters, delete_delay_ms: DELETE_DELAY_MS },
            plans: PlanSettings {
                vertical: replicas,
                index_size_max: u64::MAX,
                ..PlanSettings::default().with_ranges(vec![20, 60, 180]).unwrap()
            },
            sources,
        }
    }

    /// Every `meta.json` in the bucket, also under marks, read without the code that is tested.
    async fn metas(store: &dyn ObjectStore) -> BTreeMap<BlockId, BlockMeta> {
        let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
        let mut metas = BTreeMap::new();
        for object in objects.iter().filter(|object| object.location.filename() == Some(META_FILE)) {
            let json = store.get(&object.location).await.unwrap().bytes().await.unwrap();
            let meta = BlockMeta::try_parse(&json, "any").unwrap();
            metas.insert(meta.id(), meta);
        }
        metas
    }

    /// Somebody marks a block for deletion that was made a while ago, as long as what it was made of is all there.
    async fn mark_by_hand(&self, store: &dyn ObjectStore) -> bool {
        let metas = Self::metas(store).await;
        let now = self.clock.now();
        let path = |block: BlockId| Path::from(format!("{block}/{}", DeletionMark::FILE));
        'blocks: for (&block, meta) in metas.iter().filter(|(_, meta)| meta.compaction.level > 1) {
            if store.head(&path(block)).await.is_ok() {
                continue;
            }
            for parent in &meta.compaction.parents {
                let Ok(mark) = store.get(&path(parent.ulid)).await else { continue 'blocks };
                let mark = DeletionMark::try_parse(&mark.bytes().await.unwrap(), "any").unwrap();
                let is_young = now - mark.deletion_time_s * 1_000 < DELETE_DELAY_MS / 2;
                if !metas.contains_key(&parent.ulid) || !is_young {
                    continue 'blocks;
                }
            }
            let mark = DeletionMark::new(block, now / 1_000, "by hand");
            store.put(&path(block), mark.to_json().unwrap().into()).await.unwrap();
            return true;
        }
        false
    }

    async fn check(&self, store: &dyn ObjectStore, seed: u64) {
        let metas = Self::metas(store).await;
        for source in &self.sources {
            let held = metas.values().any(|meta| meta.compaction.sources.contains(source));
            assert!(held, "seed {seed}: nothing holds {source}");
        }
    }
}

async fn upload(store: &dyn ObjectStore, meta: &BlockMeta) -> object_store::Result<()> {
    let file = |file: &str| Path::from(format!("{}/{file}", meta.id()));
    store.put(&file("index"), "x".into()).await?;
    store.put(&file(META_FILE), meta.to_json().unwrap().into()).await.map(drop)
}

struct Compactor<'a> {
    world: &'a World,
    store: Arc<Faulty>,
    sync: MetaSync,
    bucket: Bucket,
    number: u64,
    made: u64,
    /// Blocks that a hand marked.
    marked: u64,
}

impl<'a> Compactor<'a> {
    fn new(world: &'a World, store: Arc<Faulty>, number: u64) -> Self {
        let sync = MetaSync::new(Arc::clone(&store) as _, Path::default(), 4).for_compactor();
        let bucket = in_bucket(Arc::clone(&store) as _);
        Self { world, store, sync, bucket, number, made: 0, marked: 0 }
    }

    /// One pass, which may die anywhere by an error; whether it did anything.
    async fn pass(&mut self) -> crate::Result<bool> {
        let found = self.sync.fetch().await?;
        let now = self.world.clock.now();
        let view = BucketView::new(found, self.world.view.clone(), now);
        if view.unread().next().is_some() {
            return Ok(true);
        }
        let deletions = deletions(&view, &Retention::default());
        let mut worked = !deletions.due.is_empty();
        for deletion in &deletions.due {
            self.bucket.delete_marked(deletion).await?;
        }
        for pair in garbage(&view) {
            worked = true;
            self.bucket.mark_replaced(&[pair.id], pair.held_by, OUTDATED, now).await?;
        }
        for group in view.groups() {
            let Step::Merge(_, inputs) = plan(&group, &self.world.plans, &view.no_compact(), &Default::default()).step
            else {
                continue;
            };
            worked = true;
            self.made += 1;
            let name = BlockId::new(Ulid::from_parts(1_000 + self.made, u128::from(self.number)));
            let mut output = output_meta(name, &group, &inputs);
            output.stats.num_samples = inputs.iter().map(|block| block.stats.num_samples).sum();
            for input in &inputs {
                // merging reads them to the end
                self.store.inner.head(&Path::from(format!("{}/index", input.id()))).await.map_err(failed)?;
            }
            upload(&*self.store, &output).await.map_err(failed)?;
            let inputs: Vec<BlockId> = inputs.iter().map(|block| block.id()).collect();
            self.bucket.mark_replaced(&inputs, name, SOURCE_OF_COMPACTED, now).await?;
        }
        Ok(worked)
    }

    /// Passes by one of several compactors, with `a_hand` now and then.
    async fn run(mut self, seed: u64, a_hand: bool) -> Self {
        for turn in 0..25 {
            let _ = self.pass().await;
            self.world.check(&self.store.inner, seed).await;
            if a_hand && turn % 5 == self.number && self.world.mark_by_hand(&self.store.inner).await {
                self.marked += 1;
            }
            let now = self.world.clock.now();
            self.world.clock.set(now + WAIT_MS * i64::try_from((seed + turn) % 3).unwrap());
        }
        self
    }
}

fn failed(error: object_store::Error) -> crate::Error {
    crate::Error::upload("a block", "a file", error)
}

/// Several compactors and then, when the store has recovered, one that goes on until there is nothing left to do.
/// The bucket in the end, how many blocks were made, and how many a hand marked.
async fn compact(
    seed: u64,
    world: &World,
    store: Arc<Faulty>,
    a_hand: bool,
) -> (BTreeMap<BlockId, BlockMeta>, u64, u64) {
    let compactors = (0..COMPACTORS).map(|n| Compactor::new(world, Arc::clone(&store), n).run(seed, a_hand));
    let done = futures::future::join_all(compactors).await;
    let store = Arc::new(store.recovered());
    let mut last = Compactor::new(world, Arc::clone(&store), COMPACTORS);
    let mut idle = 0;
    for _ in 0..100 {
        idle = if last.pass().await.unwrap() { 0 } else { idle + 1 };
        world.check(&store.inner, seed).await;
        world.clock.set(world.clock.now() + WAIT_MS);
        if WAIT_MS * idle > 2 * DELETE_DELAY_MS {
            break;
        }
    }
    let sum = |of: fn(&Compactor<'_>) -> u64| done.iter().map(of).sum();
    (World::metas(&store.inner).await, sum(|compactor| compactor.made), sum(|compactor| compactor.marked))
}

#[tokio::test]
async fn nothing_is_lost_whatever_fails_and_whoever_else_compacts() {
    let (mut made, mut deleted) = (0, 0);
    for seed in 0..80 {
        let store = Arc::new(faulty(seed, seed % 20).with_lag(seed % 4));
        let world = World::new(seed % 2 == 1, &store.inner).await;
        let (metas, blocks, _) = compact(seed, &world, Arc::clone(&store), false).await;
        made += blocks;
        deleted += store.deleted().len();
        let mut held: Vec<BlockId> = metas.values().flat_map(|meta| meta.compaction.sources.clone()).collect();
        held.sort();
        assert_eq!(held, world.sources, "seed {seed}: each source is held once");
        // 0 to 180, 180 to 200, and 200 to 220, the newest
        assert_eq!(metas.len(), 3, "seed {seed}: {:?}", metas.values().map(BlockMeta::range).collect::<Vec<_>>());
    }
    assert!(made > 400 && deleted > 2_000, "{made} blocks made, {deleted} objects deleted");
}

#[tokio::test]
async fn a_hand_that_marks_the_wrong_block_loses_nothing() {
    let mut marked = 0;
    for seed in 0..40 {
        let store = Arc::new(faulty(seed, seed % 20).with_lag(seed % 4));
        let world = World::new(seed % 2 == 1, &store.inner).await;
        marked += compact(seed, &world, store, true).await.2;
    }
    assert!(marked > 20, "{marked}");
}
