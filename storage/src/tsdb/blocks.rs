//! The local blocks of all tenants.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{CHUNKS_HEAD_DIR, TsdbSettings, WAL_DIR, WBL_DIR, external_labels};
use crate::block::BlockMeta;
use crate::error::{Error, Result};
use crate::model::{BlockId, ExternalLabels, Timestamp};
use crate::shipper::SHIPPER_FILE;
use crate::side_index::SideIndexCache;
use crate::store::{BlockStore, LocalDirStore, Store};

/// What is in the folder beside those of tenants.
const NO_TENANTS: [&str; 6] = [WAL_DIR, WBL_DIR, CHUNKS_HEAD_DIR, "quarantine", "lost+found", "lock"];

/// Whether a folder of this name beside the log's can be a tenant's: it is none that has another meaning there, nor a block.
#[must_use]
pub fn can_be_tenant(name: &str) -> bool {
    name.parse::<BlockId>().is_err() && !NO_TENANTS.contains(&name) && !name.contains(".tmp")
}

/// What may be in a tenant's folder beside blocks and goes with it: what shippers note, and the lock of a Thanos receive.
const LEAVINGS: [&str; 3] = [SHIPPER_FILE, "thanos", "lock"];
/// What a folder is called after its name while it is deleted.
pub(super) const DOOMED: &str = ".tmp-for-deletion";

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
            } else if can_be_tenant(name) {
                tenants.push(name.to_owned());
            }
        }
        for tenant in tenants {
            let folder = root.join(&tenant);
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

    /// Where the newest block of each tenant ends, up to where samples in order are in blocks. Blocks of late samples alone, which
    /// Prometheus marks so, say nothing of that.
    pub fn ends(&self) -> BTreeMap<String, Timestamp> {
        let folders = self.folders.read();
        let end = |stores: &Vec<Arc<LocalDirStore>>| {
            let ends = stores.iter().filter_map(|store| in_order_end(store));
            ends.max()
        };
        folders.iter().filter_map(|(tenant, stores)| Some((tenant.clone(), end(stores)?))).collect()
    }

    /// The tenants that have blocks, or a folder.
    pub fn names(&self) -> Vec<String> {
        self.folders.read().keys().cloned().collect()
    }

    /// Deletes the blocks that end before `before` and may go, but for the newest of each tenant. Those of a Prometheus whose folder
    /// this is stay: they are not ours.
    pub async fn delete_before(
        &self,
        before: Timestamp,
        may_go: impl Fn(&str, &BlockMeta) -> bool,
    ) -> Result<Vec<BlockId>> {
        self.delete(|block| block.range().maxt <= before, may_go).await
    }

    /// Deletes the oldest blocks of each tenant whose blocks have more than `most` bytes, likewise.
    pub async fn delete_beyond(&self, most: u64, may_go: impl Fn(&str, &BlockMeta) -> bool) -> Result<Vec<BlockId>> {
        let mut beyond = BTreeSet::new();
        for stores in self.folders.read().values() {
            let mut blocks = Vec::new();
            for store in stores {
                let size = |block: &BlockStore| folder_size(&store.path().join(block.id().to_string()));
                blocks
                    .extend(store.blocks().iter().map(|block| (Reverse(block.range().maxt), block.id(), size(block))));
            }
            blocks.sort_unstable();
            let mut sum = 0_u64;
            for (_, id, size) in blocks {
                sum = sum.saturating_add(size);
                if sum > most {
                    beyond.insert(id);
                }
            }
        }
        if beyond.is_empty() { Ok(Vec::new()) } else { self.delete(|block| beyond.contains(&block.id()), may_go).await }
    }

    /// Deletes what is chosen and may go, but for the newest block of each tenant and those of a Prometheus.
    async fn delete(
        &self,
        is_chosen: impl Fn(&BlockStore) -> bool,
        may_go: impl Fn(&str, &BlockMeta) -> bool,
    ) -> Result<Vec<BlockId>> {
        let mut gone = Vec::new();
        let ends = self.ends();
        let folders = self.folders.read().clone();
        for (tenant, stores) in folders {
            let newest = ends.get(&tenant).copied().unwrap_or(Timestamp::MIN);
            for store in stores {
                let is_root = store.path() == self.root;
                let chosen: Vec<BlockId> = store
                    .blocks()
                    .iter()
                    .filter(|block| is_chosen(block) && block.range().maxt < newest)
                    .filter(|block| block.meta().thanos.is_some() || !is_root)
                    .filter(|block| may_go(&tenant, block.meta()))
                    .map(BlockStore::id)
                    .collect();
                for id in chosen {
                    delete_block(&store, id).await?;
                    gone.push(id);
                }
            }
        }
        Ok(gone)
    }

    /// Whether all blocks of a tenant end before `before` and may go, none is in the folder of a Prometheus, and in the tenant's
    /// own is nothing that is not known.
    pub fn may_all_go(&self, tenant: &str, before: Timestamp, may_go: impl Fn(&str, &BlockMeta) -> bool) -> bool {
        self.stores_of(tenant).iter().all(|store| {
            let may_go = |block: &BlockStore| block.range().maxt <= before && may_go(tenant, block.meta());
            let blocks = store.blocks();
            let is_known =
                |name: &str| is_leaving(name) || name.parse::<BlockId>().is_ok_and(|id| blocks.get(id).is_some());
            store.path() != self.root && blocks.iter().all(may_go) && has_only(store.path(), is_known)
        })
    }

    /// Deletes the blocks of a tenant and its folder; false where it has none.
    pub async fn remove(&self, tenant: &str) -> Result<bool> {
        let stores = self.stores_of(tenant);
        for store in &stores {
            let ids: Vec<BlockId> = store.blocks().iter().map(BlockStore::id).collect();
            for id in ids {
                delete_block(store, id).await?;
            }
            remove_folder(store.path())?;
        }
        self.folders.write().remove(tenant);
        Ok(!stores.is_empty())
    }
}

