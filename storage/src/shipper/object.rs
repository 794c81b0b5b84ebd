//! Writes a local file as an object: small ones at once, large ones in parts.
//!
//! Of a file, no more is in memory than [`PARTS_AHEAD`] parts. An upload in parts that fails is aborted; one whose future is
//! dropped is left to the bucket's own cleaning of unfinished uploads, and never becomes an object.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::{MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions};

use super::blocking;
use crate::error::{Error, Result};
use crate::model::BlockId;

/// Parts of one file that are on their way at once.
const PARTS_AHEAD: usize = 4;
/// Parts that S3 takes of one object.
const PARTS_MAX: u64 = 10_000;

/// A file of a block, and where it goes.
#[derive(Debug, Clone)]
pub(super) struct FileUpload {
    pub store: Arc<dyn ObjectStore>,
    pub to: object_store::path::Path,
    pub block: BlockId,
    /// Below the block's folder, with `/`.
    pub rel_path: String,
    /// The block's folder.
    pub folder: Arc<Path>,
    pub size: u64,
    /// In bytes; larger files go in parts of this size.
    pub part_size: u64,
}

impl FileUpload {
    /// Writes the object.
    ///
    /// # Errors
    /// [`Error::Upload`]; [`Error::Io`] where the file cannot be read, or is no longer of that size.
    pub async fn run(self) -> Result<()> {
        let path = self.folder.join(&self.rel_path);
        let source = Source::open(path, self.size).await?;
        let part_size = self.part_size.max(self.size.div_ceil(PARTS_MAX)).max(1);
        if self.size <= part_size {
            let payload = source.read(0, self.size).await?.into();
            let put = self.store.put_opts(&self.to, payload, PutOptions::default()).await;
            return put.map(drop).map_err(|error| self.failed(error));
        }
        let begun = self.store.put_multipart_opts(&self.to, PutMultipartOptions::default()).await;
        let mut upload = begun.map_err(|error| self.failed(error))?;
        let sent = match self.send(upload.as_mut(), &source, part_size).await {
            Ok(()) => upload.complete().await.map(drop).map_err(|error| self.failed(error)),
            Err(error) => Err(error),
        };
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(object = %self.to, %error, "cannot abort an upload in parts");
        }
        sent
    }

    async fn send(&self, upload: &mut dyn MultipartUpload, source: &Source, part_size: u64) -> Result<()> {
        let mut on_the_way = FuturesUnordered::new();
        let mut offset = 0;
        while offset < self.size {
            if on_the_way.len() >= PARTS_AHEAD {
                on_the_way.next().await.transpose().map_err(|error| self.failed(error))?;
            }
            let len = part_size.min(self.size - offset);
            let part = source.read(offset, len).await?;
            on_the_way.push(upload.put_part(part.into()));
            offset += len;
        }
        while let Some(part) = on_the_way.next().await {
            part.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    fn failed(&self, error: object_store::Error) -> Error {
        Error::upload(self.block, &self.rel_path, error)
    }
}

/// An opened file.
#[derive(Debug, Clone)]
struct Source {
    file: Arc<File>,
    path: Arc<Path>,
}

impl Source {
    async fn open(path: std::path::PathBuf, size: u64) -> Result<Self> {
        blocking(move || {
            let open = || {
                let file = File::open(&path)?;
                match file.metadata()?.len() {
                    len if len == size => Ok(file),
                    len => Err(std::io::Error::other(format!("{len} bytes now, {size} before"))),
                }
            };
            let file = open().map_err(|error| Error::io(&path, error))?;
            Ok(Self { file: Arc::new(file), path: path.into() })
        })
        .await
    }

    async fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let Self { file, path } = self.clone();
        blocking(move || {
            let len = usize::try_from(len).map_err(|_| Error::Internal(format!("a part of {len} bytes")))?;
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, offset).map_err(|error| Error::io(&path, error))?;
            Ok(bytes)
        })
        .await
    }
}
