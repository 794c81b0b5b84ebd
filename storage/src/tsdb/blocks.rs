//! The local blocks of all tenants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{CHUNKS_HEAD_DIR, TsdbSettings, WAL_DIR, WBL_DIR, external_labels};
use crate::error::{Error, Result};
use crate::model::{BlockId, ExternalLabels, Timestamp};
use crate::side_index::SideIndexCache;
use crate::store::{LocalDirStore, Store};

/// Folders that are no tenant's.
const NO_TENANTS: [&str; 5] = [WAL_DIR, WBL_DIR, CHUNKS_HEAD_DIR, "quarantine", "lost+found"];

/// A folder of blocks for each tenant, found or made.
#[derive(Debug)]
pub(super) struct TenantBlocks {
    root: PathBuf,
    settings: TsdbSettings,
    side_indexes: Arc<SideIndexCache>,
    /// By tenant; the default tenant can have a second one, `root` itself.
    folders: RwLock<BTreeMap<String, Vec<Arc<LocalDirStore>>>>,
}

impl TenantBlocks {
    /// The tenants that have a folder in `root`, and the default tenant where blocks lie in `root` itself.
    pub async fn open(root: &Path, settings: &TsdbSettings, side_indexes: Arc<SideIndexCache>) -> Result<Self> {
        let blocks =
            Self { root: root.to_owned(), settings: settings.clone(), side_indexes, folders: RwLock::default() };
        let mut has_blocks = false;
        let mut tenants = Vec::new();
        for entry in std::fs::read_dir(root).map_err(|error| Error::io(root, error))? {
            let entry = entry.map_err(|error| Error::io(root, error))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|_| entry.path().is_dir()) else { continue };
            if name.parse::<BlockId>().is_ok() {
                has_blocks = true;
            } else if !NO_TENANTS.contains(&name) && !name.contains(".tmp") {
                tenants.push(name.to_owned());
            }
        }
        for tenant in tenants {
            let folder = root.join(&tenant);
            if folder.join(WAL_DIR).is_dir() {
                let log = folder.join(WAL_DIR);
                tracing::warn!(log = %log.display(), "the log of a Thanos receive is not read: what is in it and in no block is not answered");
            }
            blocks.add(&tenant, folder).await?;
        }
        if has_blocks {
            blocks.add(&settings.default_tenant, root.to_owned()).await?;
        }
        Ok(blocks)
    }

    async fn add(&self, tenant: &str, folder: PathBuf) -> Result<()> {
        let labels = self.labels(tenant);
        let store = LocalDirStore::open_labelled(folder, labels, Arc::clone(&self.side_indexes)).await?;
        self.folders.write().entry(tenant.to_owned()).or_default().push(Arc::new(store));
        Ok(())
    }

    fn labels(&self, tenant: &str) -> ExternalLabels {
        external_labels(&self.settings, tenant)
    }

    /// Each tenant whose blocks have a folder of its own, and the folder.
    pub fn tenants(&self) -> Vec<(String, PathBuf)> {
        let folders = self.folders.read();
        let folders = folders.keys().map(|tenant| (tenant.clone(), self.root.join(tenant)));
        folders.filter(|(_, folder)| folder.is_dir()).collect()
    }

    /// The folder into which a tenant's blocks go, made where there is none.
    pub async fn folder_of(&self, tenant: &str) -> Result<PathBuf> {
        let folder = self.root.join(tenant);
        let known = self.stores_of(tenant).iter().any(|store| store.path() == folder);
        if !known {
            std::fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
            self.add(tenant, folder.clone()).await?;
        }
        Ok(folder)
    }

    /// Looks again which blocks a tenant has.
    pub async fn reload(&self, tenant: &str) -> Result<()> {
        for store in self.stores_of(tenant) {
            store.reload().await?;
        }
        Ok(())
    }

    fn stores_of(&self, tenant: &str) -> Vec<Arc<LocalDirStore>> {
        self.folders.read().get(tenant).cloned().unwrap_or_default()
    }

    /// All of them.
    pub fn stores(&self) -> Vec<Arc<dyn Store>> {
        self.folders.read().values().flatten().map(|store| Arc::clone(store) as Arc<dyn Store>).collect()
    }

    /// Where the newest block of each tenant ends.
    pub fn ends(&self) -> BTreeMap<String, Timestamp> {
        let folders = self.folders.read();
        let end = |stores: &Vec<Arc<LocalDirStore>>| {
            let ends = stores.iter().filter_map(|store| store.blocks().iter().map(|block| block.range().maxt).max());
            ends.max()
        };
        folders.iter().filter_map(|(tenant, stores)| Some((tenant.clone(), end(stores)?))).collect()
    }

    /// Deletes the blocks that end before `before` and may go. Those of a Prometheus whose folder this is stay: they are not ours.
    pub async fn delete_before(
        &self,
        before: Timestamp,
        may_go: impl Fn(&str, BlockId) -> bool,
    ) -> Result<Vec<BlockId>> {
        let mut gone = Vec::new();
        let folders = self.folders.read().clone();
        for (tenant, stores) in folders {
            for store in stores {
                let expired: Vec<BlockId> = store
                    .blocks()
                    .iter()
                    .filter(|block| block.meta().thanos.is_some() && block.range().maxt <= before)
                    .filter(|block| may_go(&tenant, block.id()))
                    .map(crate::store::BlockStore::id)
                    .collect();
                for id in expired {
                    // under a name that no reader takes for a block, so that half of one is never seen
                    let folder = store.path().join(id.to_string());
                    let doomed = store.path().join(format!("{id}.tmp-for-deletion"));
                    std::fs::rename(&folder, &doomed).map_err(|error| Error::io(&folder, error))?;
                    store.reload().await?;
                    std::fs::remove_dir_all(&doomed).map_err(|error| Error::io(&doomed, error))?;
                    gone.push(id);
                }
            }
        }
        Ok(gone)
    }
}