/// Where the newest block ends that has samples in order.
fn in_order_end(store: &LocalDirStore) -> Option<Timestamp> {
    let blocks = store.blocks();
    let in_order = blocks.iter().filter(|block| !block.meta().is_from_out_of_order());
    in_order.map(|block| block.range().maxt).max()
}

/// Deletes a block and looks again what there is.
async fn delete_block(store: &LocalDirStore, id: BlockId) -> Result<()> {
    // under a name that no reader takes for a block, so that half of one is never seen
    let folder = store.path().join(id.to_string());
    let doomed = store.path().join(format!("{id}{DOOMED}"));
    std::fs::rename(&folder, &doomed).map_err(|error| Error::io(&folder, error))?;
    store.reload().await?;
    std::fs::remove_dir_all(&doomed).map_err(|error| Error::io(&doomed, error))
}

/// Bytes of the files in a folder and the folders in it; of what cannot be looked at, none.
fn folder_size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn is_leaving(name: &str) -> bool {
    LEAVINGS.contains(&name) || name.contains(".tmp")
}

/// Whether everything in a folder is known; also where it cannot be read, since it may be gone.
fn has_only(folder: &Path, is_known: impl Fn(&str) -> bool) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return true };
    entries.flatten().all(|entry| entry.file_name().to_str().is_some_and(&is_known))
}

/// Removes the folder of a tenant that has no block, with what shipper and cuts may have left in it. One that is gone is fine.
fn remove_folder(folder: &Path) -> Result<()> {
    let io = |error| Error::io(folder, error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io)?,
    };
    for entry in entries {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if is_leaving(&name) && path.is_dir() {
            std::fs::remove_dir_all(&path).map_err(|error| Error::io(&path, error))?;
        } else if is_leaving(&name) {
            std::fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
        }
    }
    // fails where something else is there by now
    std::fs::remove_dir(folder).map_err(io)
}
