//! Writing one block of a bucket anew: what `rewrite` and repairing share.

use std::path::Path as FilePath;
use std::sync::Arc;

use compat::objstore::Bucket;
use engine::ProcessPool;
use engine::compact::JobSettings;
use object_store::path::Path;
use storage::block::BlockMeta;
use storage::block::meta::BlockStats;
use storage::model::BlockId;
use storage::shipper::{Retry, UploadSettings};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BlockFiles, BlockStore};

use crate::memory::available_bytes;

/// Parts in which files are uploaded, in bytes.
const PART_SIZE: usize = 8 << 20;

/// The files of a block of the bucket.
pub fn files(bucket: &Bucket, id: BlockId) -> BlockFiles {
    match &bucket.local_root {
        Some(root) => BlockFiles::local(id, root.join(id.to_string())),
        None => BlockFiles::remote(id, Arc::clone(&bucket.store), Path::from(id.to_string())),
    }
}

/// A block of the bucket, to read.
pub fn block(bucket: &Bucket, meta: &Arc<BlockMeta>) -> BlockStore {
    let cache = SideIndexCache::new(SideIndexSettings::default());
    BlockStore::new(files(bucket, meta.id()), Arc::clone(meta), cache)
}

/// Writes into the bucket, with `scratch` for what is made on the way.
pub fn job_settings(bucket: &Bucket, scratch: &FilePath) -> JobSettings {
    JobSettings {
        memory: ProcessPool::new(available_bytes() / 2),
        partitions: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        upload: UploadSettings {
            store: Arc::clone(&bucket.store),
            prefix: Path::default(),
            retry: Retry::default(),
            part_size: PART_SIZE,
            scratch: scratch.to_owned(),
            whole_in_scratch: false,
        },
    }
}

/// `meta.json` of what is made of a block, under another name and before anything is counted.
pub fn renamed(meta: &BlockMeta, id: BlockId, source: &str) -> BlockMeta {
    let mut thanos = meta.thanos.clone().unwrap_or_default();
    thanos.version = 1;
    thanos.source = source.to_owned();
    thanos.segment_files.clear();
    thanos.files.clear();
    thanos.upload_time = None;
    thanos.index_stats = Default::default();
    BlockMeta { ulid: id, stats: BlockStats::default(), thanos: Some(thanos), ..meta.clone() }
}
