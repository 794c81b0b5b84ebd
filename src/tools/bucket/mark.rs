//! `quiver tools bucket mark`: marks blocks for deletion, or against compaction or downsampling, or removes such a mark.

use anyhow::{Context, bail};
use futures::StreamExt;
use object_store::path::Path;
use storage::block::marker::{DeletionMark, Marker, NoCompactMark, NoDownsampleMark, REASON_MANUAL};
use storage::compact::{Bucket, Marked};
use storage::model::BlockId;
use storage::{Clock, SystemClock};

use super::{open, to_change};
use crate::flags::{MarkFlags, MarkerFile};

/// Marks the blocks, one after the other.
///
/// # Errors
/// Where a flag is wrong, there is no such block, or the bucket does not take the mark.
pub async fn run(flags: &MarkFlags) -> anyhow::Result<()> {
    let removes = flags.remove && !flags.no_remove;
    let details = flags.details.as_deref().unwrap_or_default();
    if !removes && details.is_empty() {
        bail!("required flag --details not provided");
    }
    let bucket = to_change(&open(&flags.objstore)?);
    // a mistyped name is not to become a folder with nothing but a mark
    for &id in &flags.ids {
        let mut files = bucket.store().list(Some(&Path::from(id.to_string())));
        match files.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error).with_context(|| format!("--id={id}: cannot list its files")),
            None => bail!("--id={id}: there is no such block"),
        }
    }
    let now_s = SystemClock.now().div_euclid(1_000);
    for &id in &flags.ids {
        match flags.marker {
            MarkerFile::Deletion => put(&bucket, removes, &DeletionMark::new(id, now_s, details)).await?,
            MarkerFile::NoCompact => {
                put(&bucket, removes, &NoCompactMark::new(id, now_s, REASON_MANUAL, details)).await?
            }
            MarkerFile::NoDownsample => put(&bucket, removes, &NoDownsampleMark::new(id, now_s, details)).await?,
        }
    }
    let ids: Vec<String> = flags.ids.iter().map(BlockId::to_string).collect();
    tracing::info!(ids = ids.join(","), "marking done");
    Ok(())
}

async fn put<M: Marker>(bucket: &Bucket, removes: bool, mark: &M) -> anyhow::Result<()> {
    let (id, marker) = (mark.id(), M::FILE);
    if removes {
        let removed = bucket.remove_mark::<M>(id).await.with_context(|| format!("cannot remove {marker} of {id}"))?;
        tracing::info!(%id, marker, removed, "removed a mark");
        return Ok(());
    }
    match bucket.mark(mark).await.with_context(|| format!("cannot write {marker} of {id}"))? {
        Marked::Written => tracing::info!(%id, marker, "marked a block"),
        Marked::AlreadyThere => tracing::warn!(%id, marker, "the block has this mark already, which stays as it is"),
    }
    Ok(())
}
