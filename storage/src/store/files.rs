//! Where the files of one block are read from: a local folder, an object store, or memory.
//!
//! Local files are read in place by position: what is read is small, mostly in the page cache, and a hop to a
//! thread of its own costs more. Objects are read by ranges, neighbours joined, several at a time.

use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use crate::error::{Error, Result};
use crate::model::BlockId;
use crate::whole_read::{self, whole};

/// Ranged reads of one object that are under way at once.
pub const RANGE_READS_MAX: usize = 8;
/// Longest read into one buffer: a hostile length must not ask for all memory.
const READ_SIZE_MAX: u64 = 1 << 30;

/// The files of one block.
#[derive(Clone)]
pub struct BlockFiles {
    id: BlockId,
    name: Arc<str>,
    place: Place,
}

/// Neighbouring ranges of a file, read together.
#[derive(Debug, Clone, Default)]
pub struct JoinedReads {
    /// Where each buffer begins in the file, ascending.
    pub starts: Vec<u64>,
    /// What was read there.
    pub buffers: Vec<Bytes>,
}

impl JoinedReads {
    /// The buffer that holds `offset` of the file, if one does, by number, and where in it.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<(usize, usize)> {
        let i = self.starts.partition_point(|&start| start <= offset).checked_sub(1)?;
        let at = usize::try_from(offset - self.starts[i]).ok()?;
        (at <= self.buffers.get(i)?.len()).then_some((i, at))
    }

    /// The bytes of `range`, short where the file ended.
    #[must_use]
    pub fn get(&self, range: &Range<u64>) -> Bytes {
        let Some((i, at)) = self.locate(range.start) else { return Bytes::new() };
        let buffer = &self.buffers[i];
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        buffer.slice(at..at.saturating_add(len).min(buffer.len()))
    }
}

#[derive(Clone)]
enum Place {
    Local(Arc<PathBuf>),
    Remote(Arc<dyn ObjectStore>, Path),
    Memory(Arc<Vec<(String, Bytes)>>),
}

impl BlockFiles {
    /// The block in the local folder `path`.
    #[must_use]
    pub fn local(id: BlockId, path: PathBuf) -> Self {
        Self { id, name: id.to_string().into(), place: Place::Local(Arc::new(path)) }
    }

    /// The block under `prefix` of `store`; `prefix` ends with the block's ULID.
    #[must_use]
    pub fn remote(id: BlockId, store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { id, name: id.to_string().into(), place: Place::Remote(store, prefix) }
    }

    /// Files that lie in memory, by name.
    #[must_use]
    pub fn memory(id: BlockId, files: Vec<(String, Bytes)>) -> Self {
        Self { id, name: id.to_string().into(), place: Place::Memory(Arc::new(files)) }
    }

    /// The block.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// The block's ULID, as errors name it.
    #[must_use]
    pub fn place(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The folder, where it is a local one.
    #[must_use]
    pub fn local_path(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Local(path) => Some(path),
            Place::Remote(..) | Place::Memory(_) => None,
        }
    }

    /// The object store and the block's prefix in it, where it is in one.
    #[must_use]
    pub fn remote_path(&self) -> Option<(&Arc<dyn ObjectStore>, &Path)> {
        match &self.place {
            Place::Remote(store, prefix) => Some((store, prefix)),
            Place::Local(_) | Place::Memory(_) => None,
        }
    }

    /// Damage of one of the files.
    #[must_use]
    pub fn corrupt(&self, file: &str, offset: u64, reason: impl Into<String>) -> Error {
        Error::Corrupt { place: self.id.to_string(), file: file.to_owned(), offset, reason: reason.into() }
    }

