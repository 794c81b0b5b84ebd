//! Deleting blocks, and uploads that nobody will finish.
//!
//! A block is deleted in the order in which nobody ever takes it for whole:
//!
//! 1. `meta.json`: from now on it is no block
//! 2. all else
//! 3. its deletion mark, so that a deletion that was cut off is known for one and taken up again
//!
//! A folder without `meta.json` of which no file was written for two days is an upload that was given up, or what a lagging
//! listing left of a deletion. A folder whose `meta.json` is damaged is neither, and is left to people.

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::block::marker::{DeletionMark, Marker};
use crate::block::meta::META_FILE;
use crate::error::{Error, Result};
use crate::model::{BlockId, Timestamp};

use super::bucket::Bucket;
use super::garbage::Deletion;
use super::view::BucketView;

/// A folder without `meta.json` is given up when none of its files was written for longer, in milliseconds.
pub const ABORTED_AFTER_MS: i64 = 48 * 3_600_000;

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The block is gone.
    Deleted,
    /// Not any more due: its mark was removed, what replaced it is gone, or an upload went on.
    NotDue,
}

/// Uploads that were given up, in order; those under a deletion mark are [deleted](super::deletions) by that.
#[must_use]
pub fn aborted(view: &BucketView) -> Vec<BlockId> {
    let folders = view.found.without_meta.iter().filter(|(id, _)| !view.found.deletion_marks.contains_key(id));
    folders.filter(|&(_, &modified)| is_aborted(modified, view.now)).map(|(&id, _)| id).collect()
}

fn is_aborted(modified: Timestamp, now: Timestamp) -> bool {
    now.saturating_sub(modified) > ABORTED_AFTER_MS
}

impl Bucket {
    /// Deletes a block that is due for it, having looked that its mark and what holds it are still there.
    ///
    /// # Errors
    /// Where the bucket does not answer; the deletion is taken up again when it is repeated.
    pub async fn delete_marked(&self, deletion: &Deletion) -> Result<Deleted> {
        let mark = self.read_mark::<DeletionMark>(deletion.id).await?;
        if mark.is_none_or(|mark| mark.deletion_time_s != deletion.marked_s) {
            return Ok(Deleted::NotDue);
        }
        for &held_by in &deletion.held_by {
            if !self.stays(held_by).await? {
                return Ok(Deleted::NotDue);
            }
        }
        self.delete_block(deletion.id).await?;
        Ok(Deleted::Deleted)
    }

    /// Deletes an upload that was given up, having looked that it still is.
    ///
    /// # Errors
    /// As [`delete_marked`](Self::delete_marked).
    pub async fn reap(&self, id: BlockId, now: Timestamp) -> Result<Deleted> {
        let files = self.files(id).await?;
        let begun_again =
            files.iter().any(|(path, modified)| path.filename() == Some(META_FILE) || !is_aborted(*modified, now));
        // a list may lag behind
        if begun_again || self.head(id, META_FILE).await?.is_some() {
            return Ok(Deleted::NotDue);
        }
        self.delete_block(id).await?;
        Ok(Deleted::Deleted)
    }

    /// Deletes a block at once, marked or not. For blocks that nobody can have seen, and tools that were told to.
    ///
    /// # Errors
    /// As [`delete_marked`](Self::delete_marked).
    pub async fn delete_block(&self, id: BlockId) -> Result<()> {
        self.delete_file(id, META_FILE).await?;
        let (meta, mark) = (self.file(id, META_FILE), self.file(id, DeletionMark::FILE));
        let files = self.files(id).await?.into_iter().map(|(path, _)| path);
        let files: Vec<Path> = files.filter(|path| *path != meta && *path != mark).collect();
        let deletions = futures::stream::iter(files).map(|path| async move { self.delete_path(id, &path).await });
        deletions.buffer_unordered(self.concurrency).try_collect::<()>().await?;
        self.delete_file(id, DeletionMark::FILE).await
    }

    pub(super) async fn delete_file(&self, id: BlockId, file: &str) -> Result<()> {
        self.delete_path(id, &self.file(id, file)).await
    }

    async fn delete_path(&self, id: BlockId, path: &Path) -> Result<()> {
        self.retry
            .run(|| async {
                match self.store.delete(path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(Error::upload(id, path.filename().unwrap_or("a file"), error)),
                }
            })
            .await
    }

