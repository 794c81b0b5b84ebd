//! FILESYSTEM: a folder of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::synced::SyncedFolder;
use super::{Bucket, ConfigError};
use crate::yaml::Document;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    directory: PathBuf,
}

pub fn open(document: &Document<'_>) -> Result<Bucket, ConfigError> {
    let config: Config = super::config(document)?;
    open_directory(&config.directory).map_err(|error| document.wrong("directory", error.message))
}

/// A folder as a bucket. It must exist: a misspelt name is not to become an empty bucket.
///
/// # Errors
/// [`ConfigError`] where it does not, or is no folder.
pub fn open_directory(directory: &Path) -> Result<Bucket, ConfigError> {
    let wrong = |message: String| ConfigError::unplaced(directory.display(), message);
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(wrong(format!("{} is not a folder", directory.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(wrong(format!("the folder {} does not exist", directory.display())));
        }
        Err(error) => return Err(wrong(format!("{}: {error}", directory.display()))),
    }
    let store = SyncedFolder::try_new(directory).map_err(|error| wrong(error.to_string()))?;
    Ok(Bucket {
        store: Arc::new(store),
        local_root: Some(directory.to_owned()),
        name: directory.display().to_string(),
        notes: Vec::new(),
    })
}
