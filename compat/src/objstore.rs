//! The object storage YAML of Thanos: `type`, `config`, `prefix`.
//!
//! ```text
//! text ─> type ─┬─ FILESYSTEM ─> SyncedFolder
//!               ├─ S3, GCS, AZURE ─> the builder of object_store
//!               └─ any other ─> refused by name          all ─> PrefixStore where there is a prefix
//! ```
//!
//! Keys are those of Thanos 0.43, and strict: an unknown one is refused with file, line and the keys that exist. A known key
//! that cannot be honoured is refused where ignoring it would change what is read or how safely, and noted otherwise;
//! docs/objstore.md lists which is which.

mod azure;
mod filesystem;
mod gcs;
mod http_config;
mod s3;
mod synced;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use crate::yaml::ConfigError;
use crate::yaml::Document;
pub use filesystem::open_directory;

/// A bucket, ready to use.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its objects, below the prefix where there is one.
    pub store: Arc<dyn ObjectStore>,
    /// Where its objects are files of this machine: the folder that holds them, prefix included.
    pub local_root: Option<PathBuf>,
    /// What it is, for messages: `s3://metrics/prod`, `data/bucket`.
    pub name: String,
    /// Settings that were read and make no difference here.
    pub notes: Vec<String>,
}

/// The types that Thanos knows and this build does not serve.
const OTHER_TYPES: [&str; 6] = ["SWIFT", "COS", "ALIYUNOSS", "BOS", "OCI", "OBS"];

/// The keys of the outermost level, with the configuration left for later.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    r#type: String,
    #[serde(default)]
    #[expect(dead_code, reason = "read again as what the type says")]
    config: Option<IgnoredAny>,
    #[serde(default)]
    prefix: Option<String>,
}

/// The outermost level again, once it is known what the configuration holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<C> {
    #[expect(dead_code, reason = "read before")]
    r#type: IgnoredAny,
    config: C,
    #[serde(default)]
    #[expect(dead_code, reason = "read before")]
    prefix: Option<IgnoredAny>,
}

/// Reads what stands under `config`.
fn config<C: serde::de::DeserializeOwned>(document: &Document<'_>) -> Result<C, ConfigError> {
    Ok(document.parse::<Body<C>>()?.config)
}

/// Opens the bucket that the file at `path` describes.
///
/// # Errors
/// [`ConfigError`] where the file cannot be read, or as [`from_yaml`].
pub fn from_file(path: &Path) -> Result<Bucket, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unplaced(path.display(), error))?;
    from_yaml(&text, &path.display().to_string())
}

/// Opens the bucket that `text` describes; `source` names it in errors. Nothing is asked of the network yet.
///
/// # Errors
/// [`ConfigError`] with the place of what is wrong.
pub fn from_yaml(text: &str, source: &str) -> Result<Bucket, ConfigError> {
    let document = Document::new(text, source);
    let head: Head = document.parse()?;
    let bucket = match head.r#type.to_ascii_uppercase().as_str() {
        "FILESYSTEM" => filesystem::open(&document)?,
        "S3" => s3::open(&document)?,
        "GCS" => gcs::open(&document)?,
        "AZURE" => azure::open(&document)?,
        other if OTHER_TYPES.contains(&other) => {
            let refused = format!("{other} is not supported; this build serves FILESYSTEM, S3, GCS and AZURE");
            return Err(document.wrong("type", refused));
        }
        _ => {
            let unknown = format!("unknown type {:?}; it is one of FILESYSTEM, S3, GCS and AZURE", head.r#type);
            return Err(document.wrong("type", unknown));
        }
    };
    match head.prefix.as_deref().map(|prefix| prefix.trim_matches('/')) {
        None | Some("") => Ok(bucket),
        Some(prefix) => below(bucket, prefix).map_err(|error| document.wrong("prefix", error)),
    }
}

/// The part of `bucket` below `prefix`.
fn below(bucket: Bucket, prefix: &str) -> Result<Bucket, object_store::path::Error> {
    let prefix = ObjectPath::parse(prefix)?;
    Ok(Bucket {
        local_root: bucket.local_root.map(|root| root.join(prefix.as_ref())),
        name: format!("{}/{prefix}", bucket.name),
        store: Arc::new(PrefixStore::new(bucket.store, prefix)),
        notes: bucket.notes,
    })
}

#[cfg(test)]
mod tests;
