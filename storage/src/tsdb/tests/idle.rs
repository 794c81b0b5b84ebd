//! Tenants who stop writing: nothing acknowledged is lost, whatever comes in between.

use std::collections::BTreeSet;

use object_store::ObjectStore;

use super::*;
use crate::head::Commit;
use crate::shipper::tests::faulty::FaultyStore;
use crate::shipper::{BlockSource, Retry, Shipper, ShipperSettings};
use crate::store::{BucketSettings, BucketStore};

/// Writes a sample, and says whether it was taken.
fn push(tsdb: &Tsdb, tenant: &str, t: i64) -> Option<Commit> {
    let mut appender = tsdb.head().appender(tenant);
    let floats = [FloatSample { t, start: 0, value: t as f64 }];
    let labels = [("__name__", "m"), ("n", "0")];
    appender.push(&SeriesWrite { labels: &labels, floats: &floats, histograms: &[], exemplars: &[], metadata: None });
    let commit = appender.commit().unwrap();
    (commit.outcome.rejected_count() == 0).then_some(commit)
}

async fn acknowledged(tsdb: &Tsdb, tenant: &str, t: i64) -> bool {
    let Some(commit) = push(tsdb, tenant, t) else { return false };
    tsdb.head().durable(&commit).await.unwrap();
    true
}

/// The labels of the one series of a tenant.
fn labels(tenant: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("n", "0"), ("cluster", "c"), ("tenant_id", tenant)])
}

/// A folder whose tenant `a` wrote an hour and then nothing for longer than the retention, and is in one block.
async fn idle(folder: &Path) -> (Tsdb, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(HOUR));
    let (tsdb, _) = open(folder, &clock).await;
    write(&tsdb, "a", 1, 0, HOUR).await;
    clock.set(4 * HOUR + MINUTE);
    assert_eq!(tsdb.cut(Cut::Due).await.unwrap().len(), 1);
    clock.set(26 * HOUR);
    (tsdb, clock)
}

#[tokio::test]
async fn an_idle_tenant_goes_and_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (tsdb, clock) = idle(folder.path()).await;
    std::fs::write(folder.path().join("a/thanos.shipper.json"), "{}").unwrap();
    clock.set(24 * HOUR);
    assert!(tsdb.remove_idle(|_, _| true).await.unwrap().is_empty(), "not yet");
    clock.set(26 * HOUR);
    assert!(tsdb.remove_idle(|_, _| false).await.unwrap().is_empty(), "not uploaded");
    assert!(folder.path().join("a").exists());
    std::fs::write(folder.path().join("a/notes.txt"), "mine").unwrap();
    assert!(tsdb.remove_idle(|_, _| true).await.unwrap().is_empty(), "something else is in it");
    std::fs::remove_file(folder.path().join("a/notes.txt")).unwrap();
    assert_eq!(tsdb.remove_idle(|_, _| true).await.unwrap(), ["a"]);
    assert!(!folder.path().join("a").exists());
    assert!(tsdb.head().tenants().is_empty() && tsdb.tenants().is_empty() && read(&tsdb).await.is_empty());
    assert!(tsdb.remove_idle(|_, _| true).await.unwrap().is_empty(), "only once");
    // nothing of what is in the log comes back
    tsdb.close().await.unwrap();
    let (tsdb, _) = open(folder.path(), &clock).await;
    assert!(read(&tsdb).await.is_empty());
    assert_eq!(tsdb.head().stats().series, 0);
    // an older sample than the last is taken again: what was there is elsewhere now
    assert!(acknowledged(&tsdb, "a", 10).await);
    assert_eq!(read(&tsdb).await, BTreeMap::from([(labels("a"), vec![10])]));
    tsdb.close().await.unwrap();
    let (tsdb, _) = open(folder.path(), &clock).await;
    assert_eq!(read(&tsdb).await, BTreeMap::from([(labels("a"), vec![10])]));
}

#[tokio::test]
async fn tenants_who_only_asked_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(0));
    let (tsdb, _) = open(folder.path(), &clock).await;
    drop(tsdb.head().appender("nobody"));
    clock.set(23 * HOUR);
    assert!(tsdb.remove_idle(|_, _| true).await.unwrap().is_empty());
    clock.set(24 * HOUR);
    assert_eq!(tsdb.remove_idle(|_, _| true).await.unwrap(), ["nobody"]);
}

#[tokio::test]
async fn a_write_in_hand_keeps_the_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let (tsdb, _clock) = idle(folder.path()).await;
    let appender = tsdb.head().appender("a");
    assert!(tsdb.remove_idle(|_, _| true).await.unwrap().is_empty());
    drop(appender);
    assert_eq!(tsdb.remove_idle(|_, _| true).await.unwrap(), ["a"]);
}