    /// Size of `file` in bytes, or nothing where it does not exist.
    ///
    /// # Errors
    /// What the file system or object store returns.
    pub async fn size(&self, file: &str) -> Result<Option<u64>> {
        match &self.place {
            Place::Local(folder) => {
                let path = folder.join(file);
                match std::fs::metadata(&path) {
                    Ok(metadata) => Ok(Some(metadata.len())),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(Error::io(&path, error)),
                }
            }
            Place::Remote(store, prefix) => {
                let options = GetOptions { head: true, ..GetOptions::default() };
                match store.get_opts(&object(prefix, file), options).await {
                    Ok(result) => Ok(Some(result.meta.size)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(self.failed(file, error)),
                }
            }
            Place::Memory(files) => Ok(find(files, file).map(|bytes| bytes.len() as u64)),
        }
    }

    /// The whole of `file`, or nothing where it does not exist.
    ///
    /// # Errors
    /// Where it is larger than `size_max`; what the file system or object store returns.
    pub async fn read(&self, file: &str, size_max: u64) -> Result<Option<Bytes>> {
        let too_large = |size: u64| self.corrupt(file, size_max, format!("{size} bytes, at most {size_max} expected"));
        match &self.place {
            Place::Local(folder) => {
                let path = folder.join(file);
                let Some(size) = self.size(file).await? else { return Ok(None) };
                if size > size_max {
                    return Err(too_large(size));
                }
                std::fs::read(&path).map(|bytes| Some(Bytes::from(bytes))).map_err(|e| Error::io(&path, e))
            }
            Place::Remote(store, prefix) => match store.get_opts(&object(prefix, file), GetOptions::default()).await {
                Ok(result) if result.meta.size > size_max => Err(too_large(result.meta.size)),
                Ok(result) => Ok(Some(whole(result).await.map_err(|e| self.failed(file, e))?)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(self.failed(file, error)),
            },
            Place::Memory(files) => Ok(find(files, file).cloned()),
        }
    }

    /// Copies `file` to the local path `to`, piece by piece.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what the file system or object store returns.
    pub async fn copy_to(&self, file: &str, to: &std::path::Path) -> Result<()> {
        let mut out = std::fs::File::create(to).map_err(|e| Error::io(to, e))?;
        let Place::Remote(store, prefix) = &self.place else {
            let bytes = self.read(file, u64::MAX).await?.ok_or_else(|| self.missing(file))?;
            return out.write_all(&bytes).map_err(|e| Error::io(to, e));
        };
        let got = store.get_opts(&object(prefix, file), GetOptions::default()).await;
        let got = got.map_err(|e| self.failed(file, e))?;
        let (size, mut came, mut pieces) = (got.meta.size, 0, got.into_stream());
        while let Some(piece) = pieces.try_next().await.map_err(|e| self.failed(file, e))? {
            came += piece.len() as u64;
            out.write_all(&piece).map_err(|e| Error::io(to, e))?;
        }
        whole_read::check(&object(prefix, file), size, came).map_err(|e| self.failed(file, e))
    }

    /// The bytes of `ranges`, as [`read_joined`](Self::read_joined) fetches them, cut apart again.
    ///
    /// # Errors
    /// As [`read_joined`](Self::read_joined).
    pub async fn read_ranges(&self, file: &str, ranges: &[Range<u64>], gap: u64) -> Result<Vec<Bytes>> {
        let joined = self.read_joined(file, ranges, gap).await?;
        Ok(ranges.iter().map(|range| joined.get(range)).collect())
    }

    /// The bytes of `ranges`, which ascend and may overlap. Ranges with at most `gap` bytes between them are read as
    /// one. A range past the end of the file comes back short, or empty.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what the file system or object store returns.
    pub async fn read_joined(&self, file: &str, ranges: &[Range<u64>], gap: u64) -> Result<JoinedReads> {
        let joined = join(ranges, gap);
        let buffers = match &self.place {
            Place::Local(folder) => read_local(&folder.join(file), &joined, || self.missing(file))?,
            Place::Remote(store, prefix) => {
                let object = object(prefix, file);
                let reads: Vec<_> =
                    joined.iter().map(|range| get_range(Arc::clone(store), object.clone(), range.clone())).collect();
                let reads = futures::stream::iter(reads).buffered(RANGE_READS_MAX);
                reads.try_collect().await.map_err(|e| self.failed(file, e))?
            }
            Place::Memory(files) => {
                let contents = find(files, file).ok_or_else(|| self.missing(file))?;
                joined.iter().map(|range| slice(contents, range)).collect()
            }
        };
        Ok(JoinedReads { starts: joined.iter().map(|range| range.start).collect(), buffers })
    }

    fn failed(&self, file: &str, error: object_store::Error) -> Error {
        Error::object_store(self.id, file, error)
    }

    /// [`Error::NotFound`] for `file`.
    #[must_use]
    pub fn missing(&self, file: &str) -> Error {
        Error::NotFound { place: self.id.to_string(), file: file.to_owned() }
    }
}

impl fmt::Debug for BlockFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local(path) => write!(f, "{}", path.display()),
            Place::Remote(store, prefix) => write!(f, "{store}/{prefix}"),
            Place::Memory(_) => write!(f, "memory/{}", self.id),
        }
    }
}

async fn get_range(store: Arc<dyn ObjectStore>, object: Path, range: Range<u64>) -> object_store::Result<Bytes> {
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    whole(store.get_opts(&object, options).await?).await
}

/// The object of `file`, whose folders are separated by `/`.
fn object(prefix: &Path, file: &str) -> Path {
    file.split('/').fold(prefix.clone(), |path, part| path.join(part))
}

fn find<'a>(files: &'a [(String, Bytes)], file: &str) -> Option<&'a Bytes> {
    files.iter().find(|(name, _)| name == file).map(|(_, bytes)| bytes)
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |v: u64| usize::try_from(v).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end).max(at(range.start)))
}

fn read_local(path: &std::path::Path, ranges: &[Range<u64>], missing: impl Fn() -> Error) -> Result<Vec<Bytes>> {
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(),
        _ => Error::io(path, error),
    })?;
    ranges.iter().map(|range| read_at(&file, range).map_err(|e| Error::io(path, e))).collect()
}

fn read_at(file: &std::fs::File, range: &Range<u64>) -> std::io::Result<Bytes> {
    let size = range.end.saturating_sub(range.start).min(READ_SIZE_MAX);
    let size = size.min(file.metadata()?.len().saturating_sub(range.start));
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(Bytes::from(bytes))
}

/// Joins ascending ranges with at most `gap` bytes between them.
pub(super) fn join(ranges: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => joined.push(range.clone()),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_cut_apart_again() {
        let ranges = [0..4, 6..8, 20..25];
        assert_eq!(join(&ranges, 2), [0..8, 20..25]);
        let contents = Bytes::from((0_u8..22).collect::<Vec<_>>());
        let joined = join(&ranges, 2);
        let buffers = joined.iter().map(|r| slice(&contents, r)).collect();
        let reads = JoinedReads { starts: joined.iter().map(|r| r.start).collect(), buffers };
        let cut: Vec<Vec<u8>> = ranges.iter().map(|range| reads.get(range).to_vec()).collect();
        assert_eq!(cut, [vec![0, 1, 2, 3], vec![6, 7], vec![20, 21]]);
        assert_eq!(reads.locate(7), Some((0, 7)));
        assert_eq!(reads.locate(19), None);
    }
}
