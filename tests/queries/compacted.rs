//! A bucket as our compactor leaves it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::ProcessPool;
use engine::compact::{JobSettings, OverlapMerge};
use engine::compactor::{BucketCompactor, CompactorSettings};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use storage::ManualClock;
use storage::compact::{Bucket, PlanSettings, Retention, ViewSettings};
use storage::shipper::{Retry, UploadSettings};
use storage::side_index::{SideIndexCache, SideIndexSettings};

const HOUR_MS: i64 = 3_600_000;
/// 2026-03-01, long after the golden data.
const LATER_MS: i64 = 1_772_323_200_000;

/// A copy of the blocks in `bucket`, compacted and downsampled until there is nothing to do, without the blocks that were replaced.
/// With `merge`, replicas become one.
pub fn compacted(bucket: &Path, merge: Option<OverlapMerge>) -> tempfile::TempDir {
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy_folder(bucket, folder.path());
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let retry = Retry { attempts: 1, delay: Duration::ZERO, delay_max: Duration::ZERO };
    let mut view = ViewSettings { delete_delay_ms: 48 * HOUR_MS, ..ViewSettings::default() };
    let mut plan = PlanSettings::default();
    if merge.is_some() {
        view.filters.replica_labels = vec!["replica".to_owned()];
        plan.vertical = true;
    }
    let settings = CompactorSettings {
        view,
        plan,
        merge: merge.unwrap_or_default(),
        retention: Retention::default(),
        downsamples: true,
        concurrency: 2,
        downsample_concurrency: 2,
        job: JobSettings {
            memory: ProcessPool::new(256 << 20),
            partitions: 2,
            upload: UploadSettings {
                store: Arc::clone(&store),
                prefix: object_store::path::Path::default(),
                retry,
                part_size: 64 << 10,
                scratch: scratch.path().to_owned(),
                whole_in_scratch: false,
            },
        },
        local_root: Some(folder.path().to_owned()),
    };
    let run = async {
        // what the first run replaced, the second one deletes
        for now in [LATER_MS, LATER_MS + 49 * HOUR_MS] {
            let bucket = Bucket::new(Arc::clone(&store), object_store::path::Path::default(), 8, retry);
            let side_indexes = SideIndexCache::new(SideIndexSettings::default());
            let clock = Arc::new(ManualClock::new(now));
            let compactor = BucketCompactor::new(bucket, settings.clone(), 8, side_indexes, clock, Arc::new(()));
            let outcome = compactor.run().await.unwrap();
            assert!(outcome.failed.is_empty() && outcome.halted.is_empty(), "{outcome:?}");
        }
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(Box::pin(run));
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
