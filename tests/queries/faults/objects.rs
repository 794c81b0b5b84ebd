//! An object store that hangs, fails or loses a block when it is told to.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens to requests for objects whose path holds a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// They never end.
    Hang(&'static str),
    /// They fail; where the text is empty, all do, and listing too.
    Fail(&'static str),
    /// Before they are answered, all objects below a prefix are deleted.
    Lose(&'static str, Path),
}

/// Objects in memory, and what goes wrong with them.
#[derive(Debug)]
pub struct FaultyObjects {
    objects: InMemory,
    fault: Mutex<Fault>,
}

impl FaultyObjects {
    /// The files of a folder, without a fault.
    pub async fn upload(folder: &std::path::Path) -> Arc<Self> {
        let uploaded = Arc::new(Self { objects: InMemory::new(), fault: Mutex::new(Fault::None) });
        uploaded.add(folder).await;
        uploaded
    }

    /// Adds the files of a folder.
    pub async fn add(&self, folder: &std::path::Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let key = path.strip_prefix(folder).unwrap().display().to_string();
                self.objects.put(&key.into(), std::fs::read(path).unwrap().into()).await.unwrap();
            }
        }
    }

    /// From now on, this goes wrong.
    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    async fn suffer(&self, location: &Path) -> Result<()> {
        let fault = self.fault.lock().unwrap().clone();
        match fault {
            Fault::Hang(part) if location.as_ref().contains(part) => futures::future::pending().await,
            Fault::Fail(part) if location.as_ref().contains(part) => Err(reset()),
            Fault::Lose(part, lost) if location.as_ref().contains(part) => {
                let lost: Vec<ObjectMeta> = self.objects.list(Some(&lost)).try_collect().await?;
                for object in lost {
                    self.objects.delete(&object.location).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn reset() -> Error {
    Error::Generic { store: "test", source: "the connection was reset".into() }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty objects")
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.suffer(location).await?;
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if *self.fault.lock().unwrap() == Fault::Fail("") {
            return futures::stream::iter([Err(reset())]).boxed();
        }
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
