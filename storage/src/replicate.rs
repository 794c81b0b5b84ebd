//! Copies blocks from one bucket to another.
//!
//! As in an upload, `meta.json` goes last, so a copy that was cut off is no block; taken up again, it goes on where it was. Marks stay
//! behind: what is decided about a block in one bucket says nothing about its copy.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, PutMultipartOptions, PutOptions};

use crate::block::meta::META_FILE;
use crate::block::segments::CHUNKS_DIR;
use crate::error::{Error, Result};
use crate::index::INDEX_FILE;
use crate::model::BlockId;
use crate::shipper::Retry;
use crate::side_index::{CHECKSUM_FILE, SIDE_INDEX_FILE};
use crate::whole_read::{self, whole};

/// Parts of one object that are on their way at once.
const PARTS_AHEAD: usize = 4;

/// From where to where.
#[derive(Debug, Clone)]
pub struct Replicator {
    /// The bucket that is read.
    pub from: Arc<dyn ObjectStore>,
    /// The bucket that is written.
    pub to: Arc<dyn ObjectStore>,
    /// How requests that fail are tried again.
    pub retry: Retry,
    /// Larger objects go in parts of this size, in bytes.
    pub part_size: u64,
}

/// What copying a block came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replicated {
    /// Objects that were copied; none where the whole block was there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Replicator {
    /// Copies block `id`, but for what is there already.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the block has no `meta.json`; [`Error::ObjectStore`] where it cannot be read, [`Error::Upload`] where
    /// it cannot be written.
    pub async fn replicate(&self, id: BlockId) -> Result<Replicated> {
        let Some(meta) = self.read(&self.from, id).await? else {
            return Err(Error::NotFound { place: id.to_string(), file: META_FILE.to_owned() });
        };
        let mut done = Replicated::default();
        if self.read(&self.to, id).await?.as_ref() == Some(&meta) {
            return Ok(done);
        }
        let (source, there) = (self.sizes(&self.from, id).await?, self.sizes(&self.to, id).await?);
        // the checksums of a side-index say that it is whole
        let (checksums, rest): (Vec<_>, Vec<_>) = source.iter().partition(|(name, _)| *name == CHECKSUM_FILE);
        for (name, &size) in rest.into_iter().chain(checksums).filter(|(name, _)| is_data(name)) {
            if there.get(name) != Some(&size) {
                self.retry.run(|| self.copy(id, name, size)).await?;
                done.objects += 1;
                done.bytes += size;
            }
        }
        let put = || async {
            let put = self.to.put_opts(&object(id, META_FILE), meta.clone().into(), PutOptions::default()).await;
            put.map(drop).map_err(|error| Error::upload(id, META_FILE, error))
        };
        self.retry.run(put).await?;
        done.objects += 1;
        done.bytes += meta.len() as u64;
        Ok(done)
    }

    /// `meta.json` of a block, where it has one.
    async fn read(&self, store: &Arc<dyn ObjectStore>, id: BlockId) -> Result<Option<Bytes>> {
        let get = || async {
            let failed = |error| Error::object_store(id, META_FILE, error);
            match store.get_opts(&object(id, META_FILE), GetOptions::default()).await {
                Ok(found) => whole(found).await.map(Some).map_err(failed),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(failed(error)),
            }
        };
        self.retry.run(get).await
    }

    /// The objects of a block, by their names below its folder.
    async fn sizes(&self, store: &Arc<dyn ObjectStore>, id: BlockId) -> Result<BTreeMap<String, u64>> {
        let folder = Path::from(id.to_string());
        let list = || async {
            let failed =
                |error| Error::ObjectStore { what: format!("the list of files of {id}"), source: Arc::new(error) };
            let objects: Vec<_> = store.list(Some(&folder)).try_collect().await.map_err(failed)?;
            let name = |location: &Path| {
                let parts: Option<Vec<_>> =
                    location.prefix_match(&folder).map(|parts| parts.map(|part| part.as_ref().to_owned()).collect());
                parts.map(|parts| parts.join("/"))
            };
            Ok(objects.iter().filter_map(|found| Some((name(&found.location)?, found.size))).collect())
        };
        self.retry.run(list).await
    }

    /// Copies one object of `size` bytes, of which no more is in memory than [`PARTS_AHEAD`] parts.
    async fn copy(&self, id: BlockId, name: &str, size: u64) -> Result<()> {
        let at = object(id, name);
        let unreadable = |error| Error::object_store(id, name, error);
        let refused = |error| Error::upload(id, name, error);
        let found = self.from.get_opts(&at, GetOptions::default()).await.map_err(unreadable)?;
        if size <= self.part_size {
            let bytes = whole(found).await.map_err(unreadable)?;
            return self.to.put_opts(&at, bytes.into(), PutOptions::default()).await.map(drop).map_err(refused);
        }
        let mut upload = self.to.put_multipart_opts(&at, PutMultipartOptions::default()).await.map_err(refused)?;
        let send = async {
            let (mut stream, mut on_the_way) = (found.into_stream(), FuturesUnordered::new());
            let (mut part, mut read) = (Vec::new(), 0);
            loop {
                let piece = stream.try_next().await.map_err(unreadable)?;
                let ended = piece.is_none();
                let piece = piece.unwrap_or_default();
                read += piece.len() as u64;
                part.extend_from_slice(&piece);
                if part.len() as u64 >= self.part_size || (ended && !part.is_empty()) {
                    on_the_way.push(upload.put_part(std::mem::take(&mut part).into()));
                }
                while on_the_way.len() >= if ended { 1 } else { PARTS_AHEAD } {
                    on_the_way.try_next().await.map_err(refused)?;
                }
                if ended {
                    return whole_read::check(&at, size, read).map_err(unreadable);
                }
            }
        };
        let sent = match send.await {
            Ok(()) => upload.complete().await.map(drop).map_err(refused),
            Err(error) => Err(error),
        };
        if sent.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(object = %at, %error, "cannot abort an upload in parts");
        }
        sent
    }
}

