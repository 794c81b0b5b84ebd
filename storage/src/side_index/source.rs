//! Bytes of a `series.parquet`, checked before anybody sees them.
//!
//! Every read is widened to whole ranges of [`Checksums`], checked, and cut down again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;

use crate::error::{Error, Result};
use crate::store::BlockFiles;

use super::checksum::Checksums;
use super::{CHECKSUM_FILE, SIDE_INDEX_FILE};

/// Ranges with at most this many bytes between them are read as one.
const READ_GAP: u64 = 4 << 10;

/// A side-index file with its checksums. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VerifiedSource {
    files: BlockFiles,
    sums: Arc<Checksums>,
    bytes_read: Arc<AtomicU64>,
}

impl VerifiedSource {
    /// Reads the checksums that lie beside the file, or nothing where there are none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they are damaged.
    pub async fn open(files: BlockFiles) -> Result<Option<Self>> {
        let Some(bytes) = files.read(CHECKSUM_FILE, super::checksum::CHECKSUM_FILE_SIZE_MAX).await? else {
            return Ok(None);
        };
        let sums = Checksums::decode(&bytes).map_err(|(at, reason)| files.corrupt(CHECKSUM_FILE, at, reason))?;
        Ok(Some(Self { files, sums: Arc::new(sums), bytes_read: Arc::default() }))
    }

    /// The checksums.
    #[must_use]
    pub fn checksums(&self) -> &Checksums {
        &self.sums
    }

    /// Bytes of the file that were read through this and its clones.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Damage at `offset`.
    #[must_use]
    pub fn corrupt(&self, offset: u64, reason: impl Into<String>) -> Error {
        self.files.corrupt(SIDE_INDEX_FILE, offset, reason)
    }

    /// The bytes of `wanted`, in that order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset of the first range whose checksum does not match.
    pub async fn read(&self, wanted: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut pieces: Vec<usize> = wanted.iter().flat_map(|range| self.sums.covering(range)).collect();
        pieces.sort_unstable();
        pieces.dedup();
        let ranges: Vec<Range<u64>> = pieces.iter().map(|&i| self.sums.range(i)).collect();
        let read = self.files.read_ranges(SIDE_INDEX_FILE, &ranges, READ_GAP).await?;
        self.bytes_read.fetch_add(read.iter().map(|bytes| bytes.len() as u64).sum(), Ordering::Relaxed);
        for ((&piece, range), bytes) in pieces.iter().zip(&ranges).zip(&read) {
            if !self.sums.verify(piece, bytes) {
                return Err(self.corrupt(range.start, "checksum does not match"));
            }
        }
        wanted.iter().map(|range| self.assemble(range, &ranges, &read)).collect()
    }

    /// Cuts one wanted range out of checked ones; copies only where it spans several.
    fn assemble(&self, wanted: &Range<u64>, ranges: &[Range<u64>], read: &[Bytes]) -> Result<Bytes> {
        let outside = || self.corrupt(wanted.start, "a page lies outside of the file");
        if wanted.start >= wanted.end {
            return Ok(Bytes::new());
        }
        let first = ranges.partition_point(|range| range.end <= wanted.start);
        let last = ranges.partition_point(|range| range.end < wanted.end);
        let part = |i: usize| -> Option<Bytes> {
            let (range, bytes) = (ranges.get(i)?, read.get(i)?);
            let start = usize::try_from(wanted.start.max(range.start).checked_sub(range.start)?).ok()?;
            let end = usize::try_from(wanted.end.min(range.end).checked_sub(range.start)?).ok()?;
            (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
        };
        if first == last {
            return part(first).ok_or_else(outside);
        }
        let mut whole = Vec::new();
        for i in first..=last {
            whole.extend_from_slice(&part(i).ok_or_else(outside)?);
        }
        if whole.len() as u64 == wanted.end - wanted.start { Ok(whole.into()) } else { Err(outside()) }
    }
}

/// What Parquet's reader asks; it is always given metadata that was read before.
impl AsyncFileReader for VerifiedSource {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let mut bytes = self.read(&[range]).await.map_err(|e| ParquetError::External(Box::new(e)))?;
            bytes.pop().ok_or_else(|| ParquetError::General("no bytes were read".to_owned()))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.read(&ranges).await.map_err(|e| ParquetError::External(Box::new(e))) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async { Err(ParquetError::General("side-index metadata is read once, on opening".to_owned())) }.boxed()
    }
}

/// Undoes the wrapping of our own error in Parquet's.
pub fn unwrap_error(error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::Arrow(other.to_string()),
        },
        other => Error::Arrow(other.to_string()),
    }
}
