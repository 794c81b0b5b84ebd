//! The objects of a lease: one a generation, written once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::shipper::Retry;

/// Version of the file.
pub(super) const VERSION: u32 = 1;
/// Largest object that is read, in bytes.
const SIZE_MAX: u64 = 64 << 10;
/// Digits of a generation in a name, so that names sort as numbers do.
const DIGITS: usize = 20;
/// The folder of a lease, below the blocks' prefix.
const FOLDER: [&str; 2] = ["quiver", "leases"];

/// What an object of a lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// Version of the file: 1.
    pub(super) version: u32,
    /// Who, for people.
    pub holder: String,
    /// Tells one taking from any other.
    pub(super) nonce: String,
    /// First millisecond, by the holder's clock, at which it is over.
    pub expires_ms: Timestamp,
    /// Whether it was given up.
    #[serde(default)]
    pub released: bool,
}

impl LeaseHolder {
    /// Whether another one may take the lease, by a clock that shows `now` and may differ from the holder's.
    pub(super) fn is_over(&self, now: Timestamp, skew_max_ms: i64) -> bool {
        self.released || now > self.expires_ms.saturating_add(skew_max_ms)
    }
}

/// A generation in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub number: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

impl Listed {
    /// What is assumed of a generation that cannot be read.
    pub fn assumed(self, ttl_ms: i64) -> LeaseHolder {
        LeaseHolder {
            version: VERSION,
            holder: "unknown".to_owned(),
            nonce: String::new(),
            expires_ms: self.modified.saturating_add(ttl_ms),
            released: false,
        }
    }
}

/// Who has created a generation.
#[derive(Debug)]
pub(super) enum Created {
    Ours,
    Others(LeaseHolder),
    Unsupported(String),
}

/// All generations of one lease.
#[derive(Debug)]
pub(super) struct Generations {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    retry: Retry,
}

impl Generations {
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &Path, name: &str, retry: Retry) -> Self {
        let folder = FOLDER.iter().fold(prefix.clone(), |folder, part| folder.join(*part)).join(name);
        Self { store, folder, retry }
    }

    fn path(&self, number: u64) -> Path {
        self.folder.clone().join(format!("{number:0DIGITS$}.json"))
    }

    /// All that are there, oldest first.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let list = || async {
            let objects: Vec<_> = self.store.list(Some(&self.folder)).try_collect().await?;
            let listed = objects.iter().filter_map(|object| {
                let name = object.location.filename()?.strip_suffix(".json")?;
                let number = (name.len() == DIGITS).then(|| name.parse().ok())??;
                Some(Listed { number, modified: object.last_modified.timestamp_millis() })
            });
            Ok(listed.collect::<Vec<_>>())
        };
        let listed = self.retry.run(|| async { list().await.map_err(|error| self.failed("the list", error)) });
        let mut listed = listed.await?;
        listed.sort_by_key(|listed| listed.number);
        Ok(listed)
    }

    /// What generation `number` says, or `None` if it is not there. Where it says nothing sensible, `assumed`.
    pub async fn read(&self, number: u64, assumed: impl FnOnce() -> LeaseHolder) -> Result<Option<LeaseHolder>> {
        let path = self.path(number);
        let get = || async {
            let object = self.store.get(&path).await?;
            if object.meta.size > SIZE_MAX {
                return Ok(bytes::Bytes::new());
            }
            object.bytes().await
        };
        match self.retry.run(|| async { get().await.map_err(|error| self.failed("a generation", error)) }).await {
            Ok(json) => {
                let holder = serde_json::from_slice::<LeaseHolder>(&json).ok();
                Ok(Some(holder.filter(|holder| holder.version == VERSION).unwrap_or_else(assumed)))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates generation `number`, unless it is there.
    pub async fn create(&self, number: u64, wanted: &LeaseHolder) -> Result<Created> {
        use object_store::Error as Refused;
        let json = serde_json::to_vec(wanted).map_err(|error| Error::Internal(error.to_string()))?;
        let path = self.path(number);
        let outcome = self.retry.run(|| async {
            match self.store.put_opts(&path, json.clone().into(), PutOptions::from(PutMode::Create)).await {
                Ok(_) => Ok(None),
                Err(error @ (Refused::AlreadyExists { .. } | Refused::Precondition { .. })) => Ok(Some(error)),
                Err(error @ (Refused::NotImplemented { .. } | Refused::NotSupported { .. })) => Ok(Some(error)),
                Err(error) => Err(Error::upload("a lease", "a generation", error)),
            }
        });
        match outcome.await? {
            None => Ok(Created::Ours),
            Some(error @ (Refused::NotImplemented { .. } | Refused::NotSupported { .. })) => {
                Ok(Created::Unsupported(error.to_string()))
            }
            // also after a try that took effect although it was said to fail
            Some(_) => {
                let unknown = || LeaseHolder { nonce: String::new(), holder: "unknown".to_owned(), ..wanted.clone() };
                let there = self.read(number, unknown).await?.unwrap_or_else(unknown);
                Ok(if there == *wanted { Created::Ours } else { Created::Others(there) })
            }
        }
    }

    /// Whether the store refuses to create generation `number`, which is there as `wanted`, once more.
    pub async fn refuses(&self, number: u64, wanted: &LeaseHolder) -> Result<bool> {
        let json = serde_json::to_vec(wanted).map_err(|error| Error::Internal(error.to_string()))?;
        let path = self.path(number);
        self.retry
            .run(|| async {
                match self.store.put_opts(&path, json.clone().into(), PutOptions::from(PutMode::Create)).await {
                    Ok(_) => Ok(false),
                    Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                        Ok(true)
                    }
                    Err(error) => Err(Error::upload("a lease", "a generation", error)),
                }
            })
            .await
    }

    /// Removes old generations; those that cannot be removed now are another time.
    pub async fn remove(&self, numbers: &[u64]) {
        for &number in numbers {
            if let Err(error) = self.store.delete(&self.path(number)).await {
                tracing::debug!(number, %error, "cannot remove an old generation of a lease");
            }
        }
    }

    fn failed(&self, what: &str, error: object_store::Error) -> Error {
        Error::object_store(format_args!("the lease in {}", self.folder), what, error)
    }
}

/// A number that nobody else has: every hasher has keys of its own.
pub(super) fn nonce() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