/// The steps of a removal, with a write before step `at`; after each the process may end.
#[tokio::test]
async fn a_sample_that_comes_in_mid_removal_stays() {
    for at in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let (tsdb, clock) = idle(folder.path()).await;
        let t = clock.now();
        let since = t - 24 * HOUR;
        let (head, mut wrote) = (Arc::clone(tsdb.head()), false);
        for step in 0..4 {
            if step == at {
                assert!(acknowledged(&tsdb, "a", t).await);
                // what is older than the block is not taken before the block is gone
                assert!(push(&tsdb, "a", HOUR).is_none());
                wrote = true;
            }
            match step {
                0 => {
                    let noted = head.retire("a", since).unwrap();
                    assert_eq!(noted.is_some(), !wrote);
                    let Some(noted) = noted else { break };
                    head.durable(&noted).await.unwrap();
                }
                1 => assert!(tsdb.blocks.remove("a").await.unwrap()),
                2 => assert_eq!(head.forget("a", since), !wrote),
                _ => {}
            }
            let mut expected = BTreeMap::new();
            if wrote {
                expected.entry(labels("a")).or_insert_with(Vec::new).push(t);
            }
            if step == 0 {
                expected.entry(labels("a")).or_default().splice(0..0, (0..HOUR).step_by(MINUTE as usize));
            }
            assert_eq!(read(&tsdb).await, expected, "write before step {at}, after step {step}");
            let copy = tempfile::tempdir().unwrap();
            copy_all(folder.path(), copy.path());
            let (again, _) = open(copy.path(), &clock).await;
            assert_eq!(read(&again).await, expected, "write before step {at}, a start after step {step}");
        }
        // whatever became of it, the sample gets into a block
        clock.set(t + 4 * HOUR);
        assert_eq!(tsdb.cut(Cut::Due).await.unwrap().len(), 1);
        assert!(read(&tsdb).await[&labels("a")].contains(&t));
    }
}

/// A node with a bucket.
struct Node {
    tsdb: Tsdb,
    bucket: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
}

impl Node {
    /// Cuts, uploads, deletes and removes.
    async fn maintain(&self) -> Vec<String> {
        self.tsdb.cut(Cut::Due).await.unwrap();
        let mut uploaded: BTreeMap<String, BTreeSet<BlockId>> = BTreeMap::new();
        for (tenant, folder, labels) in self.tsdb.tenants() {
            let retry = Retry { attempts: 1, delay: Duration::ZERO, delay_max: Duration::ZERO };
            let settings = ShipperSettings { retry, ..ShipperSettings::new(BlockSource::Receive) };
            let bucket = Arc::clone(&self.bucket) as Arc<dyn ObjectStore>;
            let shipper = Shipper::try_new(folder, bucket, labels, settings).unwrap();
            shipper.sync(self.clock.now()).await;
            uploaded.insert(tenant, shipper.uploaded());
        }
        let may_go = |tenant: &str, meta: &BlockMeta| uploaded.get(tenant).is_some_and(|ids| ids.contains(&meta.id()));
        self.tsdb.delete_expired(may_go).await.unwrap();
        self.tsdb.remove_idle(may_go).await.unwrap()
    }

    /// All samples, here and in the bucket.
    async fn all(&self) -> BTreeMap<Labels, Vec<i64>> {
        let side_indexes = SideIndexCache::new(SideIndexSettings::default());
        let store = Arc::clone(&self.bucket.inner) as Arc<dyn ObjectStore>;
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let bucket = BucketStore::new(store, BucketSettings::default(), side_indexes, clock);
        bucket.sync().await.unwrap();
        let mut all = read(&self.tsdb).await;
        for (labels, times) in read(&bucket).await {
            all.entry(labels).or_default().extend(times);
        }
        for times in all.values_mut() {
            times.sort_unstable();
            times.dedup();
        }
        all
    }
}

#[tokio::test]
async fn a_bucket_that_fails_keeps_everything_here() {
    let mut removed = 0;
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(0));
        let bucket = Arc::new(FaultyStore::new(seed, 30));
        let mut node = Node { tsdb: open(folder.path(), &clock).await.0, bucket, clock: Arc::clone(&clock) };
        let mut expected: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
        for step in 0..24_u64 {
            // tenants write now and then, and pause for longer than the retention
            for (tenant, every) in [("a", 7), ("b", 9)] {
                let t = clock.now();
                if (step + seed) % every < 2 && acknowledged(&node.tsdb, tenant, t).await {
                    expected.entry(labels(tenant)).or_default().push(t);
                }
            }
            clock.set(clock.now() + 8 * HOUR);
            removed += node.maintain().await.len();
            if (step * 5 + seed) % 4 == 0 {
                node.tsdb.close().await.unwrap();
                node.tsdb = open(folder.path(), &clock).await.0;
            }
            assert_eq!(node.all().await, expected, "seed {seed}, step {step}");
        }
        assert!(node.bucket.hit() > 0);
    }
    assert!(removed > 20, "{removed}");
}
