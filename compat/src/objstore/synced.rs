//! A folder as an object store whose objects outlive a power cut: what was put is on disk before anybody is told that it is there.
//!
//! The local store of the crate object_store leaves writing to the system. The shipper records a block as uploaded and its local copy
//! goes some time later; a compactor deletes what it replaced. Both rely on what the store acknowledged.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// A folder whose objects are synced.
#[derive(Debug, Clone)]
pub(super) struct SyncedFolder {
    inner: Arc<LocalFileSystem>,
    root: PathBuf,
}

impl SyncedFolder {
    /// The objects below `root`, which exists.
    pub(super) fn try_new(root: &FilePath) -> Result<Self> {
        let inner = LocalFileSystem::new_with_prefix(root)?;
        Ok(Self { inner: Arc::new(inner), root: root.to_owned() })
    }

    /// A write would make the folder anew where it is gone, since a mount was lost say, and all that it had would be missing in silence.
    fn check_root(&self) -> Result<()> {
        let found = std::fs::metadata(&self.root);
        found
            .map(drop)
            .map_err(|source| Error::NotFound { path: self.root.display().to_string(), source: source.into() })
    }

    /// Syncs the object, and every folder between it and the root that may be new.
    async fn sync(&self, location: &Path) -> Result<()> {
        let (path, root) = (self.inner.path_to_filesystem(location)?, self.root.clone());
        let synced = tokio::task::spawn_blocking(move || sync_up_to(&path, &root)).await;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "folder", source };
        synced.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))
    }
}

fn sync_up_to(path: &FilePath, root: &FilePath) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => file.sync_all()?,
        // deleted since, by whoever may
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for folder in path.ancestors().skip(1) {
        File::open(folder)?.sync_all()?;
        // links may have made the path another one
        if folder == root || !folder.starts_with(root) {
            break;
        }
    }
    Ok(())
}

impl fmt::Display for SyncedFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ObjectStore for SyncedFolder {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check_root()?;
        let put = self.inner.put_opts(to, payload, options).await?;
        self.sync(to).await?;
        Ok(put)
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.check_root()?;
        let inner = self.inner.put_multipart_opts(to, options).await?;
        Ok(Box::new(SyncedUpload { inner, folder: self.clone(), to: to.clone() }))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(from, options).await
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(from, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check_root()?;
        self.inner.copy_opts(from, to, options).await?;
        self.sync(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        self.sync(to).await
    }
}

#[derive(Debug)]
struct SyncedUpload {
    inner: Box<dyn MultipartUpload>,
    folder: SyncedFolder,
    to: Path,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.inner.put_part(part)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let put = self.inner.complete().await?;
        self.folder.sync(&self.to).await?;
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt, PutMode};

    use super::*;

    #[tokio::test]
    async fn objects_are_those_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = SyncedFolder::try_new(folder.path()).unwrap();
        let (a, b) = (Path::from("x/chunks/000001"), Path::from("x/index"));
        store.put(&a, "one".into()).await.unwrap();
        let mut upload = store.put_multipart(&b).await.unwrap();
        upload.put_part("two".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(std::fs::read(folder.path().join("x/chunks/000001")).unwrap(), b"one");
        assert_eq!(std::fs::read(folder.path().join("x/index")).unwrap(), b"two");
        // what is refused is refused, and an object that went meanwhile is no error
        let again = store.put_opts(&a, "three".into(), PutOptions::from(PutMode::Create)).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        store.delete(&a).await.unwrap();
        store.sync(&a).await.unwrap();
    }
    #[tokio::test]
    async fn a_folder_that_is_gone_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bucket");
        std::fs::create_dir(&root).unwrap();
        let store = SyncedFolder::try_new(&root).unwrap();
        std::fs::remove_dir(&root).unwrap();
        let to = Path::from("x/index");
        assert!(matches!(store.put(&to, "one".into()).await, Err(Error::NotFound { .. })));
        assert!(matches!(store.put_multipart(&to).await, Err(Error::NotFound { .. })));
        assert!(!root.exists());
    }
}
