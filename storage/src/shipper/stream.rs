//! A block that goes into the bucket while it is written.
//!
//! ```text
//! a thread:  BlockWriter ── chunks ──> parts of a segment ── channel ──> BlockUpload::receive ──> bucket    a task
//!                  └── labels, references ──> scratch/<ulid>/{index,series.parquet,series.crc}
//! commit:                                       scratch/<ulid>/… ──> bucket, then meta.json, which makes the block exist
//! ```
//!
//! So chunks, nearly all of a block, never touch the disk, and no more of them is in memory than a few parts. Where the scratch folder may
//! hold whole blocks, chunks go there too, and all files are uploaded in the end: then a request that fails is tried again by itself,
//! where a segment that is on its way fails as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStore, PutMultipartOptions};
use tokio::sync::mpsc;

use super::folder::{BucketFolder, Sizes, upload_time};
use super::{Retry, blocking};
use crate::block::meta::META_FILE;
use crate::block::segment_files::SegmentFiles;
use crate::block::segments::CHUNKS_DIR;
use crate::block::{BlockMeta, BlockWriter, BlockWriterSettings};
use crate::error::{Error, Result};
use crate::model::Timestamp;

/// Parts of a segment that are on their way at once.
const PARTS_AHEAD: usize = 4;

/// Where new blocks go, and how.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Where in it the folders of blocks are.
    pub prefix: ObjectPath,
    /// How requests that fail are tried again.
    pub retry: Retry,
    /// Larger files go in parts of this size, in bytes; at least 5 MiB in most buckets.
    pub part_size: usize,
    /// A folder for what cannot go at once. Nothing of a block is left there once it is committed or given up.
    pub scratch: PathBuf,
    /// Whether chunks wait there, too.
    pub whole_in_scratch: bool,
}

/// The bucket's side of a block that is being written.
#[derive(Debug)]
pub struct BlockUpload {
    bucket: BucketFolder,
    scratch: Scratch,
    /// None where nothing comes before the block is finished.
    parts: Option<mpsc::Receiver<Part>>,
}

/// What the writer sends; one segment ends before the next begins.
#[derive(Debug)]
enum Part {
    Begin(String),
    Bytes(Bytes),
    End,
}

impl BlockUpload {
    /// Begins the block `meta.ulid`. What the writer is given goes on only while somebody waits for [`receive`](Self::receive), so it
    /// belongs on a thread that may block.
    ///
    /// # Errors
    /// [`Error::Io`] where the scratch folder cannot be written.
    pub fn create(
        meta: BlockMeta,
        writer: BlockWriterSettings,
        settings: &UploadSettings,
    ) -> Result<(BlockWriter, Self)> {
        let id = meta.id();
        std::fs::create_dir_all(&settings.scratch).map_err(|e| Error::io(&settings.scratch, e))?;
        let scratch = Scratch(settings.scratch.join(id.to_string()));
        scratch.clear()?;
        let (writer, parts) = if settings.whole_in_scratch {
            (BlockWriter::create(&settings.scratch, meta, writer)?, None)
        } else {
            let (send, parts) = mpsc::channel(1);
            let segments = PartSender { send, part_size: settings.part_size.max(1), part: Vec::new() };
            let writer = BlockWriter::create_with(&settings.scratch, meta, writer, |_| Ok(Box::new(segments)))?;
            (writer, Some(parts))
        };
        let bucket = BucketFolder {
            store: Arc::clone(&settings.store),
            prefix: settings.prefix.clone(),
            id,
            retry: settings.retry,
            part_size: settings.part_size as u64,
        };
        Ok((writer, Self { bucket, scratch, parts }))
    }

