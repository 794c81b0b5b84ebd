//! One block: its files, and the order in which they are uploaded.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};

use super::folder::{BucketFolder, Sizes, upload_time};
use super::{Shipper, ShipperSettings, blocking};
use crate::block::BlockMeta;
use crate::block::meta::{BlockFile, FileHash, META_FILE, ThanosMeta};
use crate::block::segments::{CHUNKS_DIR, sync_dir};
use crate::error::{Error, Result};
use crate::index::INDEX_FILE;
use crate::model::{BlockId, Timestamp};
use crate::side_index::cache::build_into_folder;
use crate::side_index::{CHECKSUM_FILE, SIDE_INDEX_FILE};
use crate::store::BlockFiles;

/// Where files are made before they are moved to the block; Thanos stages its uploads there too.
pub(super) const STAGING_DIR: &str = "thanos/upload";

/// Numbers the side-indexes that are made.
static ATTEMPTS: AtomicU64 = AtomicU64::new(0);

/// Hashes of files by their path below the block's folder.
type Hashes = BTreeMap<String, FileHash>;

/// What uploading a block came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shipped {
    /// It was not in the bucket and is now.
    Now,
    /// It was in the bucket.
    Before,
}

impl Shipper {
    /// Uploads the block with the local `meta`, but for what is in the bucket already.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::NotFound`] where the local block is not whole; [`Error::Upload`],
    /// [`Error::ObjectStore`], [`Error::Io`].
    pub(super) async fn ship(&self, meta: &BlockMeta, now: Timestamp) -> Result<Shipped> {
        let id = meta.id();
        let bucket = self.folder(id);
        let there = bucket.objects().await?;
        if there.contains_key(META_FILE) {
            return Ok(Shipped::Before);
        }
        tracing::info!(block = %id, "uploading a block");
        let folder: Arc<Path> = self.dir.join(id.to_string()).into();
        self.add_side_index(id, &folder).await?;
        let (files, meta) = {
            let (folder, meta) = (Arc::clone(&folder), meta.clone());
            blocking(move || Ok((block_files(&folder, &meta)?, meta))).await?
        };
        let missing = |name: &&String| there.get(*name) != files.get(*name);
        let chunks = files.keys().filter(|name| name.starts_with(CHUNKS_DIR)).filter(missing);
        let uploads: Vec<_> = chunks.map(|name| bucket.file(&folder, name, files[name])).collect();
        let mut uploads = futures::stream::iter(uploads).buffer_unordered(self.settings.concurrency.max(1));
        while uploads.try_next().await?.is_some() {}
        for name in [INDEX_FILE, SIDE_INDEX_FILE, CHECKSUM_FILE].map(str::to_owned) {
            if let Some(&size) = files.get(&name).filter(|_| missing(&&name)) {
                bucket.file(&folder, &name, size).await?;
            }
        }
        let hashes = self.hashes(&folder, &files).await?;
        bucket.commit(&self.uploaded_meta(meta, &files, hashes, now)?, &files).await?;
        Ok(Shipped::Now)
    }

    fn folder(&self, id: BlockId) -> BucketFolder {
        let ShipperSettings { prefix, retry, part_size, .. } = &self.settings;
        BucketFolder {
            store: Arc::clone(&self.store),
            prefix: prefix.clone(),
            id,
            retry: *retry,
            part_size: *part_size,
        }
    }

    /// Hashes of the files, where they are wanted.
    async fn hashes(&self, folder: &Arc<Path>, files: &Sizes) -> Result<Hashes> {
        let Some(function) = self.settings.hash else { return Ok(Hashes::new()) };
        let (folder, names) = (Arc::clone(folder), files.keys().cloned().collect::<Vec<_>>());
        let hash = move |name: String| Ok((name.clone(), function.of_file(&folder.join(name))?));
        blocking(move || names.into_iter().map(hash).collect()).await
    }

    /// `meta.json` as the bucket gets it: with our external labels, source, files and time. The local one stays as it is.
    fn uploaded_meta(
        &self,
        mut meta: BlockMeta,
        files: &Sizes,
        mut hashes: Hashes,
        now: Timestamp,
    ) -> Result<BlockMeta> {
        let thanos = meta.thanos.get_or_insert_with(ThanosMeta::default);
        let labels = self.external_labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        thanos.labels.extend(labels);
        self.settings.source.name().clone_into(&mut thanos.source);
        let in_chunks = files.keys().filter_map(|name| name.strip_prefix(CHUNKS_DIR)?.strip_prefix('/'));
        thanos.segment_files = in_chunks.map(str::to_owned).collect();
        let listed = files.iter().map(|(name, &size)| (name.clone(), size));
        let listed = listed.chain([(META_FILE.to_owned(), 0)]).collect::<Sizes>();
        let file = |(rel_path, size_bytes)| BlockFile { hash: hashes.remove(&rel_path), rel_path, size_bytes };
        thanos.files = listed.into_iter().map(file).collect();
        thanos.upload_time = Some(upload_time(now)?);
        Ok(meta)
    }

