//! Blocks that Thanos merged, merged here: the samples are the same, and so are the chunks that overlap nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::ProcessPool;
use engine::compact::{Job, JobSettings, Output, OverlapMerge};
use object_store::ObjectStore;
use storage::block::{BlockMeta, LocalBlock};
use storage::compact::{groups, output_meta};
use storage::model::BlockId;
use storage::shipper::{Retry, UploadSettings};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BlockFiles, BlockStore};

use crate::bucket_samples::{Samples, samples};

/// The folder of golden data; none where it is not named.
fn golden() -> Option<PathBuf> {
    let shared = std::env::var_os("QUIVER_SHARED");
    if shared.is_none() {
        eprintln!("skipped: QUIVER_SHARED is not set");
    }
    Some(PathBuf::from(shared?).join("golden"))
}

fn settings(bucket: &Path) -> JobSettings {
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::local::LocalFileSystem::new_with_prefix(bucket).unwrap());
    JobSettings {
        memory: ProcessPool::new(512 << 20),
        partitions: 2,
        upload: UploadSettings {
            store,
            prefix: object_store::path::Path::default(),
            retry: Retry { attempts: 1, delay: Duration::ZERO, delay_max: Duration::ZERO },
            part_size: 64 << 10,
            scratch: bucket.join("scratch"),
            whole_in_scratch: false,
        },
    }
}

/// Merges blocks of `folder`s into one in `bucket`, without the label `replica`; returns its folder.
async fn merge(blocks: &[PathBuf], merge: OverlapMerge, bucket: &Path, number: u128) -> PathBuf {
    let mut metas: Vec<Arc<BlockMeta>> = Vec::new();
    let mut inputs = Vec::new();
    for path in blocks {
        let id: BlockId = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let cache = SideIndexCache::new(SideIndexSettings::default());
        let block = BlockStore::open(BlockFiles::local(id, path.clone()), cache).await.unwrap();
        let mut meta = BlockMeta::clone(block.meta());
        meta.thanos.as_mut().unwrap().labels.remove("replica");
        metas.push(Arc::new(meta));
        inputs.push(block);
    }
    let id: BlockId = format!("{number:026}").parse().unwrap();
    let meta = output_meta(id, &groups(&metas)[0], &metas);
    let job = Job { inputs, merge, outputs: vec![Output { meta }] };
    let made = job.run(&settings(bucket), &(), 0).await.unwrap();
    assert_eq!(made.len(), 1);
    bucket.join(id.to_string())
}

fn blocks_of(folder: &Path) -> Vec<(PathBuf, BlockMeta)> {
    let mut blocks = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(json) = std::fs::read(path.join("meta.json")) {
            blocks.push((path, BlockMeta::try_parse(&json, "golden").unwrap()));
        }
    }
    blocks.sort_by_key(|(_, meta)| (meta.min_time, meta.id()));
    blocks
}

/// Merges the sources of every raw block that Thanos compacted into `folder`, those of one time first, and compares.
async fn check(folder: &str, how: OverlapMerge) {
    let Some(golden) = golden() else { return };
    let sources: BTreeMap<BlockId, PathBuf> =
        blocks_of(&golden.join("bucket")).into_iter().map(|(path, meta)| (meta.id(), path)).collect();
    let bucket = tempfile::tempdir().unwrap();
    let (mut number, mut compared) = (1, 0);
    for (path, meta) in blocks_of(&golden.join("compacted").join(folder)) {
        if meta.resolution_ms() > 0 || meta.compaction.sources.len() < 2 {
            continue;
        }
        let mut by_time: BTreeMap<i64, Vec<PathBuf>> = BTreeMap::new();
        for source in &meta.compaction.sources {
            let path = &sources[source];
            let range = LocalBlock::open(path).unwrap().meta().range();
            by_time.entry(range.maxt).or_default().push(path.clone());
        }
        let mut merged = Vec::new();
        for overlapping in by_time.into_values() {
            merged.push(match overlapping.as_slice() {
                [only] => only.clone(),
                several => {
                    number += 1;
                    merge(several, how, bucket.path(), number).await
                }
            });
        }
        let ours = match merged.as_slice() {
            [only] => only.clone(),
            several => {
                number += 1;
                merge(several, how, bucket.path(), number).await
            }
        };
        let (ours, theirs) = (LocalBlock::open(&ours).unwrap(), LocalBlock::open(&path).unwrap());
        compare(&samples(&ours, &["replica"]), &samples(&theirs, &["replica"]), folder);
        let (stats, expected) = (&ours.meta().stats, &meta.stats);
        assert_eq!((stats.num_series, stats.num_samples), (expected.num_series, expected.num_samples));
        assert_eq!(stats.num_histogram_samples, expected.num_histogram_samples);
        assert_eq!(ours.meta().range(), meta.range());
        compared += 1;
    }
    assert!(compared >= 3, "{compared} blocks of {folder} were compared");
}

fn compare(ours: &Samples, theirs: &Samples, what: &str) {
    let missing: Vec<_> = theirs.difference(ours).take(3).collect();
    let more: Vec<_> = ours.difference(theirs).take(3).collect();
    assert!(missing.is_empty() && more.is_empty(), "{what}: missing {missing:#?}, more {more:#?}");
}

#[tokio::test]
async fn plain_blocks_are_those_of_thanos() {
    check("plain", OverlapMerge::OneToOne).await;
}

#[tokio::test]
async fn replicas_merged_one_to_one_are_those_of_thanos() {
    check("one-to-one", OverlapMerge::OneToOne).await;
}

#[tokio::test]
async fn replicas_merged_by_penalty_are_those_of_thanos() {
    check("penalty", OverlapMerge::Penalty).await;
}
