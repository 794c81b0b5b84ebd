//! `thanos.shipper.json`: which local blocks were uploaded.
//!
//! Thanos's and Prometheus's tools read it (Prometheus with `--storage.tsdb.delay-compact-file.path`), so its bytes are those
//! that Thanos writes. It saves questions to the bucket and is no more than that: a file that is missing or damaged counts
//! as empty, and is written again from what the bucket has.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::block::meta::to_tabbed_json;
use crate::block::segments::sync_dir;
use crate::error::{Error, Result};
use crate::model::BlockId;

/// The only version of the file.
const VERSION: u32 = 1;

/// The file's content. Without blocks, `uploaded` is `null`, as Go writes a list that was never made.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    uploaded: Option<Vec<BlockId>>,
}

/// The file, and what it should hold.
#[derive(Debug, Clone)]
pub(super) struct Record {
    path: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
}

/// Held while the file is read or written.
#[derive(Debug, Default)]
struct State {
    uploaded: Vec<BlockId>,
    /// Whether the file holds just that.
    stored: bool,
}

impl Record {
    pub fn new(path: PathBuf) -> Self {
        Self { path: Arc::new(path), state: Arc::default() }
    }

    /// Reads the file anew. Blocks.
    pub fn load(&self) -> BTreeSet<BlockId> {
        let mut state = self.state.lock();
        *state = match read(&self.path) {
            Ok(uploaded) => State { uploaded, stored: true },
            Err(Error::NotFound { .. }) => State::default(),
            Err(error) => {
                tracing::warn!(%error, "the list of uploaded blocks is not readable; the bucket is asked instead");
                State::default()
            }
        };
        state.uploaded.iter().copied().collect()
    }

    /// The blocks that are uploaded, by what is known since the last [`load`](Self::load).
    pub fn uploaded(&self) -> BTreeSet<BlockId> {
        self.state.lock().uploaded.iter().copied().collect()
    }

    /// Sets the blocks and writes them, unless the file holds them already. A write whose caller went away goes on beside
    /// those that come after it; each writes what was set last, so the last to end leaves the newest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn save(&self, uploaded: Vec<BlockId>) -> Result<()> {
        let record = self.clone();
        super::blocking(move || {
            let mut state = record.state.lock();
            if state.stored && state.uploaded == uploaded {
                return Ok(());
            }
            *state = State { uploaded, stored: false };
            write(&record.path, &state.uploaded)?;
            state.stored = true;
            Ok(())
        })
        .await
    }
}

fn read(path: &Path) -> Result<Vec<BlockId>> {
    let place = || path.parent().unwrap_or(path).display().to_string();
    let file = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let json = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { place: place(), file: file() },
        _ => Error::io(path, error),
    })?;
    let corrupt = |reason: String| Error::Corrupt { place: place(), file: file(), offset: 0, reason };
    let content: Content = serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
    match content.version {
        VERSION => Ok(content.uploaded.unwrap_or_default()),
        version => Err(corrupt(format!("version is {version}, not {VERSION}"))),
    }
}

/// Writes aside, syncs, and renames: a reader, or a start after a power cut, sees the old or the new content.
fn write(path: &Path, uploaded: &[BlockId]) -> Result<()> {
    let uploaded = (!uploaded.is_empty()).then(|| uploaded.to_vec());
    let json = to_tabbed_json(&Content { version: VERSION, uploaded })?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = PathBuf::from(aside);
    let write = || {
        let mut file = File::create(&aside)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)
    };
    write().map_err(|error| Error::io(path, error))?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::acceptance::blocks::block_id;

    #[tokio::test]
    async fn the_bytes_are_those_of_thanos() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thanos.shipper.json");
        let record = Record::new(path.clone());
        let ids = ["01DPNDN4KDNCY3PKJXH6JKVJ6V", "01DPNDN4KDNCY3PKJXH6JKVJ6W"].map(|id| id.parse().unwrap());
        record.save(ids.to_vec()).await.unwrap();
        let text = "{\n\t\"version\": 1,\n\t\"uploaded\": [\n\t\t\"01DPNDN4KDNCY3PKJXH6JKVJ6V\",\n\t\t\"01DPNDN4KDNCY3PKJXH6JKVJ6W\"\n\t]\n}\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(Record::new(path.clone()).load(), ids.into());
        record.save(Vec::new()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\n\t\"version\": 1,\n\t\"uploaded\": null\n}\n");
        assert_eq!(record.load(), BTreeSet::new());
        assert!(!folder.path().join("thanos.shipper.json.tmp").exists());
    }

    #[tokio::test]
    async fn damage_counts_as_empty_and_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thanos.shipper.json");
        let record = Record::new(path.clone());
        for damaged in
            ["", "{", "[]", "{\"version\":2,\"uploaded\":[]}", "{\"version\":1,\"uploaded\":[\"../x\"]}", "\0\0"]
        {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(record.load(), BTreeSet::new(), "{damaged:?}");
            record.save(vec![block_id(1)]).await.unwrap();
            assert_eq!(record.load(), [block_id(1)].into(), "{damaged:?}");
        }
        assert_eq!(record.uploaded(), [block_id(1)].into());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(record.load(), BTreeSet::new());
    }
}
