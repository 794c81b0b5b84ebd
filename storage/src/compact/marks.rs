//! Writing and reading marks.
//!
//! A mark that is there stays as it is: the first reason and time count, and the delay of a deletion does not begin anew. So
//! writing one again, after a time-out or by another compactor, changes nothing. Only a mark that cannot be read is written
//! over.

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use crate::block::marker::{DeletionMark, Marker};
use crate::error::{Error, Result};
use crate::model::{BlockId, Timestamp};
use crate::whole_read::whole;

use super::bucket::Bucket;

/// What became of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// It was written.
    Written,
    /// The block had one already, which stays.
    AlreadyThere,
}

/// What became of several marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MarkCount {
    /// Marks that were written.
    pub written: usize,
    /// Blocks that had one already.
    pub already_there: usize,
}

impl Bucket {
    /// Writes a mark, unless the block has one of its kind.
    ///
    /// # Errors
    /// Where the bucket does not take it.
    pub async fn mark<M: Marker>(&self, mark: &M) -> Result<Marked> {
        let json = mark.to_json()?;
        self.retry.run(|| self.try_mark::<M>(mark.id(), &json)).await
    }

    async fn try_mark<M: Marker>(&self, id: BlockId, json: &[u8]) -> Result<Marked> {
        use object_store::Error as Refused;
        let path = self.file(id, M::FILE);
        let put = |mode: PutMode| self.store.put_opts(&path, json.to_vec().into(), PutOptions::from(mode));
        let failed = |error| Error::upload(id, M::FILE, error);
        match put(PutMode::Create).await {
            Ok(_) => return Ok(Marked::Written),
            Err(Refused::AlreadyExists { .. } | Refused::Precondition { .. }) => {}
            // a store that can only overwrite: look first
            Err(Refused::NotImplemented { .. } | Refused::NotSupported { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        match self.read_bytes(id, M::FILE).await {
            // an earlier try took effect although it was said to fail
            Ok(there) if there == json => return Ok(Marked::Written),
            Ok(there) if M::try_parse(&there, id.to_string()).is_ok() => return Ok(Marked::AlreadyThere),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        put(PutMode::Overwrite).await.map(|_| Marked::Written).map_err(failed)
    }

    /// Reads a mark of a block, if it has one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is not one; else where the bucket does not answer.
    pub async fn read_mark<M: Marker>(&self, id: BlockId) -> Result<Option<M>> {
        match self.retry.run(|| self.read_bytes(id, M::FILE)).await {
            Ok(json) => M::try_parse(&json, id.to_string()).map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a mark; returns whether there was one.
    ///
    /// # Errors
    /// Where the bucket does not answer.
    pub async fn remove_mark<M: Marker>(&self, id: BlockId) -> Result<bool> {
        let there = self.head(id, M::FILE).await?.is_some();
        if there {
            self.delete_file(id, M::FILE).await?;
        }
        Ok(there)
    }

    /// Marks blocks for deletion because block `held_by` holds all of them, having looked that it is there and stays.
    /// `details` is [`SOURCE_OF_COMPACTED`](super::SOURCE_OF_COMPACTED) or [`OUTDATED`](super::OUTDATED).
    ///
    /// # Errors
    /// [`Error::BlockGone`] where `held_by` is not there, or marked itself: nothing is marked then. Else where the bucket does
    /// not take a mark; those written before stay, and the call can be repeated.
    pub async fn mark_replaced(
        &self,
        ids: &[BlockId],
        held_by: BlockId,
        details: &str,
        now: Timestamp,
    ) -> Result<MarkCount> {
        if !self.stays(held_by).await? {
            return Err(Error::BlockGone(held_by));
        }
        let now_s = now.div_euclid(1_000);
        let marks = ids.iter().filter(|&&id| id != held_by).map(|&id| DeletionMark::new(id, now_s, details));
        let marks: Vec<DeletionMark> = marks.collect();
        let written = futures::stream::iter(marks).map(|mark| async move { self.mark(&mark).await });
        let written: Vec<Marked> = written.buffer_unordered(self.concurrency).try_collect().await?;
        let already_there = written.iter().filter(|&&marked| marked == Marked::AlreadyThere).count();
        Ok(MarkCount { written: written.len() - already_there, already_there })
    }

    async fn read_bytes(&self, id: BlockId, file: &str) -> Result<Vec<u8>> {
        let read = async { whole(self.store.get(&self.file(id, file)).await?).await };
        read.await.map(|bytes| bytes.to_vec()).map_err(|error| Error::object_store(id, file, error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::block::marker::{NO_COMPACT_INDEX_SIZE, NoCompactMark};
    use crate::block::meta::META_FILE;
    use crate::compact::garbage::SOURCE_OF_COMPACTED;
    use crate::compact::testing::{faulty, id, in_bucket};

    #[tokio::test]
    async fn the_first_mark_stays() {
        let bucket = in_bucket(Arc::new(InMemory::new()));
        let first = NoCompactMark::new(id(1), 5, NO_COMPACT_INDEX_SIZE, "x");
        assert_eq!(bucket.read_mark::<NoCompactMark>(id(1)).await.unwrap(), None);
        assert_eq!(bucket.mark(&first).await.unwrap(), Marked::Written);
        let second = NoCompactMark::new(id(1), 6, "other", "y");
        assert_eq!(bucket.mark(&second).await.unwrap(), Marked::AlreadyThere);
        assert_eq!(bucket.read_mark(id(1)).await.unwrap(), Some(first));
        // of another kind
        assert_eq!(bucket.mark(&DeletionMark::new(id(1), 7, "")).await.unwrap(), Marked::Written);
        assert!(bucket.remove_mark::<NoCompactMark>(id(1)).await.unwrap());
        assert!(!bucket.remove_mark::<NoCompactMark>(id(1)).await.unwrap());
        assert_eq!(bucket.mark(&second).await.unwrap(), Marked::Written);
    }

    #[tokio::test]
    async fn a_damaged_mark_is_written_over() {
        let bucket = in_bucket(Arc::new(InMemory::new()));
        let path = bucket.file(id(1), DeletionMark::FILE);
        bucket.store.put(&path, "{".into()).await.unwrap();
        assert!(matches!(bucket.read_mark::<DeletionMark>(id(1)).await, Err(Error::Corrupt { .. })));
        let mark = DeletionMark::new(id(1), 7, "");
        assert_eq!(bucket.mark(&mark).await.unwrap(), Marked::Written);
        assert_eq!(bucket.read_mark(id(1)).await.unwrap(), Some(mark));
    }

    #[tokio::test]
    async fn faults_leave_one_mark_that_somebody_wrote() {
        for seed in 0..300 {
            for can_create in [true, false] {
                let store = faulty(seed, 30).with_create(can_create);
                let bucket = in_bucket(Arc::new(store));
                let mut written = 0;
                for time in 1..4 {
                    let mark = DeletionMark::new(id(1), time, "");
                    written += usize::from(matches!(bucket.mark(&mark).await, Ok(Marked::Written)));
                }
                assert!(written <= 1, "seed {seed}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_marked_as_replaced_before_its_replacement_stands() {
        let bucket = in_bucket(Arc::new(InMemory::new()));
        let inputs = [id(1), id(2), id(9)];
        let mark = || bucket.mark_replaced(&inputs, id(9), SOURCE_OF_COMPACTED, 5_999);
        let marks = async || {
            let mut times = Vec::new();
            for n in inputs {
                times.push(bucket.read_mark::<DeletionMark>(n).await.unwrap().map(|mark| mark.deletion_time_s));
            }
            times
        };
        assert!(matches!(mark().await, Err(Error::BlockGone(gone)) if gone == id(9)));
        bucket.store.put(&bucket.file(id(9), META_FILE), "{}".into()).await.unwrap();
        bucket.mark(&DeletionMark::new(id(9), 1, "")).await.unwrap();
        assert!(matches!(mark().await, Err(Error::BlockGone(_))), "it is to go itself");
        bucket.remove_mark::<DeletionMark>(id(9)).await.unwrap();
        bucket.mark(&DeletionMark::new(id(2), 1, "")).await.unwrap();
        assert_eq!(mark().await.unwrap(), MarkCount { written: 1, already_there: 1 });
        assert_eq!(marks().await, [Some(5), Some(1), None]);
    }
}