/// Whether an object is part of what a block holds, rather than of what was decided about it.
fn is_data(name: &str) -> bool {
    name.starts_with(CHUNKS_DIR) || [INDEX_FILE, SIDE_INDEX_FILE, CHECKSUM_FILE].contains(&name)
}

fn object(id: BlockId, name: &str) -> Path {
    name.split('/').fold(Path::from(id.to_string()), |path, part| path.join(part))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    const ID: &str = "01M84VG4WNAAGZGYWK1018NZ2W";

    async fn names(store: &InMemory) -> Vec<String> {
        let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
        let mut names: Vec<String> = objects.into_iter().map(|found| found.location.to_string()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_block_is_copied_once_and_its_marks_are_not() {
        let (from, to) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
        let id: BlockId = ID.parse().unwrap();
        let segment: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for (name, content) in [
            ("chunks/000001", segment.clone()),
            ("index", b"index".to_vec()),
            ("series.parquet", b"series".to_vec()),
            ("series.crc", b"crc".to_vec()),
            ("deletion-mark.json", b"{}".to_vec()),
            ("meta.json", b"{\"a\": 1}".to_vec()),
        ] {
            from.put(&object(id, name), content.into()).await.unwrap();
        }
        let replicator = Replicator {
            from: Arc::<InMemory>::clone(&from),
            to: Arc::<InMemory>::clone(&to),
            retry: Retry { attempts: 1, ..Retry::default() },
            part_size: 30_000,
        };
        assert_eq!(replicator.replicate(id).await.unwrap(), Replicated { objects: 5, bytes: 100_022 });
        let expected =
            ["chunks/000001", "index", "meta.json", "series.crc", "series.parquet"].map(|name| format!("{ID}/{name}"));
        assert_eq!(names(&to).await, expected);
        let copied = to.get(&object(id, "chunks/000001")).await.unwrap().bytes().await.unwrap();
        assert!(copied == segment);
        assert_eq!(replicator.replicate(id).await.unwrap(), Replicated::default());

        // without its meta.json a block was not copied as a whole; what is there is not copied again
        to.delete(&object(id, "meta.json")).await.unwrap();
        to.put(&object(id, "index"), b"half".to_vec().into()).await.unwrap();
        assert_eq!(replicator.replicate(id).await.unwrap().objects, 2);
        assert_eq!(to.get(&object(id, "index")).await.unwrap().bytes().await.unwrap(), "index");

        from.delete(&object(id, "meta.json")).await.unwrap();
        assert!(matches!(replicator.replicate(id).await, Err(Error::NotFound { .. })));
    }
}