    /// Uploads chunks as they come, until the writer has finished or is dropped.
    ///
    /// # Errors
    /// [`Error::Upload`]; the writer's next chunk then fails, too.
    pub async fn receive(&mut self) -> Result<()> {
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        let mut open: Option<Segment> = None;
        loop {
            let part = match &mut open {
                Some(segment) => tokio::select! {
                    part = parts.recv(), if segment.on_the_way.len() < PARTS_AHEAD => part,
                    Some(sent) = segment.on_the_way.next(), if !segment.on_the_way.is_empty() => {
                        if let Err(error) = sent {
                            return Err(segment.give_up(&self.bucket, error).await);
                        }
                        continue;
                    }
                },
                None => parts.recv().await,
            };
            match (part, &mut open) {
                (Some(Part::Begin(name)), _) => open = Some(Segment::new(format!("{CHUNKS_DIR}/{name}"))),
                (Some(Part::Bytes(bytes)), Some(segment)) => segment.push(&self.bucket, bytes).await?,
                (Some(Part::End), _) => {
                    if let Some(segment) = open.take() {
                        segment.end(&self.bucket).await?;
                    }
                }
                (Some(Part::Bytes(_)), None) => return Err(Error::Internal("no segment is open".to_owned())),
                (None, _) => {
                    if let Some(mut segment) = open {
                        segment.abort().await;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Uploads what is left of the block, which the writer finished as `meta`, and then `meta.json` with `now` as the time of the upload.
    /// Returns it as the bucket has it.
    ///
    /// # Errors
    /// [`Error::Upload`], [`Error::ObjectStore`], [`Error::Io`]. The block does not exist then, unless it was the answer to the last
    /// request that was lost.
    pub async fn commit(self, mut meta: BlockMeta, now: Timestamp) -> Result<BlockMeta> {
        let thanos = meta.thanos.get_or_insert_default();
        thanos.upload_time = Some(upload_time(now)?);
        let listed = thanos.files.iter().filter(|file| file.rel_path != META_FILE);
        let files: Sizes = listed.map(|file| (file.rel_path.clone(), file.size_bytes)).collect();
        let scratch: Arc<Path> = self.scratch.0.clone().into();
        for (name, &size) in &files {
            // what is not in the scratch folder went when it was written
            let (path, streamed) = (scratch.join(name), name.starts_with(CHUNKS_DIR));
            if !streamed || blocking(move || Ok(path.exists())).await? {
                self.bucket.file(&scratch, name, size).await?;
            }
        }
        self.bucket.commit(&meta, &files).await?;
        Ok(meta)
    }
}

/// A block's part of the scratch folder, gone with it.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.0, error)),
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::warn!(%error, "cannot clear the scratch folder");
        }
    }
}

/// A segment on its way. One that is no larger than a part goes at once, when it ends.
struct Segment {
    name: String,
    first: Option<Bytes>,
    upload: Option<Box<dyn MultipartUpload>>,
    on_the_way: FuturesUnordered<BoxFuture<'static, object_store::Result<()>>>,
}

impl Segment {
    fn new(name: String) -> Self {
        Self { name, first: None, upload: None, on_the_way: FuturesUnordered::new() }
    }

    async fn push(&mut self, bucket: &BucketFolder, bytes: Bytes) -> Result<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let Some(first) = self.first.take() else {
                    self.first = Some(bytes);
                    return Ok(());
                };
                let to = bucket.object(&self.name);
                let begin = || async {
                    let begun = bucket.store.put_multipart_opts(&to, PutMultipartOptions::default()).await;
                    begun.map_err(|error| Error::upload(bucket.id, &self.name, error))
                };
                let upload = self.upload.insert(bucket.retry.run(begin).await?);
                self.on_the_way.push(upload.put_part(first.into()));
                upload
            }
        };
        self.on_the_way.push(upload.put_part(bytes.into()));
        Ok(())
    }

    async fn end(mut self, bucket: &BucketFolder) -> Result<()> {
        while let Some(sent) = self.on_the_way.next().await {
            if let Err(error) = sent {
                return Err(self.give_up(bucket, error).await);
            }
        }
        match &mut self.upload {
            None => bucket.put(&self.name, self.first.take().unwrap_or_default()).await,
            Some(upload) => match upload.complete().await {
                Ok(_) => Ok(()),
                Err(error) => Err(self.give_up(bucket, error).await),
            },
        }
    }

    async fn give_up(&mut self, bucket: &BucketFolder, error: object_store::Error) -> Error {
        self.abort().await;
        Error::upload(bucket.id, &self.name, error)
    }

    async fn abort(&mut self) {
        self.on_the_way.clear();
        if let Some(upload) = &mut self.upload
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(segment = self.name, %error, "cannot abort an upload in parts");
        }
    }
}

/// The writer's side: gathers parts, and blocks while enough of them are on their way.
#[derive(Debug)]
struct PartSender {
    send: mpsc::Sender<Part>,
    part_size: usize,
    part: Vec<u8>,
}

impl PartSender {
    fn send(&self, part: Part) -> Result<()> {
        let given_up = |_| Error::Internal("the upload of the block was given up".to_owned());
        self.send.blocking_send(part).map_err(given_up)
    }
}

impl SegmentFiles for PartSender {
    fn begin(&mut self, name: &str) -> Result<()> {
        self.send(Part::Begin(name.to_owned()))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.part.capacity() == 0 {
                self.part.reserve_exact(self.part_size);
            }
            // all parts but the last have the same size, as some buckets want it
            let (now, later) = bytes.split_at(bytes.len().min(self.part_size - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() == self.part_size {
                let part = std::mem::take(&mut self.part);
                self.send(Part::Bytes(part.into()))?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if !self.part.is_empty() {
            let part = std::mem::take(&mut self.part);
            self.send(Part::Bytes(part.into()))?;
        }
        self.send(Part::End)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
