//! `quiver tools bucket`: what can be done with a bucket, one file a command.

mod anew;
mod downsample;
mod inspect;
mod ls;
mod mark;
mod replicate;
mod rewrite;
mod sweep;
mod table;
mod template;
mod upload_blocks;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::objstore::Bucket;
use object_store::path::Path;
use storage::block::BlockMeta;
use storage::bucket::{BlockFilters, FoundBlocks, MetaSync};
use storage::model::{BlockId, Timestamp};
use storage::shipper::Retry;

use crate::flags::{BucketTool, ObjstoreFlags};
use crate::{logging, settings};

/// Blocks whose `meta.json` is read at once, as in Thanos.
const META_CONCURRENCY: usize = 32;

/// Runs one command.
///
/// # Errors
/// The command's.
pub fn run(tool: &BucketTool, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    match tool {
        BucketTool::Ls(flags) => {
            logging::start(flags.log);
            block_on(ls::run(flags))
        }
        BucketTool::Inspect(flags) => {
            logging::start(flags.log);
            block_on(inspect::run(flags))
        }
        BucketTool::Verify(flags) => {
            logging::start(flags.log);
            block_on(verify::run(flags))
        }
        BucketTool::Mark(flags) => {
            logging::start(flags.log);
            block_on(mark::run(flags))
        }
        BucketTool::Cleanup(flags) => {
            logging::start(flags.sweep.log);
            block_on(sweep::clean_up(flags))
        }
        BucketTool::Retention(flags) => {
            logging::start(flags.sweep.log);
            block_on(sweep::retain(flags))
        }
        BucketTool::Downsample(flags) => {
            logging::start(flags.log);
            block_on(downsample::run(flags, flag_values))
        }
        BucketTool::Rewrite(flags) => {
            logging::start(flags.log);
            block_on(rewrite::run(flags))
        }
        BucketTool::Replicate(flags) => {
            logging::start(flags.log);
            block_on(replicate::run(flags, flag_values))
        }
        BucketTool::UploadBlocks(flags) => {
            logging::start(flags.log);
            block_on(upload_blocks::run(flags))
        }
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(command)
}

/// The bucket that the flags name.
fn open(flags: &ObjstoreFlags) -> anyhow::Result<Bucket> {
    match settings::bucket(flags)? {
        Some(bucket) => Ok(bucket),
        None => bail!("--objstore.config-file or --objstore.config is needed, see docs/objstore.md"),
    }
}

/// The bucket, to mark and delete in.
fn to_change(bucket: &Bucket) -> storage::compact::Bucket {
    storage::compact::Bucket::new(Arc::clone(&bucket.store), Path::default(), META_CONCURRENCY, Retry::default())
}

/// Everything that the bucket says of its blocks. What cannot be read is told and left out.
async fn look(bucket: &Bucket, timeout: Duration) -> anyhow::Result<FoundBlocks> {
    let sync = MetaSync::new(Arc::clone(&bucket.store), Path::default(), META_CONCURRENCY);
    let found = tokio::time::timeout(timeout, sync.fetch()).await;
    let found = found.with_context(|| format!("--timeout: {} took longer than {timeout:?}", bucket.name))?;
    let found = found.with_context(|| format!("cannot read the bucket {}", bucket.name))?;
    for (id, unreadable) in &found.unreadable {
        tracing::warn!(%id, file = unreadable.file, reason = unreadable.reason, "a block is left out");
    }
    Ok(found)
}

/// The blocks that `filters` let through, by id, duplicates and marked blocks too.
fn select(found: FoundBlocks, filters: &BlockFilters, now: Timestamp) -> BTreeMap<BlockId, Arc<BlockMeta>> {
    let mut metas = found.metas;
    metas.retain(|_, meta| filters.selects(meta, now));
    metas
}