    /// Files of a block's folder, and when each was written.
    async fn files(&self, id: BlockId) -> Result<Vec<(Path, Timestamp)>> {
        let folder = self.prefix.clone().join(id.to_string());
        self.retry
            .run(|| async {
                let objects = self.store.list(Some(&folder));
                let files = objects.map_ok(|object| (object.location, object.last_modified.timestamp_millis()));
                files.try_collect().await.map_err(|error| Error::object_store(id, "the list of files", error))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::*;
    use crate::bucket::{FoundBlocks, Unreadable};
    use crate::compact::testing::{Faulty, faulty, id, in_bucket};
    use crate::compact::view::ViewSettings;

    const FILES: [&str; 5] = ["chunks/000001", "chunks/000002", "index", META_FILE, "deletion-mark.json"];
    const MARKED_S: i64 = 7;

    async fn put(store: &dyn ObjectStore, n: u64, files: &[&str]) {
        for file in files {
            let bytes = match *file {
                DeletionMark::FILE => DeletionMark::new(id(n), MARKED_S, "").to_json().unwrap(),
                _ => b"x".to_vec(),
            };
            store.put(&Path::from(format!("{}/{file}", id(n))), bytes.into()).await.unwrap();
        }
    }

    async fn left(store: &dyn ObjectStore) -> Vec<String> {
        let mut paths: Vec<String> =
            store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
        paths.sort();
        paths
    }

    fn deletion(n: u64, held_by: &[u64]) -> Deletion {
        Deletion { id: id(n), marked_s: MARKED_S, held_by: held_by.iter().map(|&n| id(n)).collect() }
    }

    #[tokio::test]
    async fn a_block_goes_meta_first_and_mark_last() {
        let store = Arc::new(faulty(0, 0));
        let bucket = in_bucket(Arc::clone(&store) as _);
        put(&store.inner, 1, &FILES).await;
        put(&store.inner, 2, &FILES).await;
        let earlier = Deletion { marked_s: MARKED_S - 1, ..deletion(1, &[]) };
        assert_eq!(bucket.delete_marked(&earlier).await.unwrap(), Deleted::NotDue, "it was marked anew");
        assert_eq!(bucket.delete_marked(&deletion(1, &[])).await.unwrap(), Deleted::Deleted);
        let order = store.deleted();
        assert_eq!(order.len(), FILES.len());
        assert!(order[0].ends_with("meta.json"));
        assert!(order[4].ends_with("deletion-mark.json"));
        assert_eq!(left(&store.inner).await.len(), FILES.len());
        assert_eq!(bucket.delete_marked(&deletion(1, &[])).await.unwrap(), Deleted::NotDue, "no mark any more");
    }

    #[tokio::test]
    async fn what_replaced_a_block_must_still_be_there() {
        let store = Arc::new(InMemory::new());
        let bucket = in_bucket(Arc::clone(&store) as _);
        put(&*store, 1, &FILES).await;
        assert_eq!(bucket.delete_marked(&deletion(1, &[9])).await.unwrap(), Deleted::NotDue);
        put(&*store, 9, &["index", META_FILE]).await;
        put(&*store, 8, &FILES).await;
        assert_eq!(bucket.delete_marked(&deletion(1, &[9, 8])).await.unwrap(), Deleted::NotDue, "8 is marked");
        assert_eq!(bucket.delete_marked(&deletion(1, &[9])).await.unwrap(), Deleted::Deleted);
    }

    #[tokio::test]
    async fn a_deletion_that_is_cut_off_is_taken_up_again() {
        let mut cut_off = 0;
        for seed in 0..300 {
            let store = Arc::new(faulty(seed, 40));
            let mut bucket = in_bucket(Arc::clone(&store) as _);
            bucket.retry.attempts = 1;
            put(&store.inner, 1, &FILES).await;
            loop {
                let done = bucket.delete_marked(&deletion(1, &[])).await;
                let left = left(&store.inner).await;
                let has = |file: &str| left.iter().any(|path| path.ends_with(file));
                assert!(left.len() == FILES.len() || !has(META_FILE), "seed {seed}: {left:?}");
                assert!(left.is_empty() || has("deletion-mark.json"), "seed {seed}: {left:?}");
                if done.is_ok() {
                    break;
                }
                cut_off += 1;
            }
            assert!(left(&store.inner).await.is_empty(), "seed {seed}");
        }
        assert!(cut_off > 300);
    }

    #[tokio::test]
    async fn uploads_are_given_up_after_two_days() {
        let store: Arc<Faulty> = Arc::new(faulty(0, 0));
        let bucket = in_bucket(Arc::clone(&store) as _);
        put(&store.inner, 1, &["chunks/000001"]).await;
        let path = Path::from(format!("{}/chunks/000001", id(1)));
        let modified = store.inner.head(&path).await.unwrap().last_modified.timestamp_millis();
        let limit = modified + ABORTED_AFTER_MS;
        assert_eq!(bucket.reap(id(1), limit).await.unwrap(), Deleted::NotDue);
        put(&store.inner, 2, &["index", META_FILE]).await;
        assert_eq!(bucket.reap(id(2), limit + 10_000_000).await.unwrap(), Deleted::NotDue, "it was finished");
        assert_eq!(bucket.reap(id(1), limit + 1).await.unwrap(), Deleted::Deleted);
        assert_eq!(left(&store.inner).await.len(), 2);
    }

    #[test]
    fn damaged_and_marked_blocks_are_no_aborted_uploads() {
        let now = 10 * ABORTED_AFTER_MS;
        let (recent, old) = (now - ABORTED_AFTER_MS, now - ABORTED_AFTER_MS - 1);
        let unreadable = Unreadable { file: META_FILE, corrupt: true, reason: "x".to_owned(), made: 0 };
        let found = FoundBlocks {
            without_meta: [(id(1), recent), (id(2), old), (id(3), 0), (id(4), 0)].into(),
            deletion_marks: [(id(3), DeletionMark::new(id(3), 0, ""))].into(),
            unreadable: [(id(5), unreadable)].into(),
            ..FoundBlocks::default()
        };
        let view = BucketView::new(found, ViewSettings::default(), now);
        assert_eq!(aborted(&view), [id(2), id(4)]);
    }
}