    /// Writes the side-index beside a block that has none, so that no reader of the bucket has to fetch `index` for it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where `index` is damaged. Where it cannot be written, the block goes without: a full disk must
    /// not hold back the uploads that would empty it.
    async fn add_side_index(&self, id: BlockId, folder: &Arc<Path>) -> Result<()> {
        if [SIDE_INDEX_FILE, CHECKSUM_FILE].iter().all(|name| folder.join(name).exists()) {
            return Ok(());
        }
        // a folder of its own: a build whose sync was dropped may still be writing
        let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
        let staging = self.dir.join(STAGING_DIR).join(attempt.to_string());
        let files = BlockFiles::local(id, folder.to_path_buf());
        let made = match build_into_folder(&files, &staging).await {
            Ok(_) => {
                let folder = Arc::clone(folder);
                blocking(move || adopt_side_index(&staging, id, &folder)).await
            }
            Err(error) => Err(error),
        };
        match made {
            Err(error @ Error::Io { .. }) => {
                tracing::warn!(block = %id, %error, "cannot write a side-index; the block is uploaded without");
                Ok(())
            }
            made => made,
        }
    }
}

/// Moves the side-index to the block in `folder`: the checksums last, without which the rest counts as missing.
fn adopt_side_index(staging: &Path, id: BlockId, folder: &Path) -> Result<()> {
    let made = staging.join(id.to_string());
    for name in [SIDE_INDEX_FILE, CHECKSUM_FILE] {
        std::fs::rename(made.join(name), folder.join(name)).map_err(|error| Error::io(&folder.join(name), error))?;
    }
    std::fs::remove_dir_all(staging).map_err(|error| Error::io(staging, error))?;
    sync_dir(folder)
}

/// The files of the block in `folder` that are uploaded: as Thanos's shipper, no tombstones.
fn block_files(folder: &Path, meta: &BlockMeta) -> Result<Sizes> {
    let mut files = Sizes::new();
    let chunks = folder.join(CHUNKS_DIR);
    let io = |error| Error::io(&chunks, error);
    for entry in std::fs::read_dir(&chunks).map_err(io)? {
        let entry = entry.map_err(io)?;
        if let (Ok(name), true) = (entry.file_name().into_string(), entry.file_type().map_err(io)?.is_file()) {
            files.insert(format!("{CHUNKS_DIR}/{name}"), entry.metadata().map_err(io)?.len());
        }
    }
    for name in [INDEX_FILE, SIDE_INDEX_FILE, CHECKSUM_FILE] {
        match std::fs::metadata(folder.join(name)) {
            Ok(metadata) => drop(files.insert(name.to_owned(), metadata.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&folder.join(name), error)),
        }
    }
    // a reader takes the one as broken without the other
    if !files.contains_key(SIDE_INDEX_FILE) || !files.contains_key(CHECKSUM_FILE) {
        files.remove(SIDE_INDEX_FILE);
        files.remove(CHECKSUM_FILE);
    }
    check_whole(&files, meta)?;
    Ok(files)
}

/// Whether all that `meta.json` lists is there, at its size.
fn check_whole(files: &Sizes, meta: &BlockMeta) -> Result<()> {
    let place = meta.id().to_string();
    let segments = meta.segment_files().unwrap_or_default();
    let needed = segments.iter().map(|name| format!("{CHUNKS_DIR}/{name}")).chain([INDEX_FILE.to_owned()]);
    if let Some(file) = needed.into_iter().find(|name| !files.contains_key(name)) {
        return Err(Error::NotFound { place, file });
    }
    for (name, &size) in files {
        let in_data = name.starts_with(CHUNKS_DIR) || name == INDEX_FILE;
        if let Some(expected) = meta.file_size(name).filter(|&expected| in_data && expected != size) {
            let reason = format!("{size} bytes, {META_FILE} lists {expected}");
            return Err(Error::Corrupt { place, file: name.clone(), offset: size.min(expected), reason });
        }
    }
    Ok(())
}
