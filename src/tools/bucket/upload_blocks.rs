//! `quiver tools bucket upload-blocks`: uploads the blocks of a local folder, with external labels.

use anyhow::{Context, bail};
use storage::shipper::{BlockSource, Shipper, ShipperSettings};
use storage::{Clock, SystemClock};

use super::open;
use crate::flags::UploadBlocksFlags;
use crate::settings;

/// Uploads what is not in the bucket yet.
///
/// # Errors
/// Where a flag is wrong, or a block cannot be uploaded; others are, all the same.
pub async fn run(flags: &UploadBlocksFlags) -> anyhow::Result<()> {
    let labels = settings::external_labels("--label", &flags.labels)?;
    let folder = &flags.path;
    std::fs::read_dir(folder).with_context(|| format!("--path={}", folder.display()))?;
    let bucket = open(&flags.objstore)?;
    let mut shipper = ShipperSettings::new(BlockSource::BucketUpload);
    shipper.upload_compacted = flags.upload_compacted;
    shipper.concurrency = flags.concurrency;
    let shipper = Shipper::try_new(folder, bucket.store, labels, shipper)?;
    let outcome = shipper.sync(SystemClock.now()).await;
    for (id, error) in &outcome.failed {
        tracing::error!(%id, %error, "cannot upload a block");
    }
    tracing::info!(uploaded = outcome.uploaded.len(), already = outcome.already.len(), "synced blocks");
    match outcome.error {
        Some(error) => Err(error).context("cannot upload blocks"),
        None if !outcome.failed.is_empty() => bail!("{} blocks could not be uploaded", outcome.failed.len()),
        None => Ok(()),
    }
}
