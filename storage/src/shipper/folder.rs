//! A block's folder in a bucket, while it is being filled.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::temporal_conversions::timestamp_ms_to_datetime;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutOptions};

use super::Retry;
use super::object::FileUpload;
use crate::block::BlockMeta;
use crate::block::meta::META_FILE;
use crate::error::{Error, Result};
use crate::model::{BlockId, Timestamp};

/// Files below a block's folder with their sizes in bytes.
pub(crate) type Sizes = BTreeMap<String, u64>;

/// Where a block goes, and how.
#[derive(Debug, Clone)]
pub(crate) struct BucketFolder {
    pub store: Arc<dyn ObjectStore>,
    /// Where the folders of blocks are.
    pub prefix: ObjectPath,
    pub id: BlockId,
    pub retry: Retry,
    /// Larger files go in parts of this size, in bytes.
    pub part_size: u64,
}

impl BucketFolder {
    /// Where a file goes.
    pub(crate) fn object(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone().join(self.id.to_string()), |path, part| path.join(part))
    }

    /// What is there.
    ///
    /// # Errors
    /// [`Error::ObjectStore`].
    pub(crate) async fn objects(&self) -> Result<Sizes> {
        let prefix = self.prefix.clone().join(self.id.to_string());
        let list = || async {
            let what = || format!("the list of files of {}", self.id);
            let failed = |error| Error::ObjectStore { what: what(), source: Arc::new(error) };
            let mut sizes = Sizes::new();
            let mut objects = self.store.list(Some(&prefix));
            while let Some(object) = objects.try_next().await.map_err(failed)? {
                let Some(parts) = object.location.prefix_match(&prefix) else { continue };
                let name = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
                sizes.insert(name, object.size);
            }
            Ok(sizes)
        };
        self.retry.run(list).await
    }

    /// Writes one file of the local folder `from`, tried again as the settings say.
    ///
    /// # Errors
    /// [`Error::Upload`]; [`Error::Io`] where the file cannot be read, or is no longer of that size.
    pub(crate) fn file(&self, from: &Arc<Path>, name: &str, size: u64) -> impl Future<Output = Result<()>> + use<> {
        let upload = FileUpload {
            store: Arc::clone(&self.store),
            to: self.object(name),
            block: self.id,
            rel_path: name.to_owned(),
            folder: Arc::clone(from),
            size,
            part_size: self.part_size,
        };
        let retry = self.retry;
        async move { retry.run(|| upload.clone().run()).await }
    }

    /// Writes an object at once, tried again as the settings say.
    ///
    /// # Errors
    /// [`Error::Upload`].
    pub(crate) async fn put(&self, name: &str, bytes: bytes::Bytes) -> Result<()> {
        let to = self.object(name);
        let put = || async {
            let put = self.store.put_opts(&to, bytes.clone().into(), PutOptions::default()).await;
            put.map(drop).map_err(|error| Error::upload(self.id, name, error))
        };
        self.retry.run(put).await
    }

    /// Writes `meta.json`, which makes the block exist, once all of `files` are seen to be there: a cleaner may have taken
    /// away what an upload that was cut off days ago had left.
    ///
    /// # Errors
    /// [`Error::Upload`], also where a file is not there; [`Error::ObjectStore`].
    pub(crate) async fn commit(&self, meta: &BlockMeta, files: &Sizes) -> Result<()> {
        let there = self.objects().await?;
        if let Some(name) = files.keys().find(|name| there.get(*name) != files.get(*name)) {
            let missing = object_store::Error::NotFound {
                path: self.object(name).to_string(),
                source: "it was uploaded and is gone, or has another size".into(),
            };
            return Err(Error::upload(self.id, name, missing));
        }
        self.put(META_FILE, bytes::Bytes::from(meta.to_json()?)).await
    }
}

/// `2026-11-23T18:48:30.090Z`: how `meta.json` says when its block was uploaded.
///
/// # Errors
/// [`Error::Internal`] where no calendar has it.
pub(crate) fn upload_time(t: Timestamp) -> Result<String> {
    let time = timestamp_ms_to_datetime(t).ok_or_else(|| Error::Internal(format!("no such time: {t} ms")))?;
    Ok(time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}
